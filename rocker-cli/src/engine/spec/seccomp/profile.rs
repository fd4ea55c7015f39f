//! The files that Docker and Podman take: a profile of the OCI runtime specification, and what it depends on.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use rocker_ns::Capabilities;
use serde::Deserialize;

use super::SeccompFault;

/// Go writes `null` for an empty list.
type List<T> = Option<Vec<T>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: List<Arch>,
    arch_map: List<ArchMap>,
    flags: List<LinuxSeccompFilterFlag>,
    syscalls: List<Syscall>,
}

/// The architectures of a kind of machine. By name: those of other machines need not be known.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: List<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Syscall {
    /// Of old profiles, in place of `names`.
    name: Option<String>,
    names: List<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: List<LinuxSeccompArg>,
    includes: Option<Depends>,
    excludes: Option<Depends>,
}

/// What a rule depends on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Depends {
    caps: List<String>,
    arches: List<String>,
    min_kernel: Option<String>,
}

/// What this machine is called in profiles: by seccomp, and by Docker.
const MACHINE: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("SCMP_ARCH_AARCH64", "arm64")
} else {
    ("SCMP_ARCH_X86_64", "amd64")
};

pub(super) fn read(
    text: &str,
    capabilities: Capabilities,
    kernel: (u32, u32),
) -> Result<LinuxSeccomp, SeccompFault> {
    let profile: Profile =
        serde_json::from_str(text).map_err(|source| SeccompFault::Json { source })?;
    let mut syscalls = Vec::new();
    for (index, syscall) in profile.syscalls.into_iter().flatten().enumerate() {
        let place = |field: &str| format!("syscalls[{index}].{field}");
        if applies(&syscall, capabilities, kernel, place)? {
            syscalls.push(rule(syscall, place)?);
        }
    }
    let given = |list: &Vec<Arch>| !list.is_empty();
    let architectures = match (profile.architectures.filter(given), profile.arch_map) {
        (Some(_), Some(map)) if !map.is_empty() => {
            return Err(SeccompFault::Both {
                one: "architectures".to_owned(),
                other: "archMap",
            });
        }
        (Some(list), _) => list,
        (None, map) => of_this_machine(map.unwrap_or_default())?,
    };
    let mut read = LinuxSeccomp::default();
    read.set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(Some(architectures))
        .set_flags(profile.flags)
        .set_syscalls(Some(syscalls));
    // Whoever reads the specification later finds the same faults; they belong to this file.
    super::convert::from_oci(&read)?;
    Ok(read)
}

fn of_this_machine(map: Vec<ArchMap>) -> Result<Vec<Arch>, SeccompFault> {
    let Some((index, entry)) = map
        .into_iter()
        .enumerate()
        .find(|(_, entry)| entry.architecture == MACHINE.0)
    else {
        return Ok(Vec::new());
    };
    let others = entry.sub_architectures.into_iter().flatten();
    std::iter::once(entry.architecture)
        .chain(others)
        .map(|name| {
            name.parse().map_err(|_| SeccompFault::Value {
                field: format!("archMap[{index}].subArchitectures"),
                value: format!("{name:?}"),
                expected: "architectures such as SCMP_ARCH_X86",
            })
        })
        .collect()
}

/// Whether a rule is one of this container's.
fn applies(
    syscall: &Syscall,
    capabilities: Capabilities,
    kernel: (u32, u32),
    place: impl Fn(&str) -> String,
) -> Result<bool, SeccompFault> {
    let has = |name: &String| capabilities.contains(name);
    let here = |name: &String| name == MACHINE.1;
    if let Some(excludes) = &syscall.excludes
        && (excludes.caps.iter().flatten().any(has)
            || excludes.arches.iter().flatten().any(here)
            || since(excludes, kernel, || place("excludes.minKernel"))?.unwrap_or(false))
    {
        return Ok(false);
    }
    let Some(includes) = &syscall.includes else {
        return Ok(true);
    };
    let arches = includes.arches.as_deref().unwrap_or_default();
    let new_enough = since(includes, kernel, || place("includes.minKernel"))?;
    Ok(includes.caps.iter().flatten().all(has)
        && (arches.is_empty() || arches.iter().any(here))
        && new_enough.unwrap_or(true))
}

/// Whether the kernel is as new as `minKernel` says, if it says so.
fn since(
    depends: &Depends,
    kernel: (u32, u32),
    place: impl FnOnce() -> String,
) -> Result<Option<bool>, SeccompFault> {
    let Some(text) = depends.min_kernel.as_ref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => Ok(Some(kernel >= (major, minor))),
        _ => Err(SeccompFault::Value {
            field: place(),
            value: format!("{text:?}"),
            expected: "a kernel's version, such as \"4.8\"",
        }),
    }
}

fn rule(syscall: Syscall, place: impl Fn(&str) -> String) -> Result<LinuxSyscall, SeccompFault> {
    let mut names = syscall.names.unwrap_or_default();
    if let Some(name) = syscall.name.filter(|name| !name.is_empty()) {
        if !names.is_empty() {
            return Err(SeccompFault::Both {
                one: place("name"),
                other: "names",
            });
        }
        names.push(name);
    }
    let mut rule = LinuxSyscall::default();
    rule.set_names(names)
        .set_action(syscall.action)
        .set_errno_ret(syscall.errno_ret)
        .set_args(syscall.args.filter(|args| !args.is_empty()));
    Ok(rule)
}
