//! What a container may use, under Docker's names.

use rocker_cgroup::{IoLimit, Max};
use serde_json::{Map, Value, json};

use super::share;
use crate::engine::options::RunOptions;

/// The part of `HostConfig` that Docker calls resources.
pub(super) fn of(options: &RunOptions<'_>) -> Map<String, Value> {
    let limits = &options.limits;
    let cpu = limits.cpu.as_ref();
    let cpus =
        cpu.and_then(|cpu| Some(cpu.quota()?.as_nanos() as f64 / cpu.period().as_nanos() as f64));
    let rules = options.device_rules.iter().map(ToString::to_string);
    // By its numbers: the path that they were found at may be another device's now.
    let io = |name: &str, of: fn(&IoLimit) -> Option<Max>| {
        let set = limits
            .io
            .iter()
            .filter_map(|limit| Some((limit, of(limit)?)));
        let one = |(limit, rate): (&IoLimit, Max)| json!({"Path": format!("{}:{}", limit.major, limit.minor), name: max(Some(rate))});
        set.map(one).collect::<Vec<_>>()
    };
    let value = json!({
        "Memory": max(limits.memory_bytes),
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": max(limits.memory_swap_bytes),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable.unwrap_or(false),
        "NanoCpus": cpus.map_or(0, |cpus| (cpus * 1e9).round() as i64),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": cpu.map_or(0, |cpu| cpu.period().as_micros() as u64),
        "CpuQuota": cpu.and_then(|cpu| cpu.quota()).map_or(0, |quota| quota.as_micros() as u64),
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "PidsLimit": max(limits.pids),
        "BlkioWeight": limits.io_weight.unwrap_or(0),
        "BlkioWeightDevice": io("Weight", |limit| Some(Max::At(limit.weight?.into()))),
        "BlkioDeviceReadBps": io("Rate", |limit| limit.read_bps),
        "BlkioDeviceWriteBps": io("Rate", |limit| limit.write_bps),
        "BlkioDeviceReadIOps": io("Rate", |limit| limit.read_iops),
        "BlkioDeviceWriteIOps": io("Rate", |limit| limit.write_iops),
        "CgroupConf": limits.unified,
        "CgroupParent": options.cgroup_parent.clone().unwrap_or_default(),
        "CgroupnsMode": share(&options.cgroup),
        "DeviceCgroupRules": rules.collect::<Vec<_>>(),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn max(max: Option<Max>) -> i64 {
    match max {
        None => 0,
        Some(Max::Unlimited) => -1,
        Some(Max::At(bound)) => i64::try_from(bound).unwrap_or(i64::MAX),
    }
}
