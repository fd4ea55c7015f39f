//! What a container may use and may be changed while it runs, as a person types it: for `run`, `create` and `update`.

use std::time::Duration;

use clap::Args;
use rocker_cgroup::{CpuQuota, Limits, Max};

use super::value;
use crate::Result;

/// The limits that are asked for.
#[derive(Debug, Args)]
pub(crate) struct Resources {
    /// CPUs to use, such as 0.5
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        conflicts_with_all = ["cpu_quota", "cpu_period"],
        help_heading = "Limits"
    )]
    cpus: Option<String>,
    /// CPU time in each period, in microseconds; -1 for no limit
    #[arg(
        long,
        value_name = "US",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    cpu_quota: Option<i64>,
    /// The length of a period, in microseconds: 1000 to 1000000
    #[arg(long, value_name = "US", help_heading = "Limits")]
    cpu_period: Option<u64>,
    /// Share of busy CPUs, against 1024 of others
    #[arg(short, long, value_name = "N", help_heading = "Limits")]
    cpu_shares: Option<u64>,
    /// CPUs to run on, such as 0-2,7
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0-1
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    cpuset_mems: Option<String>,
    /// Memory, with an optional unit b, k, m or g
    #[arg(short, long, value_name = "BYTES", help_heading = "Limits")]
    memory: Option<String>,
    /// Memory that is left to it when the machine runs short
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    memory_reservation: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(
        long,
        value_name = "BYTES",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    memory_swap: Option<String>,
    /// Memory in MiB
    #[arg(
        long,
        value_name = "MIB",
        allow_hyphen_values = true,
        conflicts_with = "memory",
        help_heading = "Limits"
    )]
    mem: Option<u64>,
    /// Swap in MiB, beside the memory
    #[arg(
        long,
        value_name = "MIB",
        conflicts_with = "memory_swap",
        help_heading = "Limits"
    )]
    swap: Option<u64>,
    /// Processes and threads; -1 for no limit
    #[arg(
        long,
        visible_alias = "pids",
        value_name = "N",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    pids_limit: Option<i64>,
    /// Share of busy block devices, 10 to 1000
    #[arg(long, value_name = "WEIGHT", help_heading = "Limits")]
    blkio_weight: Option<u16>,
}

impl Resources {
    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        let texts = [
            &self.cpus,
            &self.cpuset_cpus,
            &self.cpuset_mems,
            &self.memory,
            &self.memory_reservation,
            &self.memory_swap,
        ];
        texts.iter().all(|text| text.is_none())
            && (self.cpu_quota, self.cpu_period, self.cpu_shares) == (None, None, None)
            && (self.mem, self.swap, self.pids_limit, self.blkio_weight) == (None, None, None, None)
    }

    /// What is asked for in the place of what `limits` has of it. As with Docker, 0 asks for nothing where it would make no sense.
    pub(crate) fn add_to(&self, limits: &mut Limits) -> Result<()> {
        if let Some(cpus) = &self.cpus {
            limits.cpu = Some(value::cpus(cpus)?);
        }
        self.add_bandwidth(limits)?;
        let set = |asked: Option<u64>, limit: &mut Option<u64>| {
            *limit = asked.filter(|number| *number != 0).or(*limit);
        };
        set(self.cpu_shares, &mut limits.cpu_shares);
        for (asked, limit) in [
            (&self.cpuset_cpus, &mut limits.cpuset_cpus),
            (&self.cpuset_mems, &mut limits.cpuset_mems),
        ] {
            if let Some(list) = asked.as_ref().filter(|list| !list.is_empty()) {
                *limit = Some(list.clone());
            }
        }
        self.add_memory(limits)?;
        match self.pids_limit {
            None => {}
            Some(count) if count <= 0 => limits.pids = Some(Max::Unlimited),
            Some(count) => limits.pids = Some(Max::At(count.unsigned_abs())),
        }
        let weight = self.blkio_weight.filter(|weight| *weight != 0);
        limits.io_weight = weight.or(limits.io_weight);
        limits.validate()?;
        Ok(())
    }

    /// Quota and period, each of which may be asked for without the other.
    fn add_bandwidth(&self, limits: &mut Limits) -> Result<()> {
        let quota = self.cpu_quota.filter(|quota| *quota != 0);
        let period = self.cpu_period.filter(|period| *period != 0);
        if (quota, period) == (None, None) {
            return Ok(());
        }
        let now = limits.cpu.unwrap_or(CpuQuota::UNLIMITED);
        let period = period.map_or(now.period(), Duration::from_micros);
        let quota = match quota.map(u64::try_from) {
            Some(Ok(quota)) => Some(Duration::from_micros(quota)),
            Some(Err(_)) => None,
            None => now.quota(),
        };
        limits.cpu = Some(match quota {
            Some(quota) => CpuQuota::new(quota, period)?,
            None => CpuQuota::unlimited_in(period)?,
        });
        Ok(())
    }

    fn add_memory(&self, limits: &mut Limits) -> Result<()> {
        let memory = match (&self.memory, self.mem) {
            (Some(text), _) => Some(value::bytes("--memory", text)?),
            (None, Some(mebibytes)) => Some(value::mebibytes("--mem", mebibytes)?),
            (None, None) => None,
        };
        if let Some(memory) = memory {
            limits.memory_bytes = Some(Max::At(memory));
        }
        let swap = match (&self.memory_swap, self.swap) {
            (Some(text), _) if text == "-1" => Some(Max::Unlimited),
            (Some(text), _) => Some(Max::At(value::bytes("--memory-swap", text)?)),
            (None, Some(mebibytes)) => {
                let swap = value::mebibytes("--swap", mebibytes)?;
                let Some(Max::At(memory)) = limits.memory_bytes else {
                    let mebibytes = mebibytes.to_string();
                    return Err(value::bad("--swap", &mebibytes, "--mem beside it"));
                };
                Some(Max::At(memory.saturating_add(swap)))
            }
            (None, None) => None,
        };
        limits.memory_swap_bytes = swap.or(limits.memory_swap_bytes);
        if let Some(text) = &self.memory_reservation {
            let bytes = value::bytes("--memory-reservation", text)?;
            limits.memory_reservation_bytes = Some(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};

    use super::*;

    fn over(limits: &Limits, args: &str) -> Result<Limits> {
        let command = Resources::augment_args(clap::Command::new("update"));
        let words = ["update"].into_iter().chain(args.split_whitespace());
        let matches = command.try_get_matches_from(words).unwrap();
        let mut limits = limits.clone();
        Resources::from_arg_matches(&matches)
            .unwrap()
            .add_to(&mut limits)?;
        Ok(limits)
    }

    fn micros(limits: &Limits) -> (Option<u128>, u128) {
        let cpu = limits.cpu.unwrap();
        (
            cpu.quota().map(|quota| quota.as_micros()),
            cpu.period().as_micros(),
        )
    }

    #[test]
    fn quota_and_period_are_asked_for_together_or_alone() {
        let none = Limits::default();
        assert_eq!(
            micros(&over(&none, "--cpu-quota 5000").unwrap()),
            (Some(5000), 100_000)
        );
        assert_eq!(
            micros(&over(&none, "--cpu-period 50000").unwrap()),
            (None, 50_000)
        );
        let both = over(&none, "--cpu-period 50000 --cpu-quota 25000").unwrap();
        assert_eq!(micros(&both), (Some(25_000), 50_000));
        assert_eq!(
            micros(&over(&both, "--cpu-quota 5000").unwrap()),
            (Some(5000), 50_000)
        );
        assert_eq!(
            micros(&over(&both, "--cpu-period 20000").unwrap()),
            (Some(25_000), 20_000)
        );
        assert_eq!(
            micros(&over(&both, "--cpu-quota=-1").unwrap()),
            (None, 50_000)
        );
        assert_eq!(
            over(&none, "--cpu-quota 0 --cpu-shares 0 --blkio-weight 0").unwrap(),
            none
        );
        assert!(over(&none, "--cpu-quota 5").is_err());
    }

    #[test]
    fn what_is_not_asked_for_stays_and_has_to_fit() {
        let before = over(
            &Limits::default(),
            "-m 64m --memory-swap 96m --pids-limit 7 --cpu-shares 512",
        )
        .unwrap();
        let after = over(&before, "--swap 8").unwrap();
        assert_eq!(after.memory_swap_bytes, Some(Max::At(72 << 20)));
        assert_eq!(
            (after.pids, after.cpu_shares),
            (Some(Max::At(7)), Some(512))
        );
        assert!(over(&before, "-m 128m").is_err());
        assert!(over(&before, "-m 128m --memory-swap 256m").is_ok());
        assert!(over(&before, "--memory-reservation 65m").is_err());
        assert!(over(&Limits::default(), "--swap 8").is_err());
    }
}
