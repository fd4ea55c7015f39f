//! Commands on containers and images that are killed at every single step.

use std::time::Duration;

use crate::crash_steps::{
    Hit, assert_whole, kill_at_each_step, reap, the_one, wait_for_supervisors,
};
use crate::fake_host;
use crate::support::Scene;

#[test]
fn a_stop_killed_at_any_step_leaves_a_container_that_runs_or_has_ended() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = || {
            scene.ok("start web");
        };
        scene.ok("create --name web $I sleep 5000");
        kill_at_each_step(&scene, Hit::All, "stop -t 0 web", before, |after| {
            let state = the_one(&scene, after).unwrap();
            assert!(
                ["running", "exited"]
                    .iter()
                    .any(|word| state.contains(word)),
                "{after}: {state}"
            );
            scene.ok("stop -t 0 web");
            let state = the_one(&scene, after).unwrap();
            assert!(state.contains("exited"), "after {after}: {state}");
            wait_for_supervisors(&scene);
            scene.assert_nothing_left(after);
            assert_whole(&scene, after);
        });
        scene.ok("rm web");
        scene.assert_all_gone("rm");
    });
}

#[test]
fn a_rm_killed_at_any_step_removes_a_container_wholly_or_not_at_all() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = || {
            if scene.containers().is_empty() {
                scene.ok("run --name web $I sh -c '[ -e /dir ] || mkdir -p /dir/a /dir/b /c; ls / | wc -l'");
            }
        };
        before();
        let whole = scene.ok("start -a web");
        kill_at_each_step(&scene, Hit::First, "rm web", before, |after| {
            scene.ok("ps -a");
            scene.assert_nothing_left(after);
            assert_whole(&scene, after);
            match the_one(&scene, after) {
                Some(state) => {
                    assert!(state.contains("exited"), "after {after}: {state}");
                    assert_eq!(scene.ok("start -a web"), whole, "after {after}");
                }
                None => scene.assert_all_gone(after),
            }
        });
    });
}

#[test]
fn a_rm_by_force_killed_at_any_step_leaves_a_whole_container_or_none() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = || {
            match scene.containers().is_empty() {
                true => scene.ok("run -d --name web $I sleep 5000"),
                false => scene.ok("start web"),
            };
        };
        kill_at_each_step(&scene, Hit::First, "rm -f web", before, |after| {
            // The supervisor goes on where the one who removes does not.
            if !scene.containers().is_empty() {
                scene.run("stop -t 0 web");
            }
            wait_for_supervisors(&scene);
            scene.ok("ps -a");
            scene.assert_nothing_left(after);
            assert_whole(&scene, after);
            if the_one(&scene, after).is_none() {
                scene.assert_all_gone(after);
            }
        });
    });
}

#[test]
fn an_exec_killed_at_any_step_leaves_its_container_as_it_was() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name web $I sleep 5000");
        let id = scene.containers()[0].0.clone();
        let state = scene.containers()[0].1.clone();
        for (hit, args) in [
            (Hit::First, "exec web true"),
            (Hit::All, "exec -d web true"),
        ] {
            kill_at_each_step(
                &scene,
                hit,
                args,
                || {},
                |after| {
                    scene.ok("ps");
                    assert_whole(&scene, after);
                    assert_eq!(
                        the_one(&scene, after).as_ref(),
                        Some(&state),
                        "after {after}"
                    );
                    let script = format!(
                        "find /sys/fs/cgroup -path '*rocker-{id}*' -name cgroup.procs -exec cat {{}} + | sort -u"
                    );
                    host.wait_until(
                        &format!("one process is left after {after}"),
                        Duration::from_secs(5),
                        || host.sh(&script).lines().count() == 1,
                    );
                },
            );
        }
        assert_eq!(scene.ok("exec web echo on"), "on\n");
        reap();
        scene.ok("rm -f web");
        scene.assert_all_gone("rm");
    });
}

#[test]
fn a_rename_killed_at_any_step_leaves_one_name_taken_and_the_other_free() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let find = |name: &str| scene.run(&format!("inspect -f {{{{.Id}}}} {name}")).code == 0;
        let before = || {
            scene.ok("create --name web $I true");
        };
        kill_at_each_step(&scene, Hit::First, "rename web new", before, |after| {
            assert_whole(&scene, after);
            let (old, new) = (find("web"), find("new"));
            assert!(old != new, "after {after}: {old} and {new}");
            let (taken, free) = if old { ("web", "new") } else { ("new", "web") };
            let done = scene.run(&format!("create --name {taken} $I true"));
            assert_eq!(done.code, 125, "after {after}: {done:?}");
            scene.ok(&format!("rm {taken}"));
            scene.assert_all_gone(after);
            scene.ok(&format!("create --name {free} $I true"));
            scene.ok(&format!("rm {free}"));
        });
        scene.assert_all_gone("renames");
    });
}

#[test]
fn a_pull_killed_at_any_step_leaves_a_store_that_works() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        kill_at_each_step(
            &scene,
            Hit::All,
            "pull -q $I",
            || {},
            |after| {
                assert_eq!(
                    scene.ok("run --rm $I echo whole"),
                    "whole\n",
                    "after {after}"
                );
                scene.ok("rmi $I");
                let left = host.sh(&format!(
                "find {0}/layers {0}/images/blobs -mindepth 2; find {0}/images {0}/layers -name '*tmp*' -o -path '*ingest/*' -o -name '*.new*'",
                scene.root.display()
            ));
                assert_eq!(left, "", "after {after}");
            },
        );
    });
}
