//! Programs that a person leaves to themselves.

use std::time::Duration;

use crate::fake_host::{self, Host};
use crate::support::Scene;
use crate::tmux::Tmux;

const LIMIT: Duration = Duration::from_secs(20);

/// How many processes of rocker there are that have not ended.
fn rockers(host: &Host) -> usize {
    let states = host.sh("ps -C rocker -o stat= || true");
    states
        .lines()
        .filter(|state| !state.starts_with('Z'))
        .count()
}

#[test]
fn a_container_that_is_left_by_its_keys_goes_on_and_nobody_waits_for_what_it_writes() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        let script = "echo here; until [ -e /go ]; do sleep 0.01; done; seq 100000; touch /came; exec sleep 5000";
        tmux.types(&format!(
            "stty -g >/run/before; rocker run --rm -it --name left $I sh -c '{script}'; echo code $?"
        ));
        tmux.shows("here");
        // Half of the keys is no farewell.
        tmux.key("C-p");
        tmux.key("x");
        tmux.key("C-p");
        tmux.key("C-q");
        tmux.shows("rocker: the command goes on by itself");
        tmux.shows("code 0");
        tmux.types("stty -g >/run/after; echo finally");
        tmux.shows("finally");
        assert_eq!(host.sh("cat /run/before"), host.sh("cat /run/after"));
        tmux.end();

        let listed = scene.ok("ps");
        assert!(
            listed.contains("left") && listed.contains("Up "),
            "{listed}"
        );
        scene.ok("exec left touch /go");
        host.wait_until("it has written all", LIMIT, || {
            scene.run("exec left ls /came").code == 0
        });
        assert_eq!(scene.run("exec left kill -9 1").code, 0);
        host.sh("pkill -KILL -xf 'sleep 5000'");
        host.wait_until("its end is noticed", LIMIT, || {
            scene.containers().is_empty()
        });
        host.wait_until("nobody looks after it", LIMIT, || rockers(host) == 0);
        scene.assert_all_gone("a container that was left");
    });
}

#[test]
fn a_second_program_can_be_left_too_by_keys_of_ones_own() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        let tmux = Tmux::start(host, &scene);
        tmux.types("rocker exec -it --detach-keys ctrl-a,d web sleep 6000; echo code $?");
        tmux.process("sleep 6000", true);
        tmux.key("C-a");
        tmux.key("d");
        tmux.shows("code 0");
        tmux.process("sleep 6000", true);
        tmux.end();
        assert_eq!(host.sh("pgrep -cxf 'sleep 6000'"), "1\n");
        assert_eq!(idle.end().code, 0);
        host.wait_until("nobody looks after it", LIMIT, || rockers(host) == 0);
        scene.assert_all_gone("a program that was left");
    });
}

#[test]
fn without_keys_nobody_stands_in_and_wrong_ones_are_refused() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        tmux.types("rocker run --rm -it --init --detach-keys '' $I sleep 7000; echo code $?");
        tmux.process("sleep 7000", true);
        assert_eq!(rockers(host), 1);
        tmux.key("C-c");
        tmux.shows("^Ccode 130");
        tmux.end();
        let error = scene.fails(125, "run --rm --detach-keys ctrl-1 $I true");
        assert!(error.contains("not a sequence of keys"), "{error}");
        scene.assert_all_gone("keys");
    });
}

#[test]
fn whoever_kills_the_process_that_stands_in_ends_the_container_too() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        tmux.types("rocker run --rm -it $I sleep 8000");
        tmux.process("sleep 8000", true);
        assert_eq!(rockers(host), 2);
        host.sh("kill -KILL $(pgrep -ox rocker)");
        tmux.process("sleep 8000", false);
        tmux.end();
        scene.ok("ps");
        scene.assert_all_gone("a stand-in that was killed");
    });
}

#[test]
fn signals_to_the_process_that_stands_in_reach_the_program_once() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        let script = "trap \"echo term\" TERM; trap \"exit 4\" USR1; echo ready; while :; do sleep 0.01; done";
        tmux.types(&format!(
            "rocker run --rm -it $I sh -c '{script}'; echo code $?"
        ));
        tmux.shows("ready");
        host.sh("kill -TERM $(pgrep -ox rocker)");
        tmux.shows("term");
        // One that reaches both processes counts once: the third request would kill.
        host.sh("env kill -TERM -- -$(ps -o pgid= -p $(pgrep -ox rocker) | tr -d ' ')");
        host.wait_until("it has come", LIMIT, || {
            tmux.screen().matches("\nterm").count() == 2
        });
        host.sh("kill -USR1 $(pgrep -ox rocker)");
        tmux.shows("code 4");
        assert_eq!(
            tmux.screen().matches("\nterm").count(),
            2,
            "{}",
            tmux.screen()
        );
        tmux.end();
        scene.assert_all_gone("signals");
    });
}
