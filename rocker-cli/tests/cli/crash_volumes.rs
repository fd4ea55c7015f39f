//! Commands on volumes that are killed at every single step: a volume is whole or not there, and so is what it gets from an image.

use std::fs;

use crate::crash_steps::{Hit, assert_whole, kill_at_each_step, reap};
use crate::fake_host;
use crate::registry::busybox_root;
use crate::support::Scene;

/// What of volumes there is in the store, but the volumes themselves.
fn left(scene: &Scene<'_>) -> String {
    let dir = scene.root.join("volumes");
    scene.host.sh(&format!(
        "[ ! -d {0} ] || find {0} -mindepth 1 -maxdepth 1 -name '.*'",
        dir.display()
    ))
}

#[test]
fn a_volume_whose_making_or_removal_is_killed_is_whole_or_gone() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let check = |after: &str| {
            let names = scene.ok("volume ls -q");
            if !names.is_empty() {
                let label = scene.ok("volume inspect -f '{{.Labels.a}}' data");
                assert_eq!(label, "b\n", "after {after}");
                assert_eq!(
                    scene.ok("run --rm --network none -v data:/d $I ls /d"),
                    "",
                    "after {after}"
                );
            }
            assert_eq!(left(&scene), "", "after {after}");
        };
        let remove = || drop(scene.ok("volume rm -f data"));
        kill_at_each_step(
            &scene,
            Hit::First,
            "volume create --label a=b data",
            remove,
            check,
        );
        let make = || drop(scene.ok("volume create --label a=b data"));
        kill_at_each_step(&scene, Hit::First, "volume rm data", make, check);
        scene.ok("volume rm -f data");
        scene.assert_all_gone("volume rm");
    });
}

#[test]
fn a_volume_whose_filling_is_killed_is_empty_or_whole_for_whoever_uses_it_next() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = busybox_root(&host.dir("image"));
        fs::create_dir_all(root.join("data/sub")).unwrap();
        for number in 0..5 {
            fs::write(root.join(format!("data/{number}")), "content").unwrap();
            fs::write(root.join(format!("data/sub/{number}")), "content").unwrap();
        }
        let image = scene.registry.push_dir(&root, "data", "{}");
        scene.ok(&format!("pull -q {image}"));
        let whole = "0 1 2 3 4 sub 0 1 2 3 4 contentcontent";
        let before = || {
            scene.ok("volume rm -f data");
        };
        let args = format!("run --rm --network none -v data:/data {image} true");
        let check = |after: &str| {
            reap();
            // As it is, and not filled again.
            let look = "ls /d /d/sub 2>/dev/null | grep -v : | xargs echo $(cat /d/4 /d/sub/4 2>/dev/null) | sed \"s/^\\(c[a-z]*\\) \\(.*\\)/\\2 \\1/\"";
            let seen = scene.ok(&format!(
                "run --rm --network none -v data:/d:nocopy $I sh -c '{look}'"
            ));
            let seen = seen.trim();
            assert!(seen.is_empty() || seen == whole, "after {after}: {seen:?}");
            // And whoever comes then finds all.
            let again = scene.ok(&format!(
                "run --rm --network none -v data:/data {image} sh -c 'cat /data/0 /data/sub/0'"
            ));
            assert_eq!(again, "contentcontent", "after {after}");
            let dir = scene.root.join("volumes/data");
            assert_eq!(fs::read_dir(dir).unwrap().count(), 2, "after {after}");
            assert_eq!(scene.ok("ps -aq"), "", "after {after}");
            assert_whole(&scene, after);
        };
        kill_at_each_step(&scene, Hit::First, &args, before, check);
        scene.ok("volume rm data");
        scene.assert_all_gone("a killed filling");
    });
}

#[test]
fn a_run_that_is_killed_leaves_no_volume_that_nobody_named() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        kill_at_each_step(
            &scene,
            Hit::First,
            "run --rm --network none -v /a -v /b $I true",
            || {},
            |after| {
                reap();
                assert_eq!(scene.ok("ps -aq"), "", "after {after}");
                // Whatever the next command is: one about volumes looks after them by itself.
                assert_eq!(left(&scene), "", "after {after}");
                assert_eq!(scene.ok("volume ls -q"), "", "after {after}");
            },
        );
        scene.assert_all_gone("a killed run");
    });
}

#[test]
fn a_container_whose_removal_with_volumes_is_killed_has_them_or_is_gone_with_them() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("echo f >/run/f");
        let before = || {
            scene.ok("create --name web --network none -v /v -v /w $I cat /v/f");
            scene.ok("cp -q /run/f web:/v/f");
        };
        kill_at_each_step(&scene, Hit::First, "rm -v web", before, |after| {
            if scene.ok("ps -aq").is_empty() {
                assert_eq!(
                    scene
                        .host
                        .sh(&format!("ls -A {}/volumes", scene.root.display())),
                    "",
                    "after {after}"
                );
            } else {
                assert_eq!(scene.ok("start -a web"), "f\n", "after {after}");
                scene.ok("rm -v web");
            }
            assert_eq!(scene.ok("volume ls -q"), "", "after {after}");
            assert_whole(&scene, after);
        });
        scene.assert_all_gone("a killed removal");
    });
}
