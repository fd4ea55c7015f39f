//! Who a container is does not hang on a number or a clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::fake_host;
use crate::killed_supervisor::kill_supervisor;
use crate::support::Scene;

/// An innocent process, killed when dropped.
struct Innocent(Child);

impl Innocent {
    fn start() -> Self {
        Self(Command::new("sleep").arg("7000").spawn().unwrap())
    }

    #[track_caller]
    fn assert_lives(&mut self, after: &str) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let state = stat.rsplit(')').next().unwrap().trim_start().to_owned();
        assert!(state.starts_with('S'), "after {after}: {state}");
        assert!(self.0.try_wait().unwrap().is_none(), "after {after}");
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file of the one container that there is.
fn file(scene: &Scene<'_>, name: &str) -> PathBuf {
    let all = scene.containers();
    let [(id, _)] = &all[..] else {
        panic!("{all:?}")
    };
    scene.root.join("containers").join(id).join(name)
}

/// Replaces the value of each `key` in a JSON file of rocker's, which has one a line.
fn set(path: &Path, key: &str, value: &str) {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| match line.trim_start() {
        rest if rest.starts_with(&format!("\"{key}\":")) => {
            let comma = if line.ends_with(',') { "," } else { "" };
            format!("\"{key}\": {value}{comma}\n")
        }
        _ => format!("{line}\n"),
    });
    let changed: String = lines.collect();
    assert_ne!(changed, text, "{key}");
    fs::write(path, changed).unwrap();
}

#[test]
fn a_process_that_only_has_the_number_of_a_containers_is_never_touched() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut innocent = Innocent::start();
        let pid = innocent.0.id();
        // Nothing else starts in the same tick of the clock.
        scene.ok("ps");
        for command in ["stop -t 1", "kill", "rm -f", "exec"] {
            // One that still has its supervisor, and one that has lost it.
            for orphaned in [false, true] {
                let after = format!("{command}, {orphaned}");
                scene.ok("run -d --name web $I sleep 6000");
                let lock = Path::new(&scene.run_dir_of("web")).join("lock");
                set(&file(&scene, "state.json"), "pid", &pid.to_string());
                if orphaned {
                    kill_supervisor(&scene, "web");
                }
                let text = fs::read_to_string(&lock).unwrap_or_default();
                let own = text
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                fs::write(&lock, text.replacen(&own, &pid.to_string(), 1)).unwrap();
                let command = match command {
                    "exec" => "exec web true".to_owned(),
                    command => format!("{command} web"),
                };
                scene.run(&command);
                innocent.assert_lives(&after);
                if orphaned {
                    assert_eq!(scene.ok("ps -q"), "", "after {after}");
                }
                scene.run("rm -f web");
                innocent.assert_lives(&after);
                assert_eq!(scene.ok("ps -aq"), "", "after {after}");
                assert!(
                    !host.try_sh("pgrep -xf 'sleep 6000'").status.success(),
                    "after {after}"
                );
            }
        }
        drop(innocent);
        scene.assert_all_gone("an innocent process");
    });
}

#[test]
fn a_container_that_says_it_runs_as_an_innocent_process_is_taken_for_dead() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut innocent = Innocent::start();
        scene.ok("run -d --name web $I sleep 6000");
        let running = fs::read_to_string(file(&scene, "state.json")).unwrap();
        kill_supervisor(&scene, "web");
        host.wait_until("it is gone", Duration::from_secs(5), || {
            !host.try_sh("pgrep -xf 'sleep 6000'").status.success()
        });
        scene.ok("ps");
        // Also with the time at which it did start: nobody holds the lock.
        let stat = fs::read_to_string(format!("/proc/{}/stat", innocent.0.id())).unwrap();
        let start = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .nth(19)
            .unwrap()
            .to_owned();
        let state = file(&scene, "state.json");
        for rebooted in [false, true] {
            fs::write(&state, &running).unwrap();
            set(&state, "pid", &innocent.0.id().to_string());
            set(&state, "start_time", &start);
            let id = &scene.containers()[0].0;
            let run = scene.run.join("containers").join(id);
            if rebooted {
                host.sh(&format!("rm -rf {0}/* {0}/.[a-z]*", scene.run.display()));
            } else {
                fs::create_dir_all(&run).unwrap();
                fs::write(run.join("lock"), format!("{} {start}\n", innocent.0.id())).unwrap();
            }
            for args in [
                "stop web",
                "kill web",
                "exec web true",
                "logs web",
                "attach web",
            ] {
                scene.run(args);
                innocent.assert_lives(args);
            }
            let table = scene.ok("ps -a");
            assert!(table.contains("Exited (137)"), "{table}");
        }
        scene.ok("rm -f web");
        innocent.assert_lives("rm -f");
        drop(innocent);
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn times_far_off_are_shown_and_break_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name done $I echo said");
        let (state, record) = (file(&scene, "state.json"), file(&scene, "container.json"));
        let log = file(&scene, "log");
        for time in [
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00.000000000Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00Z",
            "2038-01-19T03:14:08Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-99-99T99:99:99Z",
            "99999-12-31T23:59:59Z",
            "",
            "ä",
        ] {
            let quoted = format!("\"{time}\"");
            for key in ["started", "finished"] {
                set(&state, key, &quoted);
            }
            set(&record, "created", &quoted);
            let text = fs::read_to_string(&log).unwrap();
            let begin = text.split("\"time\"").next().unwrap().to_owned();
            fs::write(&log, format!("{begin}\"time\":{quoted}}}\n")).unwrap();
            let events = scene.run.join("events");
            let line = format!(
                "{{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{{\"ID\":\"x\",\"Attributes\":{{}}}},\"time\":{quoted}}}\n"
            );
            fs::write(&events, line.replace("\"time\"", "\"Time\"")).unwrap();
            for args in [
                "ps -a".to_owned(),
                "ps -a --format '{{json .}}'".to_owned(),
                "inspect done".to_owned(),
                "logs -t done".to_owned(),
                format!("logs -t --since '{time}' done"),
                "logs -f --since 1h done".to_owned(),
                format!("events --since '{time}' --until 1s"),
                "events --since 99999999999h --until 1s".to_owned(),
                "system df".to_owned(),
                "system boot".to_owned(),
            ] {
                let done = scene.run(&args);
                let lines = done.err.lines().count();
                assert!(
                    [0, 1, 2, 125].contains(&done.code) && lines < 7,
                    "{time}: {done:?}"
                );
                assert!(!done.err.contains("panicked"), "{time}: {done:?}");
            }
        }
        let id = scene.ok("ps -aq --no-trunc");
        scene.ok(&format!("rm -f {id}"));
        scene.assert_all_gone("times far off");
    });
}

#[test]
fn a_container_that_runs_since_the_future_is_stopped_like_any_other() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for time in ["9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"] {
            scene.ok("run -d --name web --restart always $I sleep 6000");
            set(
                &file(&scene, "state.json"),
                "started",
                &format!("\"{time}\""),
            );
            let table = scene.ok("ps");
            assert!(table.contains("Up "), "{table}");
            scene.ok("stop -t 0 web");
            scene.ok("start web");
            scene.ok("rm -f web");
            scene.assert_all_gone(time);
        }
    });
}
