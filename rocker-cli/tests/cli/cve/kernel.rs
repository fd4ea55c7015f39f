//! What a container can ask of the kernel, beside the table of [`crate::probe`].

use std::fs;

use super::start_idle;
use crate::alice::Alice;
use crate::fake_host;
use crate::support::Scene;
use crate::tmux::Tmux;

/// Tries to write to every file of the cgroup file systems, and to find the one that has a program of the host's run.
const WRITE_CGROUPS: &str = "cd /sys/fs/cgroup; find . -type f >/tmp/files; grep -c . /tmp/files; grep release_agent /tmp/files;
    while read file; do { echo 1 >>$file && echo written: $file; } 2>&1; done </tmp/files | grep -vE \"Read-only file system|Permission denied\";
    find . -type d | while read dir; do mkdir $dir/new 2>/dev/null && echo made in $dir; done";

#[test]
fn cve_2022_0492_and_2023_25809_no_cgroup_is_written_and_no_release_agent_is_there() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let quiet = |out: &str| {
            let mut lines = out.lines();
            let files: u32 = lines.next().unwrap().parse().unwrap();
            assert_eq!(lines.next(), None, "{out}");
            files
        };
        for flags in [
            "",
            "--cap-add SYS_ADMIN --security-opt seccomp=unconfined",
            "--userns auto",
        ] {
            let files = quiet(
                &scene
                    .script(&format!(
                        "rocker run --rm {flags} $I sh -c '{WRITE_CGROUPS}'"
                    ))
                    .out,
            );
            assert!(files > 20, "{flags}: only {files} files were tried");
        }
        // By a mount of its own, and in namespaces in which it would be somebody.
        for command in [
            "mount -t cgroup -o rdma cgroup /tmp",
            "mount -t cgroup -o memory cgroup /tmp",
            "mount -t cgroup2 cgroup2 /tmp",
            "mount -o remount,rw /sys/fs/cgroup/memory",
            "unshare -r -m mount -t cgroup -o rdma cgroup /tmp",
            "unshare -U true",
        ] {
            let done = scene.run(&format!("run --rm $I {command}"));
            assert!(
                done.code == 1
                    && (done.err.contains("not permitted") || done.err.contains("denied")),
                "{done:?}"
            );
        }
        let alice = Alice::new(host, &scene);
        quiet(
            &alice
                .script(&format!(
                    "rocker run --rm --network none $I sh -c '{WRITE_CGROUPS}'"
                ))
                .out,
        );
        drop(alice);
        scene.assert_all_gone("attempts on cgroups");
    });
}

#[test]
fn cve_2022_0811_no_sysctl_is_set_by_the_value_or_the_name_of_another() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let of_the_host = || {
            host.sh("cd /proc/sys/kernel; cat core_pattern hostname panic; sysctl -n net.ipv4.ip_forward vm.overcommit_memory")
        };
        let before = of_the_host();
        for sysctl in [
            "kernel.shm_rmid_forced=1+kernel.core_pattern=|/bin/true",
            "kernel.shm_rmid_forced=1,kernel.core_pattern=x",
            "kernel.shm_rmid_forced=1\nkernel.core_pattern=x",
            "kernel.core_pattern=|/bin/true",
            "kernel.modprobe=/bin/true",
            "net/../kernel/core_pattern=x",
            "net.ipv4/../../kernel/core_pattern=x",
            "net..kernel=x",
            "/proc/sys/kernel/core_pattern=x",
            "vm.overcommit_memory=1",
            "kernel.panic=1",
            "=1",
            "kernel.shm_rmid_forced",
        ] {
            let done = scene.run(&format!("run --rm --sysctl '{sysctl}' $I true"));
            // A value that the kernel refuses is as good as one that rocker does.
            assert_eq!(
                (done.code, done.out.as_str()),
                (125, ""),
                "{sysctl}: {done:?}"
            );
        }
        // The kernel reads one number of this, and takes the rest for nothing.
        let done =
            scene.run("run --rm --sysctl 'kernel.shm_rmid_forced=1 kernel.core_pattern=x' $I true");
        assert!(matches!(done.code, 0 | 125), "{done:?}");
        assert_eq!(of_the_host(), before);
        let set = "run --rm --sysctl kernel.shm_rmid_forced=1 --sysctl net.ipv4.ip_forward=0 $I cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_forward";
        assert_eq!(scene.ok(set), "1\n0\n");
        // Nor does it set one of the host's that is named like its own when it shares the namespace.
        let shared = "run --rm --network host --sysctl net.ipv4.ip_forward=0 $I true";
        assert_eq!(scene.run(shared).code, 125);
        scene.assert_all_gone("sysctls");
    });
}

/// Looks for a terminal that is not the container's own, and types into its own.
const TERMINALS: &str = "for n in 0 1 2; do test -t $n && echo $n is a terminal; done; { : </dev/tty; } 2>&1 | grep -v such; ls /dev/pts";

#[test]
fn cve_2017_5226_nobody_types_into_the_terminal_that_rocker_was_started_on() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let probe = host.dir("image");
        crate::registry::busybox_root(&probe);
        fs::create_dir(probe.join("etc")).unwrap();
        crate::static_c::compile(&probe.join("bin"), "attempts");
        let image = scene.registry.push_dir(&probe, "probe", "{}");
        scene.ok(&format!("pull -q {image}"));
        let idle = start_idle(&scene, "", &image);
        let tmux = Tmux::start(host, &scene);
        fs::write("/run/terminals", TERMINALS).unwrap();
        for (number, command) in [format!("run --rm -i {image}"), "exec -i web".to_owned()]
            .into_iter()
            .enumerate()
        {
            let script = format!(
                "rocker {command} sh -c \"$(cat /run/terminals)\" >/dev/null 2>/run/err; rocker {command} sh -c \"$(cat /run/terminals)\" | tee /run/out{number}; echo done {number}"
            );
            tmux.types(&format!("{script}; clear; echo really''{number}"));
            tmux.shows(&format!("really{number}"));
            assert_eq!(
                host.sh(&format!("cat /run/out{number}")),
                "ptmx\n",
                "{command}"
            );
            // What is typed into its own terminal, in each of the ways, is refused; and none of it runs out here.
            tmux.types(&format!(
                "rocker {} attempts terminal >/run/typed{number}; echo over''{number}",
                command.replace(" -i", " -it")
            ));
            tmux.shows(&format!("over{number}"));
            let typed = host.sh(&format!("tr -d '\\r' </run/typed{number}"));
            assert_eq!(
                typed,
                "TIOCSTI                  EPERM\nTIOCSTI, high bits       EPERM\nTIOCLINUX                EPERM\nTIOCLINUX, high bits     EPERM\n",
                "{command}"
            );
        }
        tmux.end();
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("typing");
    });
}
