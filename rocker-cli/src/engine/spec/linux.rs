//! What only Linux has: namespaces, ids, limits, devices, and what is hidden.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResources, LinuxSeccomp,
};
use rocker_cgroup::{DeviceKind, DeviceRule};
use rocker_fs::{MASKED_PATHS, READ_ONLY_PATHS};
use rocker_ns::{Capabilities, IdMap, Seccomp, SeccompAction, SeccompRule};

use super::{Facts, seccomp};
use crate::Result;
use crate::engine::container::record::CONFIG;
use crate::engine::host::Host;
use crate::engine::options::{DeviceNode, Network, RunOptions, SeccompProfile, Share};
use crate::engine::{CGROUP_PARENT, cgroup_name, disk};

pub(super) fn linux(facts: &Facts<'_>, capabilities: Capabilities) -> Result<Linux> {
    let options = facts.options;
    let devices: Vec<_> = options.devices.iter().map(device).collect::<Result<_>>()?;
    let open = options.privileged || options.open_system_paths;
    let paths = |paths: &[&str]| match open {
        true => Vec::new(),
        false => paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(facts)?)
        .resources(resources(options, &devices)?)
        .cgroups_path(
            Path::new("/")
                .join(options.cgroup_parent.as_deref().unwrap_or(CGROUP_PARENT))
                .join(cgroup_name(facts.id)),
        )
        .devices(devices)
        .sysctl(
            options
                .sysctls
                .iter()
                .cloned()
                .collect::<std::collections::HashMap<_, _>>(),
        )
        .masked_paths(paths(MASKED_PATHS))
        .readonly_paths(paths(READ_ONLY_PATHS));
    if let Some(profile) = seccomp(facts, capabilities)? {
        linux = linux.seccomp(profile);
    }
    if let Some(maps) = &facts.surroundings.users {
        linux = linux
            .uid_mappings(mappings(&maps.uids)?)
            .gid_mappings(mappings(&maps.gids)?);
    }
    Ok(linux.build()?)
}

/// Which system calls the container may make; none where all.
fn seccomp(facts: &Facts<'_>, capabilities: Capabilities) -> Result<Option<LinuxSeccomp>> {
    let config = Path::new(CONFIG);
    match &facts.options.seccomp {
        SeccompProfile::Unconfined => Ok(None),
        SeccompProfile::Default if facts.options.privileged => Ok(None),
        SeccompProfile::Default => {
            let mut profile = Seccomp::container_default(capabilities);
            if facts.surroundings.has_one_user() {
                give_nothing_away(&mut profile);
            }
            seccomp::specified(config, &profile).map(Some)
        }
        SeccompProfile::File(path) => {
            let text = fs::read_to_string(path).map_err(disk::failed("read", path))?;
            let kernel = Host::this().kernel().unwrap_or_default();
            seccomp::read_profile(path, &text, capabilities, kernel).map(Some)
        }
    }
}

/// The calls that give a file to another user.
const GIVING: [&str; 7] = [
    "chown", "chown32", "fchown", "fchown32", "fchownat", "lchown", "lchown32",
];

/// Has those who give files away believe that they did: where there is one user, the file is that one's in any case, and package
/// managers would give up.
fn give_nothing_away(profile: &mut Seccomp) {
    for rule in &mut profile.rules {
        rule.names.retain(|name| !GIVING.contains(&&**name));
    }
    let done = SeccompRule::new(GIVING, SeccompAction::Errno(0));
    profile.rules.push(done);
}

fn namespaces(facts: &Facts<'_>) -> Result<Vec<LinuxNamespace>> {
    use LinuxNamespaceType as Kind;
    let options = facts.options;
    let own = |kind| LinuxNamespaceBuilder::default().typ(kind);
    let mut list = vec![own(Kind::Mount)];
    if options.cgroup != Share::Host {
        list.push(own(Kind::Cgroup));
    }
    for (kind, file, share, other) in [
        (Kind::Ipc, "ipc", &options.ipc, facts.surroundings.ipc),
        (Kind::Pid, "pid", &options.pid, facts.surroundings.pid),
        (Kind::Uts, "uts", &options.uts, None),
    ] {
        match (share, other) {
            (Share::Host, _) => {}
            (_, Some(pid)) => list.push(own(kind).path(format!("/proc/{pid}/ns/{file}"))),
            (_, None) => list.push(own(kind)),
        }
    }
    match (&options.network, facts.surroundings.network) {
        (Network::Host, _) => {}
        (_, Some(pid)) => list.push(own(Kind::Network).path(format!("/proc/{pid}/ns/net"))),
        (_, None) => list.push(own(Kind::Network)),
    }
    if facts.surroundings.users.is_some() {
        list.push(own(Kind::User));
    }
    list.into_iter().map(|one| Ok(one.build()?)).collect()
}

fn mappings(maps: &[IdMap]) -> Result<Vec<LinuxIdMapping>> {
    let one = |map: &IdMap| {
        LinuxIdMappingBuilder::default()
            .container_id(map.inside)
            .host_id(map.outside)
            .size(map.count)
            .build()
    };
    maps.iter().map(|map| Ok(one(map)?)).collect()
}

/// A device of the host, as its own file says that it is.
fn device(node: &DeviceNode) -> Result<LinuxDevice> {
    let found = fs::metadata(&node.source).map_err(disk::failed("look at", &node.source))?;
    let kind = found.file_type();
    let typ = if kind.is_char_device() {
        LinuxDeviceType::C
    } else if kind.is_block_device() {
        LinuxDeviceType::B
    } else {
        return Err(crate::Error::bad_value(
            "--device",
            node.source.display().to_string(),
            "a device: a character or block special file",
        ));
    };
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(LinuxDeviceBuilder::default()
        .path(&node.destination)
        .typ(typ)
        .major(number(major(found.rdev())))
        .minor(number(minor(found.rdev())))
        .file_mode(found.mode() & 0o777)
        .uid(0_u32)
        .gid(0_u32)
        .build()?)
}

/// The devices that every container may use, as with Docker: to make a node of any is harmless, since none opens in a file system
/// that is `nodev`; and `/dev/null`, `zero`, `full`, `random`, `urandom`, `tty`, `console`, `ptmx`, and its own terminals.
pub(crate) const CUSTOMARY: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Which devices may be used: all, or those that were asked for beside the customary ones.
fn device_rules(options: &RunOptions<'_>, devices: &[LinuxDevice]) -> Result<Vec<DeviceRule>> {
    if options.privileged {
        return Ok(vec!["a".parse()?]);
    }
    let mut rules = vec![DeviceRule::DENY_ALL];
    for text in CUSTOMARY {
        rules.push(text.parse()?);
    }
    for (device, node) in devices.iter().zip(&options.devices) {
        let kind = match device.typ() {
            LinuxDeviceType::B => DeviceKind::Block,
            _ => DeviceKind::Char,
        };
        let number = |number: i64| u32::try_from(number).ok();
        let (major, minor) = (number(device.major()), number(device.minor()));
        rules.push(DeviceRule::allow(kind, major, minor, node.access));
    }
    rules.extend(&options.device_rules);
    Ok(rules)
}

fn resources(options: &RunOptions<'_>, devices: &[LinuxDevice]) -> Result<LinuxResources> {
    let mut limits = options.limits.clone();
    limits.devices = Some(device_rules(options, devices)?);
    Ok(LinuxResources::try_from(&limits)?)
}
