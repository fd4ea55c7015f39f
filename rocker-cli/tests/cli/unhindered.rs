//! What a container does that would keep the one who looks after it from everything else, and what is heard all the same.

use std::time::{Duration, Instant};

use crate::fake_host;
use crate::support::{LIMIT, Scene};

/// A program that ends when it is asked to.
const OBEDIENT: &str = "trap \"exit 7\" TERM; echo up; while :; do sleep 0.05; done";

#[test]
fn a_health_check_that_talks_without_pause_is_ended_in_time_and_holds_up_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "--health-cmd yes --health-interval 50ms --health-timeout 200ms --health-retries 2",
            OBEDIENT,
        );
        host.wait_until("it is unhealthy", LIMIT, || {
            scene.at("web", "/State/Health/Status") == "unhealthy"
        });
        let asked = Instant::now();
        scene.ok("stop -t 9 web");
        assert!(asked.elapsed() < Duration::from_secs(8));
        assert_eq!(scene.at("web", "/State/ExitCode"), "7");
        scene.ok("rm web");
        scene.assert_all_gone("a check that talks");
    });
}

#[test]
fn a_container_that_stops_its_health_checks_is_heard_and_ends_when_it_is_asked_to() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "--health-cmd true --health-interval 20ms --health-timeout 300ms",
            "trap \"exit 7\" TERM; echo up; while :; do kill -STOP -1 2>/dev/null; done",
        );
        // A check that does not even come to run is one that fails.
        host.wait_until("a check has failed", LIMIT, || {
            scene
                .at("web", "/State/Health/Log")
                .contains("\"ExitCode\":-1")
        });
        let asked = Instant::now();
        scene.ok("stop -t 9 web");
        assert!(asked.elapsed() < Duration::from_secs(8));
        assert_eq!(scene.at("web", "/State/ExitCode"), "7");
        scene.ok("rm web");
        scene.assert_all_gone("checks that are stopped");
    });
}

#[test]
fn a_program_that_was_sent_stop_stays_stopped() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("web", "", OBEDIENT);
        let state = || {
            let pid = scene.at("web", "/State/Pid");
            host.sh(&format!("ps -o stat= -p {pid}"))
        };
        scene.ok("kill -s STOP web");
        host.wait_until("it is stopped", LIMIT, || state().starts_with('T'));
        // Whatever wakes the one who looks after it leaves it so.
        scene.ok("logs web");
        scene.ok("kill -s WINCH web");
        assert!(state().starts_with('T'), "{}", state());
        scene.ok("kill -s CONT web");
        host.wait_until("it goes on", LIMIT, || !state().starts_with('T'));
        scene.ok("stop web");
        assert_eq!(scene.at("web", "/State/ExitCode"), "7");
        scene.ok("rm web");
        scene.assert_all_gone("a program that was stopped");
    });
}

#[test]
fn a_stop_that_comes_while_a_container_is_started_is_heard_by_its_program() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // Its init takes a signal at any time; a program of its own would overhear one that comes before it is ready for it.
        scene.ok("create --name web --init $I sleep 1000");
        for round in 0..12 {
            let done = scene.script("rocker start web & rocker stop -t 9 web; wait");
            assert_eq!(done.code, 0, "{done:?}");
            // The stop may have come first; the next one comes last.
            scene.ok("stop -t 9 web");
            assert_ne!(scene.at("web", "/State/ExitCode"), "137", "round {round}");
        }
        scene.ok("rm web");
        scene.assert_all_gone("starts and stops at once");
    });
}

#[test]
fn a_service_that_fails_time_and_again_is_stopped_at_once() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name web --restart always $I sh -c 'exit 3'");
        host.wait_until("it was started again", LIMIT, || {
            scene.at("web", "/RestartCount") != "0"
        });
        let asked = Instant::now();
        scene.ok("stop -t 9 web");
        assert!(asked.elapsed() < Duration::from_secs(8));
        assert_eq!(scene.at("web", "/State/ExitCode"), "3");
        scene.ok("rm web");
        scene.assert_all_gone("a service that fails");
    });
}
