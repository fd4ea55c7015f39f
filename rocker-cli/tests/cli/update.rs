//! What a container may use, changed while it runs, and while it does not.

use crate::fake_host;
use crate::resource_flags::{held, is_v2};
use crate::support::{LIMIT, Rocker};

const SLEEP: &str = "echo up; exec sleep 1000";

fn pids(rocker: &Rocker<'_>, name: &str) -> String {
    held(rocker, name, "pids/pids.max", "pids.max")
}

/// The file of a container's cgroup that says how many tasks it may have.
fn pids_file(rocker: &Rocker<'_>, name: &str) -> String {
    let id = rocker.at(name, "/Id");
    match is_v2() {
        true => format!("/sys/fs/cgroup/rocker-{id}/pids.max"),
        false => format!("/sys/fs/cgroup/pids/rocker-{id}/pids.max"),
    }
}

#[test]
fn an_update_changes_the_running_container_and_what_it_is_started_with_next() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up(
            "web",
            "--network none -m 64m --memory-swap 64m --pids-limit 20",
            "echo up; exec sleep 1000",
        );
        assert_eq!(
            rocker.ok(
                "update --cpus 0.5 -m 96m --memory-swap 128m --pids-limit 44 --cpu-shares 2048 web"
            ),
            "web\n"
        );
        let check = || {
            for (v1, v2, expected) in [
                (
                    "cpu/cpu.cfs_quota_us",
                    "cpu.max",
                    if is_v2() { "50000 100000" } else { "50000" },
                ),
                ("memory/memory.limit_in_bytes", "memory.max", "100663296"),
                (
                    "memory/memory.memsw.limit_in_bytes",
                    "memory.swap.max",
                    if is_v2() { "33554432" } else { "134217728" },
                ),
                ("pids/pids.max", "pids.max", "44"),
                (
                    "cpu/cpu.shares",
                    "cpu.weight",
                    if is_v2() { "174" } else { "2048" },
                ),
            ] {
                let found = held(&rocker, "web", v1, v2);
                // The formula rounds up.
                assert!(
                    found == expected || v2 == "cpu.weight" && found == "175",
                    "{v2}: {found}"
                );
            }
        };
        check();
        let config = rocker
            .root
            .join("containers")
            .join(rocker.at("web", "/Id"))
            .join("config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(
            text.contains("100663296") && text.contains("\"devices\""),
            "{text}"
        );
        // Memory that is in use, and swap that is less than memory, are refused; nothing changes then.
        let done = rocker.run("update -m 256m web");
        assert!(
            done.code == 1 && done.err.contains("memory+swap"),
            "{done:?}"
        );
        check();
        let done = rocker.run("update --cpuset-cpus 4000 --pids-limit 9 web");
        assert!(done.code == 1 && done.err.contains("cpuset"), "{done:?}");
        check();
        rocker.ok("restart -t 0 web");
        check();
        // One that does not run has them when it does.
        rocker.ok("stop -t 0 web");
        rocker.ok("update --pids-limit 45 --restart on-failure:3 web");
        rocker.ok("start web");
        assert_eq!(held(&rocker, "web", "pids/pids.max", "pids.max"), "45");
        assert_eq!(
            rocker.at("web", "/HostConfig/RestartPolicy/Name"),
            "on-failure"
        );
        assert_eq!(rocker.run("update web").code, 125);
        assert_eq!(rocker.run("update --pids-limit 3 nobody").code, 1);
        rocker.ok("rm -f web");
        rocker.assert_all_gone("updates");
    });
}

#[test]
fn a_restart_by_policy_has_the_limits_of_the_last_update() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up(
            "web",
            "--network none --restart always --pids-limit 20",
            "echo up; exec sleep 1000",
        );
        rocker.ok("update --pids-limit 21 web");
        let before = rocker.at("web", "/State/Pid");
        host.sh(&format!("kill -KILL {before}"));
        host.wait_until("it runs again", LIMIT, || {
            let now = rocker.at("web", "/State/Pid");
            now != before && now != "0"
        });
        assert_eq!(held(&rocker, "web", "pids/pids.max", "pids.max"), "21");
        rocker.ok("update --restart no web");
        let before = rocker.at("web", "/State/Pid");
        host.sh(&format!("kill -KILL {before}"));
        host.wait_until("it stays down", LIMIT, || {
            rocker.at("web", "/State/Status") == "exited"
        });
        rocker.ok("rm -f web");
        rocker.assert_all_gone("restarts");
    });
}

#[test]
fn an_update_that_fails_leaves_no_limit_where_there_was_none() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up("web", "--network none", SLEEP);
        let files = [
            ("pids/pids.max", "pids.max"),
            ("cpu/cpu.cfs_quota_us", "cpu.max"),
            ("cpu/cpu.shares", "cpu.weight"),
            ("memory/memory.limit_in_bytes", "memory.max"),
            ("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
            ("memory/memory.soft_limit_in_bytes", "memory.low"),
        ];
        let all = || files.map(|(v1, v2)| held(&rocker, "web", v1, v2));
        let before = all();
        let done = rocker.run(
            "update --cpus 0.5 --cpu-shares 99 -m 64m --memory-swap 96m --memory-reservation 32m --pids-limit 5 \
             --cpuset-cpus 4000 web",
        );
        assert!(done.code == 1 && done.err.contains("cpuset"), "{done:?}");
        assert_eq!(all(), before);
        // And what cannot be written down is not in force either.
        let data = rocker.root.join("containers").join(rocker.at("web", "/Id"));
        let data = data.display();
        host.sh(&format!(
            "mount --bind {data} {data}; mount -o remount,bind,ro {data}"
        ));
        let done = rocker.run("update --pids-limit 5 web");
        assert!(done.code == 1 && done.err.contains("Read-only"), "{done:?}");
        assert_eq!(all(), before);
        host.sh(&format!("umount {data}"));
        rocker.ok("update --pids-limit 5 web");
        assert_eq!(pids(&rocker, "web"), "5");
        rocker.ok("rm -f web");
        rocker.assert_all_gone("updates that failed");
    });
}

#[test]
fn an_update_puts_in_force_what_the_record_says_already() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up("web", "--network none --pids-limit 20", SLEEP);
        // As after an update that was killed before it had written anything down.
        std::fs::write(pids_file(&rocker, "web"), "99").unwrap();
        rocker.ok("update --pids-limit 20 web");
        assert_eq!(pids(&rocker, "web"), "20");
        rocker.ok("rm -f web");
        rocker.assert_all_gone("an update");
    });
}

#[test]
fn an_update_while_the_container_is_being_started_is_in_force_when_it_runs() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.ok("create --name web --network none --pids-limit 20 $I sleep 1000");
        let file = pids_file(&rocker, "web");
        // Its cgroup is made before the process that goes there.
        let script = "exec strace -f -qq -o /dev/null -e trace=clone3 -e inject=clone3:delay_enter=3000000 rocker start web";
        let mut start = rocker.shell(script).spawn().unwrap();
        host.wait_until("its cgroup has the old limit", LIMIT, || {
            std::fs::read_to_string(&file).is_ok_and(|text| text == "20\n")
        });
        rocker.ok("update --pids-limit 60 web");
        assert_eq!(rocker.at("web", "/State/Status"), "created");
        host.wait_until("it has the new one", LIMIT, || pids(&rocker, "web") == "60");
        rocker.ok("rm -f web");
        start.wait().unwrap();
        rocker.assert_all_gone("an update at the start");
    });
}

#[test]
fn nobody_who_makes_a_container_waits_for_an_update_of_another() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up("web", "--network none --pids-limit 20", SLEEP);
        let file = pids_file(&rocker, "web");
        // As while the kernel takes memory back before it takes the new limit.
        let script = format!(
            "exec strace -qq -f -o /dev/null -P {file} -e trace=write -e inject=write:delay_enter=4000000 \
             rocker update --pids-limit 30 web"
        );
        let mut update = rocker.shell(&script).spawn().unwrap();
        host.wait_until("the update writes", LIMIT, || {
            let writes = format!("for fd in /proc/[0-9]*/fd/*; do [ \"$(readlink $fd)\" = {file} ] && exit 0; done; exit 1");
            host.try_sh(&writes).status.success()
        });
        rocker.ok("create --name other --network none $I true");
        assert_eq!(pids(&rocker, "web"), "20", "the update is over already");
        assert!(update.wait().unwrap().success());
        assert_eq!(pids(&rocker, "web"), "30");
        rocker.ok("rm -f web other");
        rocker.assert_all_gone("an update that took long");
    });
}
