//! `rocker mount` and `rocker umount`: files of containers and images on the host.

use std::fs;

use crate::fake_host;
use crate::support::Scene;

fn mounted(scene: &Scene<'_>, name: &str) -> String {
    scene.ok(&format!("mount {name}")).trim_end().to_owned()
}

#[test]
fn a_container_is_mounted_once_whether_it_runs_or_not_and_what_is_written_is_seen_on_both_sides() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name web $I sh -c 'cat /from-host; echo x >/from-container; echo up; exec sleep 1000'");
        let path = mounted(&scene, "web");
        assert!(path.starts_with(scene.run.to_str().unwrap()), "{path}");
        fs::write(format!("{path}/from-host"), "hello\n").unwrap();
        // It is started from the same overlay, and goes on with it.
        scene.ok("start web");
        host.wait_until("it is up", crate::support::LIMIT, || {
            scene.ok("logs web").contains("up")
        });
        assert_eq!(scene.ok("logs web"), "hello\nup\n");
        assert_eq!(
            fs::read_to_string(format!("{path}/from-container")).unwrap(),
            "x\n"
        );
        assert_eq!(mounted(&scene, "web"), path, "it is mounted once");
        let listed = scene.ok("mount");
        assert!(
            listed.lines().count() == 1 && listed.trim_end().ends_with(&path),
            "{listed}"
        );
        fs::write(format!("{path}/later"), "later\n").unwrap();
        assert_eq!(scene.ok("exec web cat /later"), "later\n");
        scene.ok("stop -t 0 web");
        fs::write(format!("{path}/stopped"), "stopped\n").unwrap();
        scene.ok("cp -q web:/stopped /run/stopped");
        let id = scene.ok("umount web");
        assert!(path.ends_with(id.trim()), "{id}");
        assert_eq!(scene.ok("mount"), "");
        assert!(scene.fails(1, "umount web").contains("is not mounted"));
        // The other way round: first it runs, and its volumes are not part of it.
        scene.ok("start web");
        let path = mounted(&scene, "web");
        assert_eq!(
            fs::read_to_string(format!("{path}/stopped")).unwrap(),
            "stopped\n"
        );
        assert_eq!(fs::read_dir(format!("{path}/proc")).unwrap().count(), 0);
        fs::write(format!("{path}/now"), "now\n").unwrap();
        assert_eq!(scene.ok("exec web cat /now"), "now\n");
        // A restart has the same overlay.
        scene.ok("restart -t 0 web");
        fs::write(format!("{path}/again"), "again\n").unwrap();
        assert_eq!(scene.ok("exec web cat /again"), "again\n");
        assert!(scene.ok("diff web").contains("A /again"));
        scene.ok("rm -f web");
        assert!(!std::path::Path::new(&path).exists());
        scene.assert_all_gone("mounts");
    });
}

#[test]
fn an_image_is_mounted_read_only_and_what_is_in_use_stays() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let path = mounted(&scene, "$I");
        assert!(
            fs::metadata(format!("{path}/bin/busybox"))
                .unwrap()
                .is_file()
        );
        let error = fs::write(format!("{path}/x"), "").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(30), "{error}");
        scene.ok("run --name web $I true");
        let root = mounted(&scene, "web");
        {
            let _open = [
                fs::File::open(format!("{root}/bin")).unwrap(),
                fs::File::open(format!("{path}/bin")).unwrap(),
            ];
            for args in ["umount web", "rm web", "umount $I", "umount -a"] {
                let done = scene.run(args);
                assert!(
                    done.code == 1 && done.err.contains("is mounted at"),
                    "{done:?}"
                );
            }
            scene.ok("rm -f web");
            let done = scene.run("rmi $I");
            assert!(
                done.code == 1 && done.err.contains("is mounted at"),
                "{done:?}"
            );
            assert_eq!(scene.ok("run --rm $I echo there"), "there\n");
        }
        // Only the image is left.
        assert_eq!(scene.ok("mount").lines().count(), 1);
        let done = scene.run("mount none $I");
        assert!(
            done.code == 1
                && done.err.contains("no container or image \"none\"")
                && done.out.trim_end() == path,
            "{done:?}"
        );
        scene.ok("rmi $I");
        assert_eq!(scene.ok("mount"), "");
        scene.assert_all_gone("an image that was mounted");
    });
}

#[test]
fn a_boot_leaves_no_mount_and_users_of_its_own_are_no_obstacle() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("web", "--userns auto", "touch /x; echo up; exec sleep 1000");
        let path = mounted(&scene, "web");
        let outside = host.sh(&format!(
            "awk '{{print $2}}' /proc/{}/uid_map; stat -c %u {path}/x",
            scene.at("web", "/State/Pid")
        ));
        let outside: Vec<&str> = outside.lines().collect();
        assert_eq!(outside[0], outside[1]);
        scene.ok("stop -t 0 web");
        // Neither a look at it nor a start by the same users takes it away.
        scene.ok("cp -q web:/x /run/x");
        scene.ok("start web");
        assert!(scene.ok("mount").trim_end().ends_with(&path));
        scene.ok("stop -t 0 web");
        // As a boot does it.
        host.sh(&format!(
            "umount {path}; rm -rf {0}/* {0}/.[a-z]*",
            scene.run.display()
        ));
        assert_eq!(scene.ok("mount"), "");
        let again = mounted(&scene, "web");
        assert!(fs::metadata(format!("{again}/x")).is_ok());
        scene.ok("umount -a");
        scene.ok("rm web");
        scene.assert_all_gone("a boot");
    });
}

/// What is mounted of it is all that there is.
#[test]
fn what_a_container_has_in_memory_lives_as_long_as_its_mount_whoever_its_users_are() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let flags = "--userns auto --network none --storage-opt driver=tmpfs";
        scene.up("web", flags, "echo v >>/v; echo up; exec sleep 1000");
        let path = mounted(&scene, "web");
        scene.ok("stop -t 0 web");
        scene.ok("cp -q web:/v /run/v");
        assert_eq!(fs::read_to_string("/run/v").unwrap(), "v\n");
        assert_eq!(mounted(&scene, "web"), path);
        // By the same users it goes on with it.
        scene.ok("start web");
        host.wait_until("it is up", crate::support::LIMIT, || {
            scene.ok("exec web cat /v") == "v\nv\n"
        });
        scene.ok("stop -t 0 web");
        // By others it could not: who they were is not known any more.
        let id = scene.ok("inspect -f '{{.Id}}' web");
        let config = scene.root.join("containers").join(id.trim());
        fs::remove_file(config.join("config.json")).unwrap();
        let done = scene.run("start web");
        assert!(
            done.code == 1 && done.err.contains("is mounted, and all that it has changed"),
            "{done:?}"
        );
        assert_eq!(fs::read_to_string(format!("{path}/v")).unwrap(), "v\nv\n");
        scene.ok("umount web");
        scene.ok("start web");
        scene.ok("rm -f web");
        scene.assert_all_gone("a mount of what is in memory");
    });
}

/// One that was mounted before it had users of its own is mounted anew, and who is in there is not left behind.
#[test]
fn a_mount_with_the_owners_of_the_image_does_not_outlive_the_first_start_by_other_users() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name web --userns auto --network none $I cat /v");
        let path = mounted(&scene, "web");
        fs::write(format!("{path}/v"), "v\n").unwrap();
        {
            let _open = fs::File::open(format!("{path}/bin")).unwrap();
            let done = scene.run("start -a web");
            assert!(
                done.code == 125 && done.err.contains("is mounted at"),
                "{done:?}"
            );
        }
        assert_eq!(scene.ok("start -a web"), "v\n");
        assert_eq!(scene.ok("mount"), "");
        scene.ok("rm web");
        scene.assert_all_gone("a mount with other owners");
    });
}
