//! Where a container's root file system comes from: an overlay, memory, a copy; and rocker in a container of rocker's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fake_host::{self, Host};
use crate::support::Scene;

/// Two layers, of which the second deletes a file of the first and hides a directory's.
fn layers(host: &Host) -> Vec<PathBuf> {
    let dir = host.dir("two-layers");
    host.sh(&format!(
        "cd {}; mkdir -p 1/bin 1/app 1/etc 1/opaque 1/proc 1/sys 1/dev 1/tmp 2/app 2/opaque; cp /bin/busybox 1/bin/busybox
         for name in sh cat ls id stat touch rm; do ln 1/bin/busybox 1/bin/$name; done
         echo 1 >1/app/both; echo 1 >1/app/deleted; echo 1 >1/opaque/below
         echo 2 >2/app/both; touch 2/app/.wh.deleted 2/opaque/.wh..wh..opq; echo 2 >2/opaque/above
         chown 33:44 1/app/both; chmod 1777 1/tmp; ln -s both 2/app/link
         for layer in 1 2; do tar -C $layer --numeric-owner -cf $layer.tar .; done",
        dir.display()
    ));
    vec![dir.join("1.tar"), dir.join("2.tar")]
}

/// What the image of [`layers`] looks like from inside.
const LOOK: &str = "cd /app; cat both link; ls; cd /opaque; ls; stat -c %u:%g:%a /app/both /tmp /; [ /bin/sh -ef /bin/cat ] && echo linked";
const SEEN: &str = "2\n2\nboth\nlink\nabove\n0:0:644\n0:0:1777\n0:0:755\nlinked\n";

fn two_layers(scene: &Scene<'_>) -> String {
    let tars = layers(scene.host);
    let tars: Vec<&Path> = tars.iter().map(|tar| &**tar).collect();
    let image = scene.push_layers(&tars, "two", "{}");
    scene.ok(&format!("pull -q {image}"));
    image
}

/// A root file system looks the same by each driver, and keeps what it should.
#[test]
fn each_driver_shows_the_same_image_and_keeps_changes_as_long_as_it_says() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = two_layers(&scene);
        for (driver, kept) in [("overlay", true), ("vfs", true), ("tmpfs", false)] {
            let flags = format!("--network none --storage-opt driver={driver}");
            let seen = scene.ok(&format!("run --rm {flags} {image} sh -c '{LOOK}'"));
            assert_eq!(seen, SEEN, "{driver}");
            scene.assert_all_gone(driver);
            let script = "[ -e /app/mine ] && echo kept; touch /app/mine; rm -f /app/both";
            scene.ok(&format!("run --name c {flags} {image} sh -c '{script}'"));
            let again = scene.ok("start -a c");
            assert_eq!(again, if kept { "kept\n" } else { "" }, "{driver}");
            assert_eq!(scene.at("c", "/GraphDriver/Name"), driver);
            let data = scene.at("c", "/GraphDriver/Data");
            let has = |key: &str| data.contains(key);
            let (upper, root) = (has("UpperDir"), has("RootDir"));
            assert_eq!(
                (upper, root),
                (driver == "overlay", driver == "vfs"),
                "{data}"
            );
            assert_eq!(scene.at("c", "/HostConfig/StorageOpt/driver"), driver);
            scene.ok("rm c");
            scene.assert_all_gone(driver);
            let flags_ro = format!("{flags} --read-only");
            let script = "touch /app/mine || cat /app/both";
            let done = scene.run(&format!("run --rm {flags_ro} {image} sh -c '{script}'"));
            assert!(
                done.out == "2\n" && done.err.contains("Read-only"),
                "{done:?}"
            );
            // Nothing of it has come into the layers.
            let seen = scene.ok(&format!("run --rm {flags} {image} sh -c '{LOOK}'"));
            assert_eq!(seen, SEEN, "{driver}");
        }
    });
}

#[test]
fn what_is_in_memory_has_the_size_that_it_may_have() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let fill = "run --rm --network none --storage-opt driver=tmpfs --storage-opt size=1m $I \
                    dd if=/dev/zero of=/file bs=64k count=100";
        let full = scene.run(fill);
        assert!(
            full.code == 1 && full.err.contains("No space left"),
            "{full:?}"
        );
        for (flags, says) in [
            ("--storage-opt size=1m", "driver=tmpfs"),
            ("--storage-opt driver=zfs", "driver=overlay"),
            ("--storage-opt driver", "driver=vfs"),
        ] {
            let line = scene.fails(125, &format!("run {flags} $I true"));
            assert!(line.contains(says), "{line}");
        }
        scene.assert_all_gone("memory of a size");
    });
}

#[test]
fn users_of_its_own_own_a_copy_as_they_own_an_overlay() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = two_layers(&scene);
        for driver in ["overlay", "vfs", "tmpfs"] {
            let flags = format!("--network none --userns auto --storage-opt driver={driver}");
            let look = format!("{LOOK}; touch /mine && stat -c %u /mine");
            let seen = scene.ok(&format!("run --rm {flags} {image} sh -c '{look}'"));
            assert_eq!(seen, format!("{SEEN}0\n"), "{driver}");
        }
        scene.assert_all_gone("users of its own");
    });
}

/// A copy may take long, and nobody has to wait for that who makes another container.
#[test]
fn nobody_waits_for_a_copy_that_is_not_his() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let vfs = "--network none --storage-opt driver=vfs";
        scene.ok(&format!("create --name c {vfs} $I true"));
        for args in [
            &format!("run --name web --userns auto {vfs} $I true"),
            "mount c",
        ] {
            let mut copying = scene.shell(&format!(
                "exec strace -f -q -o /run/trace -e trace=copy_file_range -e signal=none -e inject=copy_file_range:signal=STOP:when=1 rocker {args}"
            ));
            let mut copying = copying.stdout(std::process::Stdio::null()).spawn().unwrap();
            host.wait_until("it stands still", crate::support::LIMIT, || {
                let states = host.sh("ps -C rocker -o stat= || true");
                states
                    .lines()
                    .any(|state| state.to_uppercase().starts_with('T'))
            });
            let other = scene.script("timeout 10 rocker create --name other $I true");
            assert_eq!(other.code, 0, "while {args}: {other:?}");
            scene.ok("rm other");
            host.sh("for pid in $(ps -C rocker -o pid=); do kill -s CONT $pid; done");
            assert!(copying.wait().unwrap().success(), "{args}");
        }
        scene.ok("rm -f web c");
        scene.assert_all_gone("copies");
    });
}

/// What runs rocker in a container, with its data at `root` there.
fn inner(scene: &Scene<'_>, flags: &str, root: &str, script: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_rocker");
    scene.ok(&format!(
        "run --rm --privileged --network none -v {binary}:/bin/rocker:ro -v /run/two.tar:/two.tar:ro {flags} \
         -e ROCKER_ROOT={root} -e ROCKER_RUN=/run/rocker -e ROCKER_LINGER=0 $I sh -euc '{script}' 2>&1"
    ))
}

#[test]
fn rocker_runs_in_a_container_of_rockers_by_a_copy_on_its_overlay_and_by_an_overlay_on_a_volume() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = two_layers(&scene);
        scene.ok(&format!("save -o /run/two.tar {image}"));
        let volume = host.dir("volume");
        let script = format!(
            "rocker load -q -i /two.tar >/dev/null
             rocker info -f \"{{{{.Driver}}}}\"
             rocker run --name c --network none {image} sh -c \"{LOOK}; touch /mine\"
             rocker start -a c
             rocker inspect -f \"{{{{.GraphDriver.Name}}}}\" c
             rocker rm c >/dev/null
             ls /data/containers
             echo left"
        );
        let warned = |text: &str| text.matches("warning").count();
        // On the root of the outer container, which is an overlay.
        let seen = inner(&scene, "", "/data", &script);
        assert_eq!(warned(&seen), 1, "once, not at the second start: {seen}");
        assert!(seen.contains("lies on overlayfs"), "{seen}");
        let rest: Vec<_> = seen
            .lines()
            .filter(|line| !line.contains("lies on"))
            .collect();
        let all = format!("vfs\n{SEEN}{SEEN}vfs\nleft");
        assert_eq!(rest.join("\n"), all);
        // On a volume and in memory an overlay can be had, and nothing is said.
        let volume = format!("-v {}:/data", volume.display());
        for flags in [volume.as_str(), "--tmpfs /data"] {
            let seen = inner(&scene, flags, "/data", &script);
            assert_eq!(
                seen,
                format!("overlay\n{SEEN}{SEEN}overlay\nleft\n"),
                "{flags}"
            );
        }
        // Memory for what changes, over layers that lie on an overlay.
        let script = format!(
            "rocker load -q -i /two.tar >/dev/null
             rocker run --rm --network none --storage-opt driver=tmpfs {image} sh -c \"{LOOK}\""
        );
        assert_eq!(inner(&scene, "", "/data", &script), SEEN);
        scene.assert_all_gone("containers in containers");
        let names = fs::read_dir("/run/volume/containers").unwrap().flatten();
        assert_eq!(names.filter(|one| one.file_name().len() == 64).count(), 0);
    });
}

#[test]
fn an_overlay_that_was_asked_for_is_not_replaced_by_a_copy() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("cd /run; mkdir -p o/l o/u o/w o/m
             mount -t overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w overlay o/m");
        let run = |flags: &str| {
            scene.script(&format!(
                "ROCKER_ROOT=/run/o/m exec rocker run --network none {flags} hello"
            ))
        };
        let refused = run("--rm --storage-opt driver=overlay");
        assert!(
            refused.code == 125 && refused.err.contains("lies on overlayfs"),
            "{refused:?}"
        );
        let copied = run("--name c");
        assert!(
            copied.code == 0 && copied.err.contains("copied"),
            "{copied:?}"
        );
        let why = "ROCKER_ROOT=/run/o/m exec rocker inspect -f '{{.GraphDriver.Data.Why}}' c";
        assert!(scene.script(why).out.contains("lies on overlayfs"));
        // A directory under an overlay is copied as well, and stays as it is; one in place of an image needs none.
        host.sh(
            "mkdir -p /run/dir/bin; cp /bin/busybox /run/dir/bin; ln -s busybox /run/dir/bin/touch",
        );
        let on = |dir: &str| {
            let command = "--network none --rm --rootfs";
            let root = "ROCKER_ROOT=/run/o/m";
            scene.script(&format!(
                "{root} exec rocker run {command} {dir} touch /mine"
            ))
        };
        let beneath = on("/run/dir:O");
        assert!(
            beneath.code == 0 && beneath.err.contains("copied"),
            "{beneath:?}"
        );
        assert!(!Path::new("/run/dir/mine").exists());
        let itself = on("/run/dir");
        assert!(itself.code == 0 && itself.err.is_empty(), "{itself:?}");
        assert!(Path::new("/run/dir/mine").exists());
        let both = scene.fails(125, "run --storage-opt driver=vfs --rootfs /run/dir true");
        assert!(both.contains("DIR:O"), "{both}");
        let removed = scene.script("ROCKER_ROOT=/run/o/m exec rocker rm c");
        assert_eq!(removed.code, 0, "{removed:?}");
        host.sh("umount /run/o/m");
        scene.assert_nothing_left("a store on an overlay");
    });
}

#[test]
fn half_a_copy_is_no_copy_and_takes_no_room() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let vfs = "--network none --storage-opt driver=vfs";
        // What somebody left who died while he copied.
        let id = scene.ok(&format!("create --name c {vfs} $I ls /"));
        let data = scene.root.join("containers").join(id.trim());
        fs::create_dir(data.join(".root")).unwrap();
        fs::write(data.join(".root/junk"), "").unwrap();
        let seen = scene.ok("start -a c");
        assert!(seen.contains("bin\n") && !seen.contains("junk"), "{seen}");
        assert!(!data.join(".root").exists() && data.join("root/bin").exists());
        scene.ok("rm c");
        // A disk that is too small for a copy.
        host.sh(&format!(
            "mkdir /run/small; mount -t tmpfs -o size=1800k tmpfs /run/small
             mkdir /run/small/containers; mount --bind /run/small/containers {}",
            scene.root.join("containers").display()
        ));
        let full = scene.run(&format!("run --name c {vfs} $I true"));
        assert!(
            full.code == 125 && full.err.contains("No space left"),
            "{full:?}"
        );
        assert_eq!(
            host.sh("find /run/small -name .root -o -name root -type d"),
            ""
        );
        let overlay = scene.ok("run --rm --network none $I echo there is room");
        assert_eq!(overlay, "there is room\n");
    });
}

#[test]
fn a_container_that_is_killed_takes_those_in_it_along() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let binary = env!("CARGO_BIN_EXE_rocker");
        let flags = format!(
            "--privileged --network none -v {binary}:/bin/rocker:ro -e ROCKER_ROOT=/data -e ROCKER_RUN=/run/rocker"
        );
        // One that runs, and cgroups that nobody removed.
        scene.ok("save -o /run/image.tar $I");
        let flags = format!("{flags} -v /run/image.tar:/image.tar -e I=$I");
        scene.up(
            "outer",
            &flags,
            "rocker load -q -i /image.tar; rocker run -d --network none $I sleep 1234
             for dir in /sys/fs/cgroup/*; do mkdir -p $dir/left/behind; done; echo up; sleep 1000",
        );
        // The inner one is a process of the machine, too.
        host.sh("pgrep -xf 'sleep 1234'");
        host.sh(&format!("kill -9 {}", scene.supervisor("outer")));
        scene.wait_until_alone();
        assert_eq!(scene.at("outer", "/State/Status"), "exited");
        assert_eq!(host.try_sh("pgrep -xf 'sleep 1234'").status.code(), Some(1));
        scene.ok("rm outer");
        scene.assert_all_gone("a container that had containers");
    });
}
