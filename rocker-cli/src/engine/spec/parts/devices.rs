//! What the rules on devices mean for the nodes of devices.

use oci_spec::runtime::{LinuxDeviceType, Spec};
use rocker_cgroup::{DeviceKind, DeviceRule};

use super::limits;
use crate::Result;
use crate::engine::spec::CUSTOMARY;

/// Whether the specification's last word on devices is that all are allowed, for whatever use, as it is for a privileged container.
pub(super) fn all_allowed(spec: &Spec) -> bool {
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    let any = |number: Option<i64>| number.is_none_or(|number| number == -1);
    let all_uses = |access: &String| "rwm".chars().all(|one| access.contains(one));
    rules.and_then(|rules| rules.last()).is_some_and(|rule| {
        rule.allow()
            && rule.typ() == Some(LinuxDeviceType::A)
            && any(rule.major())
            && any(rule.minor())
            && rule.access().as_ref().is_none_or(all_uses)
    })
}

/// Whether the specification's rules on devices have some opened that every container does not have, and of which nobody gives it a
/// node: then it is to make that itself. Where nothing keeps it to such rules, it does not come to run.
pub(super) fn further_allowed(spec: &Spec) -> Result<bool> {
    let nodes = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.devices().as_ref());
    let given = |rule: &DeviceRule| {
        nodes.into_iter().flatten().any(|node| {
            let is_block = node.typ() == LinuxDeviceType::B;
            let kind = if is_block {
                DeviceKind::Block
            } else {
                DeviceKind::Char
            };
            let number = |own: Option<u32>, node: i64| own.map(i64::from) == Some(node);
            rule.kind == kind
                && number(rule.major, node.major())
                && number(rule.minor, node.minor())
        })
    };
    let rules = limits(spec)?.devices.unwrap_or_default();
    Ok(rules.iter().any(|rule| {
        rule.allow
            && (rule.access.read || rule.access.write)
            && !CUSTOMARY.contains(&&*rule.to_string())
            && !given(rule)
    }))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxBuilder, LinuxDeviceBuilder, LinuxResources, SpecBuilder};

    use rocker_cgroup::Limits;

    use super::*;

    #[test]
    fn only_who_may_do_all_with_all_devices_has_their_nodes_work_everywhere() {
        for (rules, expected) in [
            (&["a"][..], true),
            (&["a *:* rwm"], true),
            (&["a *:* m"], false),
            (&["a *:* rw"], false),
            (&["a 1:* rwm"], false),
            (&["c *:* rwm"], false),
            (&["a", "c 1:3 r"], false),
            (&[], false),
        ] {
            let mut limits = Limits::default();
            let parsed = rules.iter().map(|rule| rule.parse::<DeviceRule>().unwrap());
            limits.devices = Some(parsed.collect());
            let resources = LinuxResources::try_from(&limits).unwrap();
            let linux = LinuxBuilder::default().resources(resources).build();
            let spec = SpecBuilder::default().linux(linux.unwrap()).build();
            assert_eq!(all_allowed(&spec.unwrap()), expected, "{rules:?}");
        }
    }

    #[test]
    fn nodes_made_later_work_where_a_rule_speaks_of_them_and_nobody_gives_them() {
        for (rules, expected) in [
            (&["c *:* m", "c 1:3 rwm", "c 136:* rwm"][..], false),
            (&["c 10:229 m"], false),
            (&["c 10:229 rwm"], true),
            (&["b *:* r"], true),
            (&["c 1:11 r"], false),
            (&["c 1:* r"], true),
        ] {
            let mut limits = Limits::default();
            let parsed = rules.iter().map(|rule| rule.parse::<DeviceRule>().unwrap());
            limits.devices = Some(parsed.collect());
            let node = LinuxDeviceBuilder::default()
                .path("/dev/kmsg")
                .typ(LinuxDeviceType::C)
                .major(1)
                .minor(11)
                .build();
            let linux = LinuxBuilder::default()
                .resources(LinuxResources::try_from(&limits).unwrap())
                .devices(vec![node.unwrap()])
                .build();
            let spec = SpecBuilder::default().linux(linux.unwrap()).build();
            let found = further_allowed(&spec.unwrap()).unwrap();
            assert_eq!(found, expected, "{rules:?}");
        }
    }
}
