//! CPU bandwidth: so much CPU time in each period.

use std::time::Duration;

use crate::{Error, Result};

/// What Docker uses, and the kernel's default.
const PERIOD: Duration = Duration::from_millis(100);
/// The kernel accepts no shorter quota, and no shorter period.
const SHORTEST: Duration = Duration::from_millis(1);
/// The kernel accepts no longer period.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);
/// More CPUs than any kernel can be built for: a bound that keeps the arithmetic exact.
const MOST_CPUS: f64 = 65_536.0;

/// How much CPU time a cgroup may use in each period, summed over all CPUs.
///
/// v2 writes it to `cpu.max`, v1 to `cpu.cfs_quota_us` and `cpu.cfs_period_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[doc(alias = "cpu.max")]
#[doc(alias = "cfs_quota_us")]
pub struct CpuQuota {
    quota: Option<Duration>,
    period: Duration,
}

impl CpuQuota {
    /// No limit: takes one away in a live update.
    pub const UNLIMITED: CpuQuota = CpuQuota {
        quota: None,
        period: PERIOD,
    };

    /// A number of CPUs, such as 0.5 for half of one.
    ///
    /// The period is 100 ms, as Docker's. The kernel's least quota is 1 ms, so that below 0.01 CPUs the period grows
    /// instead, up to 1 s: what is asked for is what is in force, to a microsecond.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`] for what is not a positive number, for less than 0.001 and more than 65536 CPUs.
    pub fn from_cpus(cpus: f64) -> Result<CpuQuota> {
        let invalid = |reason| Error::InvalidLimit {
            limit: "cpus",
            value: cpus.to_string(),
            reason,
        };
        if cpus.is_nan() || cpus <= 0.0 {
            return Err(invalid("it must be a positive number"));
        }
        if cpus > MOST_CPUS {
            return Err(invalid("no machine has that many"));
        }
        let quota = micros(cpus * PERIOD.as_micros() as f64);
        if quota >= SHORTEST {
            return Ok(CpuQuota {
                quota: Some(quota),
                period: PERIOD,
            });
        }
        let period = micros(SHORTEST.as_micros() as f64 / cpus);
        if period > LONGEST_PERIOD {
            return Err(invalid(
                "the least that the kernel can enforce is 0.001, 1 ms in each second",
            ));
        }
        Ok(CpuQuota {
            quota: Some(SHORTEST),
            period,
        })
    }

    /// `quota` of CPU time in each `period`; both are cut to microseconds.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`] when the quota is below 1 ms, or the period is not between 1 ms and 1 s.
    pub fn new(quota: Duration, period: Duration) -> Result<CpuQuota> {
        let invalid = |limit, value: Duration, reason| {
            Err(Error::InvalidLimit {
                limit,
                value: format!("{value:?}"),
                reason,
            })
        };
        if quota < SHORTEST {
            return invalid("cpu quota", quota, "the kernel enforces no less than 1 ms");
        }
        if quota.as_secs_f64() > period.as_secs_f64() * MOST_CPUS {
            return invalid("cpu quota", quota, "no machine has that many CPUs");
        }
        if period < SHORTEST || period > LONGEST_PERIOD {
            return invalid("cpu period", period, "it must be between 1 ms and 1 s");
        }
        Ok(CpuQuota {
            quota: Some(quota),
            period,
        })
    }

    /// No limit, in periods of this length: what becomes of a period that is asked for without a quota.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`] when the period is not between 1 ms and 1 s.
    pub fn unlimited_in(period: Duration) -> Result<CpuQuota> {
        CpuQuota::new(SHORTEST, period).map(|quota| CpuQuota {
            quota: None,
            ..quota
        })
    }

    /// The CPU time in each period; None without a limit.
    pub fn quota(&self) -> Option<Duration> {
        self.quota
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }
}

fn micros(value: f64) -> Duration {
    // In range: the callers have bounded it, and `as` would saturate.
    Duration::from_micros(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros_of(cpus: f64) -> (u128, u128) {
        let quota = CpuQuota::from_cpus(cpus).unwrap();
        (
            quota.quota().unwrap().as_micros(),
            quota.period().as_micros(),
        )
    }

    #[test]
    fn a_fraction_of_a_cpu_stays_that_fraction() {
        assert_eq!(micros_of(0.5), (50_000, 100_000));
        assert_eq!(micros_of(0.04), (4_000, 100_000));
        assert_eq!(micros_of(1.5), (150_000, 100_000));
        assert_eq!(micros_of(0.01), (1_000, 100_000));
    }

    #[test]
    fn below_one_millisecond_the_period_grows() {
        assert_eq!(micros_of(0.004), (1_000, 250_000));
        assert_eq!(micros_of(0.001), (1_000, 1_000_000));
    }

    #[test]
    fn what_the_kernel_cannot_enforce_is_refused_and_never_unlimited() {
        for cpus in [
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0009,
            1e9,
        ] {
            assert!(
                matches!(
                    CpuQuota::from_cpus(cpus),
                    Err(Error::InvalidLimit { limit: "cpus", .. })
                ),
                "{cpus}"
            );
        }
        let ms = Duration::from_millis;
        assert!(CpuQuota::new(Duration::from_micros(999), ms(100)).is_err());
        assert!(CpuQuota::new(ms(1), ms(1001)).is_err());
        assert!(CpuQuota::new(ms(200), ms(100)).is_ok());
    }

    proptest! {
        #[test]
        fn every_accepted_number_of_cpus_is_in_force_within_a_thousandth(cpus in 0.001..1024.0f64) {
            let (quota, period) = micros_of(cpus);
            prop_assert!((1_000..=1_000_000).contains(&period));
            prop_assert!(quota >= 1_000);
            let in_force = quota as f64 / period as f64;
            prop_assert!((in_force - cpus).abs() <= cpus / 1000.0, "{cpus} became {in_force}");
        }
    }
}
