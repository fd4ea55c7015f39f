//! The kernel, and what it lets this process do.

use std::env::consts::ARCH;

use super::Check;
use crate::advice::{self, Advice};
use crate::engine::host::{CAP_NET_ADMIN, CAP_SYS_ADMIN, Host};

/// The first kernel with all that a run needs.
const LEAST: (u32, u32) = (5, 12);
/// The first on which an overlay needs no thread of its own.
const BETTER: (u32, u32) = (6, 8);

pub(super) fn checks(host: &Host) -> Vec<Check> {
    vec![
        kernel(host),
        user(host),
        capabilities(host),
        seccomp(host),
        security_modules(host),
    ]
}

/// All that there is to say where nothing can be looked at.
pub(super) fn without_proc() -> Check {
    let mount = Advice::new("/proc is not mounted here", "mount -t proc proc /proc");
    Check::problem("kernel", "nothing can be told without /proc", Some(mount))
}

fn kernel(host: &Host) -> Check {
    let name = "kernel";
    let release = format!("{} on {ARCH}", host.release().unwrap_or_default());
    match host.kernel() {
        Some(version) if version >= BETTER => Check::ok(name, release),
        Some(version) if version >= LEAST => Check::note(
            name,
            format!("{release}: overlays take a thread of their own before 6.8"),
        ),
        _ => Check::problem(
            name,
            release,
            Some(Advice::new(
                "mount_setattr(2) and other calls came with Linux 5.12",
                "a newer kernel",
            )),
        ),
    }
}

fn user(host: &Host) -> Check {
    let name = "user";
    match host.user() {
        Some(0) if host.is_in_user_namespace() => match host.mapped_users() {
            1 => Check {
                advice: Some(Advice::new(
                    "no subordinate ids were granted to this user, or newuidmap and newgidmap are not installed",
                    "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, and install uidmap",
                )),
                ..Check::note(
                    name,
                    "root of a user namespace with one user: every file is its own",
                )
            },
            count => Check::ok(name, format!("root of a user namespace with {count} users")),
        },
        Some(0) | None => Check::ok(name, "root"),
        Some(user) => Check::note(name, format!("user {user}")),
    }
}

fn capabilities(host: &Host) -> Check {
    let name = "capabilities";
    if host.user().is_some_and(|user| user != 0) {
        return Check::note(name, "those of an ordinary user");
    }
    let needed = [
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    ];
    let missing: Vec<_> = needed
        .iter()
        .filter(|(number, _)| host.is_capable(*number) == Some(false))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Check::ok(name, "CAP_SYS_ADMIN and CAP_NET_ADMIN are held")
    } else {
        let found = format!("{} missing", missing.join(" and "));
        Check::problem(name, found, Some(advice::not_permitted(host)))
    }
}

fn seccomp(host: &Host) -> Check {
    let name = "seccomp";
    match (host.has_seccomp(), host.is_filtered()) {
        (_, true) => Check::note(
            name,
            "a filter is on this process already, as in a container",
        ),
        (true, false) => Check::ok(name, "available, and no filter on this process"),
        (false, _) => Check::note(name, "this kernel has none (CONFIG_SECCOMP_FILTER)"),
    }
}

fn security_modules(host: &Host) -> Check {
    let name = "security modules";
    let modules = host.security_modules();
    let shown = match modules.as_slice() {
        [] => "none to be seen".to_owned(),
        modules => modules.join(", "),
    };
    match host.confinement() {
        Some(profile) => Check::note(
            name,
            format!("{shown}; this process is confined: {profile}"),
        ),
        None => Check::ok(name, format!("{shown}; this process is not confined")),
    }
}
