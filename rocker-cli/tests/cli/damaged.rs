//! Files of rocker's that are cut short, filled with garbage, or gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fake_host;
use crate::killed_supervisor::kill_supervisor;
use crate::support::Scene;

/// What a file is spoiled with: cut to a part of its length, and garbage.
fn spoilt(whole: &[u8]) -> Vec<Vec<u8>> {
    let length = whole.len();
    let cuts = [
        0,
        1,
        2,
        length / 3,
        length / 2,
        length.saturating_sub(2),
        length.saturating_sub(1),
    ];
    let mut all: Vec<_> = cuts.iter().map(|cut| whole[..*cut].to_vec()).collect();
    all.dedup();
    all.push(vec![0; length]);
    all.push(b"{}".to_vec());
    all.push(b"[1, 2".to_vec());
    all.push(b"null".to_vec());
    all.push((0..=255).cycle().take(5000).collect());
    all
}

/// The directory of the container of that name.
fn data(scene: &Scene<'_>, name: &str) -> PathBuf {
    let id = scene.ok(&format!("inspect -f {{{{.Id}}}} {name}"));
    scene.root.join("containers").join(id.trim())
}

/// Runs every command on `web`, each of which succeeds, or fails with a line that says why.
#[track_caller]
fn all_commands(scene: &Scene<'_>, case: &str) {
    for args in [
        "ps -a",
        "inspect web",
        "logs web",
        "exec web true",
        "start web",
        "rename web new",
        "rename new web",
        "kill web",
        "wait web",
        "system df",
    ] {
        let done = scene.run(args);
        let first = done.err.lines().next().unwrap_or_default();
        let is_clear = done.code == 0
            || first.starts_with("rocker: ") && first.len() > 20 && !first.contains("panicked");
        assert!(is_clear && done.err.lines().count() < 5, "{case}: {done:?}");
    }
}

/// Spoils a file of the container `web`, and checks that it can be removed, and that another one is not affected.
fn spoil_and_remove(scene: &Scene<'_>, file: &str, running: bool) {
    scene.ok("run -d --name other $I sleep 7000");
    let begin = if running {
        "run -d --name web $I sleep 6000"
    } else {
        "run --name web $I echo said"
    };
    scene.ok(begin);
    let whole = fs::read(data(scene, "web").join(file)).unwrap();
    scene.ok("rm -f web");
    for (count, text) in spoilt(&whole).iter().enumerate() {
        let case = format!(
            "{file}, {running}, as {:?}",
            String::from_utf8_lossy(&text[..text.len().min(99)])
        );
        scene.ok(begin);
        fs::write(data(scene, "web").join(file), text).unwrap();
        let table = scene.ok("ps -a");
        assert_eq!(table.lines().count(), 3, "{case}: {table}");
        assert!(table.contains("other"), "{case}: {table}");
        if count % 3 == 0 && !running {
            all_commands(scene, &case);
        }
        scene.run(if count % 2 == 0 {
            "stop -t 0 web"
        } else {
            "ps"
        });
        let start = std::time::Instant::now();
        scene.ok("rm -f web");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{case}: {:?}",
            start.elapsed()
        );
        assert!(
            !scene.host.try_sh("pgrep -xf 'sleep 6000'").status.success(),
            "{case}"
        );
        assert_eq!(scene.ok("exec other echo on"), "on\n", "{case}");
        assert_eq!(scene.containers().len(), 1, "{case}");
    }
    scene.ok("stop -t 0 other");
    scene.ok("rm other");
    scene.assert_all_gone(file);
}

#[test]
fn a_container_that_has_ended_is_removed_whatever_its_record_holds() {
    fake_host::run(|host| spoil_and_remove(&Scene::new(host), "container.json", false));
}

#[test]
fn a_container_that_has_ended_is_removed_whatever_its_state_holds() {
    fake_host::run(|host| spoil_and_remove(&Scene::new(host), "state.json", false));
}

#[test]
fn a_container_that_has_ended_is_removed_whatever_its_specification_holds() {
    fake_host::run(|host| spoil_and_remove(&Scene::new(host), "config.json", false));
}

#[test]
fn a_container_that_runs_is_removed_whatever_its_record_holds() {
    fake_host::run(|host| spoil_and_remove(&Scene::new(host), "container.json", true));
}

#[test]
fn a_container_that_runs_is_removed_whatever_its_state_holds() {
    fake_host::run(|host| spoil_and_remove(&Scene::new(host), "state.json", true));
}

#[test]
fn a_container_that_runs_is_removed_whatever_its_lock_and_its_state_hold() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for with_state in [false, true] {
            for text in spoilt(b"12345 1234567890\n").into_iter().step_by(2) {
                let case = format!(
                    "{with_state}, {:?}",
                    String::from_utf8_lossy(&text[..text.len().min(40)])
                );
                scene.ok("run -d --name web $I sleep 6000");
                fs::write(Path::new(&scene.run_dir_of("web")).join("lock"), &text).unwrap();
                if with_state {
                    fs::write(data(&scene, "web").join("state.json"), &text).unwrap();
                } else {
                    assert!(scene.ok("ps").contains("Up "), "{case}");
                    scene.ok("stop -t 0 web");
                }
                // A lock that names somebody who is dead is given a moment to become free, each time.
                let start = std::time::Instant::now();
                scene.ok("rm -f web");
                assert!(
                    start.elapsed() < Duration::from_secs(10),
                    "{case}: {:?}",
                    start.elapsed()
                );
                scene.assert_all_gone(&case);
            }
        }
    });
}

#[test]
fn what_lies_about_among_names_and_containers_is_no_obstacle() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name web $I true");
        let dir = scene.root.join("containers");
        fs::write(dir.join(".names/file"), "x").unwrap();
        std::os::unix::fs::symlink("../../../etc", dir.join(".names/astray")).unwrap();
        fs::write(dir.join("file"), "x").unwrap();
        let empty = "0".repeat(64);
        fs::create_dir(dir.join(&empty)).unwrap();
        fs::create_dir(scene.run.join("containers").join("1".repeat(64))).unwrap();
        for name in ["file", "astray"] {
            assert_eq!(scene.ok("ps -a").lines().count(), 2);
            scene.ok(&format!("create --name {name} $I true"));
            scene.ok(&format!("rm {name}"));
        }
        scene.ok("rm web");
        fs::remove_file(dir.join("file")).unwrap();
        let _ = fs::remove_dir(dir.join(&empty));
        scene.assert_all_gone("odd things");
    });
}

#[test]
fn an_emptied_run_directory_is_a_reboot() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name done $I echo said");
        scene.ok("create --name made $I echo said");
        scene.ok("run -d --name ran $I sleep 6000");
        let empty = format!("rm -rf {0}/* {0}/.[a-z]*", scene.run.display());
        // While they are stopped.
        scene.ok("stop -t 0 ran");
        host.sh(&empty);
        assert_eq!(scene.ok("start -a done"), "said\n");
        assert_eq!(scene.ok("ps -aq").lines().count(), 3);
        scene.assert_nothing_left("an emptied directory");
        // While one runs.
        scene.ok("start ran");
        kill_supervisor(&scene, "ran");
        host.wait_until("it is gone", Duration::from_secs(5), || {
            !host.try_sh("pgrep -xf 'sleep 6000'").status.success()
        });
        host.sh(&empty);
        let table = scene.ok("ps -a");
        assert!(
            table.contains("Exited (137)") && table.contains("Created"),
            "{table}"
        );
        scene.assert_nothing_left("a reboot");
        assert_eq!(scene.ok("start -a made"), "said\n");
        scene.ok("start ran");
        scene.ok("rm -f done made ran");
        scene.assert_all_gone("rm");
    });
}
