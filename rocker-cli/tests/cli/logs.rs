//! What is kept of what a program writes, and how it is shown.

use std::time::{Duration, Instant};

use crate::fake_host;
use crate::support::{LIMIT, Scene};

#[test]
fn lines_are_shown_where_they_were_written_to_also_of_a_foreground_run_and_without_an_end() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "echo out; echo err >&2; printf half";
        let done = scene.run(&format!("run --name web $I sh -c '{script}'"));
        assert_eq!(
            (done.out.as_str(), done.err.as_str()),
            ("out\nhalf", "err\n")
        );
        let logged = scene.run("logs web");
        assert_eq!(
            (logged.code, logged.out, logged.err),
            (0, done.out, done.err)
        );
        // Another run adds to it.
        scene.ok("start web");
        scene.ok("wait web");
        assert_eq!(scene.ok("logs web"), "out\nhalfout\nhalf");
        scene.fails(125, "logs nosuch");
        scene.ok("rm web");
        scene.assert_all_gone("logs");
    });
}

#[test]
fn lines_are_chosen_by_number_and_by_time() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("web", "-i", "seq 20; echo up; read go; echo late");
        let all = scene.ok("logs -t web");
        let times: Vec<&str> = all
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(times.len(), 21, "{all}");
        for (line, time) in all.lines().zip(&times) {
            // As Docker has it: 2026-11-25T12:00:00.123456789Z
            assert!(
                time.len() == 30 && time.ends_with('Z') && time.starts_with("20"),
                "{line}"
            );
        }
        assert!(times.is_sorted(), "{all}");
        assert!(all.ends_with(" up\n"), "{all}");
        assert_eq!(scene.ok("logs --tail 2 web"), "20\nup\n");
        assert_eq!(scene.ok("logs -n 0 web"), "");
        assert_eq!(scene.ok("logs -n 100 web").lines().count(), 21);
        assert_eq!(scene.ok("logs -n all web").lines().count(), 21);
        let between = host.sh("date -u +%FT%T.%NZ");
        let between = between.trim();
        let fed = scene.script("echo go | rocker attach web");
        assert_eq!(fed.out, "late\n");
        assert_eq!(scene.ok(&format!("logs --since {between} web")), "late\n");
        assert_eq!(
            scene
                .ok(&format!("logs --until {between} web"))
                .lines()
                .count(),
            21
        );
        assert_eq!(
            scene
                .ok(&format!("logs -f --until {between} web"))
                .lines()
                .count(),
            21
        );
        assert_eq!(scene.ok("logs --since 1h web").lines().count(), 22);
        assert_eq!(scene.ok("logs --until 1h web"), "");
        assert_eq!(scene.ok("logs --since 2100-01-01 web"), "");
        // Also of one that says nothing more.
        let soon = host.sh("date -u -d '+1 sec' +%FT%T.%NZ");
        scene.ok("start web");
        scene.ok(&format!("logs -f --until {} web", soon.trim()));
        for wrong in ["--since yesterday", "--until 25:00", "--tail some"] {
            let line = scene.fails(125, &format!("logs {wrong} web"));
            assert!(line.contains(wrong.split(' ').next().unwrap()), "{line}");
        }
        scene.ok("rm -f web");
        scene.assert_all_gone("logs");
    });
}

#[test]
fn who_follows_hears_all_until_the_container_has_ended() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "echo up; read go; seq 5000; printf end; exit 3";
        scene.up("web", "-i", script);
        let mut all = scene.start("logs -f web");
        let mut last = scene.start("logs -f --tail 1 web");
        for one in [&mut all, &mut last] {
            assert_eq!(one.line(), "up");
        }
        let mut none = scene.start("logs -f --tail 0 web");
        let watches = |pid: u32| {
            host.try_sh(&format!("ls -l /proc/{pid}/fd | grep -q '/log$'"))
                .status
                .success()
        };
        host.wait_until("it follows", LIMIT, || watches(none.pid()));
        scene.script("echo go | rocker attach web");
        assert_eq!(none.line(), "1");
        let rest: String = (1..=5000).map(|number| format!("{number}\n")).collect();
        for one in [all, last] {
            let done = one.end();
            assert_eq!((done.code, done.out), (0, rest.clone() + "end"));
        }
        assert!(rest.ends_with(none.end().out.trim_end_matches("end")));
        // Of one that has ended there is no more to come.
        assert_eq!(scene.ok("logs -f --tail 1 web"), "end");
        scene.ok("rm web");
        scene.assert_all_gone("logs -f");
    });
}

#[test]
fn who_follows_and_does_not_read_holds_up_nobody() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "-i",
            "echo up; read go; seq 200000; echo over; exec sleep 1000",
        );
        let follows = scene.start("logs -f web");
        let sleeper = scene.shell("rocker logs -f web | sleep 5000").spawn();
        let feeder = scene
            .shell("echo go | rocker attach web >/run/heard")
            .spawn();
        host.wait_until("all is written", LIMIT, || {
            scene.ok("logs --tail 1 web") == "over\n"
        });
        assert_eq!(scene.ok("logs web").lines().count(), 200_002);
        let start = Instant::now();
        scene.ok("stop -t 0 web");
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(follows.end().out.lines().count(), 200_002);
        host.sh("pkill -xf 'sleep 5000'");
        sleeper.unwrap().wait().unwrap();
        assert_eq!(feeder.unwrap().wait().unwrap().code(), Some(137));
        scene.ok("rm web");
        scene.wait_until_alone();
        scene.assert_all_gone("logs -f");
    });
}

#[test]
fn garbage_and_endless_lines_break_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "head -c 100000 /dev/urandom; echo; head -c 50000 /dev/zero | tr \"\\0\" x; echo; echo last";
        scene.run(&format!("run --name web $I sh -c '{script}' >/dev/null"));
        let logged = scene.ok("logs web");
        assert!(logged.ends_with("\nlast\n"), "{}", logged.len());
        assert!(logged.contains(&format!("\n{}\n", "x".repeat(50_000))));
        assert!(logged.len() > 150_000);
        assert_eq!(scene.ok("logs --tail 1 web"), "last\n");
        // A time stands only where a line begins.
        let timed = scene.ok("logs -t --tail 5 web");
        assert_eq!(timed.lines().count(), 2, "{timed}");
        scene.ok("rm web");
        scene.assert_all_gone("garbage");
    });
}

#[test]
fn where_no_log_is_kept_that_is_said() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --init --name quiet --log-driver none $I sleep 1000");
        let line = scene.fails(125, "logs quiet");
        assert!(line.contains("quiet") && line.contains("log"), "{line}");
        assert_eq!(scene.at("quiet", "/HostConfig/LogConfig/Type"), "none");
        let line = scene.fails(125, "run --log-driver syslog $I true");
        assert!(line.contains("syslog"), "{line}");
        scene.ok("stop quiet");
        scene.fails(125, "logs -f quiet");
        scene.ok("rm quiet");
        scene.assert_all_gone("a container without a log");
    });
}
