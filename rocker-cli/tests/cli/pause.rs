//! Containers whose processes stand still.

use std::time::{Duration, Instant};

use crate::fake_host;
use crate::resource_flags::is_v2;
use crate::support::{LIMIT, Rocker};

/// A container that counts, and how far it has come.
const COUNT: &str = "echo up; i=0; while :; do i=$((i+1)); echo $i >/tmp/count; done";

fn used(rocker: &Rocker<'_>, name: &str) -> String {
    let pid = rocker.at(name, "/State/Pid");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11..13].join(" ")
}

#[test]
fn a_paused_container_stands_still_says_so_and_goes_on() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up("web", "--network none ", COUNT);
        assert_eq!(rocker.ok("pause web"), "web\n");
        let before = used(&rocker, "web");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(used(&rocker, "web"), before);
        assert!(rocker.ok("ps").contains("(Paused)"));
        assert_eq!(rocker.ok("ps -q --filter status=paused").lines().count(), 1);
        assert_eq!(rocker.ok("ps -q --filter status=running"), "");
        let state = |what: &str| rocker.at("web", &format!("/State/{what}"));
        assert_eq!(
            [state("Status"), state("Paused"), state("Running")],
            ["paused", "true", "true"]
        );
        let done = rocker.run("pause web");
        assert!(
            done.code == 1 && done.err.contains("paused already"),
            "{done:?}"
        );
        assert!(rocker.fails(125, "exec web true").contains("is paused"));
        let done = rocker.run("rm web");
        assert_ne!(done.code, 0, "{done:?}");
        // What it uses, and what runs in it, can be looked at.
        assert_eq!(
            rocker.ok("stats --no-stream --format '{{.Name}}' web"),
            "web\n"
        );
        assert!(rocker.ok("top web").contains("sh"));
        assert_eq!(rocker.ok("unpause web"), "web\n");
        host.wait_until("it goes on", LIMIT, || used(&rocker, "web") != before);
        assert_eq!([state("Status"), state("Paused")], ["running", "false"]);
        let done = rocker.run("unpause web");
        assert!(
            done.code == 1 && done.err.contains("not paused"),
            "{done:?}"
        );
        let events = rocker.ok("events --since 1h --until 0s --format '{{.Action}}'");
        assert!(events.contains("pause\nunpause\n"), "{events}");
        rocker.ok("rm -f web");
        rocker.assert_all_gone("pause");
    });
}

#[test]
fn a_paused_container_can_be_stopped_killed_and_removed() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        // It ends at SIGTERM, which it hears as soon as it goes on.
        let flags = "--init --network none";
        rocker.up(
            "web",
            flags,
            "trap \"exit 7\" TERM; echo up; while :; do sleep 0.1; done",
        );
        rocker.ok("pause web");
        let start = Instant::now();
        rocker.ok("stop -t 30 web");
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
        assert_eq!(rocker.at("web", "/State/Status"), "exited");
        rocker.ok("start web");
        rocker.ok("pause web");
        rocker.ok("kill web");
        assert_eq!(rocker.ok("wait web"), "137\n");
        rocker.ok("start web");
        rocker.ok("pause web");
        // A signal that means no end is heard later.
        rocker.ok("kill -s USR1 web");
        assert_eq!(rocker.at("web", "/State/Status"), "paused");
        rocker.ok("rm -f web");
        rocker.assert_all_gone("a paused container that was removed");
    });
}

#[test]
fn a_paused_container_whose_rocker_is_killed_is_taken_down_by_the_next_command() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up("web", "--network none ", COUNT);
        rocker.ok("pause web");
        let supervisor = rocker.supervisor("web");
        host.sh(&format!("kill -KILL {supervisor}"));
        host.wait_until("it has ended", LIMIT, || {
            rocker.at("web", "/State/Status") == "exited"
        });
        rocker.assert_nothing_left("a killed rocker of a paused container");
        rocker.ok("start web");
        assert_eq!(rocker.at("web", "/State/Status"), "running");
        rocker.ok("rm -f web");
        rocker.assert_all_gone("rm");
    });
}

#[test]
fn a_wish_without_effect_neither_freezes_the_container_for_good_nor_outlives_its_run() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up("web", "--network none --restart always", COUNT);
        let wish = format!("{}/paused", rocker.run_dir_of("web"));
        // As somebody leaves it who is killed between the two steps of a pause.
        std::fs::write(&wish, "").unwrap();
        assert_eq!(rocker.at("web", "/State/Status"), "running");
        rocker.ok("commit web of-a-wish");
        assert!(!std::fs::exists(&wish).unwrap());
        let before = used(&rocker, "web");
        host.wait_until("it goes on", LIMIT, || used(&rocker, "web") != before);
        // One that stands still, as somebody wants it to, does so afterwards.
        rocker.ok("pause web");
        rocker.ok("commit web of-a-wish");
        assert_eq!(rocker.at("web", "/State/Status"), "paused");
        // What is killed from outside is started again as one that nobody paused. v2 lets a frozen process die, v1 only once it
        // goes on.
        let pid = rocker.at("web", "/State/Pid");
        let thaw = match is_v2() {
            true => "",
            false => "echo THAWED >$(echo /sys/fs/cgroup/freezer/rocker-*/freezer.state)",
        };
        host.sh(&format!("kill -KILL {pid}; {thaw}"));
        host.wait_until("it runs again", LIMIT, || {
            let now = rocker.at("web", "/State/Pid");
            now != pid && now != "0"
        });
        assert!(!std::fs::exists(&wish).unwrap());
        rocker.ok("rm -f web");
        rocker.ok("rmi of-a-wish");
        rocker.assert_all_gone("a wish without effect");
    });
}
