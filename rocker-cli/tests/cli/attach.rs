//! Clients of a program that somebody else supervises.

use std::io::Write;
use std::process::Stdio;

use crate::fake_host;
use crate::support::{LIMIT, Scene};
use crate::tmux::Tmux;

/// How many clients there are: each is a socket of the supervisor's, beside the one that listens.
fn clients(scene: &Scene<'_>, name: &str) -> usize {
    let pid = scene.supervisor(name);
    let sockets = scene.host.sh(&format!(
        "ss -xHp -A unix_seqpacket 2>/dev/null | grep -c 'pid={pid},' || true"
    ));
    sockets.trim().parse().unwrap()
}

#[test]
fn two_clients_see_the_same_and_have_its_exit_status() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "echo up; read go; seq 2000; echo over >&2; exit 4";
        scene.up("web", "-i", script);
        let alone = clients(&scene, "web");
        let both = [
            scene.start("attach web"),
            scene.start("attach --no-stdin web"),
        ];
        host.wait_until("both are there", LIMIT, || {
            clients(&scene, "web") == alone + 2
        });
        let mut feeder = scene
            .shell("exec rocker attach web")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        feeder.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let all: String = (1..=2000).map(|number| format!("{number}\n")).collect();
        for one in both {
            let done = one.end();
            assert_eq!((done.code, done.err.as_str()), (4, "over\n"), "{done:?}");
            assert_eq!(done.out, all);
        }
        assert_eq!(feeder.wait().unwrap().code(), Some(4));
        // Whoever has seen the end can go on with the container.
        scene.ok("rm web");
        scene.assert_all_gone("attach");
    });
}

#[test]
fn input_of_several_reaches_a_program_one_after_the_other_and_its_end_does_not() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "echo",
            "-i",
            "echo up; while read line; do echo got $line; done",
        );
        for word in ["one", "two"] {
            // The end of this client's input is not that of the program's, and the signal makes it leave.
            let mut client = scene.start(&format!(
                "attach --sig-proxy=false echo <<END\n{word}\nEND\n"
            ));
            assert_eq!(client.line(), format!("got {word}"));
            client.signal("TERM");
            assert_eq!(client.end().code, 0);
        }
        assert_eq!(scene.at("echo", "/State/Status"), "running");
        assert_eq!(scene.ok("logs echo"), "up\ngot one\ngot two\n");
        scene.ok("rm -f echo");
        scene.assert_all_gone("attach");
    });
}

#[test]
fn signals_to_a_client_are_passed_on_unless_that_is_not_wanted() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "",
            "trap \"exit 7\" TERM; echo up; while :; do sleep 0.01; done",
        );
        let alone = clients(&scene, "web");
        let leaves = scene.start("attach --sig-proxy=false web");
        let passes = scene.start("attach web");
        host.wait_until("both are there", LIMIT, || {
            clients(&scene, "web") == alone + 2
        });
        leaves.signal("TERM");
        assert_eq!(leaves.end().code, 0);
        assert_eq!(scene.at("web", "/State/Status"), "running");
        passes.signal("TERM");
        assert_eq!(passes.end().code, 7);
        let line = scene.fails(125, "attach web");
        assert!(
            line.contains("web") && line.contains("not running"),
            "{line}"
        );
        scene.fails(125, "attach nosuch");
        scene.ok("rm web");
        scene.assert_all_gone("attach");
    });
}

#[test]
fn a_client_that_is_stopped_or_does_not_read_holds_up_nobody() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "-i",
            "echo up; read go; seq 300000; echo over; read end",
        );
        let alone = clients(&scene, "web");
        let stopped = scene.start("attach --no-stdin web");
        // Nobody reads what this one says until the end.
        let unread = scene.start("attach --no-stdin web");
        host.wait_until("both are there", LIMIT, || {
            clients(&scene, "web") == alone + 2
        });
        stopped.signal("STOP");
        let mut feeder = scene.start("attach web <<END\ngo\nEND\n");
        while feeder.line() != "over" {}
        assert!(scene.ok("logs --tail 1 web") == "over\n");
        scene.ok("stop -t 0 web");
        for client in [feeder, unread] {
            assert_eq!(client.end().code, 137);
        }
        stopped.signal("CONT");
        assert_eq!(stopped.end().code, 137);
        scene.ok("rm web");
        scene.assert_all_gone("clients that did not read");
    });
}

#[test]
fn the_keys_leave_a_terminal_that_others_find_as_it_is() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        tmux.types("stty -g >/run/before; rocker run -dit --name web $I sh; rocker attach web; echo code $?");
        tmux.key("Enter");
        tmux.shows("~ #");
        tmux.types("echo in''side; stty size");
        tmux.shows("inside");
        tmux.shows("30 100");
        tmux.key("C-p");
        tmux.key("C-q");
        tmux.shows("code 0");
        assert_eq!(scene.at("web", "/State/Status"), "running");
        tmux.types(
            "clear; stty -g >/run/after; rocker attach --detach-keys ctrl-x web; echo code $?",
        );
        tmux.key("Enter");
        tmux.shows("~ #");
        tmux.types("echo a''gain");
        tmux.shows("again");
        tmux.key("C-x");
        tmux.shows("code 0");
        tmux.types("clear; rocker attach web; echo code $?");
        tmux.key("Enter");
        tmux.shows("~ #");
        tmux.types("exit 5");
        tmux.shows("code 5");
        assert_eq!(host.sh("cat /run/before"), host.sh("cat /run/after"));
        tmux.end();
        let logged = scene.ok("logs web");
        assert!(
            logged.contains("inside\r\n") && logged.contains("again\r\n"),
            "{logged}"
        );
        scene.ok("rm web");
        scene.assert_all_gone("a terminal that was left");
    });
}

#[test]
fn what_was_in_front_and_is_left_goes_on_is_logged_and_found_again() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        let script = "echo here; until [ -e /go ]; do sleep 0.01; done; echo after; read word; echo got $word; exit 3";
        tmux.types(&format!(
            "rocker run -it --name left $I sh -c '{script}'; echo code $?"
        ));
        tmux.shows("here");
        tmux.key("C-p");
        tmux.key("C-q");
        tmux.shows("code 0");
        scene.ok("exec left touch /go");
        host.wait_until("it goes on", LIMIT, || {
            scene.ok("logs left") == "here\r\nafter\r\n"
        });
        tmux.types("clear; rocker attach left; echo code $?");
        host.wait_until("it is attached", LIMIT, || {
            host.try_sh("pgrep -f 'rocker attach left'")
                .status
                .success()
        });
        tmux.types("word");
        tmux.shows("got word");
        tmux.shows("code 3");
        tmux.end();
        assert_eq!(scene.at("left", "/State/ExitCode"), "3");
        scene.ok("rm left");
        scene.assert_all_gone("a container that was left and found again");
    });
}
