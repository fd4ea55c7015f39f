//! The files that a log is kept in: much of it, full ones, a full disk.

use std::fs;
use std::time::Duration;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn a_log_that_is_full_begins_anew_and_who_follows_loses_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let options = "--log-opt max-size=20k --log-opt max-file=3";
        // So slowly that it can be kept up with.
        let script = "echo up; read go; for i in $(seq 40); do seq 100 | sed s/^/$i-long-/; sleep 0.02; done";
        scene.up("web", &format!("-i {options}"), script);
        let mut follows = scene.start("logs -f web");
        assert_eq!(follows.line(), "up");
        scene.script("echo go | rocker attach web");
        assert_eq!(scene.ok("wait web"), "0\n");
        let all: Vec<String> = (1..=40)
            .flat_map(|turn| (1..=100).map(move |number| format!("{turn}-long-{number}")))
            .collect();
        let heard = follows.end().out;
        assert!(heard.lines().eq(&all), "{} lines", heard.lines().count());
        let kept = scene.ok("logs web");
        let kept: Vec<_> = kept.lines().collect();
        assert!(kept.len() > 300 && kept.len() < 1000, "{}", kept.len());
        assert_eq!(kept, all[all.len() - kept.len()..]);
        assert_eq!(scene.ok("logs --tail 350 web").lines().count(), 350);
        let log = scene.at("web", "/LogPath");
        let files = host.sh(&format!("stat -c %s {log}*"));
        let sizes: Vec<u64> = files.lines().map(|size| size.parse().unwrap()).collect();
        assert!(
            sizes.len() == 3 && sizes.iter().all(|size| *size <= 20 << 10),
            "{sizes:?}"
        );
        for wrong in ["max-size=0", "max-file=0", "max-file=3", "mode=x"] {
            scene.fails(125, &format!("run --log-opt {wrong} $I true"));
        }
        scene.ok("rm web");
        scene.assert_all_gone("a log of several files");
    });
}

#[test]
fn of_much_that_is_written_at_once_no_line_is_lost_and_the_supervisor_does_not_grow() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // 30 MB in 300 000 lines: what a debug build takes in some seconds.
        let pad = "x".repeat(93);
        let script = format!("echo up; read go; seq 300000 | sed s/^/{pad}/; exec sleep 1000");
        scene.up("web", "-i", &script);
        let pid = scene.supervisor("web");
        let peak = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("RssAnon:"));
            line.unwrap()
                .split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let before = peak();
        let feeder = scene
            .shell("echo go | rocker attach web >/run/heard")
            .spawn();
        let last = format!("{pad}300000\n");
        let mut most = before;
        host.wait_until("all is written", Duration::from_secs(60), || {
            most = most.max(peak());
            scene.ok("logs --tail 1 web") == last
        });
        assert!(most <= before + 512, "from {before} to {most} KiB");
        let sums = host.sh(&format!(
            "(echo up; seq 300000 | sed s/^/{pad}/) | sha256sum"
        ));
        assert_eq!(scene.script("rocker logs web | sha256sum").out, sums);
        scene.ok("rm -f web");
        assert_eq!(feeder.unwrap().wait().unwrap().code(), Some(137));
        scene.assert_all_gone("much that was written");
    });
}

#[test]
fn a_full_disk_holds_up_no_program_and_the_log_says_what_is_missing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let dir = scene.root.join("containers");
        let dir = dir.display();
        host.sh(&format!(
            "mkdir -p {dir}; mount -t tmpfs -o size=2m tmpfs {dir}; head -c 1m /dev/zero >{dir}/ballast"
        ));
        let script = "echo up; read go; seq 100000; echo over; read go; echo after; read go";
        scene.up("web", "-i", script);
        let feed_until = |last: &str| {
            let mut client = scene.start("attach web <<END\ngo\nEND\n");
            while client.line() != last {}
        };
        feed_until("over");
        let kept = scene.ok("logs web").lines().count();
        assert!(kept > 1000 && kept < 50_000, "{kept}");
        host.sh(&format!("rm {dir}/ballast"));
        feed_until("after");
        let logged = scene.run("logs web");
        assert_eq!(logged.code, 0);
        assert!(logged.out.ends_with("\nafter\n"));
        let missing = 100_002 - (logged.out.lines().count() - 1);
        assert!(
            logged
                .err
                .starts_with(&format!("rocker: {missing} lines are missing here: ")),
            "{}, and {missing} are",
            logged.err
        );
        scene.ok("rm -f web");
        host.sh(&format!("umount {dir}"));
        scene.wait_until_alone();
        scene.assert_all_gone("a full disk");
    });
}
