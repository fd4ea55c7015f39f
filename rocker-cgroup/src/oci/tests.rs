//! Specifications, from JSON and back.

use proptest::prelude::*;

use super::*;

fn read(json: &str) -> Result<Limits> {
    Limits::try_from(&serde_json::from_str::<LinuxResources>(json).unwrap())
}

#[test]
fn a_specification_is_read_as_the_runtimes_read_it() {
    let limits = read(
        r#"{"cpu": {"shares": 512, "quota": 50000, "cpus": "0", "idle": 0, "burst": 1000},
            "memory": {"limit": 1048576, "swap": -1, "swappiness": 7, "disableOOMKiller": true},
            "pids": {"limit": 0},
            "blockIO": {"weight": 100, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}],
                        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}],
            "unified": {"memory.high": "9"}}"#,
    )
    .unwrap();
    let ms = Duration::from_millis;
    let expected = Limits::default()
        .cpu_shares(512)
        .cpu(CpuQuota::new(ms(50), ms(100)).unwrap())
        .cpuset_cpus("0")
        .cpu_idle(false)
        .cpu_burst(ms(1))
        .memory_bytes(1_u64 << 20)
        .memory_swap_bytes(Max::Unlimited)
        .memory_swappiness(7)
        .oom_kill_disable(true)
        .pids(Max::Unlimited)
        .io_weight(100)
        .io(IoLimit::new(8, 0).read_bps(9).write_iops(Max::Unlimited))
        .hugetlb("2MB", 4_194_304)
        .devices([DeviceRule::DENY_ALL, "c 1:3 r".parse().unwrap()])
        .unified("memory.high", "9");
    assert_eq!(limits, expected);
}

#[test]
fn what_cannot_be_set_is_an_error_and_never_forgotten() {
    for json in [
        r#"{"cpu": {"realtimeRuntime": 1}}"#,
        r#"{"network": {"classID": 1}}"#,
        r#"{"blockIO": {"leafWeight": 10}}"#,
        r#"{"memory": {"swappiness": 300}}"#,
        r#"{"devices": [{"allow": true, "major": -7}]}"#,
    ] {
        assert!(
            matches!(read(json), Err(Error::InvalidLimit { .. })),
            "{json}"
        );
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let cpu =
        prop::option::of((0.001..64.0f64).prop_map(|cpus| CpuQuota::from_cpus(cpus).unwrap()));
    let memory = prop::option::of(1..1_u64 << 60);
    let rate = || {
        prop::option::of(prop_oneof![
            Just(Max::Unlimited),
            (1..u64::MAX).prop_map(Max::At)
        ])
    };
    let io = (0..2_u32, rate(), rate(), prop::option::of(10..=1000_u16));
    let pids = prop::option::of(prop_oneof![
        Just(Max::Unlimited),
        (1..=4_194_304_u64).prop_map(Max::At)
    ]);
    (
        cpu,
        memory,
        prop::option::of(2..=262_144_u64),
        pids,
        io,
        any::<bool>(),
    )
        .prop_map(
            |(cpu, memory, shares, pids, (minor, read, write, weight), devices)| {
                let mut limits = Limits::default();
                (limits.cpu, limits.cpu_shares, limits.pids) = (cpu, shares, pids);
                limits.memory_bytes = memory.map(Max::At);
                limits.memory_swap_bytes = memory.map(Max::At);
                let io = IoLimit {
                    read_bps: read,
                    write_iops: write,
                    weight,
                    ..IoLimit::new(8, minor)
                };
                if (read, write, weight) != (None, None, None) {
                    limits.io.push(io);
                }
                limits.devices =
                    devices.then(|| vec![DeviceRule::DENY_ALL, "b *:* m".parse().unwrap()]);
                limits
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_as_the_same(limits in limits()) {
        let resources = LinuxResources::try_from(&limits).unwrap();
        prop_assert_eq!(Limits::try_from(&resources).unwrap(), limits);
    }
}
