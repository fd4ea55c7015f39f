//! Containers that are left to themselves: made, started, stopped, started again, waited for, removed.

use std::fs;
use std::time::{Duration, Instant};

use crate::fake_host;
use crate::support::{LIMIT, Scene};

/// A program that ends with 0 when it is asked to.
const POLITE: &str = "trap \"exit 0\" TERM; echo up; while :; do sleep 0.01; done";
/// One that does not end when it is asked to.
const STUBBORN: &str = "trap \"\" TERM; echo up; while :; do sleep 0.01; done";

/// How much memory a process has for itself. What the linker has relocated and made read-only again is left out: of a debug
/// build that is more than all the rest.
fn written_kib(smaps: &str) -> u64 {
    let mut is_writable = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next().unwrap(), words.next().unwrap_or_default());
        if !name.ends_with(':') {
            is_writable = value.starts_with("rw");
        } else if name == "Private_Dirty:" && is_writable {
            sum += value.parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn run_d_prints_the_id_and_what_supervises_is_small_and_has_one_thread() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let id = scene.ok("run -d --name web $I sleep 1000");
        assert!(id.len() == 65 && id.ends_with('\n'), "{id:?}");
        assert_eq!(scene.at("web", "/Id"), id.trim());
        // It runs when its ID is there.
        assert_eq!(scene.at("web", "/State/Status"), "running");
        assert!(host.sh("pgrep -cxf 'sleep 1000'").trim() == "1");

        let pid = scene.supervisor("web");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("\nThreads:\t1\n"), "{status}");
        let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let kib = written_kib(&text);
        assert!(kib > 100 && kib <= 2048, "{kib} KiB: {text}");
        // It has a session of its own, and nothing of the caller's.
        for stream in 0..3 {
            let open = fs::read_link(format!("/proc/{pid}/fd/{stream}")).unwrap();
            assert_eq!(open.to_str(), Some("/dev/null"), "{stream}");
        }
        assert_eq!(
            host.sh(&format!("ps -o sid= -p {pid}")).trim(),
            pid.to_string()
        );

        scene.ok("rm -f web");

        let script = "mkdir -p /run/here; cd /run/here; exec rocker run -d --name web $I sleep 1000 7</etc/passwd 9>/run/nine";
        scene.script(script).succeeded();
        let pid = scene.supervisor("web");
        let files = host.sh(&format!("ls -l /proc/{pid}/fd"));
        assert!(
            !files.contains("/etc/passwd") && !files.contains("/run/nine"),
            "{files}"
        );
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(cwd.to_str(), Some("/"));
        scene.ok("rm -f web");
        scene.assert_all_gone("run -d");
    });
}

#[test]
fn what_cannot_run_in_the_foreground_cannot_run_detached_and_says_the_same() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (code, args) in [
            (127, "$I nosuch"),
            (126, "$I /etc"),
            (125, "--pull never nosuch true"),
            (125, "-u nosuch $I true"),
            (125, "-v /nothing:/x $I true"),
            (125, "--network nosuch $I true"),
            (125, "--restart sometimes $I true"),
        ] {
            let before = scene.fails(code, &format!("run {args}"));
            for flags in ["-d", "-d --rm", "-dit"] {
                let line = scene.fails(code, &format!("run {flags} {args}"));
                assert_eq!(line, before);
                scene.assert_all_gone(&format!("run {flags} {args}"));
            }
        }
    });
}

#[test]
fn stop_asks_first_and_kills_then_and_says_how_it_ended() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = scene.registry.push_dir(
            &crate::registry::busybox_root(&host.dir("quits")),
            "quits",
            r#"{"Env":["PATH=/bin"],"StopSignal":"SIGQUIT"}"#,
        );
        scene.up("polite", "", POLITE);
        scene.up("plain", "--init", "echo up; exec sleep 1000");
        scene.up("stubborn", "", STUBBORN);
        scene.up(
            "own",
            "--stop-signal USR1",
            "trap \"exit 7\" USR1; trap \"exit 8\" TERM; echo up; while :; do sleep 0.01; done",
        );
        let quits =
            "trap \"exit 9\" QUIT; trap \"exit 8\" TERM; echo up; while :; do sleep 0.01; done";
        scene.ok(&format!("run -d --name quits {image} sh -c '{quits}'"));
        host.wait_until("it is up", LIMIT, || scene.ok("logs quits") == "up\n");
        for (name, code) in [
            ("polite", "0"),
            ("plain", "143"),
            ("own", "7"),
            ("quits", "9"),
        ] {
            assert_eq!(scene.ok(&format!("stop {name}")), format!("{name}\n"));
            assert_eq!(scene.at(name, "/State/Status"), "exited", "{name}");
            assert_eq!(scene.at(name, "/State/ExitCode"), code, "{name}");
        }
        let start = Instant::now();
        scene.ok("stop -t 1 stubborn");
        let took = start.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(6),
            "{took:?}"
        );
        assert_eq!(scene.at("stubborn", "/State/ExitCode"), "137");
        // Once more is fine.
        assert_eq!(scene.ok("stop stubborn"), "stubborn\n");
        assert_eq!(scene.at("stubborn", "/State/ExitCode"), "137");
        scene.fails(1, "stop nosuch");
        scene.assert_nothing_left("stop");
        scene.ok("rm polite plain stubborn own quits");
        scene.assert_all_gone("stop and rm");
    });
}

#[test]
fn several_are_stopped_at_once_each_with_its_own_patience() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for name in ["one", "two", "three", "four"] {
            scene.up(name, "--stop-timeout 2", STUBBORN);
        }
        let start = Instant::now();
        let done = scene.run("stop one nosuch two three four");
        let took = start.elapsed();
        assert_eq!(done.code, 1, "{done:?}");
        let mut names: Vec<_> = done.out.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["four", "one", "three", "two"]);
        assert!(
            took >= Duration::from_secs(2) && took < Duration::from_secs(7),
            "{took:?}"
        );
        assert_eq!(scene.ok("rm one two three four").lines().count(), 4);
        scene.assert_all_gone("four that were stopped");
    });
}

#[test]
fn kill_sends_any_signal_and_the_program_decides() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "",
            "trap \"echo again\" HUP; echo up; while :; do sleep 0.01; done",
        );
        for (count, signal) in ["HUP", "SIGHUP", "1"].iter().enumerate() {
            assert_eq!(scene.ok(&format!("kill -s {signal} web")), "web\n");
            host.wait_until("it has heard", LIMIT, || {
                scene.ok("logs web").matches("again").count() == count + 1
            });
        }
        assert_eq!(scene.at("web", "/State/Status"), "running");
        let line = scene.fails(1, "kill -s NOSUCH web");
        assert!(line.contains("NOSUCH"), "{line}");
        scene.ok("kill web");
        assert_eq!(scene.ok("wait web"), "137\n");
        let line = scene.fails(1, "kill web");
        assert!(line.contains("web"), "{line}");
        scene.ok("rm web");
        scene.assert_all_gone("kill");
    });
}

#[test]
fn wait_tells_the_exit_status_of_each_also_of_one_that_is_removed_or_has_ended() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script =
            |code: u8| format!("echo up; until [ -e /go ]; do sleep 0.01; done; exit {code}");
        scene.ok(&format!("run -d --rm --name gone $I sh -c '{}'", script(3)));
        scene.up("kept", "", &script(4));
        scene.run("run --name over $I sh -c 'exit 5'");
        let waiting = scene.start("wait gone kept over");
        let both = scene.start("wait gone");
        host.wait_until("both listen", LIMIT, || {
            let pid = scene.supervisor("gone");
            host.sh(&format!("ls -l /proc/{pid}/fd"))
                .matches("socket:")
                .count()
                >= 3
        });
        scene.ok("exec gone touch /go");
        assert_eq!(both.end().out, "3\n");
        scene.ok("exec kept touch /go");
        let done = waiting.end();
        assert_eq!((done.code, done.out.as_str()), (0, "3\n4\n5\n"), "{done:?}");
        scene.fails(1, "wait gone");
        scene.ok("rm kept over");
        scene.assert_all_gone("wait");
    });
}

#[test]
fn what_is_removed_by_force_is_gone_whatever_it_does() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("runs", "", STUBBORN);
        let line = scene.fails(1, "rm runs");
        assert!(line.contains("runs") && line.contains("-f"), "{line}");
        assert_eq!(scene.at("runs", "/State/Status"), "running");
        scene.ok("create --name made $I true");
        scene.up("held", "", "echo up; exec sleep 2000");
        host.sh("pkill -STOP -xf 'sleep 2000'");
        scene.up("unattended", "", "echo up; exec sleep 3000");
        host.sh(&format!("kill -STOP {}", scene.supervisor("unattended")));
        scene.ok("run -d --restart always --name again $I false");
        host.wait_until("it pauses", LIMIT, || {
            scene.at("again", "/State/Status") == "restarting"
        });
        let start = Instant::now();
        let all = "runs made held unattended again";
        assert_eq!(
            scene.ok(&format!("rm -f {all}")),
            all.replace(' ', "\n") + "\n"
        );
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn a_container_that_is_renamed_is_found_by_its_new_name_alone() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("old", "--rm --log-driver json-file", POLITE);
        scene.ok("create --name other $I true");
        assert_eq!(scene.ok("rename old new"), "");
        assert_eq!(scene.at("new", "/Name"), "/new");
        scene.fails(1, "stop old");
        assert!(scene.run("rename new other").failed(125).contains("other"));
        assert!(scene.run("rename new 'a b'").code != 0);
        assert_eq!(scene.at("new", "/Name"), "/new");
        // The old name is free, and the new one after its end.
        scene.ok("run --rm --name old $I true");
        scene.ok("stop new");
        scene.ok("run --rm --name new $I true");
        scene.ok("rm other");
        scene.assert_all_gone("rename");
    });
}
