//! Containers and their cgroups on the real kernel: whose they are, what they keep containers from, and that they go.
//!
//! Without a registry, so that all of it runs in a small virtual machine, too: see `tests/vm`.

use std::fs;
use std::time::{Duration, Instant};

use crate::fake_host;
use crate::resource_flags::{held, is_v2};
use crate::support::{ALICES_HOME, LIMIT, Rocker};

/// How many times longer things may take, on a machine that says so.
fn slower() -> u32 {
    match std::env::var_os("ROCKER_TEST_LONG") {
        Some(_) => 20,
        None => 1,
    }
}

#[test]
fn a_container_opens_the_devices_that_it_was_given_and_no_other() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        let tries = "try() { \"$@\" 2>/dev/null && echo -n y || echo -n n; }
            try sh -c \": <$D\"; try sh -c \": >>$D\"; try mknod /tmp/node c 1 3";
        // A copy of /dev/kmsg, which nobody gives to a container by itself.
        let ask = |flags: &str| {
            let done = rocker.run(&format!(
                "run --rm --network none --cap-add SYSLOG -e D=/dev/log0 {flags} $I sh -c '{tries}'"
            ));
            done.succeeded();
            done.out
        };
        assert_eq!(ask("--device /dev/kmsg:/dev/log0"), "yyy");
        assert_eq!(ask("--device /dev/kmsg:/dev/log0:r"), "yny");
        assert_eq!(ask("--device /dev/kmsg:/dev/log0:w"), "nyy");
        assert_eq!(ask("--device /dev/kmsg:/dev/log0:m"), "nny");
        assert_eq!(
            ask("--device /dev/kmsg:/dev/log0:m --device-cgroup-rule 'c 1:11 r'"),
            "yny"
        );
        assert_eq!(ask("--privileged --device /dev/kmsg:/dev/log0"), "yyy");
        let out = rocker
            .ok("run --rm --network none --device /dev/kmsg:/dev/log0:m $I sh -c '(: </dev/log0); true' 2>&1");
        assert!(out.contains("Operation not permitted"), "{out}");
        // A rule is for a node that the container makes, as with Docker: in /dev, and for what the rule says.
        let make = "mknod /dev/log1 c 1 11 && mknod /log1 c 1 11";
        let tries = format!(
            "try() {{ \"$@\" 2>/dev/null && echo -n y || echo -n n; }}; {make}
            for d in /dev/log1 /log1; do try sh -c \": <$d\"; try sh -c \": >>$d\"; done"
        );
        for (rule, expected) in [
            ("--device-cgroup-rule 'c 1:* r'", "ynnn"),
            ("--device-cgroup-rule 'c 1:11 m'", "nnnn"),
            ("--device-cgroup-rule 'c 10:200 rw'", "nnnn"),
            ("", "nnnn"),
        ] {
            let out = rocker.ok(&format!(
                "run --rm --network none --cap-add SYSLOG {rule} $I sh -c '{tries}'"
            ));
            assert_eq!(out, expected, "{rule}");
        }
        if !is_v2() {
            // What the cgroup above does not have cannot be asked for, and is not left out in silence.
            host.sh("mkdir /sys/fs/cgroup/devices/strict; cd /sys/fs/cgroup/devices/strict; echo a >devices.deny
                for rule in 'c *:* m' 'b *:* m' 'c 1:3 rwm' 'c 5:* rwm' 'c 136:* rwm'; do echo $rule >devices.allow; done");
            let run = |rule: &str| {
                rocker.run(&format!(
                    "run --rm --network none --cgroup-parent strict {rule} $I true"
                ))
            };
            run("").succeeded();
            run("--device-cgroup-rule 'c 1:3 r'").succeeded();
            let line = run("--device-cgroup-rule 'c 1:11 r'").failed(125);
            assert!(
                line.contains("c 1:11 r") && line.contains("/strict"),
                "{line}"
            );
            host.sh("rmdir /sys/fs/cgroup/*/strict");
        }
        // The customary ones open as ever, and a terminal does.
        let all = "for d in null zero full random urandom; do head -c 1 /dev/$d >/dev/null && echo -n $d,; done; : </dev/ptmx && echo ptmx";
        assert_eq!(
            rocker.ok(&format!("run --rm --network none $I sh -c '{all}'")),
            "null,zero,full,random,urandom,ptmx\n"
        );
        rocker.assert_all_gone("devices");
    });
}

#[test]
fn a_cgroup_parent_holds_its_containers_together_and_stays() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up(
            "one",
            "--network none --cgroup-parent /batch/night",
            "echo up; exec sleep 1000",
        );
        rocker.up(
            "two",
            "--network none --cgroup-parent batch/night --pids-limit 9",
            "echo up; exec sleep 1000",
        );
        assert_eq!(held(&rocker, "two", "pids/pids.max", "pids.max"), "9");
        let procs = held(&rocker, "one", "pids/cgroup.procs", "cgroup.procs");
        assert_eq!(procs, rocker.at("one", "/State/Pid"));
        rocker.ok("exec one true");
        rocker.ok("pause one");
        rocker.ok("unpause one");
        rocker.ok("update --pids-limit 8 one");
        // Also of one whose rocker was killed, and whose record nobody can read any more.
        let record = rocker
            .root
            .join("containers")
            .join(rocker.at("two", "/Id"))
            .join("container.json");
        let supervisor = rocker.supervisor("two");
        fs::write(record, "{").unwrap();
        host.sh(&format!("kill -KILL {supervisor}"));
        rocker.ok("rm -f one");
        host.wait_until("both are gone", LIMIT, || {
            rocker.ok("ps -a >/dev/null");
            host.sh("find /sys/fs/cgroup -type d -name 'rocker-*'")
                .is_empty()
        });
        // It is the caller's.
        host.sh("find /sys/fs/cgroup -depth -type d -path '*/batch*' -exec rmdir {} + ; ! [ -e /sys/fs/cgroup/batch ]");
        rocker.ok("ps -aq | xargs rocker rm -f >/dev/null");
        rocker.assert_all_gone("a parent");
    });
}

#[test]
fn a_container_sees_its_own_cgroups_or_the_hosts() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        let own = rocker.ok("run --rm --network none $I cat /proc/self/cgroup");
        assert!(own.lines().all(|line| line.ends_with(":/")), "{own}");
        let hosts = rocker.ok("run --rm --network none --cgroupns host $I cat /proc/self/cgroup");
        assert!(hosts.contains("/rocker-"), "{hosts}");
        assert!(
            rocker
                .ok("run --rm --network none --cgroupns host $I ls /sys/fs/cgroup")
                .lines()
                .count()
                > 1
        );
        let done = rocker.run("run --rm --network none --cgroupns host --userns auto $I true");
        assert!(done.failed(125).contains("--cgroupns"), "{done:?}");
        rocker.assert_all_gone("cgroup namespaces");
    });
}

#[test]
fn after_an_oom_kill_it_is_said_whose_memory_was_used_up() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        let eat = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60";
        let done = rocker.run(&format!("run --name own --network none -m 32m $I {eat}"));
        assert_eq!(done.code, 137, "{done:?}");
        assert!(
            done.err
                .contains("no more within its own limit; the container's limit is 32 MiB"),
            "{done:?}"
        );
        let state = |name: &str, what: &str| rocker.at(name, &format!("/State/{what}"));
        assert_eq!(
            [
                state("own", "OOMKilled"),
                state("own", "OOMLevel"),
                state("own", "ExitCode")
            ],
            ["true", "its own limit", "137"]
        );
        assert!(
            rocker
                .ok("ps -a")
                .contains("Exited (137, out of memory within its own limit) ")
        );
        // The container's own limit is far away; that of the cgroup around it is not.
        let (parent, file) = match is_v2() {
            true => ("/sys/fs/cgroup/small", "memory.max"),
            false => ("/sys/fs/cgroup/memory/small", "memory.limit_in_bytes"),
        };
        rocker.ok("run --rm --network none --cgroup-parent small $I true");
        host.sh(&format!("echo 33554432 >{parent}/{file}"));
        let done = rocker.run(&format!(
            "run --name above --network none --cgroup-parent small -m 512m $I {eat}"
        ));
        assert_eq!(done.code, 137, "{done:?}");
        let level = state("above", "OOMLevel");
        assert!(
            level.starts_with("the limit of a cgroup above (") && level.contains("/small)"),
            "{level}"
        );
        rocker.ok("rm own above");
        host.sh("find /sys/fs/cgroup -depth -type d -path '*/small' -exec rmdir {} +");
        rocker.assert_all_gone("runs out of memory");
    });
}

#[test]
fn a_fork_bomb_at_its_limit_is_removed_at_once() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up(
            "bomb",
            "--pids-limit 200 --network none",
            "b() { while :; do b & done; }; b & echo up; exec sleep 1000",
        );
        host.wait_until("the limit is reached", LIMIT, || {
            let now = held(&rocker, "bomb", "pids/pids.current", "pids.current");
            now.parse::<u32>().unwrap() >= 190
        });
        let start = Instant::now();
        rocker.ok("rm -f bomb");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1) * slower(), "{took:?}");
        rocker.assert_all_gone("a fork bomb");
    });
}

#[test]
fn cgroups_that_a_privileged_container_makes_go_with_it() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        let (mount, place) = match is_v2() {
            true => ("mount -t cgroup2 none /tmp", "/tmp"),
            false => ("mount -t cgroup -o pids none /tmp", "/tmp"),
        };
        let nest = format!(
            "{mount}; mkdir -p {place}/a/b; sleep 1000 & echo $! >{place}/a/b/cgroup.procs; echo up; exec sleep 1000"
        );
        rocker.up("nest", "--network none --privileged", &nest);
        assert!(
            host.sh("find /sys/fs/cgroup -path '*/rocker-*/a/b'")
                .contains("/a/b")
        );
        rocker.ok("rm -f nest");
        rocker.assert_all_gone("nested cgroups");
    });
}

#[test]
fn many_containers_at_once_leave_no_cgroup() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        let many = if slower() > 1 { 20 } else { 200 };
        let script = format!(
            "for i in $(seq {many}); do rocker run --rm --network none -m 32m --pids-limit 20 $I echo ran & done; wait"
        );
        let done = rocker.script(&script);
        assert_eq!(done.out, "ran\n".repeat(many), "{done:?}");
        rocker.assert_all_gone("many containers");
        let _ = host;
    });
}

#[test]
fn a_plain_run_from_image_to_exit_on_each_file_system() {
    fake_host::run(|host| {
        let mut rocker = Rocker::with_busybox(host);
        let hello = rocker.ok("run --rm hello");
        assert!(hello.contains("PID 1"), "{hello}");
        let check = |rocker: &Rocker<'_>| {
            let script = "test $$ = 1 && echo changed >/file && cat /file && ping -c 1 -W 20 $(ip route | sed -n \"s/default via \\([^ ]*\\).*/\\1/p\") >/dev/null && hostname -i";
            let out = rocker.ok(&format!(
                "run --rm --cpus 0.5 -m 64m --pids-limit 50 $I sh -c '{script}'"
            ));
            assert!(
                out.starts_with("changed\n") && out.lines().count() == 2,
                "{out}"
            );
            rocker.assert_all_gone("a run");
        };
        check(&rocker);
        // The same on a disk, where the machine has one of its own.
        if let Some(disk) = std::env::var_os("ROCKER_TEST_DISK") {
            let root = std::path::Path::new(&disk).join("rocker-root");
            fs::create_dir_all(&root).unwrap();
            rocker.root = root;
            rocker.import_busybox();
            check(&rocker);
        }
    });
}

/// Runs `rocker ARGS` as alice, in a new cgroup that has been given to her, as systemd gives one to a unit: nothing else is in it.
fn in_a_unit(rocker: &Rocker<'_>, args: &str) -> crate::support::Done {
    rocker.script_as_root(&format!(
        "echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
         cd $(mktemp -d /sys/fs/cgroup/alice-XXXXXX) && chmod 755 . &&
         chown 1000:1000 . cgroup.procs cgroup.threads cgroup.subtree_control && echo $$ >cgroup.procs && cd {ALICES_HOME} &&
         exec setpriv --reuid=1000 --regid=1000 --clear-groups rocker {args}"
    ))
}

#[test]
fn an_ordinary_user_in_a_delegated_cgroup_has_limits_that_bite() {
    fake_host::run(|host| {
        if !fake_host::require("cgroup2", is_v2()) {
            return;
        }
        let mut rocker = Rocker::of_alice(host);
        rocker.import_busybox();
        let run = |args: &str| in_a_unit(&rocker, args);
        let eat = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60";
        let done = run(&format!("run --rm --network none -m 32m $I {eat}"));
        assert_eq!(done.code, 137, "{done:?}");
        assert!(done.err.contains("out of memory"), "{done:?}");
        let forks = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo all";
        let done = run(&format!(
            "run --rm --network none --pids-limit 20 $I sh -c '{forks}'"
        ));
        assert!(done.code != 0 && done.out.is_empty(), "{done:?}");
        run("run -d --name web --network none --cpus 0.5 $I sleep 1000").succeeded();
        // From elsewhere, as from a shell of hers that is in no cgroup of her own.
        for (args, said) in [
            ("pause web", "web"),
            ("ps", "(Paused)"),
            ("unpause web", "web"),
            ("update --cpus 0.7 web", "web"),
            ("stats --no-stream", "web"),
            ("top web", "sleep 1000"),
            ("commit web of-alice", "sha256:"),
            ("rm -f web", "web"),
        ] {
            let done = rocker.run(args);
            assert!(done.code == 0 && done.out.contains(said), "{done:?}");
        }
        rocker.ok("rmi of-alice");
        run("run -d --name web --network none --pids-limit 20 $I sleep 1000").succeeded();
        // What cannot be held to its limits is not run in it.
        let done = rocker.run("exec web true");
        assert!(done.failed(125).contains("cannot join"), "{done:?}");
        // Who looked after it is killed, and the next command comes from elsewhere.
        let cgroups =
            || host.sh("find /sys/fs/cgroup/alice-* -name 'rocker-*' ! -name '*supervisors'");
        assert_ne!(cgroups(), "");
        host.sh(&format!("kill -KILL {}", rocker.supervisor("web")));
        host.wait_until("it has ended", LIMIT, || {
            rocker.at("web", "/State/Status") == "exited"
        });
        assert_eq!(cgroups(), "");
        rocker.ok("rm web");
        // Rules on devices are not hers to make.
        let done = run("run --rm --network none --device-cgroup-rule 'c 1:1 r' $I true");
        // Where no overlay can be had that is said, too.
        assert!(
            done.code == 125 && done.err.contains("--device-cgroup-rule"),
            "{done:?}"
        );
        host.wait_until("her cgroups are empty", LIMIT, || {
            let script = "find /sys/fs/cgroup/alice-* -depth -type d -exec rmdir {} +";
            host.try_sh(script).status.success()
        });
    });
}
