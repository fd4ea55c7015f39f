//! What rocker says of a failure beyond its bare reason: each of them is provoked for real.

use std::fs;
use std::path::PathBuf;

use crate::fake_host::{self, Host};
use crate::support::{Rocker, Scene};

/// The ELF machine that this one is not, as its two bytes for printf(1), and its name.
const ALIEN: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("\\076\\000", "x86_64")
} else {
    ("\\267\\000", "aarch64")
};

/// The layer of an image with a shell, and with programs that cannot be started, each in its own way.
fn broken_programs(host: &Host) -> PathBuf {
    let dir = host.dir("programs");
    host.sh(&format!(
        r##"cd {}
        mkdir -p bin dir etc
        cp "$(command -v busybox)" bin/busybox
        ln -s busybox bin/sh
        cp /bin/true dynamic
        printf '#!/bin/bash\necho\n' >script
        printf '#!/bin/sh\r\necho\r\n' >dos
        printf 'echo\n' >plain
        printf '#!/bin/sh\necho\n' >text
        : >empty
        cp bin/busybox alien
        printf '{}' | dd of=alien bs=1 seek=18 conv=notrunc status=none
        cp bin/busybox private
        chmod 755 script dos plain empty alien
        chmod 644 text
        chmod 700 private
        printf '\033[2J' >"$(printf 'esc\033[2J')"
        tar -cf ../programs.tar *"##,
        dir.display(),
        ALIEN.0,
    ));
    dir.with_file_name("programs.tar")
}

#[test]
fn a_program_that_does_not_start_is_explained_by_what_it_is() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let image = scene.push_layers(&[&broken_programs(host)], "programs", "{}");
        scene.ok(&format!("pull -q {image}"));
        for (status, args, cause, remedy) in [
            (
                127,
                "/nosuch",
                "the image has no /nosuch",
                "--entrypoint sh",
            ),
            (127, "nosuch", "no directory of the PATH has", "look for it"),
            (127, "/text/x", "/text is no directory", "look for it"),
            (
                127,
                "/dynamic",
                "the ELF interpreter that it asks for, /lib",
                "glibc",
            ),
            (
                127,
                "/script",
                "a script for /bin/bash, which is not in",
                "sh /script",
            ),
            (127, "/dos", "carriage return", "sed -i"),
            (126, "/alien", ALIEN.1, "--platform linux/"),
            (126, "/text", "it has no x permission", "sh /text"),
            (126, "/dir", "/dir is a directory", "name a program"),
            (126, "/plain", "neither a program nor a script", "#!/bin/sh"),
            (126, "/empty", "/empty is empty", "write a program"),
            (
                126,
                "--user 7 /private",
                "user may not execute",
                "--user root",
            ),
        ] {
            let (flags, program) = match args.rsplit_once(' ') {
                Some((flags, program)) => (flags, program),
                None => ("", args),
            };
            let done = scene.run(&format!("run --rm {flags} {image} {program}"));
            let (likely, try_) = done.advised(status);
            assert!(likely.contains(cause), "{done:?}");
            assert!(try_.contains(remedy), "{done:?}");
        }
        let done = scene.run(&format!("run --rm {image} \"/esc$(printf '\\033[2J')\""));
        done.advised(126);
        assert!(!done.err.contains('\x1b'), "{done:?}");
        // The same from inside of a container that runs.
        let mut idle = scene.start(&format!("run -i --name idle {image} sh -c 'echo up; cat'"));
        assert_eq!(idle.line(), "up");
        let (likely, _) = scene.run("exec idle /script").advised(127);
        assert!(
            likely.contains("/bin/bash, which is not in the container"),
            "{likely}"
        );
        let (likely, _) = scene.run("exec idle /alien").advised(126);
        assert!(likely.contains(ALIEN.1), "{likely}");
        idle.end();
        scene.ok("rm idle");
        scene.assert_all_gone("programs that do not start");
    });
}

#[test]
fn a_place_to_mount_on_that_a_read_only_volume_lacks_is_told_so() {
    fake_host::run(|host| {
        host.dir("lacking");
        let scene = Scene::new(host);
        let volumes = "-v /run/lacking:/v:ro -v /etc:/v/etc";
        let (likely, remedy) = scene
            .run(&format!("run --rm {volumes} $I true"))
            .advised(125);
        assert!(likely.contains("volume that is read-only"), "{likely}");
        assert!(remedy.contains("without :ro"), "{remedy}");
        scene.assert_all_gone("a place that cannot be made");
    });
}

#[test]
fn a_place_that_can_be_no_directory_is_told_so() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        for (args, cause) in [
            ("-w /hello", "a file where a directory is needed"),
            ("-v /run:/hello/x", "a file where a directory is needed"),
            ("-v /run:/proc/x", "makes no directories"),
        ] {
            let (likely, _) = rocker.run(&format!("run --rm {args} hello")).advised(125);
            assert!(likely.contains(cause), "{args}: {likely}");
        }
        rocker.assert_all_gone("places that are no directories");
    });
}

#[test]
fn a_program_on_a_noexec_volume_is_explained_by_its_mount() {
    fake_host::run(|host| {
        host.sh("mkdir /run/noexec; mount -t tmpfs -o noexec tmpfs /run/noexec");
        host.sh("cp $(command -v busybox) /run/noexec/program");
        let scene = Scene::new(host);
        for volume in ["/run/noexec:/v", "/run/noexec/program:/v/program"] {
            let (likely, _) = scene
                .run(&format!("run --rm -v {volume} $I /v/program"))
                .advised(126);
            assert!(likely.contains("noexec"), "{likely}");
        }
        scene.assert_all_gone("a noexec volume");
    });
}

#[test]
fn rockers_own_data_may_be_on_a_noexec_mount() {
    fake_host::run(|host| {
        host.sh("mkdir /run/noexec; mount -t tmpfs -o noexec,nosuid,nodev tmpfs /run/noexec");
        let rocker = Rocker::new(host);
        rocker
            .script("ROCKER_ROOT=/run/noexec exec rocker run --rm hello")
            .succeeded();
        rocker.assert_all_gone("a run on a noexec mount");
    });
}

#[test]
fn what_is_too_long_or_too_many_is_told_with_its_bound() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let long = "a".repeat(140_000);
        let tar = broken_programs(host);
        let image = scene.push_layers(&[&tar], "long", &format!(r#"{{"Env":["X={long}"]}}"#));
        scene.ok(&format!("pull -q {image}"));
        let (likely, _) = scene.run(&format!("run --rm {image} sh")).advised(126);
        assert!(likely.contains("128 KiB"), "{likely}");
        let name = "n".repeat(300);
        for (args, status) in [
            (format!("run --rm -w /{name} hello"), 125),
            (format!("run --rm --entrypoint /{name} hello"), 126),
        ] {
            let (likely, _) = scene.run(&args).advised(status);
            assert!(likely.contains("255 bytes"), "{likely}");
        }
        let line = scene.fails(125, &format!("run --rm --name {name} hello"));
        assert!(line.contains("is not a name for a container"), "{line}");
        let line = scene.fails(125, &format!("run --rm --hostname {name} hello"));
        assert!(line.contains("1 to 64"), "{line}");
        // How many a run takes depends on the machine, such as on its trees of cgroups. Each number that is too small, wherever in
        // the run it is missed, is told.
        let too_few = (12..256).step_by(3).take_while(|limit| {
            let done = scene.script(&format!("ulimit -n {limit}; exec rocker run --rm hello"));
            if done.code == 0 {
                return false;
            }
            let (likely, remedy) = done.advised(125);
            let count = format!("may have {limit} files");
            assert!(likely.contains(&count), "{likely}");
            assert!(remedy.contains("ulimit -n"), "{remedy}");
            true
        });
        assert!(too_few.count() >= 3, "a run takes files");
        scene.assert_all_gone("what is too long");
    });
}

#[test]
fn a_data_root_that_cannot_be_used_is_told_with_another_place() {
    fake_host::run(|host| {
        host.sh(
            "cd /run; mkdir -p o/l o/u o/w o/m full ro; mount -t tmpfs -o size=64k tmpfs full
            mount -t overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w overlay o/m
            mount -t tmpfs -o ro tmpfs ro",
        );
        let rocker = Rocker::new(host);
        for (root, flags, cause, remedy) in [
            // Without being asked for an overlay it would be a copy.
            (
                "/run/o/m",
                "--storage-opt driver=overlay",
                "on an overlay themselves",
                "driver=vfs",
            ),
            ("/run/full", "", "the disk is full", "rocker rmi"),
            ("/run/ro", "", "mounted read-only", "ROCKER_ROOT="),
        ] {
            let done = rocker.script(&format!(
                "ROCKER_ROOT={root} exec rocker run --rm {flags} hello"
            ));
            let (likely, help) = done.advised(125);
            assert!(likely.contains(cause) && help.contains(remedy), "{done:?}");
        }
        rocker.assert_all_gone("data roots of all kinds");
    });
}

#[test]
fn cgroups_that_are_missing_or_read_only_are_told_with_what_brings_them() {
    fake_host::run(|host| {
        let is_v1 = fs::exists("/sys/fs/cgroup/memory").unwrap();
        if !fake_host::require("cgroup1", is_v1) {
            return;
        }
        let rocker = Rocker::new(host);
        host.sh("mount -o remount,bind,ro /sys/fs/cgroup/pids");
        let (likely, _) = rocker.run("run --rm hello").advised(125);
        assert!(likely.contains("inside of a container"), "{likely}");
        host.sh("mount -o remount,bind,rw /sys/fs/cgroup/pids; umount /sys/fs/cgroup/memory");
        let (likely, remedy) = rocker.run("run --rm --mem 64 hello").advised(125);
        assert!(likely.contains("the memory controller is"), "{likely}");
        assert!(remedy.contains("mount -t cgroup -o memory"), "{remedy}");
        host.sh("umount -R /sys/fs/cgroup");
        let (_, remedy) = rocker.run("run --rm hello").advised(125);
        assert!(remedy.contains("mount -t cgroup2"), "{remedy}");
    });
}

#[test]
fn a_root_without_privileges_and_a_machine_without_proc_are_told_so() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        let unprivileged = "exec setpriv --bounding-set -sys_admin rocker run --rm hello";
        let (likely, _) = rocker.script(unprivileged).advised(125);
        assert!(likely.contains("lacks CAP_SYS_ADMIN"), "{likely}");
        rocker.assert_all_gone("a root without privileges");
        host.sh("mount -t tmpfs tmpfs /proc");
        let (_, remedy) = rocker.run("run --rm hello").advised(125);
        assert_eq!(remedy, "mount -t proc proc /proc");
    });
}
