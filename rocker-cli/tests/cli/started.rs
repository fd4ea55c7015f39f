//! Containers that are made first and started then, or started once more.

use crate::fake_host;
use crate::support::{LIMIT, Scene};

#[test]
fn what_is_made_is_started_later_with_what_was_asked_for_then() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let id = scene
            .script("MOOD=calm exec rocker create --name later -e MOOD -e HUE=red $I sh -c 'echo $MOOD $HUE; exit 6'");
        let id = id.out.trim().to_owned();
        assert_eq!(id.len(), 64, "{id}");
        scene.assert_nothing_left("create");
        assert_eq!(scene.at("later", "/State/Status"), "created");
        assert_eq!(scene.ok("logs later"), "");
        assert_eq!(scene.ok("ps -q"), "");
        assert_eq!(scene.ok("stop later"), "later\n");
        scene.fails(1, "kill later");
        scene.fails(125, "exec later true");
        let done = scene.script("MOOD=wild exec rocker start -a later");
        assert_eq!(
            (done.code, done.out.as_str()),
            (6, "calm red\n"),
            "{done:?}"
        );
        assert_eq!(scene.ok("logs later"), "calm red\n");
        assert_eq!(scene.at("later", "/State/ExitCode"), "6");
        scene.assert_nothing_left("start -a");
        scene.ok("rm later");
        scene.assert_all_gone("create and start");
    });
}

#[test]
fn start_ai_feeds_the_program_and_start_alone_does_not_wait_for_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create -i --name echo $I sh -c 'echo up; cat; echo over >&2; exit 2'");
        let done = scene.script("printf 'one\\ntwo\\n' | rocker start -ai echo");
        assert_eq!(
            (done.code, done.out.as_str()),
            (2, "up\none\ntwo\n"),
            "{done:?}"
        );
        assert_eq!(done.err, "over\n");
        // -a alone gives it nothing to read.
        let done = scene.script("echo three | rocker start -a echo");
        assert_eq!((done.code, done.out.as_str()), (2, "up\n"), "{done:?}");
        assert_eq!(scene.ok("start echo"), "echo\n");
        assert_eq!(scene.at("echo", "/State/Status"), "running");
        assert_eq!(scene.ok("start echo"), "echo\n");
        scene.ok("rm -f echo");
        scene.fails(1, "start nosuch");
        scene.assert_all_gone("start");
    });
}

#[test]
fn files_outlive_a_stop_and_each_start_has_a_fresh_runtime() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "echo line >>/file; echo gone >/dev/shm/gone; echo up; exec sleep 1000";
        scene.up("web", "--init", script);
        let first = scene.at("web", "/State/StartedAt");
        scene.ok("stop web");
        scene.assert_nothing_left("stop");
        scene.ok("start web");
        host.wait_until("it is up again", LIMIT, || {
            scene.ok("logs web") == "up\nup\n"
        });
        assert_eq!(scene.ok("exec web cat /file"), "line\nline\n");
        assert_ne!(scene.at("web", "/State/StartedAt"), first);
        // A start does not count as a restart.
        assert_eq!(scene.at("web", "/RestartCount"), "0");
        assert_eq!(scene.ok("restart -t 5 web"), "web\n");
        host.wait_until("it is up once more", LIMIT, || {
            scene.ok("logs web") == "up\nup\nup\n"
        });
        scene.ok("rm -f web");
        scene.assert_all_gone("three starts");
    });
}

#[test]
fn restart_keeps_a_container_that_is_removed_at_its_end_and_starts_one_that_has_ended() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let id = scene.ok("run -d --rm --init --name web $I sh -c 'echo >>/file; exec sleep 1000'");
        host.wait_until("it has written", LIMIT, || {
            scene.run("exec web cat /file").out == "\n"
        });
        assert_eq!(scene.ok("restart web"), "web\n");
        assert_eq!(scene.at("web", "/Id"), id.trim());
        assert_eq!(scene.at("web", "/State/Status"), "running");
        host.wait_until("it has written again", LIMIT, || {
            scene.run("exec web cat /file").out == "\n\n"
        });
        scene.ok("stop web");
        scene.assert_all_gone("the end of what was started again");

        scene.ok("run --name over $I true");
        scene.ok("restart over");
        assert_eq!(scene.ok("wait over"), "0\n");
        scene.ok("rm over");
        scene.assert_all_gone("restart");
    });
}

#[test]
fn of_several_starts_at_once_one_starts_it_and_all_are_content() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name web $I sh -c 'echo up; exec sleep 1000'");
        for _ in 0..5 {
            let all: Vec<_> = (0..4).map(|_| scene.start("start web")).collect();
            for one in all {
                let done = one.end();
                assert_eq!(
                    (done.code, done.out.as_str(), done.err.as_str()),
                    (0, "web\n", "")
                );
            }
            assert_eq!(host.sh("pgrep -cxf 'sleep 1000'"), "1\n");
            scene.ok("stop -t 0 web");
        }
        assert_eq!(scene.ok("logs web"), "up\n".repeat(5));
        scene.ok("rm web");
        scene.assert_all_gone("starts at once");
    });
}

#[test]
fn a_container_that_cannot_be_started_stays_as_it_was() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let dir = host.dir("shown");
        scene.ok("create --name odd $I nosuch");
        scene.ok(&format!(
            "create --name bare -v {}:/x $I true",
            dir.display()
        ));
        host.sh(&format!("rmdir {}", dir.display()));
        let line = scene.fails(127, "start -a odd");
        assert!(line.contains("nosuch"), "{line}");
        scene.assert_nothing_left("a start that failed");
        let done = scene.run("start odd bare");
        assert_eq!(done.code, 1, "{done:?}");
        assert!(
            done.err.contains("nosuch") && done.err.contains("shown"),
            "{done:?}"
        );
        assert_eq!(scene.at("odd", "/State/Running"), "false");
        assert!(scene.at("odd", "/State/Error").contains("nosuch"));
        host.dir("shown");
        assert_eq!(scene.run("start -a bare").code, 0);
        scene.ok("rm odd bare");
        scene.assert_all_gone("starts that failed");
    });
}
