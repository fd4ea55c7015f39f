//! Cgroups of an ordinary user, on the real kernel.
//!
//! The test starts itself again as uid 1000 and root of a user namespace, in a cgroup that the test, as root, has made for it.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics, also in its helper functions"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use fake_host::Host;
use rocker_cgroup::{
    Cgroup, Compat, Controller, Error, Hierarchy, Limits, SkipReason, Undelegated, Version,
};

const MIB: u64 = 1 << 20;
/// Generous, since a virtual machine without hardware support is some 50 times slower.
const LONG: Duration = Duration::from_secs(60);
/// Set in the process of uid 1000.
const USER: &str = "ROCKER_TEST_USER";
/// Where the user's process is: in a cgroup that is delegated,
const DELEGATED: &str = "/sys/fs/cgroup/user";
/// or in one that is not.
const ROOTS: &str = "/sys/fs/cgroup/roots";

fn hierarchy() -> Hierarchy {
    Hierarchy::detect().expect("the fake host has cgroups")
}

/// Whether this machine has cgroup v2 and nothing else.
fn has_v2() -> bool {
    fake_host::require("cgroup2", hierarchy().version() == Version::V2)
}

fn is_user() -> bool {
    std::env::var_os(USER).is_some()
}

/// Makes a cgroup for uid 1000 to do with as it likes, with these controllers.
fn delegate(host: &Host, controllers: &str) {
    host.sh(&format!(
        "echo '{controllers}' >/sys/fs/cgroup/cgroup.subtree_control
         mkdir {DELEGATED}; cd {DELEGATED}
         chown 1000 . cgroup.procs cgroup.threads cgroup.subtree_control"
    ));
}

/// Runs the test `test` again as uid 1000 in the cgroup at `place`; it must be well.
#[track_caller]
fn as_user(host: &Host, test: &str, place: &str) {
    // The way to where it is may be closed to others.
    fs::copy(std::env::current_exe().unwrap(), "/run/test").unwrap();
    host.sh(&format!(
        "mkdir -p {place}
         ! [ -e {place}/cgroup.procs ] || echo $$ >{place}/cgroup.procs
         export {USER}=1
         exec setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --map-root-user --mount \
             /run/test {test} --exact --nocapture"
    ));
}

/// Removes the cgroups that the test made, as soon as nobody is in them any more.
fn clean_up(host: &Host) {
    host.wait_until("the cgroups are removed", LONG, || {
        let script = format!(
            "for dir in {DELEGATED} {ROOTS}; do [ ! -e $dir ] || find $dir -depth -type d -exec rmdir {{}} +; done"
        );
        host.try_sh(&script).status.success()
    });
}

/// Runs the test `test` again as uid 1000 at each of these places, with these controllers delegated, where this machine has cgroup v2 alone.
#[track_caller]
fn in_delegated(host: &Host, controllers: &str, places: &[&str], test: &str) {
    if !has_v2() {
        return;
    }
    delegate(host, controllers);
    for place in places {
        as_user(host, test, place);
    }
    clean_up(host);
}

/// A shell script in the cgroup.
fn sh_in(cgroup: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read line; {script}")])
        .stdin(Stdio::piped())
        // Who outlives the test would keep its output open.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cgroup.add(child.id()).unwrap();
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    child
}

fn finish(mut child: Child) -> ExitStatus {
    child.wait().unwrap()
}

#[test]
fn limits_of_memory_and_tasks_hold_in_a_cgroup_that_an_ordinary_user_has_made() {
    fn user() {
        let hierarchy = hierarchy();
        assert!(hierarchy.base().unwrap().ends_with("user"));
        let delegated = hierarchy.delegated();
        assert!(delegated.contains(&Controller::Memory) && delegated.contains(&Controller::Pids));
        assert!(hierarchy.is_delegated());
        let limits = Limits::default().memory_bytes(32 * MIB).pids(3_u64);
        let make = || Cgroup::create(&hierarchy, "rocker", "one", &limits, Compat::Require);
        // This very process stands in the way, until it goes.
        let error = make().unwrap_err();
        assert!(matches!(error, Error::InternalProcesses { .. }), "{error}");
        assert!(
            hierarchy
                .make_way("supervisor", &[std::process::id()])
                .unwrap()
        );
        assert!(
            !hierarchy
                .make_way("supervisor", &[std::process::id()])
                .unwrap()
        );
        let (cgroup, applied) = make().unwrap();
        assert!(applied.skipped.is_empty());
        let dd = |size| {
            let script = format!("exec dd if=/dev/zero of=/dev/null bs={size} count=1");
            finish(sh_in(&cgroup, &script))
        };
        assert!(dd("8M").success());
        assert_eq!(dd("100M").signal(), Some(9));
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
        // The shell and two more, and then no other.
        let forks = "sleep 1000 & sleep 1000 & ( : ) && exit 7; exit 8";
        assert_ne!(finish(sh_in(&cgroup, forks)).code(), Some(7));
        assert_eq!(cgroup.stats().unwrap().pids, Some(2));
        let paths = cgroup.paths();
        cgroup.remove().unwrap();
        assert!(!paths[0].exists() && !paths[0].parent().unwrap().exists());
    }
    if is_user() {
        return user();
    }
    fake_host::run(|host| {
        in_delegated(
            host,
            "+memory +pids",
            &[DELEGATED],
            "limits_of_memory_and_tasks_hold_in_a_cgroup_that_an_ordinary_user_has_made",
        );
    });
}

#[test]
fn without_delegation_there_are_no_limits_and_the_error_says_why_and_what_to_do() {
    fn user() {
        let hierarchy = hierarchy();
        assert_eq!(hierarchy.delegated(), []);
        assert!(!hierarchy.is_delegated());
        assert_eq!(Cgroup::names(&hierarchy, "rocker").unwrap(), [""; 0]);
        let make = |limits: &Limits, compat| {
            Cgroup::create_if_delegated(&hierarchy, "rocker", "one", limits, compat)
        };
        assert!(
            make(&Limits::default(), Compat::Require)
                .unwrap()
                .0
                .is_none()
        );
        let limits = Limits::default().memory_bytes(32 * MIB);
        let error = make(&limits, Compat::Require).unwrap_err();
        let Error::NotDelegated { what, reason } = &error else {
            panic!("{error}");
        };
        let text = error.to_string();
        match hierarchy.version() {
            Version::V2 => {
                assert_eq!(*what, "memory.max");
                let own = Some("/roots".into());
                assert_eq!(*reason, Undelegated::Nothing { own });
                assert!(
                    text.contains("systemd-run --user --scope -p Delegate=yes"),
                    "{text}"
                );
            }
            _ => {
                assert_eq!(*what, "memory.limit_in_bytes");
                assert_eq!(*reason, Undelegated::Version1);
            }
        }
        let (cgroup, applied) = make(&limits, Compat::BestEffort).unwrap();
        assert!(cgroup.is_none());
        assert_eq!(applied.skipped[0].reason, SkipReason::NotDelegated);
        Cgroup::remove_by_name(&hierarchy, "rocker", "one").unwrap();
    }
    if is_user() {
        return user();
    }
    fake_host::run(|host| {
        // What root has is not the user's to see or touch.
        let limits = Limits::default();
        let made = Cgroup::create(&hierarchy(), "rocker", "one", &limits, Compat::Require);
        let test = "without_delegation_there_are_no_limits_and_the_error_says_why_and_what_to_do";
        match hierarchy().version() {
            Version::V2 => as_user(host, test, ROOTS),
            _ => as_user(host, test, "/run"),
        }
        made.unwrap().0.remove().unwrap();
        clean_up(host);
    });
}

#[test]
fn a_controller_that_was_not_handed_down_is_named_with_the_place_where_it_ends() {
    fn user() {
        let hierarchy = hierarchy();
        hierarchy
            .make_way("supervisor", &[std::process::id()])
            .unwrap();
        let limits = Limits::default().memory_bytes(32 * MIB).pids(5_u64);
        let make = |compat| Cgroup::create(&hierarchy, "rocker", "one", &limits, compat);
        let error = make(Compat::Require).unwrap_err();
        let reason = Undelegated::Controller {
            base: DELEGATED.into(),
        };
        match &error {
            Error::NotDelegated { what, reason: why } => {
                assert_eq!((&**what, why), ("memory.max", &reason));
            }
            _ => panic!("{error}"),
        }
        let (cgroup, applied) = make(Compat::BestEffort).unwrap();
        assert_eq!(applied.in_force[0].reads, "5");
        assert_eq!(applied.skipped[0].reason, SkipReason::NotDelegated);
        cgroup.remove().unwrap();
    }
    if is_user() {
        return user();
    }
    fake_host::run(|host| {
        in_delegated(
            host,
            "+pids -memory",
            &[DELEGATED],
            "a_controller_that_was_not_handed_down_is_named_with_the_place_where_it_ends",
        );
    });
}

#[test]
fn others_who_live_in_the_delegated_cgroup_are_named_and_nobody_moves() {
    fn user() {
        let hierarchy = hierarchy();
        let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
        let error = hierarchy
            .make_way("supervisor", &[std::process::id()])
            .unwrap_err();
        assert!(
            matches!(&error, Error::Occupied { pids, .. } if *pids == [other.id()]),
            "{error}"
        );
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert!(own.trim().ends_with("/user"), "{own}");
        // Without controllers it can have a cgroup all the same.
        let (cgroup, _) = Cgroup::create(
            &hierarchy,
            "rocker",
            "one",
            &Limits::default(),
            Compat::Require,
        )
        .unwrap();
        cgroup.add(other.id()).unwrap();
        cgroup.remove().unwrap();
        assert_eq!(other.wait().unwrap().signal(), Some(9));
    }
    if is_user() {
        return user();
    }
    fake_host::run(|host| {
        in_delegated(
            host,
            "+pids",
            &[DELEGATED],
            "others_who_live_in_the_delegated_cgroup_are_named_and_nobody_moves",
        );
    });
}

#[test]
fn what_a_process_made_in_a_delegated_cgroup_one_elsewhere_finds_by_its_base_and_removes() {
    #[expect(
        clippy::zombie_processes,
        reason = "it is left behind, as by a maker that was killed"
    )]
    fn user() {
        let hierarchy = hierarchy();
        if hierarchy.is_delegated() {
            let (cgroup, _) = Cgroup::create(
                &hierarchy,
                "rocker",
                "left",
                &Limits::default(),
                Compat::Require,
            )
            .unwrap();
            let child = sh_in(&cgroup, "exec sleep 1000");
            assert!(cgroup.procs().unwrap().contains(&child.id()));
            cgroup.detach();
            return;
        }
        let found = hierarchy.with_base(DELEGATED).unwrap();
        assert_eq!(Cgroup::names(&found, "rocker").unwrap(), ["left"]);
        Cgroup::remove_by_name(&found, "rocker", "left").unwrap();
        assert_eq!(Cgroup::names(&found, "rocker").unwrap(), [""; 0]);
    }
    if is_user() {
        return user();
    }
    fake_host::run(|host| {
        in_delegated(
            host,
            "+pids",
            &[DELEGATED, ROOTS],
            "what_a_process_made_in_a_delegated_cgroup_one_elsewhere_finds_by_its_base_and_removes",
        );
    });
}

#[test]
fn root_of_a_user_namespace_mounts_what_its_host_mounts_in_a_cgroup_namespace_of_its_own() {
    fn user() {
        let views = hierarchy().mounts_for_container();
        assert!(!views.is_empty());
        for view in views {
            let options = match view.options.is_empty() {
                true => String::new(),
                false => format!("-o {}", view.options.join(",")),
            };
            let script = format!(
                "mount -t tmpfs tmpfs /mnt
                 mount -t {} {options} none /mnt && test -e /mnt/cgroup.procs",
                view.fstype
            );
            let status = Command::new("unshare")
                .args(["--mount", "--cgroup", "sh", "-euc", &script])
                .status()
                .unwrap();
            assert!(status.success(), "{view:?}");
        }
    }
    if is_user() {
        return user();
    }
    fake_host::run(|host| {
        let test =
            "root_of_a_user_namespace_mounts_what_its_host_mounts_in_a_cgroup_namespace_of_its_own";
        match hierarchy().version() {
            Version::V2 => as_user(host, test, ROOTS),
            _ => as_user(host, test, "/run"),
        }
        clean_up(host);
    });
}
