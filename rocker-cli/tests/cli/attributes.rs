//! What a container's processes have and share: each flag by what is seen from inside.

use std::fs;
use std::time::Duration;

use crate::fake_host::{self, Host};
use crate::support::Scene;

const LIMIT: Duration = Duration::from_secs(20);

/// Forbids `mkdir`, and says of `uname` that there is none; in Docker's words.
const DOCKER: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
    {"names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
/// Forbids `chmod`; in OCI's words.
const OCI: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"], "syscalls": [
    {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;

/// What comes out of a container with these flags.
fn inside(scene: &Scene<'_>, flags: &str, script: &str) -> String {
    scene.ok(&format!("run --rm {flags} $I sh -c '{script}'"))
}

/// Checks that each of `flags` is refused in one line that has the words beside it.
#[track_caller]
fn refused(scene: &Scene<'_>, flags: &[(&str, &str)]) {
    for (flags, says) in flags {
        let line = scene.fails(125, &format!("run {flags} $I true"));
        assert!(line.contains(says), "{flags}: {line}");
        scene.assert_all_gone(flags);
    }
}

/// Nodes of the devices null and full, under names of their own.
fn device_nodes(host: &Host) {
    host.sh("mount -t tmpfs -o mode=755 tmpfs /dev/net
        mknod -m 666 /dev/net/sink c 1 3; mknod -m 600 /dev/net/filled c 1 7");
}

fn identity(host: &Host, kind: &str) -> String {
    host.sh(&format!("readlink /proc/self/ns/{kind}"))
}

#[test]
fn limits_of_processes_are_as_asked_for_and_no_higher_than_may_be() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let flags = "--ulimit nofile=1000:2000 --ulimit core=0 --ulimit cpu=-1";
        let limits = inside(
            &scene,
            flags,
            "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -t",
        );
        assert_eq!(limits, "1000\n2000\n0\nunlimited\n");
        let idle = scene.start_idle(&format!("--rm --name web {flags}"));
        assert_eq!(
            scene.ok("exec web sh -c 'ulimit -Sn; ulimit -Hn'"),
            "1000\n2000\n"
        );
        assert_eq!(idle.end().code, 0);
        let most: u64 = host.sh("cat /proc/sys/fs/nr_open").trim().parse().unwrap();
        refused(
            &scene,
            &[
                ("--ulimit nosuch=1", "nosuch"),
                ("--ulimit nofile", "NAME=SOFT"),
                ("--ulimit nofile=2:1", "above the hard one"),
                ("--ulimit nofile=many", "whole number"),
                (&format!("--ulimit nofile={}", most + 1), "NOFILE"),
            ],
        );
        scene.assert_all_gone("limits");
    });
}

#[test]
fn the_kernel_knows_how_readily_to_kill() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let score = "cat /proc/self/oom_score_adj";
        assert_eq!(inside(&scene, "--oom-score-adj 500", score), "500\n");
        let idle = scene.start_idle("--rm --name web --oom-score-adj 77");
        assert_eq!(scene.ok(&format!("exec web {score}")), "77\n");
        assert_eq!(idle.end().code, 0);
        refused(
            &scene,
            &[("--oom-score-adj 1001", "1000"), ("--oom-score-adj x", "x")],
        );
    });
}

#[test]
fn groups_are_added_by_number_and_by_the_images_names() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        assert_eq!(
            inside(
                &scene,
                "-u 33:34 --group-add nogroup --group-add 77",
                "id -G"
            ),
            "34 77 65534\n"
        );
        refused(&scene, &[("--group-add nosuch", "/etc/group")]);
    });
}

#[test]
fn settings_of_the_kernel_are_the_containers_own_or_refused() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = host.sh("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax");
        let flags = "--sysctl net.ipv4.ip_default_ttl=33 --sysctl kernel.msgmax=9000 --sysctl net/ipv4/ip_forward=1";
        let script = "cd /proc/sys; cat net/ipv4/ip_default_ttl kernel/msgmax net/ipv4/ip_forward; echo 1 >net/ipv4/ip_forward";
        let done = scene.run(&format!("run --rm {flags} $I sh -c '{script}'"));
        assert_eq!(done.out, "33\n9000\n1\n");
        assert!(done.err.contains("Read-only"), "{done:?}");
        assert_eq!(
            host.sh("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax"),
            before
        );
        refused(
            &scene,
            &[
                ("--sysctl vm.swappiness=1", "the whole host's"),
                ("--sysctl kernel.panic=1", "the whole host's"),
                ("--sysctl kernel.hostname=x", "kernel.hostname"),
                ("--sysctl nonsense", "NAME=VALUE"),
                ("--sysctl net.nosuch=1", "net.nosuch"),
                ("--sysctl net.ipv4.ip_forward=many", "net.ipv4.ip_forward"),
                ("--sysctl net.ipv4/../../vm/swappiness=1", "sysctl"),
                (
                    "--network host --sysctl net.ipv4.ip_forward=1",
                    "network namespace",
                ),
                ("--ipc host --sysctl kernel.msgmax=1", "IPC namespace"),
                ("--uts host --sysctl kernel.domainname=x", "UTS namespace"),
            ],
        );
    });
}

#[test]
fn file_systems_in_memory_have_the_options_that_are_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let flags = "--read-only --tmpfs /plain --tmpfs /mine:size=1m,mode=700,exec,uid=33,gid=34 --tmpfs /closed:ro --tmpfs /suid:suid,dev";
        let idle = scene.start_idle(&format!("--rm --name web {flags}"));
        let mounts = scene.ok("exec web cat /proc/mounts");
        let options = |at: &str| -> Vec<String> {
            let line = mounts
                .lines()
                .find(|line| line.split(' ').nth(1) == Some(at));
            let line = line.unwrap_or_else(|| panic!("{at}: {mounts}"));
            line.split(' ')
                .nth(3)
                .unwrap()
                .split(',')
                .map(str::to_owned)
                .collect()
        };
        for (at, has, has_not) in [
            (
                "/plain",
                vec!["rw", "nosuid", "nodev", "noexec"],
                "size=1024k",
            ),
            (
                "/mine",
                vec![
                    "rw",
                    "nosuid",
                    "nodev",
                    "size=1024k",
                    "mode=700",
                    "uid=33",
                    "gid=34",
                ],
                "noexec",
            ),
            ("/closed", vec!["ro"], "rw"),
            ("/suid", vec!["rw", "noexec"], "nosuid"),
        ] {
            let found = options(at);
            assert!(
                has.iter().all(|has| found.iter().any(|one| one == has)),
                "{at}: {found:?}"
            );
            assert!(!found.iter().any(|one| one == has_not), "{at}: {found:?}");
        }
        let script = "cp /bin/busybox /mine/echo && /mine/echo runs; cp /bin/busybox /plain/echo && /plain/echo runs; stat -c %a /plain; touch /closed/x; touch /x";
        let done = scene.run(&format!("exec web sh -c '{script}'"));
        // As large as 1 MiB is, a static busybox is larger.
        assert!(done.out.ends_with("1777\n"), "{done:?}");
        assert!(done.err.matches("Read-only").count() == 2, "{done:?}");
        assert!(done.err.contains("No space left"), "{done:?}");
        assert_eq!(idle.end().code, 0);
        refused(
            &scene,
            &[
                ("--tmpfs relative", "absolute"),
                ("--tmpfs /", "other than /"),
                ("--tmpfs /x:nonsense", "nonsense"),
                ("--tmpfs /x:size=many", "size"),
                ("--shm-size many", "--shm-size"),
                ("--shm-size 0", "--shm-size"),
            ],
        );
        let script = "grep -o size=1024k /proc/mounts; dd if=/dev/zero of=/dev/shm/x bs=1M count=2 2>/dev/null; stat -c %s /dev/shm/x";
        assert_eq!(
            inside(&scene, "--shm-size 1m", script),
            "size=1024k\n1048576\n"
        );
    });
}

#[test]
fn devices_of_the_host_work_under_whatever_name() {
    fake_host::run(|host| {
        device_nodes(host);
        let scene = Scene::new(host);
        let flags = "--device /dev/net/sink:/dev/mine --device /dev/net/filled:/dev/deep/er/filled:rwm --device /dev/net/filled";
        let script = "echo x >/dev/mine && cat /dev/mine && echo sunk; stat -c \"%t:%T %a %u\" /dev/mine /dev/deep/er/filled /dev/net/filled; echo x >/dev/net/filled";
        let expected =
            |owner: &str| format!("sunk\n1:3 666 {owner}\n1:7 600 {owner}\n1:7 600 {owner}\n");
        let done = scene.run(&format!("run --rm {flags} $I sh -c '{script}'"));
        assert_eq!(done.out, expected("0"), "{done:?}");
        assert!(done.err.contains("No space left"), "{done:?}");
        // With users of its own: the node is the host's, and so is its owner, who alone may open one of mode 600.
        let done = scene.run(&format!(
            "run --rm --userns auto {flags} $I sh -c '{script}'"
        ));
        assert_eq!(done.out, expected("65534"), "{done:?}");
        assert!(done.err.contains("Permission denied"), "{done:?}");
        // Others can be made and not be opened.
        let done =
            scene.run("run --rm --device /dev/net/sink $I sh -c 'mknod /k c 1 11 && cat /k'");
        assert_ne!(done.code, 0, "{done:?}");
        refused(
            &scene,
            &[
                ("--device /etc/passwd:/dev/x", "character or block"),
                ("--device /dev/nosuch", "/dev/nosuch"),
                ("--device /dev/net/sink:/x", "/dev"),
                ("--device /dev/net/sink:/dev/x:rx", "letters r, w and m"),
                ("--device /dev/net/sink:/dev/../etc/x", "`..`"),
            ],
        );
    });
}

#[test]
fn names_of_host_and_domain_are_its_own_or_the_hosts_which_stay_as_they_are() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let names = "hostname; cat /proc/sys/kernel/domainname";
        let before = host.sh(names);
        assert_eq!(
            inside(&scene, "--hostname web --domainname example.org", names),
            "web\nexample.org\n"
        );
        assert_eq!(inside(&scene, "--uts host", names), before);
        assert_eq!(
            inside(&scene, "--uts host", "readlink /proc/self/ns/uts"),
            identity(host, "uts")
        );
        assert_ne!(scene.run("run --rm --uts host $I hostname other").code, 0);
        refused(
            &scene,
            &[
                ("--uts host --hostname x", "--hostname"),
                ("--uts host --domainname x", "--domainname"),
                ("--domainname 'a b'", "letters"),
                ("--uts container:x", "host or private"),
            ],
        );
        assert_eq!(host.sh(names), before);
    });
}

#[test]
fn the_hosts_processes_are_seen_and_nothing_is_left_of_the_containers_own() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "readlink /proc/self/ns/pid; readlink /proc/$$/exe";
        let seen = inside(&scene, "--pid host", script);
        assert_eq!(seen.lines().next(), Some(identity(host, "pid").trim()));
        for flags in [
            "",
            "--init",
            "--init --userns auto",
            "--read-only --network host --ipc host --uts host",
        ] {
            let mut run = scene.start(&format!(
                "run --rm --name web --pid host {flags} $I sh -c 'sleep 1001 & sleep 1002 & echo up; exec sleep 1003'"
            ));
            assert_eq!(run.line(), "up");
            assert_eq!(scene.run("inspect --actual web").code, 0, "{flags}");
            assert!(
                scene.ok("exec web ps -o args").contains("sleep 1002"),
                "{flags}"
            );
            scene.ok("rm -f web");
            assert_eq!(run.end().code, 137, "{flags}");
            scene.assert_all_gone(flags);
            // Its own children are not the host's to keep when it ends by itself either.
            inside(
                &scene,
                &format!("--pid host {flags}"),
                "sleep 1001 & sleep 1002 & exit 0",
            );
            scene.assert_all_gone(flags);
        }
    });
}

#[test]
fn two_containers_share_processes_and_each_ends_as_it_should() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let web = scene.start_idle("--rm --name web");
        for flags in ["", "--init", "--ipc container:web --network none"] {
            let mut side = scene.start(&format!(
                "run --rm --name side --pid container:web {flags} $I sh -c 'sleep 1001 & echo up; exec sleep 1002'"
            ));
            assert_eq!(side.line(), "up");
            let seen = scene.ok("exec side ps -o pid,args");
            assert!(
                seen.contains("1 cat") && seen.contains("sleep 1002"),
                "{flags}: {seen}"
            );
            assert_eq!(
                scene.ok("exec side readlink /proc/self/ns/pid"),
                scene.ok("exec web readlink /proc/self/ns/pid")
            );
            for name in ["web", "side"] {
                let compared = scene.run(&format!("inspect --actual {name}"));
                assert_eq!(compared.code, 0, "{flags}: {compared:?}");
            }
            scene.ok("exec side kill -0 1");
            scene.ok("rm -f side");
            assert_eq!(side.end().code, 137, "{flags}");
            // What nobody waited for is a zombie, with no arguments.
            assert!(
                !scene.ok("exec web ps -o args").contains("sleep 100"),
                "{flags}"
            );
        }
        // Signals reach it, though it is not the first process.
        let script = "trap \"exit 4\" TERM; echo up; while :; do sleep 0.01; done";
        let mut side = scene.start(&format!("run --rm --pid container:web $I sh -c '{script}'"));
        assert_eq!(side.line(), "up");
        side.signal("TERM");
        assert_eq!(side.end().code, 4);
        // Where the first one ends, the kernel ends the other.
        let mut side = scene
            .start("run --rm --name side --pid container:web $I sh -c 'echo up; exec sleep 1003'");
        assert_eq!(side.line(), "up");
        scene.ok("rm -f web");
        assert_eq!(web.end().code, 137);
        assert_eq!(side.end().code, 137);
        host.wait_until("both are gone", LIMIT, || scene.ok("ps -aq").is_empty());
        scene.assert_all_gone("two containers with one's processes");
        refused(
            &scene,
            &[
                ("--pid container:web", "web"),
                ("--pid container:", "container:NAME"),
                ("--pid nonsense", "container:NAME"),
                ("--ipc container:web", "web"),
            ],
        );
    });
}

#[test]
fn nobody_comes_among_the_processes_of_one_who_may_trace() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let web = scene.start_idle("--rm --name web");
        // The one that may trace need not be the one that is named.
        let mut tracer = scene.start(
            "run --rm --name tracer --pid container:web --cap-add SYS_PTRACE $I sh -c 'echo up; exec sleep 1004'",
        );
        assert_eq!(tracer.line(), "up");
        for name in ["web", "tracer"] {
            let line = scene.fails(125, &format!("run --pid container:{name} $I true"));
            assert!(line.contains("as tracer has"), "{line}");
        }
        scene.ok("rm -f tracer");
        assert_eq!(tracer.end().code, 137);
        scene.ok("run --rm --pid container:web $I true");
        assert_eq!(web.end().code, 0);
        scene.assert_all_gone("a tracer among shared processes");
    });
}

#[test]
fn who_stops_those_that_come_among_his_processes_holds_up_nobody_else() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut web = scene.start(
            "run --rm --name web $I sh -c 'echo up; while :; do kill -STOP -1 2>/dev/null; done'",
        );
        assert_eq!(web.line(), "up");
        // Some are done before he sees them.
        let states = || host.sh("cat /proc/[0-9]*/stat 2>/dev/null | cut -d ' ' -f 3 || true");
        let side = (0..100).find_map(|_| {
            let side = scene.start("run --rm --pid container:web $I true");
            host.wait_until("it is held up, or over", LIMIT, || {
                states().contains(['T', 'Z'])
            });
            if states().contains('T') {
                return Some(side);
            }
            side.end();
            None
        });
        let side = side.expect("one of them is held up");
        scene.ok("run --rm $I true");
        side.signal("TERM");
        assert_ne!(side.end().code, 0);
        scene.ok("rm -f web");
        assert_eq!(web.end().code, 137);
        scene.assert_all_gone("processes that stop others");
    });
}

#[test]
fn memory_and_queues_are_shared_with_the_host_or_another() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let ipc = "readlink /proc/self/ns/ipc";
        assert_eq!(inside(&scene, "--ipc host", ipc), identity(host, "ipc"));
        assert_eq!(
            inside(&scene, "--ipc host", "stat -c %i /dev/shm"),
            host.sh("stat -c %i /dev/shm")
        );
        let web = scene.start_idle("--rm --name web");
        assert_eq!(
            inside(&scene, "--ipc container:web", ipc),
            scene.ok(&format!("exec web {ipc}"))
        );
        assert_ne!(inside(&scene, "--ipc private", ipc), identity(host, "ipc"));
        // One with users of its own has no right to what another one has.
        for flag in ["--pid", "--ipc"] {
            let line = scene.fails(
                125,
                &format!("run --userns auto {flag} container:web $I true"),
            );
            assert!(
                line.contains(flag) && line.contains("users of its own"),
                "{line}"
            );
        }
        assert_eq!(web.end().code, 0);
        scene.assert_all_gone("shared memory");
    });
}

#[test]
fn a_seccomp_profile_filters_the_program_and_whatever_runs_beside_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::write("/run/docker.json", DOCKER).unwrap();
        fs::write("/run/oci.json", OCI).unwrap();
        let script =
            "mkdir /x; uname; chmod 700 /tmp && echo chmod; grep Seccomp: /proc/self/status";
        let done = scene.run(&format!(
            "run --rm --security-opt seccomp=/run/docker.json $I sh -c '{script}'"
        ));
        assert!(done.out.ends_with("chmod\nSeccomp:\t2\n"), "{done:?}");
        assert!(
            done.err.contains("/x': Operation not permitted"),
            "{done:?}"
        );
        // What depends on a capability follows it.
        let done = scene.run("run --rm --cap-add SYS_ADMIN --security-opt seccomp=/run/docker.json $I chmod 700 /tmp");
        assert_eq!(done.code, 1, "{done:?}");
        let done = scene.run("run --rm --security-opt seccomp=/run/oci.json $I sh -c 'mkdir /x && echo mkdir; chmod 700 /tmp'");
        assert_eq!(done.out, "mkdir\n");
        assert!(done.err.contains("Permission denied"), "{done:?}");
        let idle = scene.start_idle("--rm --name web --security-opt seccomp=/run/docker.json");
        assert_eq!(scene.run("exec web mkdir /x").code, 1);
        // What the file says later is another matter.
        fs::write("/run/docker.json", OCI).unwrap();
        assert_eq!(scene.run("exec web mkdir /x").code, 1);
        assert_eq!(idle.end().code, 0);
        let mode = "grep Seccomp: /proc/self/status";
        assert_eq!(
            inside(&scene, "--security-opt seccomp=unconfined", mode),
            "Seccomp:\t0\n"
        );
        assert_eq!(inside(&scene, "", mode), "Seccomp:\t2\n");
        assert_eq!(inside(&scene, "--privileged", mode), "Seccomp:\t0\n");
        scene.assert_all_gone("filters");
    });
}

#[test]
fn what_is_no_seccomp_profile_is_named_with_the_place_where_it_is_wrong() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (text, says) in [
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_BANANA"}]}"#,
                "SCMP_ACT_BANANA",
            ),
            (r#"{"defaultAction":"#, "line 1"),
            (r#"{"syscalls": []}"#, "defaultAction"),
            ("", "line 1"),
            ("[]", "line 1"),
        ] {
            fs::write("/run/bad.json", text).unwrap();
            let line = scene.fails(125, "run --security-opt seccomp=/run/bad.json $I true");
            assert!(
                line.contains("/run/bad.json") && line.contains(says),
                "{text}: {line}"
            );
            scene.assert_all_gone(text);
        }
        refused(
            &scene,
            &[
                (
                    "--security-opt seccomp=/run/nosuch.json",
                    "/run/nosuch.json",
                ),
                ("--security-opt nonsense", "no-new-privileges"),
                ("--security-opt seccomp=", "seccomp=FILE"),
            ],
        );
    });
}

#[test]
fn labels_of_a_security_module_that_the_machine_lacks_are_errors_that_say_so() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let modules = host.sh("cat /sys/kernel/security/lsm 2>/dev/null || true");
        if !modules.contains("apparmor") {
            refused(&scene, &[("--security-opt apparmor=mine", "AppArmor")]);
        }
        if !modules.contains("selinux") {
            refused(&scene, &[("--security-opt label=type:mine_t", "SELinux")]);
        }
        for flags in ["apparmor=unconfined", "label=disable"] {
            scene.ok(&format!("run --rm --security-opt {flags} $I true"));
        }
        let hidden = "head -c 1 /proc/timer_list | wc -c";
        assert_eq!(inside(&scene, "", hidden), "0\n");
        assert_eq!(
            inside(&scene, "--security-opt systempaths=unconfined", hidden),
            "1\n"
        );
        let flag = "grep NoNewPrivs /proc/self/status";
        assert_eq!(
            inside(&scene, "--security-opt no-new-privileges", flag),
            "NoNewPrivs:\t1\n"
        );
        scene.assert_all_gone("labels");
    });
}

#[test]
fn all_of_it_at_once_is_written_down_planned_and_found_by_the_kernels_own_account() {
    fake_host::run(|host| {
        device_nodes(host);
        let scene = Scene::new(host);
        fs::write("/run/docker.json", DOCKER).unwrap();
        let flags = "--ulimit nofile=100:200 --oom-score-adj 77 --group-add 77 --sysctl net.ipv4.ip_forward=1 \
                     --tmpfs /t:size=1m --shm-size 2m --device /dev/net/sink:/dev/mine --domainname d --hostname h \
                     --security-opt no-new-privileges --security-opt seccomp=/run/docker.json --init --read-only \
                     --mem 64 --pids 50 -u 33:34 --cap-drop ALL";
        for users in ["", "--userns auto", "--uidmap 0:100000:65536"] {
            let plan = scene.ok(&format!("plan {users} {flags} $I true"));
            assert!(
                plan.contains("prlimit64(") && plan.contains("seccomp("),
                "{plan}"
            );
            let idle = scene.start_idle(&format!("--rm --name web {users} {flags}"));
            let compared = scene.run("inspect --actual web");
            assert_eq!(compared.code, 0, "{compared:?}");
            assert!(!compared.out.contains("differs"), "{compared:?}");
            let lines = scene.ok("inspect --actual --format json web");
            for line in lines.lines() {
                let fact: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(fact["holds"], true, "{fact}");
                assert_eq!(fact["asked"], fact["actual"], "{fact}");
            }
            assert!(lines.lines().count() > 40, "{lines}");
            let script = "ulimit -n; cat /proc/self/oom_score_adj; id -G; cat /proc/1/comm; mkdir /t/x; grep -E \"CapBnd|NoNewPrivs\" /proc/self/status";
            let done = scene.run(&format!("exec web sh -c '{script}'"));
            let seen: Vec<_> = done.out.split_whitespace().collect();
            let expected = [
                "100",
                "77",
                "34",
                "77",
                "rocker-init",
                "CapBnd:",
                "0000000000000000",
                "NoNewPrivs:",
                "1",
            ];
            assert_eq!(seen, expected, "{done:?}");
            assert!(
                done.err.contains("/t/x': Operation not permitted"),
                "{done:?}"
            );
            let (id, _) = &scene.containers()[0];
            let config = scene.root.join("containers").join(id).join("config.json");
            let config: serde_json::Value =
                serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
            for (pointer, value) in [
                ("/hostname", serde_json::json!("h")),
                ("/domainname", serde_json::json!("d")),
                ("/root/readonly", serde_json::json!(true)),
                ("/process/oomScoreAdj", serde_json::json!(77)),
                ("/process/noNewPrivileges", serde_json::json!(true)),
                (
                    "/process/rlimits/0",
                    serde_json::json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}),
                ),
                ("/process/user/additionalGids", serde_json::json!([34, 77])),
                ("/linux/sysctl/net.ipv4.ip_forward", serde_json::json!("1")),
                ("/linux/devices/0/path", serde_json::json!("/dev/mine")),
                ("/linux/devices/0/major", serde_json::json!(1)),
                (
                    "/linux/seccomp/defaultAction",
                    serde_json::json!("SCMP_ACT_ALLOW"),
                ),
                ("/linux/resources/pids/limit", serde_json::json!(50)),
            ] {
                assert_eq!(
                    config.pointer(pointer),
                    Some(&value),
                    "{pointer}: {config:#}"
                );
            }
            let mapped = config.pointer("/linux/uidMappings/0/size").is_some();
            assert_eq!(mapped, !users.is_empty(), "{config:#}");
            assert_eq!(idle.end().code, 0);
            scene.assert_all_gone(users);
        }
        scene.ok("plan --pid host --ipc host --uts host --network host $I true");
    });
}

#[test]
fn a_plan_of_a_machine_that_ran_nothing_yet_needs_nothing() {
    fake_host::run(|host| {
        let rocker = crate::support::Rocker::new(host);
        for flags in ["", "--userns auto", "--uidmap 0:100000:65536", "--pid host"] {
            let plan = rocker.ok(&format!("plan {flags} hello"));
            assert!(plan.contains("pivot_root("), "{plan}");
        }
        assert_eq!(fs::read_dir(&rocker.root).unwrap().count(), 0);
    });
}
