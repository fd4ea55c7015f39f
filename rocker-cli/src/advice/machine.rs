//! What a refusal means on this very machine, by the facts of it.

use rocker_cgroup::{Hierarchy, Version};

use super::Advice;
use crate::Roots;
use crate::engine::host::{CAP_SYS_ADMIN, Host};

/// A controller that is nowhere to be found.
pub(crate) fn controller_missing(name: &str) -> Advice {
    let is_v2 = Hierarchy::detect().is_ok_and(|trees| trees.version() == Version::V2);
    let (cause, remedy) = if is_v2 {
        (
            format!("the {name} controller is switched off, or not delegated to this cgroup"),
            format!(
                "echo +{name} >cgroup.subtree_control in each cgroup above, from the root down"
            ),
        )
    } else {
        (
            format!("the {name} controller is switched off, or not mounted"),
            format!("mount -t cgroup -o {name} {name} /sys/fs/cgroup/{name}"),
        )
    };
    let boot = "; if the kernel says no, boot it without";
    Advice::new(cause, format!("{remedy}{boot} cgroup_disable={name}"))
}

/// What is known against the file system that rocker's data are on.
fn against_the_data(host: &Host) -> Option<Advice> {
    let mount = host.mount_of(Roots::from_env().data())?;
    let cause = mount.bad_for_changes()?;
    Some(Advice::new(
        format!("rocker's data are on {}: {cause}", mount.fstype),
        "ROCKER_ROOT=DIR on ext4, xfs, btrfs or tmpfs",
    ))
}

/// The kernel would not make an overlay of what it was given.
pub(super) fn no_overlay(host: &Host) -> Advice {
    against_the_data(host).unwrap_or_else(|| {
        Advice::new(
            "the file system of rocker's data cannot hold the changes of an overlay",
            "ROCKER_ROOT=DIR on ext4, xfs, btrfs or tmpfs; rocker doctor tries it",
        )
    })
}

/// A name is too long, which on some file systems it is soon.
pub(super) fn name_too_long(host: &Host) -> Advice {
    let is_about_names = |advice: &Advice| advice.cause.contains("file names");
    against_the_data(host)
        .filter(is_about_names)
        .unwrap_or_else(|| {
            Advice::new(
                "a name has more than 255 bytes, or a path more than 4095",
                "choose a shorter one",
            )
        })
}

/// This process has as many files open as it may.
pub(super) fn too_many_files(host: &Host) -> Advice {
    let cause = match host.limit("Max open files") {
        Some(limit) => format!("rocker may have {limit} files open, and a run needs some 40"),
        None => "rocker may not have as many files open as a run needs, some 40".to_owned(),
    };
    Advice::new(cause, "raise the limit: ulimit -n 1024")
}

/// All processes together do.
pub(super) fn too_many_files_of_all(host: &Host) -> Advice {
    let cause = match host.all_files() {
        Some(files) => format!(
            "the whole machine has {} of {} files open",
            files.now, files.limit
        ),
        None => "the whole machine has as many files open as it may".to_owned(),
    };
    Advice::new(
        cause,
        "end what holds them, or raise the limit: sysctl fs.file-max",
    )
}

/// No namespace of some kind is left to be had.
pub(crate) fn no_namespaces(host: &Host) -> Advice {
    match host.forbidden_namespaces().as_slice() {
        [] => Advice::new(
            "the limit of namespaces is reached, see /proc/sys/user",
            "end other containers, or raise the limit: sysctl user.max_mnt_namespaces",
        ),
        kinds => {
            let settings: Vec<_> = kinds
                .iter()
                .map(|kind| format!("user.max_{kind}_namespaces=10000"))
                .collect();
            Advice::new(
                format!(
                    "this machine allows no namespaces of the kind {}",
                    kinds.join(", ")
                ),
                format!("allow them: sysctl -w {}", settings.join(" ")),
            )
        }
    }
}

/// A user namespace was refused.
pub(crate) fn no_user_namespace(host: &Host) -> Advice {
    match host.user_namespaces_barred_by() {
        Some(setting) => {
            let (name, value) = setting.split_once('=').unwrap_or((setting, "0"));
            let better = match (name, value) {
                ("user.max_user_namespaces", _) => 10_000,
                (_, "0") => 1,
                _ => 0,
            };
            Advice::new(
                format!("{setting} keeps ordinary users from making user namespaces"),
                format!("sysctl -w {name}={better}, or run rocker as root"),
            )
        }
        None => Advice::new(
            "a security module or seccomp filter forbids user namespaces",
            "run rocker as root on the host",
        ),
    }
}

/// The kernel does not know the call.
pub(super) fn no_such_call(call: &str, host: &Host) -> Advice {
    let call = if call.is_empty() { "this call" } else { call };
    match host.kernel() {
        Some(version) if version >= (5, 12) && host.is_filtered() => Advice::new(
            format!("a seccomp filter on this process hides {call}, as in a container"),
            "run rocker on the host, or in a container with --security-opt seccomp=unconfined",
        ),
        Some((major, minor)) if (major, minor) < (5, 12) => Advice::new(
            format!("this is Linux {major}.{minor}, which is too old for {call}"),
            "Linux 5.12 has all that rocker needs",
        ),
        _ => Advice::new(
            "the kernel is older than this call, or a seccomp filter hides it",
            "Linux 5.12 has all that rocker needs",
        ),
    }
}

/// Root is refused what root may do.
pub(crate) fn not_permitted(host: &Host) -> Advice {
    let privileged = "run rocker on the host, or in a privileged container";
    if host.is_capable(CAP_SYS_ADMIN) == Some(false) {
        Advice::new(
            "this root lacks CAP_SYS_ADMIN, as root inside of a container does",
            privileged,
        )
    } else if host.is_in_user_namespace() {
        Advice::new(
            "this is root of a user namespace only, not of the machine",
            "run rocker as the machine's root",
        )
    } else if host.is_filtered() {
        Advice::new("a seccomp filter on this process forbids it", privileged)
    } else if let Some(profile) = host.confinement() {
        Advice::new(
            format!("the security module confines this process: {profile}"),
            "run rocker unconfined, or allow it in the profile",
        )
    } else {
        Advice::new(
            "this root lacks CAP_SYS_ADMIN, or a security module forbids it: is this a container already?",
            privileged,
        )
    }
}
