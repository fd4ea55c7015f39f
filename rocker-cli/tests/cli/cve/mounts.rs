//! Mounts, and the places where an image or a volume would like them to be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{all_in, hostile_image};
use crate::fake_host;
use crate::support::{Background, Scene};

/// Starts a container that exchanges two names of a shared volume without a pause.
fn racer(scene: &Scene<'_>, image: &str, names: &str) -> Background {
    let mut racer = scene.start(&format!(
        "run --rm --network none --name racer -v /run/shared:/shared {image} attacker swap /shared {names}"
    ));
    assert_eq!(racer.line(), "up");
    racer
}

#[test]
fn cve_2026_41579_2026_47766_2019_16884_and_2023_28642_an_image_whose_system_directories_are_links_reaches_nothing()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::create_dir_all(host.dir("outside").join("pts")).unwrap();
        let before = all_in(&scene, "/run/outside");
        for (name, target) in [
            ("dev", "/run/outside"),
            ("dev", "../../../../run/outside"),
            ("proc", "/run/outside"),
            ("proc", "tmp"),
            ("sys", "../run/outside"),
            ("etc", "/run/outside"),
        ] {
            let image = hostile_image(&scene, "links", |root| {
                let place = root.join(name);
                let _ = fs::remove_dir_all(&place);
                symlink(target, place).unwrap();
            });
            scene.ok(&format!("pull -q {image}"));
            let done = scene.run(&format!("run --rm {image} true"));
            assert_eq!(done.code, 125, "{name} -> {target}: {done:?}");
            fs::remove_dir_all("/run/image-links").unwrap();
            assert_eq!(all_in(&scene, "/run/outside"), before, "{name} -> {target}");
        }
        scene.assert_all_gone("links");
    });
}

#[test]
fn cve_2025_52881_2019_19921_and_2023_27561_proc_is_the_kernels_whatever_an_image_or_a_volume_has_there()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = host.dir("image");
        crate::registry::busybox_root(&root);
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("proc/self/attr")).unwrap();
        fs::create_dir_all(root.join("proc/sys/kernel")).unwrap();
        fs::write(root.join("proc/self/attr/exec"), "").unwrap();
        let config = r#"{"Volumes":{"/proc":{},"/proc/self":{},"/sys":{},"/dev":{}}}"#;
        let image = scene.registry.push_dir(&root, "volumes", config);
        let look = "grep -c \" /proc proc rw,\" /proc/mounts; grep -E \"^[a-z]+ /(proc|sys|dev) \" /proc/mounts | cut -d\" \" -f3; cat /proc/1/comm";
        assert_eq!(
            scene.ok(&format!("run --rm {image} sh -c '{look}'")),
            "1\nproc\ntmpfs\nsysfs\ncat\n"
        );
        // Two containers with one volume, one of which makes a false /proc of it again and again.
        let hostile = hostile_image(&scene, "racer", |_| {});
        let shared = host.dir("shared");
        for dir in ["real", "fake"] {
            fs::create_dir_all(shared.join(dir).join("sys/net/ipv4")).unwrap();
        }
        fs::write(shared.join("fake/sys/net/ipv4/ip_forward"), "").unwrap();
        let racer = racer(&scene, &hostile, "real fake");
        for volume in [
            "/shared/real:/proc",
            "/shared/real/sys:/proc/sys",
            "/shared/real/sys/net:/proc/sys/net",
        ] {
            for _ in 0..4 {
                let done = scene.run(&format!(
                    "run --rm --network none --sysctl net.ipv4.ip_forward=1 -v /run{volume} $I true"
                ));
                assert!(matches!(done.code, 0 | 125), "{done:?}");
            }
        }
        scene.ok("rm -f racer");
        drop(racer);
        let written = host.sh("cat /run/shared/*/sys/net/ipv4/ip_forward");
        assert_eq!(written, "", "a sysctl was written to a file of the volume");
        scene.assert_all_gone("false files of /proc");
    });
}

#[test]
fn cve_2021_30465_and_2024_45310_a_racer_on_a_shared_volume_has_nothing_mounted_or_made_outside() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "racer", |_| {});
        let (outside, shared) = (host.dir("outside"), host.dir("shared"));
        fs::write(outside.join("secret"), "of the host").unwrap();
        fs::create_dir(shared.join("sub")).unwrap();
        symlink("/run/outside", shared.join("other")).unwrap();
        let before = all_in(&scene, "/run/outside");
        let racer = racer(&scene, &image, "sub other");
        let mut entered = 0;
        for turn in 0..25 {
            let done = scene.run(&format!(
                "run --rm --network none -v /run/shared:/vol --tmpfs /vol/sub/{turn}/t -v /etc/hostname:/vol/sub/{turn}/f -w /vol/sub/{turn}/w $I ls /vol/sub/ /run/outside"
            ));
            assert!(!done.out.contains("secret"), "{done:?}");
            entered += usize::from(done.code != 125);
        }
        assert_eq!(all_in(&scene, "/run/outside"), before);
        assert!(entered > 0, "the racer always won, so nothing was tried");
        scene.ok("rm -f racer");
        drop(racer);
        scene.assert_all_gone("a racer");
    });
}

#[test]
fn cve_2025_31133_and_2025_52565_masks_and_the_console_are_what_they_are_whoever_exchanges_the_devices()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "racer", |_| {});
        let shared = host.dir("shared");
        for dir in ["dev", "evil"] {
            host.sh(&format!(
                "cd {}; mkdir -p {dir}/pts; touch {dir}/null {dir}/console",
                shared.display()
            ));
        }
        // What masks would be made of, and what the console would be, if the volume had a say.
        for (name, target) in [
            ("null", "/proc/sys/kernel/domainname"),
            ("console", "/proc/sys/kernel/domainname"),
            ("pts/ptmx", "/proc/sysrq-trigger"),
            ("pts/0", "/proc/sys/kernel/domainname"),
        ] {
            let place = shared.join("evil").join(name);
            let _ = fs::remove_file(&place);
            symlink(target, place).unwrap();
        }
        let racer = racer(&scene, &image, "dev evil");
        let script = "stat -c %t:%T /proc/keys /proc/timer_list; cat /proc/keys /proc/timer_list | wc -c; for f in /proc/sys/kernel/domainname /proc/sys/kernel/hostname /dev/console /dev/pts/0; do { echo x >$f; } 2>&1 | sed \"s/.*: //\" ; done; stat -c %t /proc/1/fd/0 2>/dev/null; true";
        let mut entered = 0;
        for volume in [
            "/run/shared/dev:/dev",
            "/run/shared:/dev",
            "/run/shared/dev/pts:/dev/pts",
        ] {
            for terminal in ["", "-t"] {
                for _ in 0..4 {
                    let done = scene.run(&format!(
                        "run --rm --network none {terminal} -v {volume} $I sh -c '{script}'"
                    ));
                    // What a volume has for a ptmx is none: there is no terminal whose other end it could exchange.
                    if !terminal.is_empty() || done.code == 125 {
                        assert_eq!((done.code, done.out.as_str()), (125, ""), "{done:?}");
                        continue;
                    }
                    entered += 1;
                    let out = done.out.replace('\r', "");
                    let mut lines = out.lines();
                    assert_eq!(
                        [lines.next(), lines.next(), lines.next()],
                        [Some("1:3"), Some("1:3"), Some("0")],
                        "{done:?}"
                    );
                    assert_eq!(
                        [lines.next(), lines.next()],
                        [Some("Read-only file system"); 2],
                        "{volume}: {done:?}"
                    );
                }
            }
        }
        assert!(entered > 0, "nothing was tried");
        scene.ok("rm -f racer");
        drop(racer);
        // Nor is a device of a volume one that can be opened.
        host.sh("mknod -m 666 /run/shared/mem c 1 1");
        let done = scene.run("run --rm -v /run/shared:/v $I cat /v/mem");
        assert!(done.code == 1 && done.err.contains("denied"), "{done:?}");
        assert!(Path::new("/dev/null").exists());
        scene.assert_all_gone("exchanged devices");
    });
}

#[test]
fn what_a_volume_has_in_the_place_of_the_containers_own_mounts_leads_nowhere() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let (shared, given) = (host.dir("shared"), host.dir("given"));
        fs::create_dir_all(host.dir("outside")).unwrap();
        fs::write(given.join("mark"), "given\n").unwrap();
        symlink("/run/outside", shared.join("x")).unwrap();
        let before = all_in(&scene, "/run/outside");
        let over = "run --rm --network none -v /run/shared:/dev/shm -v /run/given:/dev/shm/x $I";
        // What lies on the container's own memory is looked for in the volume from then on.
        let done = scene.run(&format!("{over} true"));
        assert_eq!(done.code, 125, "{done:?}");
        assert_eq!(all_in(&scene, "/run/outside"), before);
        fs::remove_file(shared.join("x")).unwrap();
        assert_eq!(scene.ok(&format!("{over} cat /dev/shm/x/mark")), "given\n");
        assert!(fs::read_dir(shared.join("x")).unwrap().next().is_none());
        let over = "run --rm --network none -v /run/shared:/sys/fs/cgroup $I ls /sys/fs/cgroup";
        assert_eq!(scene.ok(over), "x\n");
        scene.assert_all_gone("a volume over the container's own mounts");
    });
}
