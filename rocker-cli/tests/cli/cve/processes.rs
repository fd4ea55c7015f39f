//! Processes of rocker that a container can see.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::hostile_image;
use crate::alice::Alice;
use crate::fake_host;
use crate::support::{Rocker, Scene};

/// A script that the kernel has interpreted by whichever program executes it.
fn interpreted_by_its_caller(root: &std::path::Path) {
    let script = root.join("evil");
    fs::write(&script, "#!/proc/self/exe plan\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn cve_2019_5736_nothing_is_written_to_rocker_by_a_container_that_has_it_executed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "overwriter", interpreted_by_its_caller);
        // One that nobody runs when its work is done, and so nothing but its mount keeps from being written.
        host.dir("bin");
        host.sh(&format!(
            "strip -o /run/bin/rocker {0}; cp /run/bin/rocker /run/bin/before",
            env!("CARGO_BIN_EXE_rocker")
        ));
        // A second container in the same PID namespace looks on when the first program is the evil one.
        let mut first = scene.start(&format!("run --rm --name web {image} attacker overwrite"));
        assert_eq!(first.line(), "up");
        let caught = AtomicBool::new(false);
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !caught.load(Ordering::Relaxed) {
                    scene.script("/run/bin/rocker exec web /evil");
                    scene.script(&format!(
                        "/run/bin/rocker run --rm --pid container:web {image} /evil"
                    ));
                    scene.script(&format!(
                        "/run/bin/rocker run --rm --pid container:web {image} /proc/self/exe plan"
                    ));
                }
            });
            let error = first.line();
            caught.store(true, Ordering::Relaxed);
            error
        });
        assert_eq!(error, "Read-only file system");
        host.sh("cmp /run/bin/rocker /run/bin/before");
        drop(first);
        scene.ok("ps -q");
        scene.assert_all_gone("attacks on rocker's executable");
    });
}

/// Runs programs in a container in which somebody traces all others, and returns what that one caught of them.
fn caught_by_a_tracer(scene: &Scene<'_>, image: &str, flags: &str) -> Vec<String> {
    let mut tracer = scene.start(&format!(
        "run --rm --name tracer-{} {flags} {image} attacker trace",
        flags.len()
    ));
    assert_eq!(tracer.line(), "up");
    for _ in 0..15 {
        scene.script(&format!("rocker exec tracer-{} sleep 0.01", flags.len()));
    }
    scene.ok(&format!("rm -f tracer-{}", flags.len()));
    let caught: Vec<_> = tracer.end().out.lines().map(str::to_owned).collect();
    assert!(
        !caught.is_empty(),
        "nothing was caught, so nothing was tried"
    );
    caught
}

#[test]
fn cve_2016_9962_who_enters_a_container_cannot_be_traced_before_it_is_one_of_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "tracer", |_| {});
        for line in caught_by_a_tracer(&scene, &image, "") {
            let mut fields = line.split(' ');
            assert_eq!(fields.next(), Some("/bin/busybox"), "{line}");
            assert_eq!(fields.next(), Some("00000000a80425fb"), "{line}");
        }
        scene.assert_all_gone("a tracer");
    });
}

#[test]
fn cve_2016_9962_whoever_may_trace_gains_nothing_from_who_enters() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "tracer", |_| {});
        let own = 0xa804_25fb | 1 << 19;
        for line in caught_by_a_tracer(&scene, &image, "--cap-add SYS_PTRACE") {
            let mut fields = line.split(' ');
            let exe = fields.next().unwrap();
            let held = u64::from_str_radix(fields.next().unwrap(), 16).unwrap();
            assert_eq!(held & !own, 0, "{line}");
            for file in fields {
                let target = file.split_once('=').unwrap().1;
                let is_harmless = ["pipe:", "socket:", "/dev/null", "anon_inode:", "own"]
                    .iter()
                    .any(|kind| target.starts_with(kind));
                assert!(is_harmless, "{exe} has {file} open: {line}");
            }
        }
        scene.assert_all_gone("a tracer with CAP_SYS_PTRACE");
    });
}

#[test]
fn cve_2024_21626_no_descriptor_of_the_hosts_is_a_working_directory_or_open() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        // Whoever starts rocker has one open as well.
        let each = |command: &str| {
            let one = format!("rocker {command} && echo entered by {{}}; true");
            scene.script(&format!(
                "exec 7</run 9</; seq 3 64 | xargs -P 3 -I {{}} sh -c '{one}'"
            ))
        };
        for command in [
            "exec -w /proc/self/fd/{} web pwd",
            "exec -w /proc/self/fd/{}/../.. web pwd",
            "run --rm --network none -w /proc/self/fd/{} $I pwd",
            // Nor is the program, or the interpreter of one, found by way of one.
            "exec web /proc/self/fd/{}/bin/true",
        ] {
            let done = each(command);
            assert_eq!(done.out, "", "{done:?}");
            assert_eq!(done.err.matches("rocker: ").count(), 62, "{done:?}");
        }
        for command in ["exec web", "run --rm $I"] {
            let open = format!("exec 7</run 9</; rocker {command} sh -c 'ls /proc/$$/fd; true'");
            assert_eq!(scene.script(&open).out, "0\n1\n2\n", "{command}");
        }
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("working directories that are descriptors");
    });
}

#[test]
fn cve_2024_21626_an_image_does_not_choose_a_descriptor_either() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = host.dir("image");
        crate::registry::busybox_root(&root);
        fs::create_dir(root.join("etc")).unwrap();
        for number in [5, 7, 8, 9] {
            let config = format!(r#"{{"WorkingDir":"/proc/self/fd/{number}"}}"#);
            let image = scene
                .registry
                .push_dir(&root, &format!("fd{number}"), &config);
            let done = scene.script(&format!("exec 7</run 9</; rocker run --rm {image} pwd"));
            assert!(done.code > 124 && done.out.is_empty(), "{done:?}");
        }
        scene.assert_all_gone("working directories of images");
    });
}

#[test]
fn cve_2019_14271_programs_and_libraries_of_an_image_are_not_run_by_the_host_side() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "trojan", |root| {
            fs::create_dir(root.join("run")).unwrap();
            let library = root.join("libnss_files.so.2");
            let source = host.dir("source").join("trojan.c");
            fs::write(
                &source,
                "#include <fcntl.h>\n__attribute__((constructor)) static void run(void) { open(\"/run/flag\", O_CREAT, 0600); open(\"/tmp/flag\", O_CREAT, 0600); }\n",
            )
            .unwrap();
            host.sh(&format!(
                "cc -shared -fPIC -o {} {}",
                library.display(),
                source.display()
            ));
            for dir in [
                "lib/x86_64-linux-gnu",
                "lib64",
                "usr/lib/x86_64-linux-gnu",
                "usr/lib",
                "lib",
            ] {
                let dir = root.join(dir);
                fs::create_dir_all(&dir).unwrap();
                for name in [
                    "libnss_files.so.2",
                    "libnss_dns.so.2",
                    "libnss_compat.so.2",
                    "libc.so.6",
                    "libgcc_s.so.1",
                ] {
                    fs::copy(&library, dir.join(name)).unwrap();
                }
            }
            fs::write(root.join("etc/ld.so.preload"), "/lib/libnss_files.so.2\n").unwrap();
            fs::write(
                root.join("etc/nsswitch.conf"),
                "passwd: files compat\ngroup: files\nhosts: dns\n",
            )
            .unwrap();
            fs::write(
                root.join("etc/passwd"),
                "root:x:0:0::/:/bin/sh\nbob:x:7:7::/:/bin/sh\n",
            )
            .unwrap();
            fs::write(root.join("etc/group"), "bob:x:7:\nadm:x:4:bob\n").unwrap();
            // Those that engines have around, and rocker starts for ordinary users.
            for name in [
                "xz",
                "unxz",
                "unpigz",
                "pigz",
                "gzip",
                "gunzip",
                "zstd",
                "tar",
                "docker-tar",
                "nft",
                "iptables",
                "ip",
                "modprobe",
                "newuidmap",
                "newgidmap",
                "pasta",
                "pasta.avx2",
                "passt",
                "slirp4netns",
                "fuse-overlayfs",
                "mount",
                "getent",
                "nsenter",
                "catatonit",
                "docker-init",
                "tini",
                "cp",
                "id",
                "rocker",
            ] {
                for dir in ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin"] {
                    let program = root.join(dir).join(name);
                    fs::create_dir_all(program.parent().unwrap()).unwrap();
                    let _ = fs::remove_file(&program);
                    fs::write(&program, "#!/bin/sh\n: >/run/flag; : >/tmp/flag\n").unwrap();
                    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
                }
            }
        });
        let work = |rocker: &str| {
            format!(
                "mkfifo fifo; exec 3<>fifo; {rocker} pull -q {image}; {rocker} run --rm -i --name web --init -e LD_PRELOAD=/lib/libnss_files.so.2 -u bob --group-add adm -w /new {image} cat <fifo &
                 until {rocker} exec web true 2>/dev/null; do :; done
                 {rocker} exec -u bob web true; {rocker} exec -t -u 0 web true; {rocker} inspect web >/dev/null; {rocker} ps -a >/dev/null
                 {rocker} exec web sh -c 'ls /run/flag /tmp/flag 2>/dev/null; true'
                 {rocker} rm -f web; wait; {rocker} rmi {image}"
            )
        };
        let flags = "find /run /tmp /var/lib/rocker -xdev -name flag -newer /run/source/trojan.c";
        let done = scene.script(&work("rocker"));
        done.succeeded();
        assert!(!done.out.contains("/flag"), "{done:?}");
        assert_eq!(host.sh(flags), "");
        let alice = Alice::new(host, &scene);
        let out = alice.ok(&work("rocker"));
        assert!(!out.contains("/flag"), "{out}");
        drop(alice);
        assert_eq!(host.sh(flags), "");
        // Which they would leave.
        scene.ok(&format!("run --name own {image} /usr/bin/xz"));
        assert_eq!(host.sh(flags).lines().count(), 2);
        scene.ok("rm own");
        scene.assert_all_gone("containers full of trojans");
    });
}

#[test]
fn cve_2022_29162_and_2022_24769_no_capability_is_inheritable_or_ambient() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = scene.image.as_str();
        let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
        let look = "grep -E \"CapInh|CapAmb\" /proc/self/status";
        // Whoever starts rocker has all of them in both sets.
        let some = "+chown,+net_raw,+sys_admin";
        let rich = format!("exec setpriv --inh-caps={some} --ambient-caps={some} rocker");
        let looks = |rocker: &Rocker<'_>, command: &str| {
            let done = rocker.script(&format!("{rich} {command} {look}"));
            assert_eq!(done.out, none, "{done:?}");
        };
        let users = ["", "-u 1000", "--privileged", "--privileged -u 1000"];
        for flags in users {
            looks(&scene, &format!("run --rm {flags} {image}"));
            looks(
                &scene,
                &format!("run --rm --init --cap-add ALL {flags} {image}"),
            );
        }
        looks(&scene, &format!("run --rm --userns auto {image}"));
        let idle = scene.start_idle("--rm --name web");
        for flags in users {
            looks(&scene, &format!("exec {flags} web"));
        }
        assert_eq!(idle.end().code, 0);
        let alice = Alice::new(host, &scene);
        for flags in users {
            assert_eq!(
                alice.ok(&format!("rocker run --rm {flags} $I {look}")),
                none
            );
        }
        drop(alice);
        scene.assert_all_gone("looks at capabilities");
    });
}
