//! Containers that are started again when they end, or when the machine starts.

use std::time::{Duration, Instant};

use crate::fake_host;
use crate::support::{LIMIT, Scene};

#[test]
fn on_failure_starts_again_as_often_as_it_says_and_not_after_success() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name fails --restart on-failure:2 $I sh -c 'echo turn; exit 6'");
        scene.ok("run -d --name works --restart on-failure:2 $I sh -c 'echo turn'");
        // Who follows hears all turns.
        assert_eq!(scene.ok("logs -f fails"), "turn\n".repeat(3));
        assert_eq!(scene.at("fails", "/State/Status"), "exited");
        assert_eq!(scene.ok("logs fails"), "turn\n".repeat(3));
        assert_eq!(scene.at("fails", "/State/ExitCode"), "6");
        assert_eq!(scene.at("fails", "/RestartCount"), "2");
        assert_eq!(
            scene.at("fails", "/HostConfig/RestartPolicy/MaximumRetryCount"),
            "2"
        );
        assert_eq!(scene.ok("wait works"), "0\n");
        assert_eq!(scene.ok("logs works"), "turn\n");
        // In the foreground as well: the exit status is the last one.
        let script = "echo $((n = $(wc -l </n) + 1)); echo >>/n; [ $n = 2 ] || exit 5";
        let done = scene.run(&format!(
            "run --name front --restart on-failure $I sh -c '[ -e /n ] || : >/n; {script}'"
        ));
        assert_eq!((done.code, done.out.as_str()), (0, "1\n2\n"), "{done:?}");
        scene.assert_nothing_left("containers that were given up");
        scene.ok("rm fails works front");
        let line = scene.fails(125, "run --rm --restart always $I true");
        assert!(line.contains("--rm"), "{line}");
        scene.fails(125, "run --restart on-failure:x $I true");
        scene.assert_all_gone("on-failure");
    });
}

#[test]
fn always_is_until_somebody_stops_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // Each turn ends well.
        scene.ok("run -d --name web --restart always $I sh -c 'echo turn'");
        host.wait_until("it has run three times", LIMIT, || {
            scene.ok("logs web").matches("turn").count() >= 3
        });
        host.wait_until("it pauses", LIMIT, || {
            scene.at("web", "/State/Status") == "restarting"
        });
        assert!(scene.ok("ps").contains("Restarting (0) "));
        let start = Instant::now();
        scene.ok("stop web");
        // Shorter than the pause, which is 400 ms at least, and doubled each time.
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        let turns = scene.ok("logs web");
        assert_eq!(scene.at("web", "/State/Status"), "exited");
        assert_eq!(scene.at("web", "/State/ExitCode"), "0");
        assert!(scene.at("web", "/RestartCount").parse::<u32>().unwrap() >= 2);
        scene.assert_nothing_left("stop");
        assert_eq!(scene.ok("logs web"), turns);
        // A start begins to count anew.
        scene.ok("start web");
        scene.ok("stop web");
        assert!(scene.at("web", "/RestartCount").parse::<u32>().unwrap() <= 1);
        scene.ok("rm web");
        scene.assert_all_gone("always");
    });
}

#[test]
fn what_kills_from_inside_is_started_again_and_kill_ends_it_for_good() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "--restart unless-stopped",
            "echo up; exec sleep 4000",
        );
        host.sh("pkill -KILL -xf 'sleep 4000'");
        host.wait_until("it runs again", LIMIT, || {
            scene.ok("logs web") == "up\nup\n" && scene.at("web", "/State/Status") == "running"
        });
        assert_eq!(scene.at("web", "/RestartCount"), "1");
        assert_eq!(scene.ok("exec web echo in"), "in\n");
        scene.ok("kill web");
        scene.ok("wait web");
        assert_eq!(scene.at("web", "/State/Status"), "exited");
        assert_eq!(scene.at("web", "/State/ExitCode"), "137");
        scene.assert_nothing_left("kill");
        scene.ok("rm web");
        scene.assert_all_gone("kill");
    });
}

#[test]
fn a_signal_that_does_not_end_things_ends_no_pause_either() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name web --restart always $I false");
        // Long enough a pause to be there for what follows.
        host.wait_until("it pauses for long", LIMIT, || {
            let state = scene.ok("inspect -f '{{.State.Status}} {{.RestartCount}}' web");
            state == "restarting 4\n"
        });
        let line = scene.fails(1, "kill -s HUP web");
        assert!(line.contains("not running"), "{line}");
        let line = scene.fails(125, "exec web true");
        assert!(line.contains("not running"), "{line}");
        host.wait_until("it goes on", LIMIT, || {
            scene.at("web", "/RestartCount") == "5"
        });
        scene.ok("kill -s TERM web");
        scene.ok("wait web");
        host.wait_until("it is over", LIMIT, || {
            scene.at("web", "/State/Status") == "exited"
        });
        scene.ok("rm web");
        scene.assert_all_gone("signals in a pause");
    });
}

#[test]
fn a_container_that_cannot_be_started_again_is_kept_with_the_reason() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let dir = host.dir("shown");
        scene.up(
            "web",
            &format!("--restart always -v {}:/x", dir.display()),
            "echo mine >/file; echo up; exec sleep 6000",
        );
        // The mount is of the directory, whatever becomes of its name.
        host.sh(&format!(
            "rmdir {}; pkill -KILL -xf 'sleep 6000'",
            dir.display()
        ));
        host.wait_until("it is given up", LIMIT, || {
            scene.at("web", "/State/Status") == "exited"
        });
        assert!(scene.at("web", "/State/Error").contains("shown"));
        scene.wait_until_alone();
        scene.assert_nothing_left("a restart that failed");
        host.dir("shown");
        scene.ok("start web");
        assert_eq!(scene.ok("exec web cat /file"), "mine\n");
        scene.ok("rm -f web");
        scene.assert_all_gone("a restart that failed");
    });
}

#[test]
fn boot_starts_what_ran_and_what_always_runs_and_nothing_else() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "echo up; exec sleep 5000";
        let all = [
            ("always", "--init --restart always", false, true),
            ("always-stopped", "--init --restart always", true, true),
            ("unless", "--init --restart unless-stopped", false, true),
            (
                "unless-stopped",
                "--init --restart unless-stopped",
                true,
                false,
            ),
            ("failure", "--init --restart on-failure", false, false),
            ("never", "--init", false, false),
        ];
        for (name, flags, stopped, _) in all {
            scene.up(name, flags, script);
            if stopped {
                scene.ok(&format!("stop {name}"));
            }
        }
        scene.ok("create --name made --restart always $I true");
        scene.up("removed", "--rm --init --log-driver json-file", script);
        // Nobody has seen it stop.
        for (name, _, stopped, _) in all {
            if !stopped {
                host.sh(&format!("kill -KILL {}", scene.supervisor(name)));
            }
        }
        host.sh(&format!("kill -KILL {}", scene.supervisor("removed")));
        host.wait_until("all have died", LIMIT, || {
            !host.try_sh("pgrep -xf 'sleep 5000'").status.success()
        });
        host.sh(&format!("find {} -mindepth 1 -delete", scene.run.display()));

        assert_eq!(
            scene.ok("system boot").lines().count(),
            3,
            "{}",
            scene.ok("ps -a")
        );
        for (name, _, _, runs) in all {
            let status = scene.at(name, "/State/Status");
            assert_eq!(status == "running", runs, "{name} is {status}");
        }
        assert_eq!(scene.at("made", "/State/Status"), "created");
        assert_eq!(scene.run("inspect removed").code, 1);
        // Once more starts nothing more.
        assert_eq!(scene.ok("system boot"), "");
        let names = scene.ok("ps -aq");
        scene.ok(&format!("rm -f {}", names.replace('\n', " ")));
        scene.assert_all_gone("a boot");
    });
}
