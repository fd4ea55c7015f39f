//! From limits to the writes that put them in force: pure, so that it can be shown and tested without a kernel.

use std::fmt;

use crate::{Controller, Hierarchy, Limits, Max, list_format};

/// The largest page of any architecture: the kernel cuts a number of bytes to whole pages.
const LARGEST_PAGE: u64 = 64 << 10;

/// One value for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// The controller that the file belongs to.
    pub controller: Controller,
    /// The file in the cgroup's directory.
    pub file: &'static str,
    /// What to write.
    pub value: String,
    /// What the write is for.
    pub why: &'static str,
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
        let mut push = |controller, file, value, why| {
            writes.push(Write {
                controller,
                file,
                value,
                why,
            })
        };
        self.render_cpu(v2(Controller::Cpu), &mut push);
        self.render_memory(v2(Controller::Memory), &mut push);
        if let Some(tasks) = self.pids {
            push(
                Controller::Pids,
                "pids.max",
                tasks.to_v2(),
                "so that fork fails with EAGAIN beyond this many tasks",
            );
        }
        if let Some(list) = &self.cpuset_cpus {
            push(
                Controller::Cpuset,
                "cpuset.cpus",
                list.clone(),
                "so that it runs on these CPUs only",
            );
        }
        if let Some(list) = &self.cpuset_mems {
            push(
                Controller::Cpuset,
                "cpuset.mems",
                list.clone(),
                "so that its memory comes from these nodes only",
            );
        }
        writes
    }

    fn render_cpu(
        &self,
        v2: bool,
        push: &mut impl FnMut(Controller, &'static str, String, &'static str),
    ) {
        let cpu = Controller::Cpu;
        if let Some(shares) = self.cpu_shares {
            let why = "so that busy CPUs are shared out in this proportion";
            if v2 {
                push(cpu, "cpu.weight", weight(shares).to_string(), why);
            } else {
                push(cpu, "cpu.shares", shares.to_string(), why);
            }
        }
        if let Some(bandwidth) = self.cpu {
            let period = bandwidth.period().as_micros();
            let quota = bandwidth.quota().map(|quota| quota.as_micros().to_string());
            let why = "so that it gets no more CPU time than this in each period (in microseconds)";
            if v2 {
                push(
                    cpu,
                    "cpu.max",
                    format!("{} {period}", quota.unwrap_or_else(|| "max".to_owned())),
                    why,
                );
            } else {
                let why_period =
                    "so that the CPU time is counted in periods of this many microseconds";
                push(cpu, "cpu.cfs_period_us", period.to_string(), why_period);
                push(
                    cpu,
                    "cpu.cfs_quota_us",
                    quota.unwrap_or_else(|| "-1".to_owned()),
                    why,
                );
            }
        }
    }

    fn render_memory(
        &self,
        v2: bool,
        push: &mut impl FnMut(Controller, &'static str, String, &'static str),
    ) {
        let memory = Controller::Memory;
        if let Some(bytes) = self.memory_bytes {
            let why = "so that a process beyond this much memory is killed, and not the host's";
            if v2 {
                push(memory, "memory.max", bytes.to_v2(), why);
            } else {
                push(memory, "memory.limit_in_bytes", bytes.to_v1(), why);
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
                push(memory, "memory.swap.max", swap.to_v2(), why);
            } else {
                push(memory, "memory.memsw.limit_in_bytes", total.to_v1(), why);
            }
        }
        if let Some(bytes) = self.memory_reservation_bytes {
            let why = "so that this much memory is left to it when the machine runs short";
            let file = if v2 {
                "memory.low"
            } else {
                "memory.soft_limit_in_bytes"
            };
            push(memory, file, bytes.to_string(), why);
        }
    }
}

impl Write {
    /// Whether a file that reads `found` has this value in force: numbers of bytes are cut to pages, lists are put in
    /// order, and "no limit" has several spellings.
    pub(crate) fn is_in_force(&self, found: &str) -> bool {
        let found = found.trim_end();
        if self.value == found {
            return true;
        }
        match self.controller {
            Controller::Cpuset => list_format::parse(&self.value) == list_format::parse(found),
            Controller::Memory if self.value == "-1" => {
                // As many whole pages as fit into a signed number.
                found
                    .parse()
                    .is_ok_and(|bytes: u64| bytes >= i64::MAX as u64 - LARGEST_PAGE)
            }
            Controller::Memory => match (self.value.parse::<u64>(), found.parse::<u64>()) {
                (Ok(asked), Ok(found)) => found <= asked && asked - found < LARGEST_PAGE,
                _ => false,
            },
            _ => false,
        }
    }
}

impl Max {
    fn to_v1(self) -> String {
        match self {
            Max::Unlimited => "-1".to_owned(),
            Max::At(bound) => bound.to_string(),
        }
    }

    fn to_v2(self) -> String {
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

    #[test]
    fn what_the_kernel_reads_back_differently_is_still_in_force() {
        let write = |controller, value: &str| Write {
            controller,
            file: "",
            value: value.to_owned(),
            why: "",
        };
        assert!(write(Controller::Memory, "5000").is_in_force("4096\n"));
        assert!(!write(Controller::Memory, "67108864").is_in_force("33554432\n"));
        assert!(!write(Controller::Memory, "4096").is_in_force("8192\n"));
        assert!(write(Controller::Memory, "-1").is_in_force("9223372036854771712\n"));
        assert!(!write(Controller::Memory, "max").is_in_force("4096\n"));
        assert!(write(Controller::Cpuset, "1,0").is_in_force("0-1\n"));
        assert!(!write(Controller::Cpuset, "0-1").is_in_force("0\n"));
        assert!(!write(Controller::Cpu, "4000 100000").is_in_force("max 100000\n"));
    }
}
