//! Commands that are killed at every single step: what they leave is whole, or gone.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::fake_host;
use crate::support::Scene;

/// How long one test goes on with kills. What comes later in its list is hit in fewer places on a slow machine.
const BUDGET: Duration = Duration::from_secs(35);

/// The calls by which rocker changes files, or takes hold of them.
const FILES: &[&str] = &[
    "rename",
    "renameat2",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "symlink",
    "mkdir",
    "flock",
    "ftruncate",
    "pwrite64",
    "write",
    "openat",
];
/// Those by which it makes, ends and meets processes.
const PROCESSES: &[&str] = &[
    "clone3",
    "clone",
    "socketpair",
    "bind",
    "pidfd_open",
    "pidfd_send_signal",
    "fsmount",
    "sendto",
    "poll",
    "ppoll",
    "waitid",
    "read",
];

/// Which process is killed.
#[derive(Clone, Copy, PartialEq)]
pub enum Hit {
    /// The one that the shell starts.
    First,
    /// That one, and those that it starts: each at its own Nth call.
    All,
}

/// Kills `rocker ARGS` at its first calls of each kind, and then at ever further ones. `before` and `check` surround each kill.
pub fn kill_at_each_step(
    scene: &Scene<'_>,
    hit: Hit,
    args: &str,
    before: impl Fn(),
    check: impl Fn(&str),
) {
    let start = Instant::now();
    let mut kills = 0;
    // In turns, so that a slow machine leaves out the far ones of each, and not some kinds altogether.
    let mut turns: Vec<_> = FILES
        .iter()
        .chain(PROCESSES)
        .map(|call| (call, 1, 1))
        .collect();
    let report = scene.host.dir("strace").join("report");
    while !turns.is_empty() && start.elapsed() < BUDGET {
        turns.retain_mut(|(call, count, step)| {
            if start.elapsed() > BUDGET {
                return false;
            }
            before();
            let follow = if hit == Hit::All { "-f" } else { "" };
            let script = format!(
                "exec strace {follow} -q -o {} -e trace={call} -e signal=none -e inject={call}:signal=KILL:when={count} rocker {args}",
                report.display()
            );
            let mut shell = scene.shell(&script);
            let status = shell.stdout(Stdio::null()).stderr(Stdio::null()).status();
            let status = status.expect("strace is installed");
            // One process of several may be killed and the first one end well.
            let one = fs::read_to_string(&report).unwrap().contains("= ?\n");
            let killed = status.signal() == Some(9) || one;
            kills += usize::from(killed);
            check(&format!("{args}, killed at {call} number {count}"));
            (*count, *step) = (*count + *step, *count);
            killed && *count < 400
        });
    }
    // The shortest commands make some thirty such calls, of which the first, second, fourth, and so on of each kind are hit.
    assert!(kills > 10, "only {kills} kills of {args}");
}

/// Checks that whoever has a name has the link of that name.
#[track_caller]
fn assert_names_are_taken(scene: &Scene<'_>, after: &str) {
    for (id, _) in scene.containers() {
        let dir = scene.root.join("containers");
        let record = fs::read_to_string(dir.join(&id).join("container.json")).unwrap();
        let name = record.split("\"name\": \"").nth(1).unwrap();
        let name = name.split('"').next().unwrap();
        let owner = fs::read_link(dir.join(".names").join(name));
        assert!(
            owner.is_ok_and(|owner| owner.to_str() == Some(&id)),
            "after {after}: {name}"
        );
    }
}

/// Checks that containers have their directories, that nothing else has one, and that no file is half written.
#[track_caller]
pub fn assert_whole(scene: &Scene<'_>, after: &str) {
    let dir = scene.root.join("containers");
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let known = [".lock", ".sharing", ".names"].contains(&name.as_str());
        if !known {
            assert_eq!(name.len(), 64, "after {after}");
            for file in ["container.json", "state.json", "upper", "work"] {
                assert!(entry.path().join(file).exists(), "no {file} after {after}");
            }
        }
    }
    assert_names_are_taken(scene, after);
}

/// The state of the one container that there is; none if there is none.
#[track_caller]
pub fn the_one(scene: &Scene<'_>, after: &str) -> Option<String> {
    let mut all = scene.containers();
    assert!(all.len() < 2, "after {after}: {all:?}");
    all.pop().map(|(_, state)| state)
}

/// Waits for those whose parent was killed, as a host's init does: until then a program whose `rocker exec` was killed keeps its
/// container's PID namespace from ending. To be called while no command of the test has ended unnoticed.
pub fn reap() {
    while waitpid(None, Some(WaitPidFlag::WNOHANG))
        .is_ok_and(|status| status != WaitStatus::StillAlive)
    {}
}

/// The same while a command of the test still runs, which is waited for by itself. Whether that has ended.
pub fn reap_all_but(own: u32) -> bool {
    let mut has_ended = false;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        if (fields.next(), fields.next()) != (Some("Z"), Some("1")) {
            continue;
        }
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|pid| pid.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == own {
            has_ended = true;
        } else {
            let _ = waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
        }
    }
    has_ended
}

/// Waits for those who have let go of their container, and are about to end.
pub fn wait_for_supervisors(scene: &Scene<'_>) {
    scene
        .host
        .wait_until("no rocker is left", Duration::from_secs(10), || {
            let states = scene.host.sh("ps -C rocker -o stat= || true");
            states.lines().all(|state| state.starts_with('Z'))
        });
}

/// Checks that a container called `web` is whole and has ended, or is not there, and removes it.
fn check_and_remove(scene: &Scene<'_>, after: &str) {
    scene.ok("ps -a");
    scene.assert_nothing_left(after);
    assert_whole(scene, after);
    if let Some(state) = the_one(scene, after) {
        assert!(!state.contains("running"), "after {after}: {state}");
        assert!(
            scene.run("create --name web $I true").code == 125,
            "{after}"
        );
        scene.ok("rm web");
    }
    scene.assert_all_gone(after);
}

#[test]
fn a_run_killed_at_any_step_leaves_a_whole_container_or_none() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let args = "run --name web --mem 64 $I true";
        kill_at_each_step(
            &scene,
            Hit::First,
            args,
            || {},
            |after| {
                check_and_remove(&scene, after);
            },
        );
    });
}

#[test]
fn a_detached_run_of_which_either_process_is_killed_leaves_a_whole_container_or_none() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let args = "run -d --name web $I true";
        kill_at_each_step(
            &scene,
            Hit::All,
            args,
            || {},
            |after| {
                check_and_remove(&scene, after);
            },
        );
    });
}

#[test]
fn a_create_killed_at_any_step_leaves_a_container_that_starts_or_none() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let args = "create --name web $I echo hi";
        kill_at_each_step(
            &scene,
            Hit::First,
            args,
            || {},
            |after| {
                scene.ok("ps -a");
                scene.assert_nothing_left(after);
                assert_whole(&scene, after);
                if the_one(&scene, after).is_some() {
                    assert_eq!(scene.ok("start -a web"), "hi\n", "after {after}");
                    scene.ok("rm web");
                }
                scene.assert_all_gone(after);
            },
        );
    });
}

#[test]
fn a_container_survives_every_killed_start() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name web $I sh -c 'echo line >>/file; wc -l </file'");
        for (hit, args) in [(Hit::All, "start web"), (Hit::First, "start -a web")] {
            let lines = std::cell::Cell::new(0);
            kill_at_each_step(
                &scene,
                hit,
                args,
                || {},
                |after| {
                    scene.ok("ps -a");
                    scene.assert_nothing_left(after);
                    assert_whole(&scene, after);
                    let state = the_one(&scene, after).unwrap();
                    assert!(!state.contains("running"), "after {after}: {state}");
                    if lines.get() % 8 == 0 {
                        // What it wrote before is there, and it runs.
                        scene.ok("start -a web");
                    }
                    lines.set(lines.get() + 1);
                },
            );
        }
        scene.ok("rm web");
        scene.assert_all_gone("rm");
    });
}
