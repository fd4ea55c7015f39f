//! From limits to the writes that put them in force: pure, so that it can be shown and tested without a kernel.

use std::borrow::Cow;
use std::fmt;

use crate::{Controller, Hierarchy, Limits, Max, device};

mod in_force;
mod io;

/// What stands for the file of device rules on v2, where there is none.
pub(crate) const DEVICE_PROGRAM: &str = "BPF_CGROUP_DEVICE";

/// One value for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// The controller that the file belongs to.
    pub controller: Controller,
    /// The file in the cgroup's directory. `BPF_CGROUP_DEVICE` is none: on v2 a program is made of the rules on devices.
    pub file: Cow<'static, str>,
    /// What to write.
    pub value: String,
    /// What the write is for.
    pub why: &'static str,
    /// What to write in its place where there is no such file, as with some schedulers of block devices.
    pub otherwise: Option<Box<Write>>,
    /// Whether it was asked for by the name of the file, on v2: what that reads back is nothing that this crate could judge.
    pub(crate) is_raw: bool,
}

impl Write {
    pub(crate) fn new(
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        why: &'static str,
    ) -> Write {
        Write {
            controller,
            file: file.into(),
            value: value.to_string(),
            why,
            otherwise: None,
            is_raw: false,
        }
    }

    fn or(self, otherwise: Write) -> Write {
        Write {
            otherwise: Some(Box::new(otherwise)),
            ..self
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.value)
    }
}

impl Limits {
    /// The writes that put these limits in force on this host, in order; touches nothing.
    ///
    /// A limit whose controller the host does not have is listed too, with the file of v2: what becomes of it is for
    /// [`Compat`](crate::Compat) to say. Call [`Limits::validate`] first; what it refuses has no meaningful rendering.
    pub fn render(&self, hierarchy: &Hierarchy) -> Vec<Write> {
        let v2 = |controller| hierarchy.is_v2(controller).unwrap_or(true);
        let mut writes = Vec::new();
        self.render_cpu(v2(Controller::Cpu), &mut writes);
        self.render_memory(v2(Controller::Memory), &mut writes);
        if let Some(tasks) = self.pids {
            let why = "so that fork fails with EAGAIN beyond this many tasks";
            let write = Write::new(Controller::Pids, "pids.max", tasks.to_v2(), why);
            writes.push(write);
        }
        let cpuset = |file, list, why| Write::new(Controller::Cpuset, file, list, why);
        if let Some(list) = &self.cpuset_cpus {
            let why = "so that it runs on these CPUs only";
            writes.push(cpuset("cpuset.cpus", list, why));
        }
        if let Some(list) = &self.cpuset_mems {
            let why = "so that its memory comes from these nodes only";
            writes.push(cpuset("cpuset.mems", list, why));
        }
        self.render_io(v2(Controller::Io), &mut writes);
        self.render_hugetlb(v2(Controller::Hugetlb), &mut writes);
        self.render_rdma(&mut writes);
        self.render_devices(v2(Controller::Devices), &mut writes);
        for (file, value) in &self.unified {
            let controller = file.split_once('.').map(|(name, _)| name);
            // `validate` has seen to it that there is one.
            if let Some(controller) = controller.and_then(Controller::from_name) {
                let why = "so that the setting of v2 is in force that was asked for by its name";
                let write = Write::new(controller, file.clone(), value, why);
                writes.push(Write {
                    is_raw: true,
                    ..write
                });
            }
        }
        writes
    }

    fn render_cpu(&self, v2: bool, writes: &mut Vec<Write>) {
        let mut push = |file: &'static str, value: String, why| {
            writes.push(Write::new(Controller::Cpu, file, value, why));
        };
        let why_idle = "so that it runs only while no cgroup beside it wants to";
        // An idle cgroup has no weight that could be set: out of it first, and into it last.
        if self.cpu_idle == Some(false) {
            push("cpu.idle", "0".to_owned(), why_idle);
        }
        if let Some(shares) = self.cpu_shares {
            let why = "so that busy CPUs are shared out in this proportion";
            if v2 {
                push("cpu.weight", weight(shares).to_string(), why);
            } else {
                push("cpu.shares", shares.to_string(), why);
            }
        }
        if let Some(bandwidth) = self.cpu {
            let period = bandwidth.period().as_micros();
            let quota = bandwidth.quota().map(|quota| quota.as_micros().to_string());
            let why = "so that it gets no more CPU time than this in each period (in microseconds)";
            if v2 {
                let quota = quota.unwrap_or_else(|| "max".to_owned());
                push("cpu.max", format!("{quota} {period}"), why);
            } else {
                let why_period =
                    "so that the CPU time is counted in periods of this many microseconds";
                push("cpu.cfs_period_us", period.to_string(), why_period);
                let quota = quota.unwrap_or_else(|| "-1".to_owned());
                push("cpu.cfs_quota_us", quota, why);
            }
        }
        if let Some(burst) = self.cpu_burst {
            let why =
                "so that it may save up this much CPU time, in microseconds, and use it later";
            let file = if v2 {
                "cpu.max.burst"
            } else {
                "cpu.cfs_burst_us"
            };
            push(file, burst.as_micros().to_string(), why);
        }
        if self.cpu_idle == Some(true) {
            push("cpu.idle", "1".to_owned(), why_idle);
        }
    }

    fn render_memory(&self, v2: bool, writes: &mut Vec<Write>) {
        let mut push = |file: &'static str, value: String, why| {
            writes.push(Write::new(Controller::Memory, file, value, why));
        };
        if let Some(bytes) = self.memory_bytes {
            let why = "so that a process beyond this much memory is killed, and not the host's";
            if v2 {
                push("memory.max", bytes.to_v2(), why);
            } else {
                push("memory.limit_in_bytes", bytes.to_v1(), why);
            }
        }
        if let Some(total) = self.memory_swap_bytes {
            let why = "so that it cannot escape the memory limit into swap";
            if v2 {
                // v2 counts swap alone.
                let swap = match (total, self.memory_bytes) {
                    (Max::At(total), Some(Max::At(memory))) => {
                        Max::At(total.saturating_sub(memory))
                    }
                    _ => Max::Unlimited,
                };
                push("memory.swap.max", swap.to_v2(), why);
            } else {
                push("memory.memsw.limit_in_bytes", total.to_v1(), why);
            }
        }
        if let Some(bytes) = self.memory_reservation_bytes {
            let why = "so that this much memory is left to it when the machine runs short";
            let file = if v2 {
                "memory.low"
            } else {
                "memory.soft_limit_in_bytes"
            };
            push(file, bytes.to_string(), why);
        }
        if let Some(swappiness) = self.memory_swappiness {
            let why = "so that its memory is swapped out as readily as this";
            push("memory.swappiness", swappiness.to_string(), why);
        }
        // On v2 none waits, so that there is nothing to be switched off.
        if let Some(disable) = self.oom_kill_disable.filter(|disable| *disable || !v2) {
            let why = "so that it is known whether its processes wait or die when their memory is used up";
            push("memory.oom_control", u8::from(disable).to_string(), why);
        }
        if let Some(together) = self.oom_group.filter(|together| *together || v2) {
            let why = "so that it is known whether its processes die together when their memory is used up";
            push("memory.oom.group", u8::from(together).to_string(), why);
        }
    }

    fn render_hugetlb(&self, v2: bool, writes: &mut Vec<Write>) {
        for (size, bytes) in &self.hugetlb {
            let (value, suffix) = match v2 {
                true => (bytes.to_v2(), "max"),
                false => (bytes.to_v1(), "limit_in_bytes"),
            };
            for (part, why) in [
                (
                    "rsvd.",
                    "so that mmap fails for more huge pages than these, before one is touched",
                ),
                (
                    "",
                    "so that no more memory than this is taken in huge pages of that size",
                ),
            ] {
                let file = format!("hugetlb.{size}.{part}{suffix}");
                writes.push(Write::new(Controller::Hugetlb, file, &value, why));
            }
        }
    }

    fn render_rdma(&self, writes: &mut Vec<Write>) {
        for (device, limit) in &self.rdma {
            let mut value = device.clone();
            for (key, bound) in [("hca_handle", limit.handles), ("hca_object", limit.objects)] {
                if let Some(bound) = bound {
                    value.push_str(&format!(" {key}={bound}"));
                }
            }
            let why = "so that it takes no more of this RDMA device than these resources";
            writes.push(Write::new(Controller::Rdma, "rdma.max", value, why));
        }
    }

    fn render_devices(&self, v2: bool, writes: &mut Vec<Write>) {
        let Some(rules) = &self.devices else {
            return;
        };
        let why = "so that no process of it can use a device that it was not given";
        let all = device::v1_writes(rules);
        if v2 {
            let all: Vec<String> = all
                .iter()
                .map(|(word, rule)| format!("{word} {rule}"))
                .collect();
            writes.push(Write::new(
                Controller::Devices,
                DEVICE_PROGRAM,
                all.join(", "),
                why,
            ));
            return;
        }
        for (word, rule) in all {
            writes.push(Write::new(
                Controller::Devices,
                format!("devices.{word}"),
                rule,
                why,
            ));
        }
    }
}

impl Max {
    pub(crate) fn to_v1(self) -> String {
        match self {
            Max::Unlimited => "-1".to_owned(),
            Max::At(bound) => bound.to_string(),
        }
    }

    pub(crate) fn to_v2(self) -> String {
        match self {
            Max::Unlimited => "max".to_owned(),
            Max::At(bound) => bound.to_string(),
        }
    }
}

/// From the shares of v1 to the weight of v2, as runc and crun convert since 2025: through the points (2, 1),
/// (1024, 100) and (262144, 10000), on a parabola between their logarithms.
fn weight(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // Rounded up, yet not when it is off a whole number by the arithmetic only.
    let weight = (10_f64.powf(exponent) - 1e-6).ceil();
    (weight as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuQuota;

    const V1: &str = "1 0 0:1 / /c/cpu rw - cgroup cgroup rw,cpu\n\
                      2 0 0:2 / /c/memory rw - cgroup cgroup rw,memory\n\
                      3 0 0:3 / /c/pids rw - cgroup cgroup rw,pids\n";
    const V2: &str = "1 0 0:1 / /c rw - cgroup2 cgroup2 rw\n";
    const MIB: u64 = 1 << 20;

    fn rendered(mountinfo: &str, limits: &Limits) -> Vec<String> {
        let hierarchy = Hierarchy::parse(mountinfo, "").unwrap();
        limits
            .render(&hierarchy)
            .iter()
            .map(Write::to_string)
            .collect()
    }

    fn limits() -> Limits {
        Limits::default()
            .cpu(CpuQuota::from_cpus(0.04).unwrap())
            .cpu_shares(512)
            .memory_bytes(64 * MIB)
            .memory_swap_bytes(96 * MIB)
            .memory_reservation_bytes(32 * MIB)
            .pids(Max::Unlimited)
    }

    #[test]
    fn the_same_limits_speak_both_dialects() {
        assert_eq!(
            rendered(V1, &limits()),
            [
                "cpu.shares = 512",
                "cpu.cfs_period_us = 100000",
                "cpu.cfs_quota_us = 4000",
                "memory.limit_in_bytes = 67108864",
                "memory.memsw.limit_in_bytes = 100663296",
                "memory.soft_limit_in_bytes = 33554432",
                "pids.max = max",
            ]
        );
        assert_eq!(
            rendered(V2, &limits()),
            [
                "cpu.weight = 59",
                "cpu.max = 4000 100000",
                "memory.max = 67108864",
                "memory.swap.max = 33554432",
                "memory.low = 33554432",
                "pids.max = max",
            ]
        );
    }

    #[test]
    fn taking_limits_away_speaks_both_dialects() {
        let none = Limits::default()
            .cpu(CpuQuota::UNLIMITED)
            .memory_bytes(Max::Unlimited)
            .memory_swap_bytes(Max::Unlimited);
        assert_eq!(
            rendered(V1, &none),
            [
                "cpu.cfs_period_us = 100000",
                "cpu.cfs_quota_us = -1",
                "memory.limit_in_bytes = -1",
                "memory.memsw.limit_in_bytes = -1",
            ]
        );
        assert_eq!(
            rendered(V2, &none),
            [
                "cpu.max = max 100000",
                "memory.max = max",
                "memory.swap.max = max"
            ]
        );
    }

    #[test]
    fn no_swap_is_a_total_equal_to_the_memory() {
        let limits = Limits::default().memory_bytes(MIB).memory_swap_bytes(MIB);
        assert_eq!(
            rendered(V2, &limits),
            ["memory.max = 1048576", "memory.swap.max = 0"]
        );
    }

    #[test]
    fn the_ends_and_the_defaults_of_shares_and_weight_meet() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
        assert!(
            (2..262_144)
                .step_by(97)
                .all(|shares| weight(shares) <= weight(shares + 97))
        );
    }
}
