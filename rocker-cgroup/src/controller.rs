//! The controllers: what a cgroup can limit, count or gate.

use std::fmt;

/// A resource controller, whichever version of cgroup it is attached to.
///
/// See [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html), "Cgroups version 1 controllers" and
/// "Cgroups version 2 controllers".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Controller {
    /// CPU time: shares, weight and bandwidth.
    Cpu,
    /// Accounting of CPU time; on v2 a part of every cgroup (`cpu.stat`).
    Cpuacct,
    /// The CPUs and memory nodes that may be used.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// The number of tasks.
    Pids,
    /// Block devices; v1 calls it `blkio`.
    #[doc(alias = "blkio")]
    Io,
    /// Access to device nodes; on v2 an eBPF program takes this place.
    Devices,
    /// Stopping and continuing; on v2 a part of every cgroup (`cgroup.freeze`).
    Freezer,
    /// Huge pages.
    Hugetlb,
    /// RDMA and InfiniBand handles.
    Rdma,
    /// Scalar resources such as encrypted-memory identifiers.
    Misc,
    /// Class tags on network packets; v1 only.
    NetCls,
    /// Priorities of network traffic; v1 only.
    NetPrio,
    /// Performance events by cgroup.
    PerfEvent,
}

impl Controller {
    const ALL: [Controller; 14] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Pids,
        Controller::Io,
        Controller::Devices,
        Controller::Freezer,
        Controller::Hugetlb,
        Controller::Rdma,
        Controller::Misc,
        Controller::NetCls,
        Controller::NetPrio,
        Controller::PerfEvent,
    ];

    /// The name that the kernel gives it on v2, and on v1 too but for `io`, there `blkio`.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Io => "io",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Hugetlb => "hugetlb",
            Controller::Rdma => "rdma",
            Controller::Misc => "misc",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::PerfEvent => "perf_event",
        }
    }

    /// The name as a mount option of cgroup v1.
    pub(crate) fn v1_name(self) -> &'static str {
        match self {
            Controller::Io => "blkio",
            other => other.name(),
        }
    }

    /// The controller of this name on either version; None for one that this crate does not know.
    pub fn from_name(name: &str) -> Option<Controller> {
        Controller::ALL
            .into_iter()
            .find(|one| one.name() == name || one.v1_name() == name)
    }

    /// Whether every v2 cgroup does its work without enabling anything.
    pub(crate) fn is_built_into_v2(self) -> bool {
        matches!(
            self,
            Controller::Cpuacct | Controller::Devices | Controller::Freezer | Controller::PerfEvent
        )
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_either_version_leads_back_to_its_controller() {
        for one in Controller::ALL {
            assert_eq!(Controller::from_name(one.name()), Some(one));
            assert_eq!(Controller::from_name(one.v1_name()), Some(one));
        }
        assert_eq!(Controller::from_name("rw"), None);
    }
}
