//! What every container's root file system has, unless somebody says otherwise: Docker's defaults.

use crate::mount::{Mount, MountAttributes};
use crate::rootfs::Rootfs;

/// What Docker hides from containers: files that tell about, or change, the whole host.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What Docker lets containers read but not write.
pub const READ_ONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

impl Rootfs {
    /// /proc, /dev, /dev/pts, /dev/mqueue, /dev/shm and /sys, in the order in which they are mounted.
    ///
    /// See [Default Filesystems](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-filesystems).
    pub fn standard_mounts() -> Vec<Mount> {
        const SAFE: MountAttributes = MountAttributes::NOSUID
            .union(MountAttributes::NODEV)
            .union(MountAttributes::NOEXEC);
        vec![
            Mount::filesystem("proc", "/proc").attributes(SAFE),
            Mount::filesystem("tmpfs", "/dev")
                .attributes(MountAttributes::NOSUID | MountAttributes::STRICTATIME)
                .option("mode", "755")
                .option("size", "65536k"),
            Mount::filesystem("devpts", "/dev/pts")
                .attributes(MountAttributes::NOSUID | MountAttributes::NOEXEC)
                .flag("newinstance")
                .option("ptmxmode", "0666")
                .option("mode", "0620")
                .option("gid", "5"),
            Mount::filesystem("mqueue", "/dev/mqueue").attributes(SAFE),
            Mount::filesystem("tmpfs", "/dev/shm")
                .attributes(SAFE)
                .option("mode", "1777")
                .option("size", "67108864"),
            Mount::filesystem("sysfs", "/sys").attributes(SAFE | MountAttributes::RDONLY),
        ]
    }
}
