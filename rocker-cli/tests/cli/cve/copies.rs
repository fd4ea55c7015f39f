//! `rocker cp`, and who would like it to go elsewhere.

use std::fs;
use std::os::unix::fs::symlink;

use super::{all_in, hostile_image, start_idle};
use crate::fake_host;
use crate::support::Scene;

/// How often a race is run.
const TURNS: usize = 40;

/// Starts the container `web`, which has a directory with a file and a link to a directory of the host's, and exchanges the two without
/// a pause. There is a directory of that name in the container too, so that the link leads somewhere there.
fn racer(scene: &Scene<'_>) -> crate::support::Background {
    fs::create_dir_all(scene.host.dir("outside")).unwrap();
    scene
        .host
        .sh("echo of the host >/run/outside/file; chmod 750 /run/outside");
    let image = hostile_image(scene, "racer", |root| {
        fs::create_dir_all(root.join("run/outside")).unwrap();
        fs::write(root.join("run/outside/file"), "of the container\n").unwrap();
    });
    scene.ok(&format!("pull -q {image}"));
    // overlayfs exchanges no directory of a layer.
    let mut racer = scene.start(&format!(
        "run --network none --name web {image} sh -c 'mkdir -p /w/dir; echo of the directory >/w/dir/file; ln -s /run/outside /w/link; exec attacker swap /w dir link'"
    ));
    assert_eq!(racer.line(), "up");
    racer
}

#[test]
fn cve_2018_15664_and_ghsa_rg2x_37c3_w2rh_who_exchanges_directories_for_links_has_nothing_of_the_host_copied()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let racer = racer(&scene);
        let root = format!("/proc/{}/root", scene.at("web", "/State/Pid"));
        // By a path it is the host's file as soon as the racer wins.
        host.wait_until("a path leads out", crate::support::LIMIT, || {
            host.sh(&format!("cat {root}/w/dir/file 2>/dev/null || true")) == "of the host\n"
        });
        let mut seen = [0, 0];
        for turn in 0..TURNS {
            let source = ["/w/dir/file", "/w/dir/", "/w/dir/."][turn % 3];
            let done = scene.script(&format!("rocker cp -q web:{source} /run/got; cat $(find /run/got -type f) 2>/dev/null; rm -rf /run/got"));
            assert!(!done.out.contains("of the host"), "{done:?}");
            seen[0] += usize::from(done.out == "of the directory\n");
            seen[1] += usize::from(done.out == "of the container\n");
        }
        assert!(
            seen[0] > 0 && seen[1] > 0,
            "the racer did not race: {seen:?}"
        );
        scene.ok("rm -f web");
        drop(racer);
        scene.assert_all_gone("a race for files of the host");
    });
}

#[test]
fn cve_2018_15664_ghsa_vp62_88p7_qqf5_and_cve_2021_41089_nothing_is_written_to_the_host_and_no_mode_of_it_changed()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let racer = racer(&scene);
        let before = all_in(&scene, "/run/outside");
        let root = format!("/proc/{}/root", scene.at("web", "/State/Pid"));
        // By a path it is written to the host as soon as the racer wins.
        host.wait_until("a path leads out", crate::support::LIMIT, || {
            host.sh(&format!(
                "touch {root}/w/dir/proof 2>/dev/null; ls /run/outside"
            ))
            .contains("proof")
        });
        host.sh("rm /run/outside/proof; touch -d @0 /run/outside");
        host.sh("mkdir -m 777 -p /run/in/deep; echo x >/run/in/file; echo x >/run/in/deep/file; touch -d @0 /run/outside");
        let before = match before == all_in(&scene, "/run/outside") {
            true => before,
            // The proof has changed the directory's times.
            false => all_in(&scene, "/run/outside"),
        };
        let mut copied = 0;
        for turn in 0..TURNS {
            let (source, target) = [
                ("/run/in/file", "/w/dir/file"),
                ("/run/in/.", "/w/dir"),
                ("/run/in", "/w/dir/"),
                ("/run/in/deep", "/w/dir/deep"),
            ][turn % 4];
            let done = scene.run(&format!("cp -q {source} web:{target}"));
            assert!(matches!(done.code, 0 | 1), "{done:?}");
            copied += usize::from(done.code == 0);
        }
        assert_eq!(all_in(&scene, "/run/outside"), before);
        assert!(copied > 0, "nothing was copied");
        scene.ok("rm -f web");
        drop(racer);
        scene.assert_all_gone("a race for writing to the host");
    });
}

#[test]
fn links_of_a_container_lead_where_they_lead_in_it_both_ways() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir /run/outside; echo of the host >/run/outside/file; echo new >/run/new");
        let before = all_in(&scene, "/run/outside");
        let image = hostile_image(&scene, "links", |root| {
            fs::create_dir_all(root.join("run/lock")).unwrap();
            fs::create_dir_all(root.join("var")).unwrap();
            fs::write(root.join("run/lock/file"), "of the container\n").unwrap();
            symlink("/run", root.join("var/run")).unwrap();
            symlink("../../../../../run/lock", root.join("up")).unwrap();
            symlink("/run/outside", root.join("out")).unwrap();
            symlink("/run/outside/file", root.join("file")).unwrap();
            symlink("/proc/1/root/run/outside", root.join("magic")).unwrap();
        });
        scene.ok(&format!("pull -q {image}"));
        let web = start_idle(&scene, "", &image);
        for path in ["/var/run/lock/file", "/up/file", "/../../run/lock/file"] {
            scene.ok(&format!("cp -q web:{path} /run/got"));
            assert_eq!(host.sh("cat /run/got"), "of the container\n", "{path}");
        }
        scene.ok("cp -q /run/new web:/var/run/lock/new");
        assert_eq!(scene.ok("exec web cat /run/lock/new"), "new\n");
        for path in ["/out/file", "/out/", "/magic/file", "/magic/"] {
            let done = scene.run(&format!("cp -q web:{path} /run/stolen"));
            assert!(done.code == 1, "{done:?}");
            let done = scene.run(&format!("cp -q /run/new web:{path}"));
            assert!(done.code == 1, "{done:?}");
        }
        let done = scene.run("cp -qL web:/file /run/stolen");
        assert!(done.code == 1, "{done:?}");
        assert!(!std::path::Path::new("/run/stolen").exists());
        assert_eq!(all_in(&scene, "/run/outside"), before);
        scene.ok("rm -f web");
        drop(web);
        scene.assert_all_gone("links");
    });
}

#[test]
fn cve_2019_14271_nothing_of_the_container_is_run_or_loaded_to_copy_export_or_commit_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let flag = "#!/bin/sh\ntouch /run/flag; touch /flag\n";
        let image = hostile_image(&scene, "trojan", |root| {
            for dir in ["usr/bin", "lib/x86_64-linux-gnu", "usr/sbin"] {
                fs::create_dir_all(root.join(dir)).unwrap();
            }
            for name in [
                "bin/tar",
                "usr/bin/tar",
                "usr/bin/gzip",
                "usr/bin/unpigz",
                "usr/bin/xz",
                "lib/x86_64-linux-gnu/libnss_files.so.2",
            ] {
                let path = root.join(name);
                let _ = fs::remove_file(&path);
                fs::write(&path, flag).unwrap();
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                    .unwrap();
            }
        });
        scene.ok(&format!("pull -q {image}"));
        let web = start_idle(&scene, "", &image);
        host.sh("mkdir /run/in; echo x >/run/in/x");
        scene.ok("cp -q web:/usr /run/out");
        scene.ok("cp -qa /run/in web:/etc");
        scene.script("rocker cp web:/etc - >/run/etc.tar; rocker export web >/run/all.tar; rocker commit web").succeeded();
        assert!(!std::path::Path::new("/run/flag").exists());
        let changes = scene.ok("diff web");
        assert!(
            !changes.contains("flag") && changes.contains("A /etc/in/x"),
            "{changes}"
        );
        scene.ok("rm -f web");
        drop(web);
        scene.assert_all_gone("trojans");
    });
}
