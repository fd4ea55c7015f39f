//! What `-v` and `--mount` can say: how mounts beneath are seen, who owns the files, other images; and roots that are no image.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn a_missing_source_is_an_error_that_says_so_and_nothing_is_made() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in ["-v /run/none:/x", "--mount type=bind,src=/run/none,dst=/x"] {
            let refused = scene.fails(125, &format!("run --rm {flags} $I true"));
            assert!(refused.contains("/run/none does not exist"), "{refused}");
        }
        assert!(fs::metadata("/run/none").is_err());
        scene.assert_all_gone("a missing source");
        let _ = host;
    });
}

#[test]
fn read_only_means_what_is_mounted_beneath_as_well_unless_asked_otherwise() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.dir("dir/beneath");
        host.sh("mount -t tmpfs none /run/dir/beneath && touch /run/dir/beneath/there");
        let script = "for d in /x /x/beneath; do touch $d/new 2>/dev/null && echo yes || echo no; done; ls /x/beneath";
        for (flags, expected) in [
            ("-v /run/dir:/x:ro", "no\nno\nthere\n"),
            (
                "--mount type=bind,src=/run/dir,dst=/x,readonly",
                "no\nno\nthere\n",
            ),
            (
                "--mount type=bind,src=/run/dir,dst=/x,readonly,bind-recursive=readonly",
                "no\nno\nthere\n",
            ),
            (
                "--mount type=bind,src=/run/dir,dst=/x,readonly,bind-recursive=writable",
                "no\nyes\nnew\nthere\n",
            ),
            (
                "--mount type=bind,src=/run/dir,dst=/x,readonly,bind-recursive=disabled",
                "no\nno\n",
            ),
            (
                "--mount type=bind,src=/run/dir,dst=/x,bind-nonrecursive",
                "yes\nyes\nnew\n",
            ),
        ] {
            let done = scene.ok(&format!(
                "run --rm --network none {flags} $I sh -c '{script}'"
            ));
            assert_eq!(done, expected, "{flags}");
        }
        host.sh("umount /run/dir/beneath");
        scene.assert_all_gone("read-only mounts");
    });
}

#[test]
fn one_place_has_one_mount() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.dir("dir");
        for flags in [
            "-v /run/dir:/x -v data:/x",
            "-v /run/dir:/x -v data:/y/../x/",
            "-v data:/x --tmpfs /x",
            "--tmpfs /x/:size=1m -v /x",
            "--mount type=tmpfs,dst=/x --mount type=bind,src=/run/dir,dst=/x",
            "--mount type=image,src=$I,dst=/x --tmpfs /y/../x",
        ] {
            let line = scene.fails(125, &format!("create --network none {flags} $I true"));
            assert!(
                line.contains("Duplicate mount point: /x;"),
                "{flags}: {line}"
            );
        }
        assert_eq!(scene.ok("volume ls -q"), "");
        scene.assert_all_gone("two mounts at one place");
    });
}

#[test]
fn mounts_spread_as_asked() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.dir("dir");
        host.sh("mount --bind /run/dir /run/dir && mount --make-shared /run/dir && mkdir /run/dir/later");
        for (mode, expected) in [("rslave", "1"), ("rprivate", "0"), ("rshared", "1")] {
            scene.up(
                "web",
                &format!("--network none -v /run/dir:/x:{mode}"),
                "echo up; sleep 1000",
            );
            host.sh("mount -t tmpfs none /run/dir/later");
            let seen = scene.ok("exec web sh -c 'grep -c \" /x/later \" /proc/mounts || true'");
            host.sh("umount /run/dir/later");
            assert_eq!(seen.trim(), expected, "{mode}");
            assert_eq!(scene.at("web", "/Mounts/0/Propagation"), mode);
            scene.ok("rm -f web");
        }
        host.sh("umount /run/dir");
        scene.assert_all_gone("propagation");
    });
}

#[test]
fn what_is_mounted_beneath_comes_along_however_mounts_spread() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir -p /run/dir/beneath && mount -t tmpfs none /run/dir/beneath && touch /run/dir/beneath/there");
        for mode in ["private", "slave", "shared", "ro,slave"] {
            let flags = format!("--rm --network none -v /run/dir:/x:{mode}");
            assert_eq!(
                scene.ok(&format!("run {flags} $I ls /x/beneath")),
                "there\n",
                "{mode}"
            );
        }
        let alone = "--rm --network none -v /run/dir:/x:bind-nonrecursive,slave";
        assert_eq!(scene.ok(&format!("run {alone} $I ls /x/beneath")), "");
        host.sh("umount /run/dir/beneath");
        scene.assert_all_gone("mounts beneath");
    });
}

#[test]
fn the_files_of_a_hosts_user_can_be_those_of_a_user_of_the_container_and_back() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir /run/home && echo mine >/run/home/file && chown -R 1000:1000 /run/home && chmod 600 /run/home/file");
        let run = |flags: &str, command: &str| {
            scene.ok(&format!(
                "run --rm --network none {flags} $I sh -c \"{command}\""
            ))
        };
        let look = "stat -c %u:%g /h/file; cat /h/file; echo new >/h/new; stat -c %u:%g /h/new";
        let owner = || {
            let found = fs::metadata("/run/home/new").unwrap();
            fs::remove_file("/run/home/new").unwrap();
            (found.uid(), found.gid())
        };
        // Whoever has no users of its own: the numbers are the host's.
        let expected = "0:0\nmine\n0:0\n";
        assert_eq!(
            run("-v '/run/home:/h:idmap=uids=1000-0-1;gids=1000-0-1'", look),
            expected
        );
        assert_eq!(owner(), (1000, 1000));
        assert_eq!(
            run(
                "--mount 'type=bind,src=/run/home,dst=/h,idmap=uids=1000-0-1'",
                look
            ),
            expected
        );
        assert_eq!(owner(), (1000, 1000));
        // Whoever has, says with an `@` that they are its own.
        assert_eq!(
            run(
                "--userns auto -v '/run/home:/h:idmap=uids=@1000-0-1;gids=@1000-0-1'",
                look
            ),
            expected
        );
        assert_eq!(owner(), (1000, 1000));
        // The same numbers inside as on the host.
        assert_eq!(
            run("--userns auto -u 1000:1000 -v /run/home:/h:idmap", look),
            "1000:1000\nmine\n1000:1000\n"
        );
        assert_eq!(owner(), (1000, 1000));
        // Without any of that the files are nobody's there.
        assert_eq!(
            run("--userns auto -v /run/home:/h", "stat -c %u:%g /h/file"),
            "65534:65534\n"
        );
        let refused = scene.fails(125, "run --rm -v /run/home:/h:idmap $I true");
        assert!(refused.contains("idmap=uids="), "{refused}");
        scene.assert_all_gone("idmap");
    });
}

#[test]
fn the_files_of_another_image_are_seen_and_changes_to_them_are_lost() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = crate::registry::busybox_root(&host.dir("other"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), "of the other").unwrap();
        let other = scene.registry.push_dir(&root, "other", "{}");
        let missing = scene.fails(
            125,
            &format!("run --rm --mount type=image,src={other},dst=/i $I true"),
        );
        assert!(missing.contains("no image"), "{missing}");
        scene.ok(&format!("pull -q {other}"));
        let mount =
            |more: &str| format!("--network none --mount type=image,src={other},dst=/i{more}");
        assert_eq!(
            scene.ok(&format!("run --rm {} $I cat /i/sub/file", mount(""))),
            "of the other"
        );
        assert_eq!(
            scene
                .run(&format!("run --rm {} $I touch /i/new", mount("")))
                .code,
            1
        );
        assert_eq!(
            scene.ok(&format!("run --name w {} $I sh -c 'ls /i/sub; echo x >>/i/sub/file; cat /i/sub/file; touch /i/sub/new'", mount(",rw"))),
            "file\nof the otherx\n"
        );
        let again = scene.ok("start -a w");
        assert_eq!(again, "file\nof the otherx\n");
        assert_eq!(
            scene.ok(&format!(
                "run --rm --userns auto {} $I sh -c 'stat -c %u /i/sub; touch /i/new'",
                mount(",rw")
            )),
            "0\n"
        );
        assert_eq!(scene.at("w", "/Mounts/0/Type"), "image");
        // It is in use.
        let used = scene.run(&format!("rmi {other}"));
        assert!(used.code != 0, "{used:?}");
        scene.ok("rm w");
        scene.ok(&format!("rmi {other}"));
        scene.assert_all_gone("type=image");
    });
}

#[test]
fn a_directory_can_be_the_root_and_stay_as_it_is() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        crate::registry::busybox_root(&host.dir("root"));
        let list = || host.sh("find /run/root -printf '%p %y %m %U %T@ %C@\\n' | sort");
        let before = list();
        assert_eq!(
            scene.ok("run --rm --network none --rootfs /run/root:O sh -c 'echo new >/new; cat /new; id -u'"),
            "new\n0\n"
        );
        assert_eq!(list(), before, "the directory under an overlay was changed");
        assert_eq!(
            scene.ok("run --rm --network none --rootfs --userns auto /run/root:O sh -c 'touch /x; stat -c %u /bin /x'"),
            "0\n0\n"
        );
        assert_eq!(scene.ok("run --name r --network none --rootfs /run/root sh -c 'echo new >/new; cat /proc/1/comm'"), "cat\n");
        assert_eq!(fs::read_to_string("/run/root/new").unwrap(), "new\n");
        scene.ok("start -a r");
        assert_eq!(scene.at("r", "/Config/Image"), "/run/root");
        assert_eq!(scene.ok("ps -a --format '{{.Image}}'"), "/run/root\n");
        let refused = scene.run("run --rm --rootfs --read-only /run/root touch /file");
        assert!(
            refused.code == 1 && refused.err.contains("Read-only"),
            "{refused:?}"
        );
        let none = scene.fails(125, "run --rm --rootfs /run/nowhere true");
        assert!(none.contains("/run/nowhere"), "{none}");
        scene.ok("plan --rootfs /run/root:O true");
        scene.ok("rm r");
        scene.assert_all_gone("--rootfs");
    });
}

#[test]
fn a_read_only_root_has_the_customary_places_in_memory() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "for d in / /tmp /run /var/tmp /dev/shm /etc; do touch $d/x 2>/dev/null && echo $d; done; stat -c %a /tmp /run";
        let run = |flags: &str| {
            scene.ok(&format!(
                "run --rm --network none --read-only {flags} $I sh -c '{script}'"
            ))
        };
        assert_eq!(run(""), "/tmp\n/run\n/var/tmp\n/dev/shm\n1777\n755\n");
        assert!(
            run("--read-only-tmpfs=false --tmpfs /tmp --tmpfs /run")
                .starts_with("/tmp\n/run\n/dev/shm\n")
        );
        assert!(run("-v data:/run").starts_with("/tmp\n/run\n/var/tmp\n"));
        assert_eq!(
            scene.ok("run --rm --network none -v data:/d $I ls /d"),
            "x\n"
        );
        scene.ok("volume rm data");
        scene.assert_all_gone("--read-only");
    });
}
