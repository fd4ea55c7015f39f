//! The file systems of a container.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::Facts;
use crate::Result;
use crate::engine::options::Share;

/// The size of `/dev/shm` where nobody asks for another.
const SHM_SIZE: u64 = 64 << 20;

/// Every mount, in the order in which they are made.
pub(super) fn mounts(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let options = facts.options;
    let foreign = &facts.surroundings.foreign;
    let mut mounts = vec![
        match foreign.pid {
            // Who does not own the PID namespace cannot mount its processes anew.
            true => mount("/proc", "bind", "/proc", &BIND)?,
            false => mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        },
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        terminals(facts)?,
    ];
    mounts.extend(shared_memory(facts)?);
    let sys = if options.privileged { "rw" } else { "ro" };
    mounts.push(match foreign.network {
        // Neither can who does not own the network namespace mount the devices that it has.
        true => mount(
            "/sys",
            "bind",
            "/sys",
            &["rbind", "rprivate", "nosuid", "noexec", "nodev", sys],
        )?,
        false => mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", sys],
        )?,
    });
    if !foreign.network {
        mounts.extend(cgroups(facts)?);
    }
    for name in ["resolv.conf", "hostname", "hosts"] {
        // Names mean the same for all that share a network.
        let theirs = facts.surroundings.network_files.as_deref();
        let files = theirs.filter(|_| name != "hostname").unwrap_or(facts.files);
        let file = files.join(name);
        mounts.push(mount(Path::new("/etc").join(name), "bind", file, &BIND)?);
    }
    for tmpfs in &options.tmpfs {
        let mut list = vec!["nosuid", "nodev", "noexec", "mode=1777"];
        for option in &tmpfs.options {
            // The last word counts; what takes a restriction back takes it off the list.
            list.retain(|other| !contradicts(option, other));
            list.push(option);
        }
        mounts.push(mount(&tmpfs.destination, "tmpfs", "tmpfs", &list)?);
    }
    for volume in &options.volumes {
        let access = if volume.read_only { "ro" } else { "rw" };
        let devices = if options.privileged { "dev" } else { "nodev" };
        let list = ["rbind", "rprivate", access, devices];
        mounts.push(mount(&volume.destination, "bind", &volume.source, &list)?);
    }
    Ok(mounts)
}

/// The options of a directory or file that is the host's as well.
const BIND: [&str; 2] = ["rbind", "rprivate"];

/// Whether a mount option says otherwise than an earlier one.
fn contradicts(option: &str, earlier: &str) -> bool {
    let key = |option: &str| {
        let key = option.split('=').next().unwrap_or_default();
        match key {
            "ro" | "rw" => "access".to_owned(),
            key => key.trim_start_matches("no").to_owned(),
        }
    };
    key(option) == key(earlier)
}

fn terminals(facts: &Facts<'_>) -> Result<Mount> {
    let mut list = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    // The group tty, as every distribution has it; where nobody has that number, terminals stay their user's own.
    if facts.surroundings.has_group(TTY) {
        list.push("gid=5");
    }
    mount("/dev/pts", "devpts", "devpts", &list)
}

/// The number of the group `tty`.
const TTY: u32 = 5;

/// What processes share by name: message queues, and memory.
fn shared_memory(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let options = facts.options;
    let mut mounts = Vec::new();
    if !facts.surroundings.foreign.ipc {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &QUIET)?);
    }
    mounts.push(match (&options.ipc, facts.surroundings.ipc) {
        (Share::Host, _) => mount("/dev/shm", "bind", "/dev/shm", &BIND)?,
        // Memory that is shared by name is a mount of that container's.
        (_, Some(pid)) => mount(
            "/dev/shm",
            "bind",
            format!("/proc/{pid}/root/dev/shm"),
            &BIND,
        )?,
        (_, None) => {
            let size = format!("size={}", options.shm_size.unwrap_or(SHM_SIZE));
            let list = [&QUIET[..], &["mode=1777", &size]].concat();
            mount("/dev/shm", "tmpfs", "shm", &list)?
        }
    });
    Ok(mounts)
}

/// What nothing is executed from, and no device opened in.
const QUIET: [&str; 3] = ["nosuid", "noexec", "nodev"];

/// The view of the container's own cgroups, which it cannot change.
fn cgroups(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let read_only = [&QUIET[..], &["ro"]].concat();
    let mut mounts = Vec::new();
    if facts
        .cgroups
        .iter()
        .any(|view| !view.destination.is_empty())
    {
        let list = [&read_only[..], &["mode=755"]].concat();
        mounts.push(mount("/sys/fs/cgroup", "tmpfs", "cgroup", &list)?);
    }
    for view in facts.cgroups {
        let destination = Path::new("/sys/fs/cgroup").join(&view.destination);
        let mut list = read_only.clone();
        list.extend(view.options.iter().map(String::as_str));
        mounts.push(mount(destination, view.fstype, "cgroup", &list)?);
    }
    Ok(mounts)
}

fn mount(
    to: impl Into<PathBuf>,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Result<Mount> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    Ok(MountBuilder::default()
        .destination(to)
        .typ(kind)
        .source(source)
        .options(options)
        .build()?)
}
