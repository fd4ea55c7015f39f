//! What a cgroup may use, in units that both versions share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Controller, CpuQuota, DeviceRule, Error, IoLimit, RdmaLimit, Result, list_format};

/// An upper bound, or none.
///
/// `None` in [`Limits`] leaves a bound as it is; [`Max::Unlimited`] takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Max {
    /// No bound: `max` on v2, -1 on v1.
    Unlimited,
    /// At most this.
    At(u64),
}

impl From<u64> for Max {
    fn from(bound: u64) -> Max {
        Max::At(bound)
    }
}

/// What a cgroup may use. What is not set stays as it is: without limit in a new cgroup, unchanged in a live update.
///
/// The kernel's own words on each file: [v2](https://docs.kernel.org/admin-guide/cgroup-v2.html),
/// [v1](https://docs.kernel.org/admin-guide/cgroup-v1/index.html).
///
/// ```
/// use rocker_cgroup::{CpuQuota, Limits};
///
/// let limits = Limits::default().memory_bytes(64_u64 << 20).pids(100_u64).cpu(CpuQuota::from_cpus(0.5)?);
/// limits.validate()?;
/// # Ok::<(), rocker_cgroup::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Limits {
    /// CPU bandwidth.
    pub cpu: Option<CpuQuota>,
    /// The weight against siblings while the CPUs are busy, in the units of v1: 2 to 262144, 1024 by default. For v2 it
    /// is converted to 1 to 10000 as runc and crun do, so that the defaults of both (1024, 100) meet.
    #[doc(alias = "cpu.weight")]
    pub cpu_shares: Option<u64>,
    /// CPU time that may be saved up while there is less to do, and used beyond [`Limits::cpu`] later, by one period. Linux 5.14.
    #[doc(alias = "cpu.max.burst")]
    pub cpu_burst: Option<Duration>,
    /// Whether it runs only where no other cgroup beside it wants to. Linux 5.15; the weight counts for nothing then.
    #[doc(alias = "cpu.idle")]
    pub cpu_idle: Option<bool>,
    /// The most memory, in bytes. Beyond it the kernel reclaims, and then kills.
    #[doc(alias = "memory.max")]
    pub memory_bytes: Option<Max>,
    /// The memory, in bytes, that the kernel tries to leave to the cgroup when the machine runs short.
    #[doc(alias = "memory.low")]
    pub memory_reservation_bytes: Option<u64>,
    /// The most memory and swap *together*, in bytes, as Docker counts; needs a memory limit. Equal to it: no swap.
    #[doc(alias = "memory.swap.max")]
    #[doc(alias = "memsw")]
    pub memory_swap_bytes: Option<Max>,
    /// How readily its memory is swapped out, 0 to 100. v1 only.
    #[doc(alias = "memory.swappiness")]
    pub memory_swappiness: Option<u8>,
    /// Whether its processes wait, in place of one being killed, when its memory is used up. v1 only.
    #[doc(alias = "memory.oom_control")]
    pub oom_kill_disable: Option<bool>,
    /// Whether all of its processes are killed together when its memory is used up. v2 only.
    #[doc(alias = "memory.oom.group")]
    pub oom_group: Option<bool>,
    /// The most processes and threads.
    #[doc(alias = "pids.max")]
    pub pids: Option<Max>,
    /// The CPUs that may be used, such as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used, such as `0`.
    pub cpuset_mems: Option<String>,
    /// The weight against siblings while block devices are busy, in the units of v1: 10 to 1000. Where the BFQ scheduler is
    /// there it gets the number as it is; `io.weight` of v2 gets 1 to 10000 by the formula of runc and crun.
    #[doc(alias = "blkio.weight")]
    #[doc(alias = "io.weight")]
    pub io_weight: Option<u16>,
    /// Limits of single block devices.
    #[doc(alias = "io.max")]
    pub io: Vec<IoLimit>,
    /// The most bytes of huge pages, by their size as the kernel writes it: `2MB`, `1GB`.
    pub hugetlb: BTreeMap<String, Max>,
    /// The most RDMA resources, by device.
    pub rdma: BTreeMap<String, RdmaLimit>,
    /// Which devices may be used, the last rule that speaks of one deciding; those that none speaks of may. None leaves it as it is.
    #[doc(alias = "devices.allow")]
    #[doc(alias = "BPF_CGROUP_DEVICE")]
    pub devices: Option<Vec<DeviceRule>>,
    /// Files of v2 with what is to be written to them, last and as it is: `memory.high`, `cpu.uclamp.min`.
    pub unified: BTreeMap<String, String>,
}

impl Limits {
    /// Sets [`Limits::cpu`].
    #[must_use]
    pub fn cpu(mut self, quota: CpuQuota) -> Limits {
        self.cpu = Some(quota);
        self
    }

    /// Sets [`Limits::cpu_shares`].
    #[must_use]
    pub fn cpu_shares(mut self, shares: u64) -> Limits {
        self.cpu_shares = Some(shares);
        self
    }

    /// Sets [`Limits::memory_bytes`].
    #[must_use]
    pub fn memory_bytes(mut self, bytes: impl Into<Max>) -> Limits {
        self.memory_bytes = Some(bytes.into());
        self
    }

    /// Sets [`Limits::memory_reservation_bytes`].
    #[must_use]
    pub fn memory_reservation_bytes(mut self, bytes: u64) -> Limits {
        self.memory_reservation_bytes = Some(bytes);
        self
    }

    /// Sets [`Limits::memory_swap_bytes`]: memory and swap together.
    #[must_use]
    pub fn memory_swap_bytes(mut self, bytes: impl Into<Max>) -> Limits {
        self.memory_swap_bytes = Some(bytes.into());
        self
    }

    /// Sets [`Limits::pids`].
    #[must_use]
    pub fn pids(mut self, tasks: impl Into<Max>) -> Limits {
        self.pids = Some(tasks.into());
        self
    }

    /// Sets [`Limits::cpuset_cpus`].
    #[must_use]
    pub fn cpuset_cpus(mut self, list: impl Into<String>) -> Limits {
        self.cpuset_cpus = Some(list.into());
        self
    }

    /// Sets [`Limits::cpuset_mems`].
    #[must_use]
    pub fn cpuset_mems(mut self, list: impl Into<String>) -> Limits {
        self.cpuset_mems = Some(list.into());
        self
    }

    /// Sets [`Limits::cpu_burst`].
    #[must_use]
    pub fn cpu_burst(mut self, time: Duration) -> Limits {
        self.cpu_burst = Some(time);
        self
    }

    /// Sets [`Limits::cpu_idle`].
    #[must_use]
    pub fn cpu_idle(mut self, idle: bool) -> Limits {
        self.cpu_idle = Some(idle);
        self
    }

    /// Sets [`Limits::memory_swappiness`].
    #[must_use]
    pub fn memory_swappiness(mut self, swappiness: u8) -> Limits {
        self.memory_swappiness = Some(swappiness);
        self
    }

    /// Sets [`Limits::oom_kill_disable`].
    #[must_use]
    pub fn oom_kill_disable(mut self, disable: bool) -> Limits {
        self.oom_kill_disable = Some(disable);
        self
    }

    /// Sets [`Limits::oom_group`].
    #[must_use]
    pub fn oom_group(mut self, together: bool) -> Limits {
        self.oom_group = Some(together);
        self
    }

    /// Sets [`Limits::io_weight`].
    #[must_use]
    pub fn io_weight(mut self, weight: u16) -> Limits {
        self.io_weight = Some(weight);
        self
    }

    /// Adds to [`Limits::io`].
    #[must_use]
    pub fn io(mut self, limit: IoLimit) -> Limits {
        self.io.push(limit);
        self
    }

    /// Adds to [`Limits::hugetlb`].
    #[must_use]
    pub fn hugetlb(mut self, page_size: impl Into<String>, bytes: impl Into<Max>) -> Limits {
        self.hugetlb.insert(page_size.into(), bytes.into());
        self
    }

    /// Adds to [`Limits::rdma`].
    #[must_use]
    pub fn rdma(mut self, device: impl Into<String>, limit: RdmaLimit) -> Limits {
        self.rdma.insert(device.into(), limit);
        self
    }

    /// Sets [`Limits::devices`].
    #[must_use]
    pub fn devices(mut self, rules: impl IntoIterator<Item = DeviceRule>) -> Limits {
        self.devices = Some(rules.into_iter().collect());
        self
    }

    /// Adds to [`Limits::unified`].
    #[must_use]
    pub fn unified(mut self, file: impl Into<String>, value: impl Into<String>) -> Limits {
        self.unified.insert(file.into(), value.into());
        self
    }

    /// Whether some kernel could enforce all of it; touches nothing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`] with the first limit that is out of range or contradicts another.
    pub fn validate(&self) -> Result<()> {
        let check = |holds: bool, limit, value: &dyn ToString, reason| {
            if holds {
                Ok(())
            } else {
                Err(Error::InvalidLimit {
                    limit,
                    value: value.to_string(),
                    reason,
                })
            }
        };
        if let Some(shares) = self.cpu_shares {
            check(
                (2..=262_144).contains(&shares),
                "cpu shares",
                &shares,
                "they range from 2 to 262144",
            )?;
        }
        if let Some(Max::At(bytes)) = self.memory_bytes {
            check(bytes > 0, "memory", &bytes, "nothing runs without memory")?;
            // The kernel counts pages in a signed long.
            check(
                i64::try_from(bytes).is_ok(),
                "memory",
                &bytes,
                "no machine has that much",
            )?;
            if let Some(low) = self.memory_reservation_bytes {
                check(
                    low <= bytes,
                    "memory reservation",
                    &low,
                    "it is more than the memory limit",
                )?;
            }
        }
        match (self.memory_swap_bytes, self.memory_bytes) {
            (Some(Max::At(total)), Some(Max::At(memory))) => {
                let reason = "it is memory and swap together, and less than the memory limit";
                check(total >= memory, "memory+swap", &total, reason)?;
                check(
                    i64::try_from(total).is_ok(),
                    "memory+swap",
                    &total,
                    "no machine has that much",
                )?;
            }
            (Some(Max::At(total)), _) => {
                check(
                    false,
                    "memory+swap",
                    &total,
                    "it needs a memory limit beside it",
                )?;
            }
            _ => {}
        }
        if let Some(Max::At(tasks)) = self.pids {
            check(
                tasks <= 4_194_304,
                "pids",
                &tasks,
                "the kernel has at most 4194304",
            )?;
        }
        if let (Some(burst), Some(quota)) = (self.cpu_burst, self.cpu.and_then(|cpu| cpu.quota())) {
            let reason = "it is more than the CPU time of a period";
            check(burst <= quota, "cpu burst", &format!("{burst:?}"), reason)?;
        }
        if let Some(swappiness) = self.memory_swappiness {
            let reason = "it ranges from 0 to 100";
            check(swappiness <= 100, "memory swappiness", &swappiness, reason)?;
        }
        let weights = self.io.iter().filter_map(|limit| limit.weight);
        for weight in self.io_weight.into_iter().chain(weights) {
            let reason = "it ranges from 10 to 1000";
            check((10..=1000).contains(&weight), "io weight", &weight, reason)?;
        }
        for limit in &self.io {
            check(
                limit.bounds().all(|bound| bound != Max::At(0)),
                "io limit",
                limit,
                "nothing would ever be read or written",
            )?;
        }
        for size in self.hugetlb.keys() {
            let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
            check(
                unit.len() < size.len() && ["KB", "MB", "GB"].contains(&unit),
                "huge page size",
                size,
                "it is no size such as 2MB or 1GB",
            )?;
        }
        for device in self.rdma.keys() {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            check(
                !device.is_empty() && device.chars().all(plain),
                "rdma device",
                device,
                "it is no name of a device such as mlx5_0",
            )?;
        }
        for file in self.unified.keys() {
            let controller = file.split_once('.').map(|(name, _)| name);
            let known = controller.and_then(Controller::from_name);
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            check(
                known.is_some() && file.chars().all(plain),
                "unified key",
                file,
                "it is no file of a controller such as memory.high",
            )?;
        }
        for (limit, list) in [
            ("cpuset cpus", &self.cpuset_cpus),
            ("cpuset mems", &self.cpuset_mems),
        ] {
            if let Some(list) = list {
                check(
                    list_format::parse(list).is_some(),
                    limit,
                    list,
                    "it is no list such as 0-3,7",
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn refused(limits: Limits) -> &'static str {
        match limits.validate() {
            Err(Error::InvalidLimit { limit, .. }) => limit,
            other => panic!("{limits:?}: {other:?}"),
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused_by_name() {
        let limits = Limits::default;
        assert_eq!(
            refused(limits().memory_bytes(64 * MIB).memory_swap_bytes(32 * MIB)),
            "memory+swap"
        );
        assert_eq!(refused(limits().memory_swap_bytes(32 * MIB)), "memory+swap");
        assert_eq!(
            refused(limits().memory_bytes(MIB).memory_reservation_bytes(2 * MIB)),
            "memory reservation"
        );
    }

    #[test]
    fn values_that_no_kernel_takes_are_refused_by_name() {
        let limits = Limits::default;
        assert_eq!(refused(limits().memory_bytes(0)), "memory");
        assert_eq!(refused(limits().memory_bytes(u64::MAX)), "memory");
        assert_eq!(refused(limits().cpu_shares(1)), "cpu shares");
        assert_eq!(refused(limits().cpu_shares(262_145)), "cpu shares");
        assert_eq!(refused(limits().pids(4_194_305)), "pids");
        assert_eq!(refused(limits().cpuset_cpus("zero")), "cpuset cpus");
        assert_eq!(refused(limits().cpuset_mems("")), "cpuset mems");
    }

    #[test]
    fn unlimited_swap_and_no_limits_at_all_are_fine() {
        Limits::default().validate().unwrap();
        Limits::default()
            .memory_bytes(MIB)
            .memory_swap_bytes(Max::Unlimited)
            .validate()
            .unwrap();
        Limits::default()
            .memory_bytes(MIB)
            .memory_swap_bytes(MIB)
            .validate()
            .unwrap();
    }
}
