//! What a container mounts to see its own cgroups.

use crate::Version;
use crate::tree::{Kind, Tree};

/// One cgroup mount inside of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CgroupMountView {
    /// The directory below `/sys/fs/cgroup`, such as `memory`; empty on v2, where it is `/sys/fs/cgroup` itself.
    pub destination: String,
    /// The type of the file system: `cgroup` or `cgroup2`.
    pub fstype: &'static str,
    /// What picks the tree: `["memory"]`, `["cpu", "cpuacct"]`, `["none", "name=systemd"]`; empty for `cgroup2`.
    pub options: Vec<String>,
    /// Names beside the destination that are symbolic links to it: `cpu` and `cpuacct` where `cpu,cpuacct` is mounted.
    pub aliases: Vec<String>,
}

/// The mount that shows `tree` in a container on a host of this layout.
pub(crate) fn of(tree: &Tree, version: Version) -> CgroupMountView {
    let Kind::V1 { controllers, name } = &tree.kind else {
        let destination = if version == Version::V2 {
            ""
        } else {
            "unified"
        };
        return CgroupMountView {
            destination: destination.to_owned(),
            fstype: "cgroup2",
            options: Vec::new(),
            aliases: Vec::new(),
        };
    };
    let names: Vec<String> = controllers
        .iter()
        .map(|one| one.v1_name().to_owned())
        .collect();
    let destination = match name {
        Some(name) if names.is_empty() => name.clone(),
        _ => names.join(","),
    };
    let mut options = if names.is_empty() {
        vec!["none".to_owned()]
    } else {
        names.clone()
    };
    options.extend(name.iter().map(|name| format!("name={name}")));
    let aliases = if names.len() > 1 { names } else { Vec::new() };
    CgroupMountView {
        destination,
        fstype: "cgroup",
        options,
        aliases,
    }
}
