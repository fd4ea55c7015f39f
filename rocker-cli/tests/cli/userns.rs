//! Containers of root whose users are others than the host's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::debian;
use crate::fake_host::{self, Host};
use crate::support::Scene;

/// What comes out of a container with users of its own.
fn inside(scene: &Scene<'_>, flags: &str, script: &str) -> String {
    scene.ok(&format!(
        "run --rm --userns auto {flags} $I sh -c '{script}'"
    ))
}

/// Who the process with this command line is on the host: its real user and group.
fn owner_of(host: &Host, command: &str) -> (u32, u32) {
    // Its shell goes on before it is what it will be.
    let pid = host.sh(&format!("until pgrep -xf '{command}'; do sleep 0.05; done"));
    let found = fs::metadata(format!("/proc/{}", pid.trim())).unwrap();
    (found.uid(), found.gid())
}

/// Every file of the unpacked layers, with its owner, mode and times.
fn layers(scene: &Scene<'_>) -> String {
    let dir = scene.root.join("layers");
    let script = format!(
        "find {} -printf '%p %U:%G %m %T@ %C@\\n' | sort",
        dir.display()
    );
    scene.host.sh(&script)
}

#[test]
fn root_inside_is_nobody_of_the_hosts_and_two_containers_have_nobody_in_common() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut blocks = Vec::new();
        let mut all = Vec::new();
        for (name, seconds) in [("one", "1001"), ("two", "1002")] {
            let mut run = scene.start(&format!(
                "run -i --rm --name {name} --userns auto $I sh -c 'sleep {seconds} & cat /proc/self/uid_map /proc/self/gid_map; id -u; cat'"
            ));
            let (uids, gids) = (run.line(), run.line());
            assert_eq!(run.line(), "0");
            let map: Vec<u32> = uids
                .split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect();
            assert_eq!((map[0], map[2]), (0, 65_536), "{uids}");
            assert_eq!(uids, gids);
            assert_eq!(
                owner_of(host, &format!("sleep {seconds}")),
                (map[1], map[1])
            );
            assert!(
                (524_288..1_879_048_192).contains(&map[1]) && map[1].is_multiple_of(65_536),
                "{uids}"
            );
            blocks.push(map[1]);
            all.push(run);
        }
        assert_ne!(blocks[0], blocks[1]);
        assert_eq!(
            scene.ok("inspect --actual one").matches("differs").count(),
            0
        );
        drop(all.into_iter().map(|run| run.end()).collect::<Vec<_>>());
        scene.assert_all_gone("two containers with users of their own");
    });
}

#[test]
fn files_have_the_containers_own_ids_on_disk_and_no_layer_is_touched() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = layers(&scene);
        let script = "touch /new && chown 33:34 /new && echo x >>/etc/passwd && chown 7 /bin/busybox && chmod 4755 /bin/busybox && stat -c \"%n %u:%g %a\" /new /etc/passwd /bin/busybox";
        let seen = scene.ok(&format!(
            "run --name kept --userns auto $I sh -c '{script}'"
        ));
        let expected = "/new 33:34 644\n/etc/passwd 0:0 644\n/bin/busybox 7:0 4755\n";
        assert_eq!(seen, expected);
        let upper = host.sh(&format!("echo {}/containers/*/upper", scene.root.display()));
        let on_disk = host.sh(&format!(
            "cd {} && stat -c '/%n %u:%g %a' new etc/passwd bin/busybox",
            upper.trim()
        ));
        assert_eq!(on_disk, expected);
        assert_eq!(layers(&scene), before);
        scene.ok("rm kept");
        // The next container has other users, and the image's files are root's in it as well.
        assert_eq!(
            inside(&scene, "", "stat -c %u:%g /etc/passwd /bin/busybox"),
            "0:0\n0:0\n"
        );
        scene.assert_all_gone("rm");
    });
}

#[test]
fn a_second_program_is_in_the_same_user_namespace() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web --userns auto");
        assert_eq!(
            scene.ok("exec web readlink /proc/self/ns/user"),
            scene.ok("exec web readlink /proc/1/ns/user")
        );
        assert_ne!(
            scene.ok("exec web readlink /proc/self/ns/user"),
            host.sh("readlink /proc/self/ns/user")
        );
        assert_eq!(scene.ok("exec -u nobody web id -u"), "65534\n");
        assert_eq!(
            scene.ok("exec web sh -c 'touch /x && stat -c %u /x'"),
            "0\n"
        );
        assert_eq!(scene.ok("exec --privileged web id -u"), "0\n");
        let privileged = scene.run("exec --privileged web sh -c 'echo 1 >/proc/sys/kernel/sysrq'");
        assert_ne!(privileged.code, 0, "{privileged:?}");
        scene.ok("exec -d web sleep 1001");
        assert!(owner_of(host, "sleep 1001").0 >= 524_288);
        scene.ok("rm -f web");
        assert_eq!(idle.end().code, 137);
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn the_hosts_files_are_nobodys_and_open_only_as_they_are_to_everybody() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir /run/volume /run/open; chmod 777 /run/open; cd /run/volume; echo all >all; echo mine >mine; chmod 600 mine");
        let seen = inside(
            &scene,
            "-v /run/volume:/v",
            "stat -c %u:%g /v/all; cat /v/all; cat /v/mine; touch /v/new; chown 0 /v/all; true",
        );
        assert_eq!(seen, "65534:65534\nall\n");
        assert_eq!(fs::read_dir("/run/volume").unwrap().count(), 2);
        // What it makes where everybody may is its own, and nobody's of the host.
        inside(&scene, "-v /run/open:/v", "touch /v/new");
        assert!(fs::metadata("/run/open/new").unwrap().uid() >= 524_288);
        scene.assert_all_gone("volumes");
    });
}

#[test]
fn what_is_hidden_and_read_only_stays_so_and_the_devices_are_there() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for command in [
            "echo x >/proc/sys/kernel/hostname",
            "echo b >/proc/sysrq-trigger",
            "mount -t tmpfs x /tmp",
            "umount /proc/sys",
            "mount -o remount,rw /sys",
            "mknod /x c 1 3",
            "hostname other",
            "unshare -m true",
        ] {
            let done = scene.run(&format!("run --rm --userns auto $I sh -c '{command}'"));
            assert!(done.code != 0 && done.code < 125, "{command}: {done:?}");
        }
        let devices = "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x >/dev/full || echo full; ls /dev";
        let seen = inside(&scene, "", devices);
        assert!(seen.starts_with("3\n3\nfull\n"), "{seen}");
        let listed: Vec<_> = seen.lines().skip(3).collect();
        let expected =
            "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
        assert_eq!(listed.join(" "), expected);
        // As root of its network namespace it has ports below 1024 and may change its own settings where they are open.
        let port = "nc -l -p 80 </dev/null & until netstat -ltn | grep :80 >/dev/null; do :; done; echo bound";
        assert_eq!(inside(&scene, "", port), "bound\n");
        scene.assert_all_gone("runs");
    });
}

#[test]
fn maps_of_ones_own_are_taken_and_refused_with_a_reason() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "cat /proc/self/uid_map /proc/self/gid_map";
        let words = |flags: &str| {
            let text = scene.ok(&format!("run --rm {flags} $I sh -c '{script}'"));
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            words("--uidmap 0:100000:65536"),
            "0 100000 65536 0 100000 65536"
        );
        assert_eq!(
            words("--uidmap 0:1000:1 --uidmap 1:2000:9 --gidmap 0:7:70"),
            "0 1000 1 1 2000 9 0 7 70"
        );
        for (flags, names) in [
            ("--uidmap 1:100000:10", "container's root"),
            ("--uidmap 0:1000:1 --uidmap 0:2000:1", "overlap"),
            (
                "--uidmap 0:1000:10 --gidmap 0:1:2 --gidmap 5:2:1",
                "--gidmap",
            ),
            ("--uidmap 0:0:0", "at least one id"),
            ("--uidmap 0:4294967290:6", "4294967294"),
            ("--uidmap nonsense", "IN:OUT:COUNT"),
            ("--userns nonsense", "keep-id"),
            ("--userns keep-id", "root"),
        ] {
            let line = scene.fails(125, &format!("run --rm {flags} $I true"));
            assert!(line.contains(names), "{flags}: {line}");
            scene.assert_all_gone(flags);
        }
        let done = scene.run("run --rm --userns auto --uidmap 0:1:1 $I true");
        assert!(
            done.code == 125 && done.err.contains("cannot be used with"),
            "{done:?}"
        );
        // Whom there is not, nobody can be.
        let line = scene.fails(125, "run --rm --uidmap 0:100000:10 -u 10 $I true");
        assert!(line.contains("10"), "{line}");
        scene.assert_all_gone("maps");
    });
}

#[test]
fn it_goes_together_with_everything_else() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in [
            "--read-only",
            "--init",
            "--init --read-only --tmpfs /tmp --shm-size 1m",
            "--network host",
            "--network none",
            "--privileged",
            "--pid host --ipc host --uts host --network host",
            "--mem 64 --pids 20 --cpus 0.5",
            "-u 33:34 --group-add 77",
            "-w /new/directory",
            "--cap-add ALL",
            "--cap-drop ALL --security-opt no-new-privileges",
            "--sysctl net.ipv4.ip_forward=1 --sysctl kernel.msgmax=9000",
            "--security-opt seccomp=unconfined --security-opt systempaths=unconfined",
        ] {
            let idle = scene.start_idle(&format!("--rm --name web --userns auto {flags}"));
            let compared = scene.run("inspect --actual web");
            assert_eq!(compared.code, 0, "{flags}: {compared:?}");
            assert_eq!(scene.ok("exec web echo here"), "here\n", "{flags}");
            assert_eq!(idle.end().code, 0, "{flags}");
            scene.assert_all_gone(flags);
        }
    });
}

#[test]
fn debian_and_an_image_of_many_layers_have_their_owners_and_privileged_programs() {
    debian::make();
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let mut tars = vec![debian::tar().to_owned()];
        for count in 0..30 {
            let dir = host.dir(&format!("layer{count}"));
            host.sh(&format!(
                "cd {}; mkdir -p srv; echo {count} >srv/{count}; chown {count} srv/{count}; tar --numeric-owner -cf ../layer{count}.tar srv",
                dir.display()
            ));
            tars.push(dir.with_extension("tar"));
        }
        let tars: Vec<&Path> = tars.iter().map(AsRef::as_ref).collect();
        let name = scene.push_layers(&tars, "debian", r#"{"Cmd":["bash"]}"#);
        scene.ok(&format!("pull -q {name}"));
        let before = layers(&scene);
        let run =
            |script: &str| scene.ok(&format!("run --rm --userns auto {name} bash -c '{script}'"));
        assert_eq!(
            run("dpkg --verify; cd /srv; cat *|sort -n|tail -n1; stat -c %u 0 29"),
            "29\n0\n29\n"
        );
        let stat = "stat -c \"%a %U:%G\" /usr/bin/passwd /etc/shadow /usr/bin/chage";
        assert_eq!(
            run(stat),
            "4755 root:root\n640 root:shadow\n2755 root:shadow\n"
        );
        assert_eq!(
            run("useradd -m new && su new -c \"id -u\" && stat -c %U /home/new"),
            "1000\nnew\n"
        );
        // What is setuid gives the container's root, who is nobody of the host's.
        let setuid = "cp /usr/bin/id /usr/bin/cat /usr/bin/stat /tmp; chmod 4755 /tmp/*; setpriv --reuid 33 --clear-groups sh -c \"/tmp/id -u; /tmp/stat -c %U /tmp/id; /tmp/cat /etc/shadow | wc -l; echo 1 >/proc/1/oom_score_adj; id -u\" 2>/dev/null";
        let seen = run(setuid);
        let words: Vec<_> = seen.split_whitespace().collect();
        assert_eq!(
            (words[0], words[1], words[3]),
            ("0", "root", "33"),
            "{seen}"
        );
        assert_ne!(words[2], "0");
        assert_eq!(layers(&scene), before);
        scene.assert_all_gone("runs of Debian");
    });
}

#[test]
fn root_of_a_user_namespace_whose_ids_are_the_machines_own_is_known_not_to_be_its_root() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // As systemd makes one for a service with PrivateUsers=identity.
        let inside = "until grep -q 4294967295 /proc/self/gid_map; do sleep 0.01; done
            exec setpriv --reuid 0 --regid 0 --clear-groups unshare --mount --pid --net --fork --mount-proc \
                rocker run --rm --network none $I cat /proc/self/uid_map /dev/null";
        let done = scene.script(&format!(
            "export I; unshare --user sh -c '{inside}' & map='0 0 4294967295'
            until echo $map >/proc/$!/uid_map && grep -q 4294967295 /proc/$!/uid_map; do sleep 0.01; done
            echo $map >/proc/$!/gid_map; wait $!"
        ));
        done.succeeded();
        assert!(done.out.contains("4294967295"), "{done:?}");
        scene.assert_all_gone("an identity map");
    });
}
