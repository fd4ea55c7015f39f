//! A supervisor that is killed takes its container with it, and nobody waits for it in vain.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::fake_host;
use crate::support::{Rocker, Scene};

const LIMIT: Duration = Duration::from_secs(10);

/// The process that looks after a container.
pub fn supervisor(rocker: &Rocker<'_>, name: &str) -> u32 {
    let lock = Path::new(&rocker.run_dir_of(name)).join("lock");
    let text = fs::read_to_string(lock).unwrap();
    text.split_once(' ').unwrap().0.parse().unwrap()
}

/// Kills it.
pub fn kill_supervisor(scene: &Scene<'_>, name: &str) {
    let pid = supervisor(scene, name);
    scene.host.sh(&format!("kill -KILL {pid}"));
}

#[test]
fn a_killed_supervisor_leaves_a_dead_container_with_its_log_that_starts_again() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name web $I sh -c 'echo said; sleep 6000 & exec sleep 6000'");
        host.wait_until("it has spoken", LIMIT, || scene.ok("logs web") == "said\n");
        kill_supervisor(&scene, "web");
        // No command has to come.
        host.wait_until("its processes are gone", LIMIT, || {
            !host.try_sh("pgrep -xf 'sleep 6000'").status.success()
        });
        let table = scene.ok("ps -a");
        assert!(table.contains("Exited (137)"), "{table}");
        scene.assert_nothing_left("a killed supervisor");
        assert_eq!(scene.ok("logs web"), "said\n");
        assert_eq!(scene.ok("wait web"), "137\n");
        scene.ok("start web");
        host.wait_until("it speaks again", LIMIT, || {
            scene.ok("logs web") == "said\nsaid\n"
        });
        scene.ok("rm -f web");
        scene.assert_all_gone("rm");
    });
}

#[test]
fn nobody_waits_for_a_killed_supervisor_in_vain() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name web $I sh -c 'echo said; exec sleep 6000'");
        host.wait_until("it has spoken", LIMIT, || scene.ok("logs web") == "said\n");
        let attach = scene.start("attach web");
        let wait = scene.start("wait web");
        let mut logs = scene.start("logs -f web");
        assert_eq!(logs.line(), "said");
        for (client, call) in [(&attach, "poll"), (&wait, "poll")] {
            let wchan = format!("/proc/{}/wchan", client.pid());
            host.wait_until("it waits", LIMIT, || {
                fs::read_to_string(&wchan).is_ok_and(|text| text.contains(call))
            });
        }
        kill_supervisor(&scene, "web");
        let done = attach.end();
        assert!(done.code != 0 && done.err.contains("web"), "{done:?}");
        let done = wait.end();
        assert_eq!((done.code, done.out.as_str()), (0, "137\n"), "{done:?}");
        let done = logs.end();
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        scene.ok("rm web");
        scene.assert_all_gone("rm");
    });
}

#[test]
fn a_boot_starts_those_that_ran_and_are_to_run_always() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (name, policy) in [
            ("one", "always"),
            ("two", "unless-stopped"),
            ("three", "no"),
            ("four", "on-failure"),
        ] {
            scene.ok(&format!(
                "run -d --name {name} --restart {policy} $I sleep 6000"
            ));
        }
        for name in ["one", "two", "three", "four"] {
            kill_supervisor(&scene, name);
        }
        host.wait_until("all are gone", LIMIT, || {
            !host.try_sh("pgrep -xf 'sleep 6000'").status.success()
        });
        // A reboot empties it.
        host.sh(&format!("rm -r {0}/* {0}/.[a-z]*", scene.run.display()));
        scene.ok("system boot");
        let names = scene.ok("ps --format '{{.Names}}'");
        let mut names: Vec<_> = names.lines().collect();
        names.sort_unstable();
        assert!(names.contains(&"one"), "{names:?}");
        assert!(
            names.contains(&"two") && !names.contains(&"three"),
            "{names:?}"
        );
        let table = scene.ok("ps -a");
        assert!(table.contains("Exited (137)"), "{table}");
        scene.ok("rm -f one two three four");
        scene.assert_all_gone("rm");
    });
}

#[test]
fn a_client_that_is_stopped_holds_up_neither_the_end_nor_the_removal() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for remove in ["stop -t 1 web", "rm -f web"] {
            // More than any pipe or socket takes.
            scene.ok("run -d --name web $I sh -c 'yes 0123456789012345678901234567890123456789 | head -c 20000000; touch /wrote; trap exit TERM; while :; do sleep 0.1; done'");
            let clients = [scene.start("logs -f web"), scene.start("attach web")];
            for client in &clients {
                client.signal("STOP");
            }
            host.wait_until("it has written all of it", Duration::from_secs(30), || {
                scene.run("exec web ls /wrote").code == 0
            });
            let start = std::time::Instant::now();
            scene.ok(remove);
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{remove}: {:?}",
                start.elapsed()
            );
            drop(clients);
            scene.run("rm -f web");
            scene.assert_all_gone(remove);
        }
    });
}
