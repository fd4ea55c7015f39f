//! The rocker of an ordinary user: uid 1000 of a fake host, with subordinate ids and without.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::fake_host::{self, Host};
use crate::support::{ALICES_HOME, Rocker, Scene};
use crate::tmux::Tmux;

const LIMIT: Duration = Duration::from_secs(20);

/// Grants alice the ids from 100000 on, as adduser(8) does.
fn grant_ids(host: &Host) {
    subordinate_ids(host, "alice:100000:65536");
}

/// As on a machine where nobody has thought of it.
fn grant_nothing(host: &Host) {
    subordinate_ids(host, "");
}

fn subordinate_ids(host: &Host, line: &str) {
    host.sh(&format!(
        "mkdir -p /run/etc; echo '{line}' >/run/etc/subid; touch /etc/subuid /etc/subgid
         mount --bind /run/etc/subid /etc/subuid; mount --bind /run/etc/subid /etc/subgid"
    ));
}

/// The names and owners of files in the layer of the only container.
fn owners(scene: &Scene<'_>, names: &str) -> String {
    let upper = scene.root.join("containers");
    let script = format!(
        "cd {}/*/upper && stat -c '%n %u:%g' {names}",
        upper.display()
    );
    scene.host.sh(&script)
}

fn pasta_runs(host: &Host) -> bool {
    let script = "ps -C pasta,pasta.avx2,passt,passt.avx2 -o stat= | grep -qv ^Z";
    host.try_sh(script).status.success()
}

/// What the kernel calls the user namespace of a container's program.
fn user_namespace(scene: &Scene<'_>, container: &str) -> String {
    scene.ok(&format!("exec {container} readlink /proc/self/ns/user"))
}

#[test]
fn the_first_command_of_the_readme_needs_no_root() {
    fake_host::run(|host| {
        for granted in [true, false] {
            match granted {
                true => grant_ids(host),
                false => grant_nothing(host),
            }
            let rocker = Rocker::of_alice(host);
            let said = rocker.ok("run --rm hello");
            assert!(said.starts_with("Hello from inside"), "{said}");
            assert!(said.contains("pasta"), "{said}");
            rocker.assert_all_gone("hello");
            assert!(rocker.ok("images").contains("hello"));
            rocker.ok("rmi hello");
            assert_eq!(rocker.ok("images -q"), "");
            host.sh("umount /dev/net /etc/passwd");
        }
    });
}

#[test]
fn images_and_containers_are_handled_as_by_root() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        assert!(scene.ok("images").contains("127.0.0.1:5000/busybox"));
        assert_eq!(scene.run("run --name kept $I sh -c 'exit 7'").code, 7);
        let idle = scene.start_idle("--rm --name web");
        let listed = scene.ok("ps -a");
        assert!(
            listed.contains("web") && listed.contains("Exited (7)"),
            "{listed}"
        );
        assert_eq!(scene.ok("exec web id -u"), "0\n");
        assert_eq!(scene.ok("exec -u nobody web id -u"), "65534\n");
        assert_eq!(
            scene.ok("exec -u 33:34 -w /etc -e A=b web sh -c 'id -u; id -g; pwd; echo $A'"),
            "33\n34\n/etc\nb\n"
        );
        assert_eq!(scene.run("exec web sh -c 'exit 9'").code, 9);
        // Its cgroup is the caller's own, as nobody gave it one; all else is as asked for.
        let compared = scene.run("inspect --actual web");
        assert_eq!(compared.code, 0, "{compared:?}");
        let refused = scene.run("rmi $I").failed(1);
        assert!(refused.contains("in use"), "{refused}");
        assert_eq!(idle.end().code, 0);
        scene.ok("rm kept");
        scene.ok("rmi $I");
        assert_eq!(scene.ok("images -q"), "");
        scene.assert_all_gone("containers of an ordinary user");
        assert!(!pasta_runs(host));
        // And all that there is, is the user's own.
        let foreign = host.sh(&format!("find {ALICES_HOME} /run/user/1000 ! -uid 1000"));
        assert_eq!(foreign, "");
    });
}

#[test]
fn with_subordinate_ids_the_users_of_a_container_are_others_than_the_caller() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let script = "touch /mine /theirs && chown 33:34 /theirs && stat -c %u:%g /mine /theirs";
        let seen = scene.ok(&format!("run --name kept $I sh -c '{script}'"));
        assert_eq!(seen, "0:0\n33:34\n");
        assert_eq!(
            owners(&scene, "mine theirs"),
            "mine 1000:1000\ntheirs 100032:100033\n"
        );
        // The files are gone although they are not the user's own.
        scene.ok("rm kept");
        scene.assert_all_gone("rm");
        // Users of the image are users: they have groups, and their processes are somebody else's on the host.
        let mut run = scene.start("run -i --rm -u 7:8 $I sh -c 'id -u; id -g; cat'");
        assert_eq!((run.line(), run.line()), ("7".to_owned(), "8".to_owned()));
        let outside = host.sh("ps -o uid=,gid= -p $(pgrep -xf cat)");
        assert_eq!(
            outside.split_whitespace().collect::<Vec<_>>(),
            ["100006", "100007"]
        );
        assert_eq!(run.end().code, 0);
        // The last one there is, and the first that there is not.
        assert_eq!(scene.ok("run --rm -u 65536 $I id -u"), "65536\n");
        let error = scene.fails(125, "run --rm -u 65537 $I id -u");
        assert!(error.contains("65537"), "{error}");
        scene.assert_all_gone("users");
    });
}

#[test]
fn with_one_id_everybody_is_the_caller_and_giving_files_away_is_believed_to_work() {
    fake_host::run(|host| {
        grant_nothing(host);
        let scene = Scene::of_alice(host);
        let script =
            "touch /theirs && chown 33:34 /theirs && stat -c %u:%g /theirs; cat /proc/self/uid_map";
        let seen = scene.ok(&format!("run --name kept $I sh -c '{script}'"));
        let words: Vec<_> = seen.split_whitespace().collect();
        assert_eq!(words, ["0:0", "0", "1000", "1"]);
        assert_eq!(owners(&scene, "theirs"), "theirs 1000:1000\n");
        scene.ok("rm kept");
        let error = scene.fails(125, "run --rm -u 33 $I id");
        assert!(error.contains("33"), "{error}");
        let idle = scene.start_idle("--rm --name web");
        assert_eq!(scene.ok("exec web id -u"), "0\n");
        let error = scene.fails(125, "exec -u nobody web id");
        assert!(error.contains("65534"), "{error}");
        assert_eq!(scene.ok("exec web echo still"), "still\n");
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("containers of one user");
    });
}

#[test]
fn a_volume_of_the_users_own_files_keeps_its_owner() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let dir = format!("{ALICES_HOME}/volume");
        host.sh(&format!(
            "mkdir {dir} && echo hello >{dir}/greeting && chown -R 1000:1000 {dir}"
        ));
        let seen = scene.ok(&format!("run --rm -v {dir}:/v $I sh -c 'cat /v/greeting; stat -c %u /v/greeting; echo x >/v/by-root'"));
        assert_eq!(seen, "hello\n0\n");
        // Who keeps the id writes as the same user, inside and outside.
        let seen = scene.ok(&format!("run --rm --userns keep-id -v {dir}:/v $I sh -c 'id -u; stat -c %u /v/greeting; echo x >/v/by-me'"));
        assert_eq!(seen, "1000\n1000\n");
        for name in ["by-root", "by-me"] {
            assert_eq!(
                fs::metadata(format!("{dir}/{name}")).unwrap().uid(),
                1000,
                "{name}"
            );
        }
        let done = scene.run(&format!("run --rm -v {dir}:/v:ro $I touch /v/x"));
        assert!(done.err.contains("Read-only"), "{done:?}");
        // What the user may not read, the container's root may not either.
        host.sh("mkdir /run/secret; echo s >/run/secret/file; chmod 711 /run/secret; chmod 600 /run/secret/file");
        let done = scene.run("run --rm -v /run/secret:/v $I cat /v/file");
        assert!(
            done.code == 1 && done.err.contains("Permission denied"),
            "{done:?}"
        );
        scene.assert_all_gone("volumes");
    });
}

#[test]
fn whatever_ends_a_container_nothing_is_left() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        for (args, code) in [
            ("run --rm $I true", 0),
            ("run --rm --init $I sh -c 'exit 9'", 9),
            ("run --rm --network none --read-only $I true", 0),
            ("run --rm --network host $I true", 0),
            ("run --rm --userns keep-id --init --read-only $I true", 0),
            ("run --rm $I nosuch", 127),
            ("run $I /etc", 126),
            ("run -v /nothing:/x $I true", 125),
            ("run -p 80:80 $I true", 125),
            ("run --userns auto $I true", 125),
            ("run --network bridge $I true", 125),
        ] {
            let done = scene.run(args);
            assert_eq!(done.code, code, "{done:?}");
            scene.assert_all_gone(args);
            assert!(!pasta_runs(host), "{args}");
        }
        let script =
            "touch /x; chown 5:5 /x; trap \"exit 3\" TERM; echo up; while :; do sleep 0.01; done";
        for (signal, code) in [("TERM", 3), ("KILL", -1)] {
            let mut run = scene.start(&format!("run --rm --name web $I sh -c '{script}'"));
            assert_eq!(run.line(), "up");
            run.signal(signal);
            assert_eq!(run.end().code, code);
            assert_eq!(scene.ok("ps -aq"), "");
            host.wait_until("pasta has ended", LIMIT, || !pasta_runs(host));
            scene.assert_all_gone(signal);
        }
        let mut run = scene.start(&format!("run --name web $I sh -c '{script}'"));
        assert_eq!(run.line(), "up");
        scene.ok("rm -f web");
        assert_eq!(run.end().code, 137);
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn containers_that_are_started_at_once_are_all_reached_afterwards() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let names: Vec<_> = (0..20).map(|count| format!("web{count}")).collect();
        let mut all: Vec<_> = names
            .iter()
            .map(|name| {
                scene.start(&format!(
                    "run -i --rm --name {name} $I sh -c 'echo up; cat'"
                ))
            })
            .collect();
        for one in &mut all {
            assert_eq!(one.line(), "up");
        }
        assert_eq!(scene.ok("ps -q").lines().count(), 20);
        let mut namespaces: Vec<_> = names
            .iter()
            .map(|name| user_namespace(&scene, name))
            .collect();
        namespaces.dedup();
        assert_eq!(namespaces.len(), 1, "{namespaces:?}");
        // As each has a network of its own, they have the same address.
        for one in all {
            let done = one.end();
            assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        }
        scene.assert_all_gone("twenty containers");
    });
}

#[test]
fn a_terminal_works_and_can_be_left() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        // It is root's terminal, as after su(1).
        let tmux = Tmux::start(host, &scene);
        let alice = "setpriv --reuid=1000 --regid=1000 --clear-groups";
        tmux.types(&format!(
            "chmod 666 $(tty); {alice} rocker run --rm -it --name web $I sh; echo code $?"
        ));
        tmux.shows("~ #");
        tmux.types("tty; stty size; id -u");
        tmux.shows("/dev/pts/0");
        tmux.shows("30 100");
        tmux.types("sleep 1000");
        tmux.process("sleep 1000", true);
        tmux.key("C-c");
        tmux.process("sleep 1000", false);
        tmux.types("exit 5");
        tmux.shows("code 5");
        tmux.types(&format!(
            "clear; {alice} rocker run --rm -it --name web $I sleep 5000; echo code $?"
        ));
        tmux.process("sleep 5000", true);
        tmux.key("C-p");
        tmux.key("C-q");
        tmux.shows("code 0");
        assert_eq!(scene.ok("exec web id -u"), "0\n");
        tmux.types(&format!(
            "clear; {alice} rocker exec -it -u nobody web sh; echo code $?"
        ));
        tmux.shows("~ $");
        tmux.types("exit 6");
        tmux.shows("code 6");
        scene.ok("exec -d web sleep 6000");
        tmux.process("sleep 6000", true);
        tmux.end();
        scene.ok("rm -f web");
        host.wait_until("nobody looks after it", LIMIT, || {
            !host
                .try_sh("ps -C rocker -o stat= | grep -qv ^Z")
                .status
                .success()
        });
        scene.assert_all_gone("terminals");
    });
}
