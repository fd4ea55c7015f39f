//! `rocker doctor`: what it finds on machines that are well, and on such that are not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::fake_host;
use crate::support::{Done, Rocker};

/// The lines that say how a check came out, and the two beneath it.
fn check<'a>(done: &'a Done, name: &str) -> Vec<&'a str> {
    let is_it = |line: &&str| {
        let rest = ["ok", "note", "PROBLEM"]
            .iter()
            .find_map(|word| line.strip_prefix(word));
        rest.is_some_and(|rest| rest.trim_start().starts_with(&format!("{name}  ")))
    };
    let lines = done.out.lines().skip_while(|line| !is_it(line));
    lines.take(3).collect()
}

#[track_caller]
fn assert_problem(done: &Done, name: &str, cause: &str, remedy: &str) {
    assert_eq!(done.code, 1, "{done:?}");
    let lines = check(done, name);
    assert!(lines[0].starts_with("PROBLEM"), "{name}: {done:?}");
    assert!(
        lines[1].contains("likely: ") && lines[1].contains(cause),
        "{lines:?}"
    );
    assert!(
        lines[2].contains("try:    ") && lines[2].contains(remedy),
        "{lines:?}"
    );
}

#[test]
fn a_machine_on_which_containers_run_is_well_and_stays_as_it_is() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        let before = host.state();
        let files = "find /run /var/lib/rocker | sort; sysctl -a 2>/dev/null | grep forward";
        let files_before = host.sh(files);
        let done = rocker.run("doctor");
        assert_eq!(done.code, 0, "{done:?}");
        assert!(
            !done.out.contains("PROBLEM") && done.err.is_empty(),
            "{done:?}"
        );
        for name in [
            "overlay",
            "process",
            "memory limit",
            "nf_tables",
            "bridge and veth",
        ] {
            assert!(check(&done, name)[0].starts_with("ok"), "{name}: {done:?}");
        }
        assert_eq!(host.state(), before);
        assert_eq!(host.sh(files), files_before);
        // Nothing is made where nothing is yet, either.
        let done =
            rocker.script("ROCKER_ROOT=/run/not/yet ROCKER_RUN=/run/nor/this exec rocker doctor");
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(host.sh(files), files_before);
        rocker.assert_all_gone("a look around");
        rocker.ok("run --rm hello");
    });
}

#[test]
fn every_check_is_an_object_for_programs() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        let done = rocker.script("ulimit -n 20; exec rocker doctor --format json");
        assert_eq!(done.code, 1, "{done:?}");
        let lines: Vec<serde_json::Value> = done
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines.len() > 15, "{done:?}");
        for line in &lines {
            let status = line["status"].as_str().unwrap();
            assert!(["ok", "note", "problem"].contains(&status), "{line}");
            assert!(
                line["check"].is_string() && line["found"].is_string(),
                "{line}"
            );
            assert_eq!(
                line["cause"].is_string(),
                line["remedy"].is_string(),
                "{line}"
            );
        }
        let files = lines
            .iter()
            .find(|line| line["check"] == "open files")
            .unwrap();
        assert_eq!(files["status"], "problem");
        assert!(files["remedy"].as_str().unwrap().contains("ulimit"));
    });
}

#[test]
fn what_is_broken_is_a_problem_with_cause_and_remedy_and_nothing_is_left() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        let done = rocker.script("ulimit -n 20; exec rocker doctor");
        assert_problem(&done, "open files", "some 40", "ulimit -n");
        assert_problem(&done, "process", "may have 20 files", "ulimit -n");
        rocker.assert_all_gone("a look at too few files");
        let privileges = rocker.script("exec setpriv --bounding-set -sys_admin rocker doctor");
        assert_problem(
            &privileges,
            "capabilities",
            "lacks CAP_SYS_ADMIN",
            "privileged",
        );
        rocker.assert_all_gone("a look without privileges");
        host.sh(
            "cd /run; mkdir -p o/l o/u o/w o/m full; mount -t tmpfs -o size=64k tmpfs full
            mount -t overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w overlay o/m",
        );
        let before = host.state();
        let on_overlay = rocker.script("ROCKER_ROOT=/run/o/m exec rocker doctor");
        // Where no overlay can be, a run copies the image.
        assert_eq!(on_overlay.code, 0, "{on_overlay:?}");
        for (name, cause) in [
            ("data", "another overlay"),
            ("overlay", "on an overlay themselves"),
        ] {
            let lines = check(&on_overlay, name);
            assert!(
                lines[0].starts_with("note") && lines[1].contains(cause),
                "{lines:?}"
            );
            assert!(lines[2].contains("ROCKER_ROOT=DIR"), "{lines:?}");
        }
        let full = rocker.script("ROCKER_ROOT=/run/full exec rocker doctor");
        assert_problem(&full, "room", "nearly full", "rocker rmi");
        assert_eq!(host.state(), before);
        assert_eq!(fs::read_dir("/run/o/m").unwrap().count(), 0);
        assert_eq!(fs::read_dir("/run/full").unwrap().count(), 0);
        host.sh("mount -t tmpfs tmpfs /proc");
        let done = rocker.run("doctor");
        assert_problem(&done, "kernel", "/proc is not mounted", "mount -t proc");
    });
}

#[test]
fn namespaces_that_are_not_allowed_are_a_problem() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        let limit = "/proc/sys/user/max_net_namespaces";
        let before = fs::read_to_string(limit).unwrap();
        // The limit is that of the user namespace in which it is written, which is none but this one's.
        let done = rocker.script(&format!(
            "exec unshare --user --map-root-user --mount sh -c 'echo 0 >{limit} && exec rocker doctor'"
        ));
        assert_eq!(fs::read_to_string(limit).unwrap(), before);
        let setting = "sysctl -w user.max_net_namespaces=";
        assert_problem(&done, "namespace limits", "of the kind net", setting);
        assert_problem(&done, "net namespaces", "of the kind net", setting);
        assert!(
            check(&done, "user")[0].contains("root of a user namespace"),
            "{done:?}"
        );
        rocker.assert_all_gone("a look without namespaces");
    });
}

#[test]
fn a_controller_that_is_missing_is_a_problem() {
    fake_host::run(|host| {
        let is_v1 = fs::exists("/sys/fs/cgroup/memory").unwrap();
        if !fake_host::require("cgroup1", is_v1) {
            return;
        }
        let rocker = Rocker::new(host);
        host.sh("umount /sys/fs/cgroup/memory");
        let before = host.state();
        let done = rocker.run("doctor");
        assert_problem(
            &done,
            "memory limit",
            "the memory controller is",
            "mount -t cgroup",
        );
        assert_eq!(host.state(), before);
        host.sh("mount -o remount,bind,ro /sys/fs/cgroup/pids");
        let done = rocker.run("doctor");
        assert_problem(&done, "cgroups", "inside of a container", "--privileged");
        host.sh("umount -R /sys/fs/cgroup");
        let done = rocker.run("doctor");
        assert_problem(&done, "cgroups", "nothing is mounted", "mount -t cgroup2");
    });
}

#[test]
fn an_ordinary_user_is_told_what_its_containers_go_without() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        let binary = host.dir("open").join("rocker");
        fs::copy(env!("CARGO_BIN_EXE_rocker"), &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        host.sh("mkdir /run/home; chown 1000:1000 /run/home");
        let user =
            "setpriv --reuid 1000 --regid 1000 --clear-groups env -u ROCKER_ROOT -u ROCKER_RUN";
        let user = format!("{user} HOME=/run/home XDG_RUNTIME_DIR=/run/home");
        let done = rocker.script(&format!("exec {user} {} doctor", binary.display()));
        assert_eq!(done.code, 0, "{done:?}");
        for (name, says) in [
            ("user", "root of a user namespace"),
            ("overlay", "mounted"),
            ("process", "set up by"),
            ("pasta", ""),
        ] {
            assert!(check(&done, name)[0].contains(says), "{name}: {done:?}");
        }
        let is_v1 = fs::exists("/sys/fs/cgroup/memory").unwrap();
        if fake_host::require("cgroup1", is_v1) {
            let said = check(&done, "cgroups")[0];
            assert!(
                said.starts_with("note") && said.contains("delegated"),
                "{done:?}"
            );
        }
        rocker.assert_all_gone("a look by an ordinary user");
    });
}
