//! Volumes that somebody else writes to at the same time, and places that an image would like them to have.

use std::fs;
use std::os::unix::fs::symlink;

use super::{all_in, hostile_image};
use crate::fake_host;
use crate::support::{Background, Scene};

/// Starts a container that exchanges two names in the volume `shared` without a pause.
fn racer(scene: &Scene<'_>, image: &str, names: &str) -> Background {
    let mut racer = scene.start(&format!(
        "run --rm --network none --name racer -v shared:/shared {image} attacker swap /shared {names}"
    ));
    assert_eq!(racer.line(), "up");
    racer
}

fn data_of(scene: &Scene<'_>, volume: &str) -> std::path::PathBuf {
    scene.root.join("volumes").join(volume).join("_data")
}

#[test]
fn cve_2021_30465_and_2024_45310_a_racer_on_a_named_volume_has_nothing_mounted_or_made_outside() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "racer", |_| {});
        fs::write(host.dir("outside").join("secret"), "of the host").unwrap();
        let before = all_in(&scene, "/run/outside");
        scene.ok("volume create shared");
        fs::create_dir(data_of(&scene, "shared").join("sub")).unwrap();
        symlink("/run/outside", data_of(&scene, "shared").join("other")).unwrap();
        let racer = racer(&scene, &image, "sub other");
        let mut entered = 0;
        for turn in 0..25 {
            let done = scene.run(&format!(
                "run --rm --network none -v shared:/vol -v beneath:/vol/sub/{turn}/v --tmpfs /vol/sub/{turn}/t --mount type=image,src=$I,dst=/vol/sub/{turn}/i -v /etc/hostname:/vol/sub/{turn}/f $I ls /vol/sub/ /run/outside"
            ));
            assert!(!done.out.contains("secret"), "{done:?}");
            entered += usize::from(done.code != 125);
        }
        assert_eq!(all_in(&scene, "/run/outside"), before);
        assert!(entered > 0, "the racer always won, so nothing was tried");
        scene.ok("rm -f racer");
        drop(racer);
        scene.assert_all_gone("a racer on a volume");
    });
}

#[test]
fn a_subpath_that_is_exchanged_for_a_link_leads_nowhere_but_into_the_volume() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "racer", |_| {});
        fs::write(host.dir("outside").join("file"), "of the host").unwrap();
        let before = all_in(&scene, "/run/outside");
        scene.ok("volume create shared");
        let data = data_of(&scene, "shared");
        fs::create_dir(data.join("sub")).unwrap();
        fs::write(data.join("sub/file"), "of the volume").unwrap();
        // Where they lead is where the host has something, and the volume has not.
        for (name, target) in [
            ("absolute", "/run/outside"),
            ("up", "../../../../../outside"),
            ("magic", "/proc/self/root/run/outside"),
        ] {
            symlink(target, data.join(name)).unwrap();
            let done = scene.run(&format!("run --rm --network none --mount src=shared,dst=/s,volume-subpath={name} $I cat /s/file"));
            assert!(
                done.code == 125 && !done.out.contains("of the host"),
                "{name}: {done:?}"
            );
        }
        let racer = racer(&scene, &image, "sub absolute");
        let mut entered = 0;
        for _ in 0..40 {
            let done = scene.run("run --rm --network none --mount src=shared,dst=/s,volume-subpath=sub $I sh -c 'cat /s/file; touch /s/new'");
            assert!(!done.out.contains("of the host"), "{done:?}");
            entered += usize::from(done.out == "of the volume");
        }
        assert!(entered > 0, "the racer always won, so nothing was tried");
        assert_eq!(all_in(&scene, "/run/outside"), before);
        scene.ok("rm -f racer");
        drop(racer);
        scene.assert_all_gone("exchanged subpaths");
    });
}

#[test]
fn who_writes_to_a_volume_while_it_is_filled_has_nothing_written_outside() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let hostile = hostile_image(&scene, "racer", |_| {});
        let root = crate::registry::busybox_root(&host.dir("image"));
        fs::create_dir_all(root.join("data/sub/deep")).unwrap();
        fs::write(root.join("data/sub/deep/file"), "of the image").unwrap();
        for number in 0..20 {
            fs::write(root.join(format!("data/sub/{number}")), "of the image").unwrap();
        }
        let image = scene.registry.push_dir(&root, "filled", "{}");
        scene.ok(&format!("pull -q {image}"));
        fs::create_dir_all(host.dir("outside").join("sub")).unwrap();
        fs::write("/run/outside/file", "of the host").unwrap();
        let before = all_in(&scene, "/run/outside");
        scene.ok("volume create shared");
        // It makes the links that the files of the image would go through, and takes them away.
        let mut racer = scene.start(&format!(
            "run --rm --network none --name racer -v shared:/shared {hostile} sh -c 'echo up; while :; do ln -s /run/outside /shared/sub 2>/dev/null && rm /shared/sub 2>/dev/null; rm -rf /shared/sub; done'"
        ));
        assert_eq!(racer.line(), "up");
        for _ in 0..25 {
            let done = scene.run(&format!(
                "run --rm --network none -v shared:/data {image} cat /data/sub/19 /data/file"
            ));
            assert!(matches!(done.code, 0 | 1), "{done:?}");
            assert!(!done.out.contains("of the host"), "{done:?}");
        }
        assert_eq!(all_in(&scene, "/run/outside"), before);
        scene.ok("rm -f racer");
        drop(racer);
        // What the racer has left is the user's own; once it is gone, the volume is filled whole.
        scene.ok("run --rm --network none -v shared:/data $I sh -c 'rm -rf /data/*'");
        let whole = scene.ok(&format!(
            "run --rm --network none -v shared:/data {image} sh -c 'cat /data/sub/*; ls /data/sub; cat /data/sub/deep/file'"
        ));
        let names: Vec<_> = whole.split("of the image").collect();
        assert_eq!(names.len(), 22, "{whole}");
        assert_eq!(names[21], "", "{whole}");
        scene.assert_all_gone("a filled volume");
    });
}

#[test]
fn cve_2022_23648_what_a_volume_of_an_image_has_at_first_is_the_images() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::write(host.dir("outside").join("secret"), "of the host").unwrap();
        let before = all_in(&scene, "/run/outside");
        let volumes = r#"{"Volumes":{"/../../run/outside":{},"/run/../../../run/outside":{},"/link":{},"/up":{},"/magic":{},"/proc/1/root/run/outside":{},"relative/../../run/outside":{}}}"#;
        let root = crate::registry::busybox_root(&host.dir("image"));
        symlink("/run/outside", root.join("link")).unwrap();
        symlink("../../../../run/outside", root.join("up")).unwrap();
        symlink("/proc/self/root/run/outside", root.join("magic")).unwrap();
        let image = scene.registry.push_dir(&root, "volumes", volumes);
        let done = scene.run(&format!("run --name a {image} sh -c 'find / -xdev -name secret; cat /run/outside/secret /link/secret /up/secret'"));
        assert!(
            !done.out.contains("secret") && !done.out.contains("of the host"),
            "{done:?}"
        );
        assert!(done.code != 0, "{done:?}");
        // Nor as a volume of the caller's at such a place.
        for place in ["/link", "/up", "/run/outside", "/../../run/outside"] {
            let done = scene.run(&format!(
                "run --rm --network none -v v:{place} {image} ls {place}"
            ));
            assert!(!done.out.contains("secret"), "{place}: {done:?}");
            let found = host.sh(&format!("ls -A {}", data_of(&scene, "v").display()));
            assert_eq!(
                found, "",
                "{place}: files of the host were copied into a volume"
            );
            scene.ok("volume rm -f v");
        }
        let found = host.sh(&format!(
            "find {} -name secret",
            scene.root.join("volumes").display()
        ));
        assert_eq!(found, "", "a file of the host was copied into a volume");
        assert_eq!(all_in(&scene, "/run/outside"), before);
        scene.ok("rm -v a");
        assert_eq!(scene.ok("volume ls -q"), "");
        scene.assert_all_gone("places of volumes");
    });
}

#[test]
fn cve_2019_16884_no_volume_of_an_image_lies_over_proc_by_way_of_a_link() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = crate::registry::busybox_root(&host.dir("image"));
        for (name, target) in [
            ("p", "/proc"),
            ("s", "../sys"),
            ("d", "/p/../dev"),
            ("q", "p/self"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let volumes = r#"{"Volumes":{"/p":{},"/s/kernel":{},"/d/shm":{},"/q/attr":{},"/p/sys":{},"/./proc":{},"//sys":{}}}"#;
        let image = scene.registry.push_dir(&root, "volumes", volumes);
        let look = "cat /proc/mounts | cut -d\" \" -f2,3 | grep -E \"^/(proc|sys|dev|p|s|d|q)\" | grep -vE \" (proc|sysfs|tmpfs|devpts|mqueue|cgroup|cgroup2|devtmpfs) *$\"; cat /proc/1/comm";
        let done = scene.run(&format!(
            "run --name a --network none {image} sh -c '{look}'"
        ));
        assert_eq!((done.code, done.out.as_str()), (0, "cat\n"), "{done:?}");
        assert_eq!(done.err.matches("wants a volume").count(), 7, "{done:?}");
        assert_eq!(scene.ok("volume ls -q"), "");
        scene.ok("rm a");
        scene.assert_all_gone("volumes over proc");
    });
}
