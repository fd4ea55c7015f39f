//! What a cgroup may use, in units that both versions share.

use crate::{CpuQuota, Error, Result, list_format};

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
    /// The most processes and threads.
    #[doc(alias = "pids.max")]
    pub pids: Option<Max>,
    /// The CPUs that may be used, such as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used, such as `0`.
    pub cpuset_mems: Option<String>,
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
