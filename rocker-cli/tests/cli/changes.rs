//! `rocker diff`, `commit`, `export` and `cp` of containers whose root is no overlay on a disk, or that stand still already.

use crate::fake_host;
use crate::support::Scene;

/// What changes a file's content, its rights, a link and a directory, and adds and removes some.
const CHANGES: &str = "mkdir -p /opt/d; echo hello >/etc/motd; chmod 700 /srv; rm /bin/rm; rm -rf /home; touch /opt/d/x; echo up";

/// What `diff` says of it.
const DIFFERENT: &str =
    "C /bin\nD /bin/rm\nC /etc\nA /etc/motd\nD /home\nA /opt\nA /opt/d\nA /opt/d/x\nC /srv\n";

#[test]
fn a_container_with_a_copy_of_its_image_has_the_same_changes_and_becomes_the_same_image() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.script("printf 'FROM base\n' >/dev/null; rocker run --name base $I sh -c 'mkdir -p /srv /home/a; echo 1 >/home/a/b'; rocker commit -q base base 2>/dev/null || rocker commit base base; rocker rm base");
        for driver in ["overlay", "vfs"] {
            let name = format!("of-{driver}");
            scene.ok(&format!(
                "run --name {name} --storage-opt driver={driver} base sh -c '{CHANGES}'"
            ));
            assert_eq!(scene.ok(&format!("diff {name}")), DIFFERENT, "{driver}");
            scene.ok(&format!("commit {name} image-{driver}"));
            let look = "cat /etc/motd; stat -c %a /srv; ls -d /bin/rm /home /opt/d/x";
            let done = scene.run(&format!("run --rm image-{driver} sh -c '{look}'"));
            assert_eq!(done.out, "hello\n700\n/opt/d/x\n", "{driver}: {done:?}");
            let names = scene.script(&format!(
                "rocker export {name} | tar -t | grep -E '^(opt|home|srv|bin/rm$)'"
            ));
            assert_eq!(
                names.out, "opt/\nopt/d/\nopt/d/x\nsrv/\n",
                "{driver}: {names:?}"
            );
            let copied = scene.script(&format!("cd /run; echo z >z; rocker cp -q z {name}:/opt && rocker cp -q {name}:/opt/z out && cat out && rocker diff {name} | grep opt/z"));
            assert_eq!(copied.out, "z\nA /opt/z\n", "{driver}: {copied:?}");
            let seen = scene.script(&format!(
                "cat $(rocker mount {name})/opt/z; rocker start -a {name}; rocker umount {name}"
            ));
            assert!(seen.out.starts_with("z\nup\n"), "{driver}: {seen:?}");
        }
        // Of the layers themselves nothing tells one from the other.
        let sizes = scene.ok("images --format '{{.Repository}} {{.Size}}'");
        let size = |image: &str| {
            let line = sizes.lines().find(|line| line.starts_with(image));
            line.unwrap_or_default()
                .rsplit_once(' ')
                .map(|both| both.1.to_owned())
        };
        assert_eq!(size("image-overlay"), size("image-vfs"), "{sizes}");
        // One that never ran has changed nothing, and has all files.
        scene.ok("create --name new --storage-opt driver=vfs base true");
        assert_eq!(scene.ok("diff new"), "");
        let names = scene.script("rocker export new | tar -t | grep home");
        assert_eq!(names.out, "home/\nhome/a/\nhome/a/b\n", "{names:?}");
    });
}

#[test]
fn what_is_in_memory_is_there_while_the_container_runs() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for users in ["", "--userns auto"] {
            let options = format!("--storage-opt driver=tmpfs {users}");
            scene.up(
                "web",
                &options,
                "mkdir /opt; echo hello >/opt/x; rm /bin/rm; echo up; exec sleep 1000",
            );
            let different = "C /bin\nD /bin/rm\nA /opt\nA /opt/x\n";
            assert_eq!(scene.ok("diff web"), different, "{users}");
            scene.ok("commit web mine");
            let done =
                scene.run("run --rm mine sh -c 'cat /opt/x; stat -c %u:%g /opt/x; ls /bin/rm'");
            assert_eq!(done.out, "hello\n0:0\n", "{users}: {done:?}");
            let names = scene.script("rocker export web | tar --numeric-owner -tv | grep opt/x");
            assert!(names.out.contains(" 0/0 "), "{users}: {names:?}");
            scene.ok("stop -t 0 web");
            for command in [
                "diff web",
                "commit web other",
                "export -o /run/x web",
                "cp web:/opt /run/y",
                "mount web",
            ] {
                let line = scene.run(command).failed(1);
                assert!(line.contains("was in memory"), "{command}: {line}");
            }
            scene.ok("rm web");
            scene.ok("rmi mine");
        }
    });
}

#[test]
fn of_a_directory_there_is_no_image_and_without_a_layer_no_change() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.script("rocker create --name a $I true; mkdir /run/root; rocker export a | tar -xC /run/root; rocker rm a");
        scene.ok("run --name plain --rootfs /run/root sh -c 'echo 1 >/one'");
        scene.ok("run --name over --rootfs /run/root:O sh -c 'echo 2 >/two'");
        let line = scene.run("diff plain").failed(1);
        assert!(line.contains("--rootfs DIR:O"), "{line}");
        assert_eq!(scene.ok("diff over"), "A /two\n");
        for name in ["plain", "over"] {
            let line = scene.run(&format!("commit {name} mine")).failed(1);
            assert!(
                line.contains("--rootfs DIR:O") || line.contains("rocker import"),
                "{line}"
            );
        }
        let names = scene.script(
            "for i in plain over; do rocker export $i | tar -t | grep -E '^(one|two)'; done",
        );
        assert_eq!(names.out, "one\none\ntwo\n", "{names:?}");
        let copied = scene.script("cd /run; echo 3 >three; rocker cp -q three plain:/ && cat root/three; rocker cp -q three over:/four && ls root/four; rocker cp -q over:/four - | tar -xO");
        assert_eq!(copied.out, "3\n3\n", "{copied:?}");
    });
}

#[test]
fn volumes_of_a_container_that_does_not_run_are_copied_from_and_to() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir /run/bind; echo bound >/run/bind/f; mkdir -p /run/whole/part; chown 1000:1000 /run/bind");
        let options = "-v named:/named -v /run/bind:/bind:ro -v /anonymous --mount 'type=bind,src=/run/bind,dst=/mapped,idmap=uids=1000-0-1;gids=1000-0-1'";
        for (name, verb) in [("never", "create"), ("once", "run")] {
            scene.ok(&format!("{verb} --name {name} {options} $I true"));
            let script = format!(
                "cd /run; echo {name} >x; rocker cp -q x {name}:/named/{name} && rocker cp -q x {name}:/anonymous/y && rocker cp -q {name}:/bind/f - | tar -xO; rocker run --rm -v named:/n $I cat /n/{name}; rocker run --rm --volumes-from {name} $I cat /anonymous/y"
            );
            let copied = scene.script(&script);
            assert_eq!(copied.out, format!("bound\n{name}\n{name}\n"), "{copied:?}");
            let line = scene.run(&format!("cp /run/x {name}:/bind/z")).failed(1);
            assert!(line.contains("Read-only"), "{line}");
            // The container's root is the one whom the directory belongs to.
            let owner = scene.script(&format!(
                "rocker cp -q /run/x {name}:/mapped/{name} && stat -c %u /run/bind/{name}"
            ));
            assert_eq!(owner.out, "1000\n", "{owner:?}");
            assert!(!scene.ok(&format!("diff {name}")).contains("y"), "{name}");
        }
    });
}

#[test]
fn a_container_that_is_paused_is_committed_and_stays_paused() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "",
            "echo up; i=0; while true; do i=$((i+1)); echo $i >/count; done",
        );
        scene.ok("pause web");
        scene.ok("commit web mine");
        let status = || scene.ok("inspect -f '{{.State.Status}}' web");
        assert_eq!(status().trim(), "paused");
        let count = || scene.script("cat $(rocker mount web)/count").out;
        let before = count();
        let run = scene.run("run --rm mine cat /count");
        assert_eq!(run.out, before, "{run:?}");
        assert_eq!(count(), before);
        scene.ok("unpause web");
        assert_eq!(status().trim(), "running");
        scene.ok("rm -f web");
    });
}
