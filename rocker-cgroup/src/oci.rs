//! Limits in the words of the OCI runtime specification, both ways.

use std::collections::HashMap;
use std::time::Duration;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpu, LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder,
    LinuxDeviceType, LinuxHugepageLimitBuilder, LinuxMemory, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxRdmaBuilder, LinuxResources, LinuxResourcesBuilder, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use crate::{
    CpuQuota, DeviceAccess, DeviceKind, DeviceRule, Error, IoLimit, Limits, Max, RdmaLimit, Result,
};

/// The limits that a specification asks for, after
/// [its own words](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups).
///
/// What has no meaning for a kernel of today is left out: kernel memory. What this crate cannot set is an error: real-time
/// scheduling, leaf weights, and classes of network traffic.
impl TryFrom<&LinuxResources> for Limits {
    type Error = Error;

    fn try_from(resources: &LinuxResources) -> Result<Limits> {
        let mut limits = Limits::default();
        if let Some(cpu) = resources.cpu() {
            read_cpu(cpu, &mut limits)?;
        }
        if let Some(memory) = resources.memory() {
            read_memory(memory, &mut limits)?;
        }
        limits.pids = resources
            .pids()
            .map(|pids| match u64::try_from(pids.limit()) {
                // 0 and below is no limit, as runc and crun have it.
                Ok(0) | Err(_) => Max::Unlimited,
                Ok(count) => Max::At(count),
            });
        read_io(resources, &mut limits)?;
        for page in resources.hugepage_limits().iter().flatten() {
            limits
                .hugetlb
                .insert(page.page_size().clone(), max(page.limit()));
        }
        for (device, limit) in resources.rdma().iter().flatten() {
            let limit = RdmaLimit::new(limit.hca_handles(), limit.hca_objects());
            limits.rdma.insert(device.clone(), limit);
        }
        if let Some(rules) = resources
            .devices()
            .as_ref()
            .filter(|rules| !rules.is_empty())
        {
            limits.devices = Some(rules.iter().map(rule).collect::<Result<_>>()?);
        }
        let unified = resources.unified().clone().unwrap_or_default();
        limits.unified = unified.into_iter().collect();
        if let Some(network) = resources.network() {
            let asked = network.class_id().is_some() || network.priorities().is_some();
            refuse(
                asked,
                "network",
                "classes and priorities of network traffic cannot be set",
            )?;
        }
        limits.validate()?;
        Ok(limits)
    }
}

/// The specification that asks for these limits.
impl TryFrom<&Limits> for LinuxResources {
    type Error = OciSpecError;

    fn try_from(limits: &Limits) -> Result<LinuxResources, OciSpecError> {
        let mut resources = LinuxResourcesBuilder::default();
        if let Some(cpu) = write_cpu(limits)? {
            resources = resources.cpu(cpu);
        }
        if let Some(memory) = write_memory(limits)? {
            resources = resources.memory(memory);
        }
        if let Some(pids) = limits.pids {
            resources = resources.pids(LinuxPidsBuilder::default().limit(number(pids)).build()?);
        }
        if limits.io_weight.is_some() || !limits.io.is_empty() {
            resources = resources.block_io(write_io(limits)?);
        }
        if !limits.hugetlb.is_empty() {
            let page = |(size, bytes): (&String, &Max)| {
                let page = LinuxHugepageLimitBuilder::default().page_size(size);
                page.limit(number(*bytes)).build()
            };
            let pages = limits.hugetlb.iter().map(page);
            resources = resources.hugepage_limits(pages.collect::<Result<Vec<_>, _>>()?);
        }
        if !limits.rdma.is_empty() {
            let mut all = HashMap::new();
            for (device, limit) in &limits.rdma {
                let mut rdma = LinuxRdmaBuilder::default();
                if let Some(handles) = limit.handles {
                    rdma = rdma.hca_handles(handles);
                }
                if let Some(objects) = limit.objects {
                    rdma = rdma.hca_objects(objects);
                }
                all.insert(device.clone(), rdma.build()?);
            }
            resources = resources.rdma(all);
        }
        if let Some(rules) = &limits.devices {
            let rules = rules.iter().map(write_rule);
            resources = resources.devices(rules.collect::<Result<Vec<_>, _>>()?);
        }
        if !limits.unified.is_empty() {
            let all: HashMap<_, _> = limits.unified.clone().into_iter().collect();
            resources = resources.unified(all);
        }
        resources.build()
    }
}

fn refuse(asked: bool, limit: &'static str, reason: &'static str) -> Result<()> {
    match asked {
        false => Ok(()),
        true => Err(Error::InvalidLimit {
            limit,
            value: "set".to_owned(),
            reason,
        }),
    }
}

/// A number of bytes, of which -1 is no limit.
fn max(value: i64) -> Max {
    u64::try_from(value).map_or(Max::Unlimited, Max::At)
}

fn number(max: Max) -> i64 {
    match max {
        Max::At(bound) => i64::try_from(bound).unwrap_or(i64::MAX),
        Max::Unlimited => -1,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn read_cpu(cpu: &LinuxCpu, limits: &mut Limits) -> Result<()> {
    let realtime =
        cpu.realtime_period().unwrap_or(0) != 0 || cpu.realtime_runtime().unwrap_or(0) != 0;
    refuse(
        realtime,
        "cpu realtime",
        "real-time scheduling cannot be limited",
    )?;
    // 0 is "not set", as the specification's fields without a value were written for years.
    limits.cpu_shares = cpu.shares().filter(|shares| *shares != 0);
    let period = cpu
        .period()
        .filter(|period| *period != 0)
        .map(Duration::from_micros);
    limits.cpu = match (cpu.quota().filter(|quota| *quota != 0), period) {
        (None, None) => None,
        (None, Some(period)) => Some(CpuQuota::unlimited_in(period)?),
        (Some(quota), period) => Some(match u64::try_from(quota) {
            Ok(quota) => CpuQuota::new(
                Duration::from_micros(quota),
                period.unwrap_or(CpuQuota::UNLIMITED.period()),
            )?,
            Err(_) => CpuQuota::unlimited_in(period.unwrap_or(CpuQuota::UNLIMITED.period()))?,
        }),
    };
    limits.cpu_burst = cpu.burst().map(Duration::from_micros);
    limits.cpu_idle = cpu.idle().map(|idle| idle != 0);
    let list = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    limits.cpuset_cpus = list(cpu.cpus());
    limits.cpuset_mems = list(cpu.mems());
    Ok(())
}

fn write_cpu(limits: &Limits) -> Result<Option<LinuxCpu>, OciSpecError> {
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(shares) = limits.cpu_shares {
        cpu = cpu.shares(shares);
    }
    if let Some(quota) = limits.cpu {
        cpu = cpu.period(micros(quota.period()));
        let of = |quota| i64::try_from(micros(quota)).unwrap_or(i64::MAX);
        cpu = cpu.quota(quota.quota().map_or(-1, of));
    }
    if let Some(burst) = limits.cpu_burst {
        cpu = cpu.burst(micros(burst));
    }
    if let Some(idle) = limits.cpu_idle {
        cpu = cpu.idle(i64::from(idle));
    }
    if let Some(list) = &limits.cpuset_cpus {
        cpu = cpu.cpus(list);
    }
    if let Some(list) = &limits.cpuset_mems {
        cpu = cpu.mems(list);
    }
    let cpu = cpu.build()?;
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn read_memory(memory: &LinuxMemory, limits: &mut Limits) -> Result<()> {
    // 0 is "not set" here too.
    let bytes = |value: Option<i64>| value.filter(|value| *value != 0).map(max);
    limits.memory_bytes = bytes(memory.limit());
    limits.memory_swap_bytes = bytes(memory.swap());
    limits.memory_reservation_bytes = match bytes(memory.reservation()) {
        Some(Max::At(bytes)) => Some(bytes),
        Some(Max::Unlimited) | None => None,
    };
    limits.memory_swappiness = match memory.swappiness().map(u8::try_from) {
        Some(Ok(swappiness)) => Some(swappiness),
        Some(Err(_)) => {
            return Err(Error::InvalidLimit {
                limit: "memory swappiness",
                value: memory.swappiness().unwrap_or(0).to_string(),
                reason: "it ranges from 0 to 100",
            });
        }
        None => None,
    };
    limits.oom_kill_disable = memory.disable_oom_killer();
    Ok(())
}

fn write_memory(limits: &Limits) -> Result<Option<LinuxMemory>, OciSpecError> {
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(bytes) = limits.memory_bytes {
        memory = memory.limit(number(bytes));
    }
    if let Some(bytes) = limits.memory_swap_bytes {
        memory = memory.swap(number(bytes));
    }
    if let Some(bytes) = limits.memory_reservation_bytes {
        memory = memory.reservation(number(Max::At(bytes)));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        memory = memory.swappiness(u64::from(swappiness));
    }
    if let Some(disable) = limits.oom_kill_disable {
        memory = memory.disable_oom_killer(disable);
    }
    let memory = memory.build()?;
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

/// The limit of this device, made where there is none yet.
fn limit_of(limits: &mut Limits, major: i64, minor: i64) -> Result<&mut IoLimit> {
    let of = |number: i64| {
        u32::try_from(number).map_err(|_| Error::InvalidLimit {
            limit: "block device",
            value: format!("{major}:{minor}"),
            reason: "the numbers of a device are 32 bits",
        })
    };
    let (major, minor) = (of(major)?, of(minor)?);
    let at = limits
        .io
        .iter()
        .position(|one| (one.major, one.minor) == (major, minor));
    let at = at.unwrap_or_else(|| {
        limits.io.push(IoLimit::new(major, minor));
        limits.io.len() - 1
    });
    Ok(&mut limits.io[at])
}

fn read_io(resources: &LinuxResources, limits: &mut Limits) -> Result<()> {
    let Some(io) = resources.block_io() else {
        return Ok(());
    };
    limits.io_weight = io.weight().filter(|weight| *weight != 0);
    let leaf = "leaf weights went with Linux 5.0";
    refuse(io.leaf_weight().unwrap_or(0) != 0, "leaf weight", leaf)?;
    for one in io.weight_device().iter().flatten() {
        refuse(one.leaf_weight().unwrap_or(0) != 0, "leaf weight", leaf)?;
        limit_of(limits, one.major(), one.minor())?.weight = one.weight();
    }
    type Rate = fn(&mut IoLimit) -> &mut Option<Max>;
    let lists: [(&Option<Vec<LinuxThrottleDevice>>, Rate); 4] = [
        (io.throttle_read_bps_device(), |limit| &mut limit.read_bps),
        (io.throttle_write_bps_device(), |limit| &mut limit.write_bps),
        (io.throttle_read_iops_device(), |limit| &mut limit.read_iops),
        (io.throttle_write_iops_device(), |limit| {
            &mut limit.write_iops
        }),
    ];
    for (list, rate) in lists {
        for one in list.iter().flatten() {
            // v1's word for no limit, which the specification has taken over.
            let bound = match one.rate() {
                0 => Max::Unlimited,
                rate => Max::At(rate),
            };
            *rate(limit_of(limits, one.major(), one.minor())?) = Some(bound);
        }
    }
    Ok(())
}

fn write_io(limits: &Limits) -> Result<oci_spec::runtime::LinuxBlockIo, OciSpecError> {
    let mut io = LinuxBlockIoBuilder::default();
    if let Some(weight) = limits.io_weight {
        io = io.weight(weight);
    }
    let weights: Vec<LinuxWeightDevice> = limits
        .io
        .iter()
        .filter_map(|limit| Some((limit, limit.weight?)))
        .map(|(limit, weight)| {
            let device = LinuxWeightDeviceBuilder::default();
            let device = device
                .major(i64::from(limit.major))
                .minor(i64::from(limit.minor));
            device.weight(weight).build()
        })
        .collect::<Result<_, _>>()?;
    if !weights.is_empty() {
        io = io.weight_device(weights);
    }
    let list = |rate: fn(&IoLimit) -> Option<Max>| {
        let set = limits
            .io
            .iter()
            .filter_map(|limit| Some((limit, rate(limit)?)));
        set.map(|(limit, rate)| {
            let device = LinuxThrottleDeviceBuilder::default();
            let device = device
                .major(i64::from(limit.major))
                .minor(i64::from(limit.minor));
            let rate = match rate {
                Max::At(rate) => rate,
                Max::Unlimited => 0,
            };
            device.rate(rate).build()
        })
        .collect::<Result<Vec<_>, _>>()
    };
    let (read_bps, write_bps) = (
        list(|limit| limit.read_bps)?,
        list(|limit| limit.write_bps)?,
    );
    let (read_iops, write_iops) = (
        list(|limit| limit.read_iops)?,
        list(|limit| limit.write_iops)?,
    );
    if !read_bps.is_empty() {
        io = io.throttle_read_bps_device(read_bps);
    }
    if !write_bps.is_empty() {
        io = io.throttle_write_bps_device(write_bps);
    }
    if !read_iops.is_empty() {
        io = io.throttle_read_iops_device(read_iops);
    }
    if !write_iops.is_empty() {
        io = io.throttle_write_iops_device(write_iops);
    }
    io.build()
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<DeviceRule> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => DeviceKind::All,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::P) => {
            return Err(Error::InvalidLimit {
                limit: "device rule",
                value: "p".to_owned(),
                reason: "a fifo is no device",
            });
        }
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::InvalidLimit {
                limit: "device rule",
                value: number.to_string(),
                reason: "the numbers of a device are 32 bits, or -1 for any",
            }),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => DeviceAccess::ALL,
        Some(text) => text.parse()?,
    };
    let (major, minor) = (number(rule.major())?, number(rule.minor())?);
    Ok(match rule.allow() {
        true => DeviceRule::allow(kind, major, minor, access),
        false => DeviceRule::deny(kind, major, minor, access),
    })
}

fn write_rule(rule: &DeviceRule) -> Result<LinuxDeviceCgroup, OciSpecError> {
    let mut written = LinuxDeviceCgroupBuilder::default()
        .allow(rule.allow)
        .typ(match rule.kind {
            DeviceKind::All => LinuxDeviceType::A,
            DeviceKind::Block => LinuxDeviceType::B,
            DeviceKind::Char => LinuxDeviceType::C,
        })
        .access(rule.access.to_string());
    if let Some(major) = rule.major {
        written = written.major(i64::from(major));
    }
    if let Some(minor) = rule.minor {
        written = written.minor(i64::from(minor));
    }
    written.build()
}

#[cfg(test)]
mod tests;
