//! What is written for limits of block devices.

use super::Write;
use crate::{Controller, Limits, Max};

impl Limits {
    pub(super) fn render_io(&self, v2: bool, writes: &mut Vec<Write>) {
        let io = |file, value: String, why| Write::new(Controller::Io, file, value, why);
        let why = "so that busy block devices are shared out in this proportion";
        if let Some(weight) = self.io_weight {
            writes.push(if v2 {
                // BFQ takes the numbers of v1 as they are.
                io("io.bfq.weight", weight.to_string(), why).or(io(
                    "io.weight",
                    format!("default {}", v2_weight(weight)),
                    why,
                ))
            } else {
                let bfq = io("blkio.bfq.weight", weight.to_string(), why);
                bfq.or(io("blkio.weight", weight.to_string(), why))
            });
        }
        for limit in &self.io {
            let device = format!("{}:{}", limit.major, limit.minor);
            if let Some(weight) = limit.weight {
                let plain = format!("{device} {weight}");
                writes.push(if v2 {
                    let converted = format!("{device} {}", v2_weight(weight));
                    io("io.bfq.weight", plain, why).or(io("io.weight", converted, why))
                } else {
                    let bfq = io("blkio.bfq.weight_device", plain.clone(), why);
                    bfq.or(io("blkio.weight_device", plain, why))
                });
            }
            if limit.bounds().next().is_none() {
                continue;
            }
            let why = "so that no more than this is read from or written to the device in a second";
            if v2 {
                writes.push(io("io.max", limit.to_string(), why));
                continue;
            }
            for (rate, _, file) in limit.rates() {
                let number = match rate {
                    Some(Max::At(rate)) => rate,
                    // v1 has 0 for no limit.
                    Some(Max::Unlimited) => 0,
                    None => continue,
                };
                writes.push(io(file, format!("{device} {number}"), why));
            }
        }
    }
}

/// From the weight of v1 to that of v2, on a line through both ends of the ranges, as runc and crun convert.
fn v2_weight(weight: u16) -> u64 {
    let above = u64::from(weight.clamp(10, 1000)) - 10;
    1 + above * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Hierarchy, IoLimit};

    fn rendered(mountinfo: &str, limits: &Limits) -> Vec<String> {
        let hierarchy = Hierarchy::parse(mountinfo, "").unwrap();
        let writes = limits.render(&hierarchy);
        let all = writes
            .iter()
            .flat_map(|write| [Some(write), write.otherwise.as_deref()]);
        all.flatten().map(Write::to_string).collect()
    }

    #[test]
    fn limits_of_block_devices_speak_both_dialects() {
        let limits = Limits::default().io_weight(500).io(IoLimit::new(8, 0)
            .weight(10)
            .read_bps(1_u64 << 20)
            .write_iops(Max::Unlimited));
        let v1 = rendered("1 0 0:1 / /c/blkio rw - cgroup cgroup rw,blkio\n", &limits);
        assert_eq!(
            v1,
            [
                "blkio.bfq.weight = 500",
                "blkio.weight = 500",
                "blkio.bfq.weight_device = 8:0 10",
                "blkio.weight_device = 8:0 10",
                "blkio.throttle.read_bps_device = 8:0 1048576",
                "blkio.throttle.write_iops_device = 8:0 0",
            ]
        );
        let v2 = rendered("1 0 0:1 / /c rw - cgroup2 cgroup2 rw\n", &limits);
        assert_eq!(
            v2,
            [
                "io.bfq.weight = 500",
                "io.weight = default 4950",
                "io.bfq.weight = 8:0 10",
                "io.weight = 8:0 1",
                "io.max = 8:0 rbps=1048576 wiops=max",
            ]
        );
    }

    proptest! {
        #[test]
        fn every_weight_of_v1_is_one_of_v2_and_more_is_never_less(weight in 10..1000_u16) {
            let (one, more) = (v2_weight(weight), v2_weight(weight + 1));
            prop_assert!((1..=10_000).contains(&one) && one <= more);
        }
    }

    #[test]
    fn the_ends_of_both_ranges_meet() {
        assert_eq!([10, 1000].map(v2_weight), [1, 10_000]);
    }
}
