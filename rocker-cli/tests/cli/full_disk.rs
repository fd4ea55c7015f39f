//! Disks that are full, or cannot be written.

use std::path::Path;
use std::time::Duration;

use crate::fake_host;
use crate::killed_supervisor::kill_supervisor;
use crate::support::Scene;

const LIMIT: Duration = Duration::from_secs(20);

/// A scene on disks of its own, which can be filled.
fn scene_on_disks(host: &fake_host::Host) -> Scene<'_> {
    for (name, size) in [("rocker-root", "48m"), ("rocker-run", "1m")] {
        let dir = host.dir(name);
        host.sh(&format!(
            "mount -t tmpfs -o size={size} tmpfs {}",
            dir.display()
        ));
    }
    Scene::new(host)
}

fn fill(scene: &Scene<'_>, dir: &Path) {
    let script = format!(
        "dd if=/dev/zero of={}/filler bs=4k 2>/dev/null",
        dir.display()
    );
    assert!(!scene.host.try_sh(&script).status.success(), "it is full");
}

fn empty(scene: &Scene<'_>, dir: &Path) {
    scene.host.sh(&format!("rm {}/filler", dir.display()));
}

/// Runs commands that make or change something on a disk that cannot be written.
#[track_caller]
fn all_fail_clearly(scene: &Scene<'_>, reason: &str, commands: &[&str]) {
    for args in commands {
        let done = scene.run(args);
        if done.code == 0 {
            continue;
        }
        // One line, behind the warnings of what could not be taken down.
        let last: Vec<_> = done
            .err
            .lines()
            .filter(|line| line.starts_with("rocker: "))
            .collect();
        let last = last.last().unwrap_or_else(|| panic!("{done:?}"));
        assert!(
            last.contains(reason) && !done.err.contains("panicked"),
            "{done:?}"
        );
        assert!(done.err.lines().count() < 8, "{done:?}");
    }
}

#[test]
fn a_full_disk_is_named_and_containers_are_listed_stopped_and_removed() {
    fake_host::run(|host| {
        let scene = scene_on_disks(host);
        scene.ok("run --name done $I echo said");
        for name in ["one", "two", "three"] {
            scene.ok(&format!("run -d --name {name} $I sleep 6000"));
        }
        fill(&scene, &scene.root);
        let commands = [
            "run --rm $I true",
            "run -d $I sleep 6000",
            "create $I true",
            "start -a done",
            "rename done new",
        ];
        all_fail_clearly(&scene, "No space left", &commands);
        assert_eq!(scene.ok("ps -q").lines().count(), 3);
        assert_eq!(scene.ok("exec one echo on"), "on\n");
        // One ends by itself, one by command, one with its supervisor.
        scene.run("stop -t 0 one");
        kill_supervisor(&scene, "two");
        scene.run("exec three kill -9 1");
        host.wait_until("two is gone", LIMIT, || {
            host.sh("pgrep -cxf 'sleep 6000' || true").trim() == "1"
        });
        let table = scene.run("ps -a");
        assert_eq!((table.code, table.out.lines().count()), (0, 5), "{table:?}");
        assert!(table.out.matches("Exited (137)").count() >= 2, "{table:?}");
        scene.ok("rm done");
        empty(&scene, &scene.root);
        scene.ok("start one");
        scene.ok("start two");
        let table = scene.ok("ps -a");
        assert_eq!(table.lines().count(), 4, "{table}");
        scene.ok("rm -f one two three");
        scene.assert_all_gone("a full disk");
    });
}

#[test]
fn a_container_can_be_removed_by_force_on_a_full_disk() {
    fake_host::run(|host| {
        let scene = scene_on_disks(host);
        scene.ok("run -d --name web $I sleep 6000");
        scene.ok("run -d --rm --name passing $I sleep 6000");
        fill(&scene, &scene.root);
        for name in ["web", "passing"] {
            scene.run(&format!("rm -f {name}"));
        }
        empty(&scene, &scene.root);
        scene.run("rm -f web");
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn a_full_disk_does_not_hold_up_a_container_that_is_logged_and_the_log_says_what_is_missing() {
    fake_host::run(|host| {
        let scene = scene_on_disks(host);
        let script = "echo first; until [ -e /tmp/go ]; do sleep 0.01; done; seq 1000; touch /tmp/wrote; until [ -e /tmp/on ]; do sleep 0.01; done; echo last";
        scene.ok(&format!(
            "run -d --name web --tmpfs /tmp $I sh -c '{script}'"
        ));
        host.wait_until("it runs", LIMIT, || scene.ok("logs web") == "first\n");
        fill(&scene, &scene.root);
        scene.ok("exec web touch /tmp/go");
        host.wait_until("it has written all", LIMIT, || {
            scene.run("exec web ls /tmp/wrote").code == 0
        });
        empty(&scene, &scene.root);
        scene.ok("exec web touch /tmp/on");
        assert_eq!(scene.ok("wait web"), "0\n");
        let log = scene.script("rocker logs web 2>&1").out;
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(
            (lines[0], *lines.last().unwrap()),
            ("first", "last"),
            "{log}"
        );
        assert!(
            log.contains("lines are missing here: No space left"),
            "{log}"
        );
        scene.ok("rm web");
        scene.assert_all_gone("a full disk");
    });
}

#[test]
fn a_full_run_directory_is_named_and_holds_up_no_container() {
    fake_host::run(|host| {
        let scene = scene_on_disks(host);
        scene.ok("run --name done $I echo said");
        scene.ok("run -d --name one $I sleep 6000");
        scene.ok("run -d --name two $I sleep 6000");
        fill(&scene, &scene.run);
        let commands = ["run --rm $I true", "create --name x $I true"];
        all_fail_clearly(&scene, "No space left", &commands);
        // What is large lies elsewhere, so containers go on to be started.
        assert_eq!(scene.ok("start -a done"), "said\n");
        assert_eq!(scene.ok("ps -q").lines().count(), 2);
        assert_eq!(scene.ok("logs done"), "said\nsaid\n");
        assert_eq!(scene.ok("exec one echo on"), "on\n");
        scene.run("stop -t 0 one");
        kill_supervisor(&scene, "two");
        host.wait_until("they are gone", LIMIT, || {
            !host.try_sh("pgrep -xf 'sleep 6000'").status.success()
        });
        let table = scene.run("ps -a");
        assert_eq!(
            (table.code, table.out.matches("Exited (137)").count()),
            (0, 2),
            "{table:?}"
        );
        empty(&scene, &scene.run);
        scene.run("rm -f x");
        assert_eq!(scene.ok("start -a done"), "said\n");
        scene.ok("rm -f done one two");
        scene.assert_all_gone("a full run directory");
    });
}

#[test]
fn on_a_read_only_root_containers_are_listed_and_what_cannot_be_done_is_named() {
    fake_host::run(|host| {
        let scene = scene_on_disks(host);
        scene.ok("run --name done $I echo said");
        scene.ok("run -d --name web $I sleep 6000");
        scene.ok("stop -t 0 web");
        let remount = |mode: &str| {
            host.sh(&format!("mount -o remount,{mode} {}", scene.root.display()));
        };
        remount("ro");
        let commands = [
            "run --rm $I true",
            "create $I true",
            "start -a done",
            "rename done new",
            "rm done",
            "rmi $I",
        ];
        all_fail_clearly(&scene, "Read-only file system", &commands);
        for args in commands {
            assert_ne!(scene.run(args).code, 0, "{args}");
        }
        assert_eq!(scene.ok("ps -a").lines().count(), 3);
        assert_eq!(scene.ok("logs done"), "said\n");
        scene.ok("inspect done");
        scene.ok("images");
        remount("rw");
        assert_eq!(scene.ok("start -a done"), "said\n");
        scene.ok("rm done web");
        scene.assert_all_gone("a read-only root");
    });
}
