//! `--explain` tells the truth, which is what `strace` sees.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use crate::fake_host;
use crate::support::Scene;

/// The calls that make a container, each to be explained as often as it is made.
const CALLS: &[&str] = &[
    "clone3",
    "unshare",
    "setns",
    "mount",
    "umount2",
    "fsopen",
    "fsconfig",
    "fsmount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "pivot_root",
    "chroot",
    "sethostname",
    "mknodat",
    "symlinkat",
    "capset",
    "setresuid",
    "setresgid",
    "setgroups",
    "setsid",
    "close_range",
];

/// How often `rocker ARGS --explain` says that it makes each call, by its standard error.
fn explained(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.contains(" µs]") && !line.starts_with(' '))
    {
        let call = line
            .split('(')
            .next()
            .unwrap()
            .split_whitespace()
            .last()
            .unwrap();
        *counts.entry(call.to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn every_call_that_makes_a_container_is_explained_as_often_as_strace_sees_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in [
            "",
            "--network none",
            "-t --mem 64 --read-only -v /run:/data:ro",
            "-u nobody --hostname web",
        ] {
            // A first run makes what later ones find.
            let script = format!(
                "exec strace -f -qq -o /run/trace -e trace={},prctl,execve,execveat rocker run --rm --explain {flags} $I true",
                CALLS.join(",")
            );
            let output = scene
                .shell(&script)
                .stdin(Stdio::null())
                .output()
                .expect("strace is installed");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
            let trace = fs::read_to_string("/run/trace").unwrap();
            // It starts over once, out of a read-only mount of its own executable, and explains itself from there.
            let (_, trace) = trace.split_once(" execveat(").unwrap();
            let (_, trace) = trace.split_once('\n').unwrap();
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for line in trace.lines().filter(|line| !line.contains("resumed>")) {
                let call = line
                    .split_whitespace()
                    .nth(1)
                    .unwrap()
                    .split('(')
                    .next()
                    .unwrap();
                // Threads are of the process, and not of the container.
                if CALLS.contains(&call) && !line.contains("CLONE_THREAD") {
                    *seen.entry(call.to_owned()).or_default() += 1;
                }
            }
            let said: BTreeMap<_, _> = explained(&said)
                .into_iter()
                .filter(|(call, _)| CALLS.contains(&call.as_str()))
                .collect();
            assert!(
                said["fsopen"] >= 5 && said["clone3"] == 1 && said["pivot_root"] == 1,
                "{said:?}"
            );
            assert_eq!(said, seen, "explained, and made, by run {flags}");
            // What the child itself does with prctl(2), and the one call that ends its plan.
            let child = trace
                .lines()
                .find(|line| line.contains("pivot_root("))
                .unwrap();
            let child = child.split_whitespace().next().unwrap();
            let of_child = |call: &str| {
                // Up to the program, which has calls of its own.
                let lines = trace
                    .lines()
                    .filter(|line| line.starts_with(&format!("{child} ")));
                let over = |line: &&str| !(line.contains(" execve(") && line.ends_with(" = 0"));
                let lines = lines.take_while(over);
                lines
                    .filter(|line| line.contains(&format!(" {call}(")))
                    .count()
            };
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let said = |call: &str| {
                let lines = text.lines().filter(|line| line.starts_with("ns child"));
                lines
                    .filter(|line| line.contains(&format!(" {call}(")))
                    .count()
            };
            assert_eq!(said("prctl"), of_child("prctl"), "run {flags}");
            assert_eq!(said("execve"), of_child("execve") + 1, "run {flags}");
        }
        scene.assert_all_gone("traced runs");
    });
}

#[test]
fn each_call_is_explained_with_its_result_and_a_reason_in_its_place() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let done = scene.run("run --rm --explain $I echo output");
        assert_eq!((done.code, done.out.as_str()), (0, "output\n"));
        let lines: Vec<_> = done.err.lines().collect();
        assert!(lines.len() > 200, "{}", done.err);
        for pair in lines.chunks(2) {
            let (call, why) = (pair[0], pair.get(1).copied().unwrap_or_default());
            assert!(call.contains(") = ") && call.ends_with(" µs]"), "{call:?}");
            let why = why.trim_start();
            assert!(
                !why.is_empty() && why.matches("so that").count() <= 1,
                "{call}: {why:?}"
            );
        }
        let place = |call: &str| {
            let found = lines
                .iter()
                .position(|line| line.contains(&format!(" {call}(")));
            found.unwrap_or_else(|| panic!("{call}: {}", done.err))
        };
        let order = [
            "fsopen",
            "clone3",
            "setsid",
            "move_mount",
            "pivot_root",
            "capset",
            "execve",
        ]
        .map(place);
        assert!(order.is_sorted(), "{order:?}");
        // Also what the network and the cgroup cost.
        for call in ["sendto", "mkdir", "write", "setns"] {
            place(call);
        }
        // Without the flag, nothing of it.
        assert_eq!(scene.run("run --rm $I true").err, "");
        scene.assert_all_gone("explained runs");
    });
}

#[test]
fn a_call_that_fails_is_explained_as_well() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let done = scene.run("run --rm --explain $I nosuch");
        assert_eq!(done.code, 127);
        let last = done
            .err
            .lines()
            .rfind(|line| line.contains("execve("))
            .unwrap();
        assert!(
            last.contains("nosuch") && last.contains("= -1 No such file or directory"),
            "{last}"
        );
        assert!(
            done.err.lines().last().unwrap().starts_with("rocker: "),
            "{}",
            done.err
        );
        scene.assert_all_gone("an explained failure");
    });
}
