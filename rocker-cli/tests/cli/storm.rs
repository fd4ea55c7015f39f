//! Many commands on the same container at the same time, and the death of the one who looks after it.

use std::thread;

use crate::fake_host;
use crate::support::{LIMIT, Scene};

#[test]
fn what_is_stopped_as_soon_as_it_runs_is_stopped() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for turn in 0..10 {
            scene.ok("run -d --rm --restart no --init --name web $I sleep 1000");
            match turn % 3 {
                0 => scene.ok("stop web"),
                1 => scene.ok("rm -f web"),
                _ => scene.ok("kill web"),
            };
            if turn % 3 == 2 {
                scene.wait_until_alone();
            }
            scene.assert_all_gone("a container that was stopped at once");
        }
    });
}

#[test]
fn whatever_is_done_to_images_at_the_same_time_none_is_broken_and_nothing_is_left() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tree = host.dir("tree");
        host.sh(&format!(
            "mkdir {0}/bin; cp $(command -v busybox) {0}/bin/true; head -c 3000000 /dev/urandom >{0}/noise",
            tree.display()
        ));
        let other = scene
            .registry
            .push_dir(&tree, "other", r#"{"Cmd":["true"]}"#);
        let orders = [
            "pull -q $I".to_owned(),
            "run --rm --network none $I true".to_owned(),
            format!("pull -q {other}"),
            "image prune -af".to_owned(),
            format!("run --rm --network none {other}"),
            "rmi -f $I".to_owned(),
            format!("save -o /dev/null {other}"),
            format!("tag {other} third"),
            format!("rmi -f {other} third"),
            "images".to_owned(),
            "system prune -af".to_owned(),
            "image verify".to_owned(),
        ];
        // What may come of it, where somebody else has just removed the image.
        let said = ["no image", "No such image", "is used by", "in use"];
        for turn in 0..12 {
            let batch: Vec<_> = (0..6)
                .map(|index| {
                    let order = orders[(turn * 5 + index * (1 + turn % 5)) % orders.len()].clone();
                    let mut shell = scene.shell(&format!("exec timeout 60 rocker {order}"));
                    (order, thread::spawn(move || shell.output().unwrap()))
                })
                .collect();
            for (order, one) in batch {
                let output = one.join().unwrap();
                let err = String::from_utf8_lossy(&output.stderr).into_owned();
                let first = err.lines().next().unwrap_or_default();
                let is_known = said.iter().any(|known| first.contains(known));
                assert!(output.status.success() || is_known, "{order}: {err}");
            }
        }
        for image in ["$I", &other] {
            scene.ok(&format!("pull -q {image}"));
            scene.ok(&format!("run --rm --network none {image} true"));
        }
        scene.ok("image verify");
        scene.ok(&format!("rmi -f $I {other}"));
        scene.ok("image prune -af");
        let left = scene.script(
            "find $ROCKER_ROOT/images/blobs $ROCKER_ROOT/images/ingest $ROCKER_ROOT/layers -type f",
        );
        assert_eq!(left.out, "");
        scene.wait_until_alone();
        scene.assert_all_gone("a storm of images");
    });
}

#[test]
fn whatever_is_done_to_a_container_at_the_same_time_it_can_be_removed_then() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name web --init --restart always $I sleep 1000");
        let orders = [
            "start web",
            "stop -t 0 web",
            "restart -t 0 web",
            "kill web",
            "rm web",
            "start web",
            "rename web web",
            "ps -a",
            "rm -f web",
        ];
        // What may come of it, where two want different things.
        let said = [
            "is running",
            "not running",
            "could not be started",
            "no container",
            "was killed before",
        ];
        for turn in 0..10 {
            // A container that somebody has removed is there again.
            scene.run("create --name web --init --restart always $I sleep 1000");
            let batch: Vec<_> = (0..5)
                .map(|index| {
                    let order = orders[(turn * 5 + index * (1 + turn % 4)) % orders.len()];
                    let mut shell = scene.shell(&format!("exec timeout 30 rocker {order}"));
                    (order, thread::spawn(move || shell.output().unwrap()))
                })
                .collect();
            for (order, one) in batch {
                let output = one.join().unwrap();
                let err = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_ne!(output.status.code(), Some(124), "{order} hangs: {err}");
                let is_known = |line: &str| said.iter().any(|known| line.contains(known));
                assert!(err.lines().all(is_known), "{order}: {err}");
            }
        }
        scene.run("create --name web $I true");
        scene.ok("rm -f web");
        scene.wait_until_alone();
        scene.assert_all_gone("a storm");
    });
}

#[test]
fn twenty_are_left_to_themselves_at_once_stopped_at_once_and_removed_at_once() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "trap \"exit 3\" TERM; echo up; while :; do sleep 0.05; done";
        let all: Vec<_> = (0..20)
            .map(|number| scene.start(&format!("run -d --name n{number} $I sh -c '{script}'")))
            .collect();
        for one in all {
            let done = one.end();
            assert_eq!(
                (done.code, done.err.as_str(), done.out.len()),
                (0, "", 65),
                "{done:?}"
            );
        }
        let names: Vec<_> = (0..20).map(|number| format!("n{number}")).collect();
        host.wait_until("all are up", LIMIT, || {
            names
                .iter()
                .all(|name| scene.ok(&format!("logs {name}")) == "up\n")
        });
        let all = names.join(" ");
        let mut addresses: Vec<_> = scene
            .ok(&format!("inspect -f /NetworkSettings/IPAddress {all}"))
            .lines()
            .map(str::to_owned)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 20, "{addresses:?}");
        let done = scene.run(&format!("stop {all}"));
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        assert_eq!(scene.ok(&format!("wait {all}")), "3\n".repeat(20));
        scene.assert_nothing_left("twenty that were stopped");
        scene.ok(&format!("start {all}"));
        scene.ok(&format!("rm -f {all}"));
        scene.wait_until_alone();
        scene.assert_all_gone("twenty that were removed");
    });
}

#[test]
fn when_the_supervisor_is_killed_the_program_ends_and_those_who_wait_are_told() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "--restart always",
            "echo mine >/file; echo up; exec sleep 7000",
        );
        let pid = scene.supervisor("web");
        let sockets = || {
            host.sh(&format!("ls -l /proc/{pid}/fd | grep -c socket:"))
                .trim()
                .parse::<u32>()
                .unwrap()
        };
        let before = sockets();
        let clients = [
            scene.start("wait web"),
            scene.start("attach web"),
            scene.start("logs -f web"),
        ];
        host.wait_until("two are attached", LIMIT, || sockets() == before + 2);
        host.sh(&format!("kill -KILL {pid}"));
        let [wait, attach, logs] = clients.map(crate::support::Background::end);
        assert_eq!((wait.code, wait.out.as_str()), (0, "137\n"), "{wait:?}");
        assert_eq!(attach.code, 125, "{attach:?}");
        assert!(attach.err.contains("web"), "{attach:?}");
        assert_eq!((logs.code, logs.out.as_str()), (0, "up\n"), "{logs:?}");
        assert_eq!(scene.at("web", "/State/Status"), "exited");
        assert_eq!(scene.at("web", "/State/ExitCode"), "137");
        assert!(!host.try_sh("pgrep -xf 'sleep 7000'").status.success());
        scene.assert_nothing_left("the death of a supervisor");
        scene.ok("start web");
        assert_eq!(scene.ok("exec web cat /file"), "mine\n");
        scene.ok("rm -f web");
        scene.assert_all_gone("the death of a supervisor");
    });
}

#[test]
fn an_ordinary_users_containers_are_left_to_themselves_too() {
    fake_host::run(|host| {
        let scene = Scene::of_alice(host);
        let script = "trap \"exit 5\" TERM; echo up; while read line; do echo got $line; done; while :; do sleep 0.01; done";
        scene.up("web", "-i --network none --restart unless-stopped", script);
        assert!(scene.ok("ps").contains("Up "));
        let mut client = scene.start("attach --sig-proxy=false web <<END\nword\nEND\n");
        assert_eq!(client.line(), "got word");
        client.signal("TERM");
        assert_eq!(client.end().code, 0);
        assert_eq!(scene.ok("exec web echo in"), "in\n");
        assert_eq!(scene.ok("restart web"), "web\n");
        host.wait_until("it is up again", LIMIT, || {
            scene.ok("logs web") == "up\ngot word\nup\n"
        });
        scene.ok("stop web");
        assert_eq!(scene.at("web", "/State/ExitCode"), "5");
        let told = scene.ok("events --since 1h --until 0s --filter event=die --format '{{.Actor.Attributes.exitCode}}'");
        assert_eq!(told, "5\n5\n");
        scene.ok("rm web");
        assert_eq!(scene.ok("ps -aq"), "");
        assert!(scene.containers().is_empty());
    });
}
