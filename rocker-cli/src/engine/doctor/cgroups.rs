//! Whether containers can be limited.

use rocker_cgroup::{Cgroup, Compat, Controller, CpuQuota, DeviceRule, Hierarchy, Limits, Version};

use super::{Check, Health};
use crate::advice;
use crate::engine::CGROUP_PARENT;
use crate::engine::host::Host;

pub(super) fn checks(host: &Host, is_root: bool) -> Vec<Check> {
    let hierarchy = match Hierarchy::detect() {
        Ok(hierarchy) => hierarchy,
        Err(error) => return vec![Check::failed("cgroups", host, &error.into())],
    };
    let version = match hierarchy.version() {
        Version::V1 => "v1",
        Version::V2 => "v2",
        _ => "v1 and v2 side by side",
    };
    let all: Vec<_> = hierarchy
        .controllers()
        .iter()
        .map(|one| one.name())
        .collect();
    let found = format!("{version}: {}", all.join(" "));
    if is_root && !hierarchy.is_delegated() && host.is_in_user_namespace() {
        let made = try_limits(&hierarchy, &Limits::default());
        return vec![Check::of("cgroups", host, made.map(|()| found)).dispensable()];
    }
    let mut checks = vec![if is_root {
        let made = try_limits(&hierarchy, &Limits::default());
        Check::of("cgroups", host, made.map(|()| found))
    } else {
        Check::ok("cgroups", found)
    }];
    if checks.iter().any(|check| check.health == Health::Problem) {
        return checks;
    }
    let cpus = CpuQuota::from_cpus(0.5);
    let wanted = [
        ("cpu", cpus.map(|quota| Limits::default().cpu(quota))),
        ("memory", Ok(Limits::default().memory_bytes(64_u64 << 20))),
        ("pids", Ok(Limits::default().pids(64_u64))),
    ];
    for (controller, limits) in wanted {
        let name = format!("{controller} limit");
        checks.push(if !all.contains(&controller) {
            let missing = advice::controller_missing(controller);
            Check::problem(&name, "no such controller", Some(missing))
        } else if is_root {
            let made = limits.map_err(crate::Error::from);
            let set = made.and_then(|limits| try_limits(&hierarchy, &limits));
            Check::of(
                &name,
                host,
                set.map(|()| "set on a cgroup, which is gone again"),
            )
        } else {
            Check::untried(&name)
        });
    }
    if is_root && all.contains(&"memory") {
        let limits = Limits::default()
            .memory_bytes(64_u64 << 20)
            .memory_swap_bytes(64_u64 << 20);
        let set = try_limits(&hierarchy, &limits);
        checks.push(Check::of("swap limit", host, set.map(|()| "set as well")).dispensable());
    }
    if is_root && !host.is_in_user_namespace() {
        let limits = Limits::default().devices([DeviceRule::DENY_ALL]);
        let set = try_limits(&hierarchy, &limits);
        let check = Check::of("device rules", host, set.map(|()| "set as well"));
        checks.push(match hierarchy.is_v2(Controller::Devices) {
            Some(_) => check,
            // File systems without devices have to do then.
            None => check.dispensable(),
        });
    }
    if host.is_in_user_namespace() {
        // Limits are what an ordinary user goes without.
        checks = checks.into_iter().map(Check::dispensable).collect();
    }
    checks
}

/// Makes a cgroup with these limits where a container would have it, and removes it.
fn try_limits(hierarchy: &Hierarchy, limits: &Limits) -> crate::Result<()> {
    let name = format!("rocker-doctor-{}", std::process::id());
    let (cgroup, _) = Cgroup::create(hierarchy, CGROUP_PARENT, &name, limits, Compat::Require)?;
    Ok(cgroup.remove()?)
}
