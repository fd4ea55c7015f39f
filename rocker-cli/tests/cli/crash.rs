//! A rocker that is killed, or whose container fails to come up, at every single step.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rocker_cli::{Engine, Error, Network, Roots, RunOptions};

use crate::fake_host;
use crate::support::{Rocker, Scene};

/// Kills a `rocker` with these arguments after `delay`; whether that was before its end.
fn kill_after(rocker: &Rocker<'_>, args: &str, delay: Duration) -> bool {
    let mut child = rocker
        .shell(&format!("exec rocker {args}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // No synchronisation: any moment will do, and this one is as good as the others.
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

/// Kills runs at ever later moments until one outruns the kill, and checks each time what the next command leaves.
fn kill_everywhere(scene: &Scene<'_>, args: &str, check: impl Fn(&str)) {
    let step = Duration::from_millis(4);
    let mut outrun = 0;
    for count in 0..200 {
        if !kill_after(scene, args, step * count) {
            outrun += 1;
        }
        scene.ok("ps -a");
        check(&format!("{args}, killed after {:?}", step * count));
        if outrun == 3 {
            assert!(count > 5, "the kills hit something");
            return;
        }
    }
    panic!("{args} does not end");
}

#[test]
fn a_rocker_killed_at_any_moment_leaves_nothing_behind_the_next_command() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        kill_everywhere(&scene, "run --rm --mem 64 $I true", |after| {
            scene.assert_all_gone(after)
        });
    });
}

/// The calls by which rocker changes something, or waits for somebody.
const CALLS: &[&str] = &[
    "mkdir",
    "openat",
    "flock",
    "write",
    "rename",
    "fsopen",
    "fsconfig",
    "fsmount",
    "open_tree",
    "socketpair",
    "clone3",
    "clone",
    "setns",
    "sendto",
    "recvfrom",
    "read",
    "poll",
    "waitid",
    "unlink",
    "unlinkat",
    "rmdir",
];

#[test]
fn a_rocker_killed_at_its_nth_system_call_leaves_nothing_behind_the_next_command() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let args = "run --rm --mem 64 $I true";
        let mut kills = 0;
        for call in CALLS {
            // Each of the first, and then ever further ones, until there is none.
            let (mut count, mut step) = (1, 1);
            while count < 400 {
                let script = format!(
                    "exec strace -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={count} rocker {args}"
                );
                let mut shell = scene.shell(&script);
                let status = shell.stdout(Stdio::null()).stderr(Stdio::null()).status();
                let status = status.expect("strace is installed");
                let killed = status.signal() == Some(9);
                assert!(killed || status.success(), "{script}: {status}");
                scene.ok("ps -a");
                scene.assert_all_gone(&format!("{args}, killed at {call} number {count}"));
                if !killed {
                    break;
                }
                kills += 1;
                (count, step) = (count + step, count);
            }
        }
        assert!(kills > 40, "only {kills} kills");
    });
}

#[test]
fn a_pull_killed_at_any_moment_leaves_a_store_that_works() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let step = Duration::from_millis(2);
        for count in 0..600 {
            let killed = kill_after(&scene, "pull -q $I", step * count);
            let line = scene.ok("run --rm $I echo whole");
            assert_eq!(line, "whole\n", "after {:?}", step * count);
            scene.ok("rmi $I");
            let left = host.sh(&format!(
                "find {0}/layers {0}/images/blobs -mindepth 2; find {0}/images {0}/layers -name '*tmp*' -o -path '*ingest/*' -o -name '*.new*'",
                scene.root.display()
            ));
            assert_eq!(left, "", "after {:?}", step * count);
            if !killed {
                assert!(count > 5, "the kills hit something");
                return;
            }
        }
        panic!("the pull does not end");
    });
}

#[test]
fn a_container_whose_rocker_was_killed_is_dead_and_known() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut run =
            scene.start("run --name web $I sh -c 'echo up; sleep 5000 & exec sleep 5000'");
        assert_eq!(run.line(), "up");
        run.signal("KILL");
        drop(run);
        let line = scene.fails(125, "exec web true");
        assert!(line.contains("not running"), "{line}");
        scene.assert_nothing_left("a killed rocker");
        let table = scene.ok("ps -a");
        assert!(table.contains("Exited (137)"), "{table}");
        scene.ok("rm web");
        scene.assert_all_gone("rm");
    });
}

#[test]
fn a_killed_rocker_takes_its_containers_processes_with_it_at_once() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut run = scene.start("run --rm $I sh -c 'echo up; sleep 6000 & exec sleep 6000'");
        assert_eq!(run.line(), "up");
        run.signal("KILL");
        // No command has to come: the kernel does it.
        host.wait_until("the container is dead", Duration::from_secs(5), || {
            !host.try_sh("pgrep -xf 'sleep 6000'").status.success()
        });
        drop(run);
        scene.ok("ps");
        scene.assert_all_gone("a killed rocker");
    });
}

#[test]
fn a_failure_at_each_step_of_the_plan_is_named_and_undone() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let engine = Engine::open(Roots::new(&scene.root, &scene.run)).unwrap();
        let options = |step| {
            let mut options = RunOptions::new(&scene.image);
            options.command = vec!["true".to_owned()];
            options.network = if step % 8 == 0 {
                Network::Bridge
            } else {
                Network::None
            };
            options.init = step % 2 == 1;
            options.fail_at = Some(step);
            options
        };
        for step in 0..1000 {
            match engine.run(&options(step)) {
                Err(
                    ref error @ Error::Ns(rocker_ns::Error::Step {
                        index,
                        ref call,
                        ref why,
                        ..
                    }),
                ) => {
                    assert_eq!((index, error.exit_code()), (step, 125), "{call}");
                    assert!(
                        call.ends_with(')') && why.starts_with("so that"),
                        "{call}: {why}"
                    );
                }
                Err(other) => panic!("step {step}: {other:?}"),
                Ok(exit) => {
                    // The plan has fewer steps: this is a run that nothing stops.
                    assert_eq!(exit.code, 0);
                    assert!(step > 100, "a plan of only {step} steps");
                    engine
                        .remove(&engine.containers().unwrap()[0].name, false)
                        .unwrap();
                    scene.assert_all_gone("a whole run");
                    return;
                }
            }
            if step % 8 == 0 {
                scene.assert_all_gone(&format!("a failure at step {step}"));
            }
            assert_eq!(scene.containers(), [], "after step {step}");
        }
        panic!("a plan of over a thousand steps");
    });
}
