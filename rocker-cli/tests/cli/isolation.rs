//! What a container sees, and what it does not.

use std::collections::BTreeMap;
use std::fs;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn the_command_itself_is_pid_1_and_alone() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        assert_eq!(
            scene.ok("run --rm $I cat /proc/1/cmdline"),
            "cat\0/proc/1/cmdline\0"
        );
        assert_eq!(
            scene.ok("run --rm $I sh -c 'echo $$; cd /proc; echo [0-9]*'"),
            "1\n1\n"
        );
        // A process that loses its parent becomes the command's, as on any machine.
        let out = scene.ok(
            "run --rm $I sh -c 'sh -c \"sleep 1000 & echo\"; until ps -o pid,ppid,comm | grep sleep; do :; done'",
        );
        assert_eq!(out.split_whitespace().nth(1), Some("1"), "{out}");
        scene.assert_all_gone("runs");
    });
}

#[test]
fn every_namespace_but_time_and_user_is_its_own() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "cd /proc/self/ns && for n in *; do readlink $n; done";
        let inside = scene.ok(&format!("run --rm $I sh -c '{script}'"));
        let outside = host.sh(script);
        let map = |text: &str| -> BTreeMap<String, String> {
            let pairs = text.lines().map(|line| line.split_once(':').unwrap());
            pairs
                .map(|(kind, inode)| (kind.to_owned(), inode.to_owned()))
                .collect()
        };
        let (inside, outside) = (map(&inside), map(&outside));
        for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            assert_ne!(inside[kind], outside[kind], "{kind}");
        }
        for kind in ["user", "time"] {
            assert_eq!(inside[kind], outside[kind], "{kind}");
        }
        // So the cgroup that it is in is the root of those that it sees.
        let cgroup = scene.ok("run --rm $I cat /proc/self/cgroup");
        assert!(cgroup.lines().all(|line| line.ends_with(":/")), "{cgroup}");
        scene.assert_all_gone("runs");
    });
}

#[test]
fn devices_and_mounts_are_the_standard_ones() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let list = scene.ok("run --rm $I sh -c 'cd /dev; for f in *; do echo $(stat -c \"%n %F %t:%T %a\" $f) $(readlink $f); done'");
        assert_eq!(
            list,
            "core symbolic link 0:0 777 /proc/kcore\n\
             fd symbolic link 0:0 777 /proc/self/fd\n\
             full character special file 1:7 666\n\
             mqueue directory 0:0 1777\n\
             null character special file 1:3 666\n\
             ptmx symbolic link 0:0 777 pts/ptmx\n\
             pts directory 0:0 755\n\
             random character special file 1:8 666\n\
             shm directory 0:0 1777\n\
             stderr symbolic link 0:0 777 /proc/self/fd/2\n\
             stdin symbolic link 0:0 777 /proc/self/fd/0\n\
             stdout symbolic link 0:0 777 /proc/self/fd/1\n\
             tty character special file 5:0 666\n\
             urandom character special file 1:9 666\n\
             zero character special file 1:5 666\n"
        );
        let out = scene.ok("run --rm $I sh -c 'echo x >/dev/null && head -c 3 /dev/zero | wc -c && head -c 9 /dev/urandom | wc -c'");
        assert_eq!(out, "3\n9\n");
        // The device cgroup keeps it to these: others can be made, and not be opened.
        let done = scene.run("run --rm $I sh -c 'mknod /kmsg c 1 11 && cat /kmsg'");
        assert!(
            done.code != 0
                && (done.err.contains("not permitted") || done.err.contains("Permission denied")),
            "{done:?}"
        );
        let mounts = scene.ok("run --rm $I cat /proc/mounts");
        let find = |at: &str| {
            let found = mounts
                .lines()
                .rfind(|line| line.split(' ').nth(1) == Some(at));
            let fields: Vec<_> = found
                .unwrap_or_else(|| panic!("{at}: {mounts}"))
                .split(' ')
                .collect();
            let options: Vec<_> = fields[3].split(',').map(str::to_owned).collect();
            (fields[2].to_owned(), options)
        };
        for (at, kind, options) in [
            ("/", "overlay", vec!["rw"]),
            ("/proc", "proc", vec!["rw", "nosuid", "nodev", "noexec"]),
            ("/dev", "tmpfs", vec!["rw", "nosuid"]),
            (
                "/dev/pts",
                "devpts",
                vec!["rw", "nosuid", "noexec", "mode=620", "ptmxmode=666"],
            ),
            (
                "/dev/shm",
                "tmpfs",
                vec!["rw", "nosuid", "nodev", "noexec", "size=65536k"],
            ),
            (
                "/dev/mqueue",
                "mqueue",
                vec!["rw", "nosuid", "nodev", "noexec"],
            ),
            ("/sys", "sysfs", vec!["ro", "nosuid", "nodev", "noexec"]),
        ] {
            let (found, has) = find(at);
            assert_eq!(found, kind, "{at}");
            for option in options {
                assert!(
                    has.iter().any(|has| has == option),
                    "{at} is not {option}: {has:?}"
                );
            }
        }
        let writable = mounts
            .lines()
            .filter(|line| line.contains("/sys") && !line.contains(" ro,"));
        assert_eq!(writable.count(), 0, "{mounts}");
        scene.assert_all_gone("runs");
    });
}

#[test]
fn the_kernels_knobs_are_masked_or_read_only() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for write in [
            "/sys/kernel/uevent_helper",
            "/proc/sys/kernel/domainname",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
        ] {
            let done = scene.run(&format!(
                "run --rm $I sh -c 'test -e {write} || exit 9; echo 1 >{write}'"
            ));
            assert!(
                done.code == 9 || done.err.contains("Read-only file system"),
                "{write}: {done:?}"
            );
        }
        let out = scene.ok("run --rm $I sh -c 'cat /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug 2>/dev/null | wc -c; ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : | wc -w'");
        assert_eq!(out, "0\n0\n");
        for command in [
            "mount -t tmpfs tmpfs /tmp",
            "mount -o remount,rw /sys",
            "mount -o remount,bind,rw /proc/sys",
            "umount /proc/kcore",
            "umount /sys",
            "unshare -m true",
            "hostname other",
            "chroot /proc/1/root/../.. mount -t proc p /proc",
        ] {
            let done = scene.run(&format!("run --rm $I {command}"));
            assert!(done.code != 0 && done.code < 125, "{command}: {done:?}");
        }
        scene.assert_all_gone("runs");
    });
}

#[test]
fn the_root_of_the_host_cannot_be_reached() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::write("/run/host-only", "").unwrap();
        for way in [
            "/run/host-only",
            "/../../run/host-only",
            "/proc/1/root/run/host-only",
            "/proc/self/cwd/../../run/host-only",
            "/proc/1/root/../../run/host-only",
        ] {
            let done = scene.run(&format!("run --rm $I ls {way}"));
            assert_eq!(done.code, 1, "{way}: {done:?}");
        }
        // Each mount is one of the container's own, and what a bind mount shows of the host is a file of /etc.
        let info = scene.ok("run --rm $I cat /proc/self/mountinfo");
        let mut fields = info.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = fields.next().unwrap();
        assert_eq!((root[3], root[4]), ("/", "/"), "{info}");
        // One of them is the root, and no two lie over each other: a tree of the host's that was forgotten would lie there.
        let mut places: Vec<_> = info
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .collect();
        assert_eq!(places.len(), info.lines().count(), "{info}");
        let roots = places.iter().filter(|place| **place == "/");
        assert_eq!(roots.count(), 1, "{info}");
        places.sort_unstable();
        let repeated = places.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(repeated, None, "{info}");
        for mount in fields.filter(|mount| mount[3] != "/") {
            let is_file = mount[4].starts_with("/etc/");
            let is_own = ["/proc", "/sys", "/dev/"]
                .iter()
                .any(|own| mount[4].starts_with(own));
            assert!(is_file || is_own, "{mount:?}");
        }
        // And nothing that happens to mounts in there is seen out here, or the other way round.
        let idle = scene.start_idle("--rm --name web --privileged");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        scene.ok("exec web mount -t tmpfs inside /tmp");
        assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts);
        host.sh("mkdir /run/out && mount -t tmpfs outside /run/out");
        assert!(!scene.ok("exec web cat /proc/mounts").contains("outside"));
        host.sh("umount /run/out");
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("runs");
    });
}

#[test]
fn capabilities_descriptors_session_and_environment_are_as_dockers() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let status = scene.ok("run --rm $I grep -E ^Cap /proc/self/status");
        let docker = "00000000a80425fb";
        assert_eq!(
            status.split_whitespace().collect::<Vec<_>>(),
            [
                "CapInh:",
                "0000000000000000",
                "CapPrm:",
                docker,
                "CapEff:",
                docker,
                "CapBnd:",
                docker,
                "CapAmb:",
                "0000000000000000"
            ]
        );
        // Whoever starts rocker may hold other files open; the container gets three.
        let output = scene
            .shell("exec 7</etc/hostname 9</; rocker run --rm $I sh -c 'ls /proc/1/fd; true'")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n");
        assert_eq!(
            scene
                .ok("run --rm $I sh -c 'umask; ulimit -c'")
                .lines()
                .next(),
            Some("0022")
        );
        // Its own session and group: what is typed into rocker's terminal does not reach it by itself.
        let stat = scene.ok("run --rm $I cat /proc/self/stat");
        let fields: Vec<_> = stat.split(' ').collect();
        assert_eq!(fields[4..6], ["1", "1"], "{stat}");
        let output = scene
            .shell("export SECRET=x; rocker run --rm --hostname web $I env")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut env: Vec<_> = text.lines().collect();
        env.sort_unstable();
        assert_eq!(
            env,
            [
                "HOME=/",
                "HOSTNAME=web",
                "PATH=/usr/local/bin:/usr/bin:/bin"
            ]
        );
        scene.assert_all_gone("runs");
    });
}

#[test]
fn the_files_of_etc_are_made_for_the_container() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // As resolv.conf names a resolver of the host's own, which the container cannot reach, it is left out.
        host.sh("printf 'search example.org\\nnameserver 127.0.0.53\\nnameserver 192.0.2.53\\n' >/run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf");
        let out = scene.ok("run --rm $I grep -v ^# /etc/resolv.conf");
        assert_eq!(out, "search example.org\nnameserver 192.0.2.53\n");
        let out = scene.ok("run --rm --network host $I cat /etc/resolv.conf");
        assert!(out.contains("127.0.0.53"), "{out}");
        host.sh("umount /etc/resolv.conf");
        let out = scene.ok("run --rm $I sh -c 'cat /etc/hostname; hostname; ip -4 -o addr show eth0; cat /etc/hosts'");
        let mut lines = out.lines();
        let name = lines.next().unwrap();
        assert_eq!(lines.next(), Some(name));
        let address = lines.next().unwrap().split_whitespace().nth(3).unwrap();
        let address = address.split('/').next().unwrap();
        assert!(out.contains(&format!("{address}\t{name}\n")), "{out}");
        assert!(out.contains("127.0.0.1\tlocalhost\n"), "{out}");
        assert_eq!(
            scene.ok("run --rm $I stat -c %a /etc/hosts /etc/hostname /etc/resolv.conf"),
            "644\n644\n644\n"
        );
        // A container may change its own; the image is as before.
        assert_eq!(
            scene.ok("run --rm $I sh -c 'echo 192.0.2.1 x >>/etc/hosts && tail -n 1 /etc/hosts'"),
            "192.0.2.1 x\n"
        );
        assert_eq!(
            scene.run("run --rm $I grep -c 192.0.2.1 /etc/hosts").out,
            "0\n"
        );
        scene.assert_all_gone("runs");
    });
}
