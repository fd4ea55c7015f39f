//! `--explain` tells the truth, which is what `strace` sees, and tells it so that one can read it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::fake_host;
use crate::strace::{assert_same, both};
use crate::support::Scene;

#[test]
fn what_strace_sees_of_a_run_is_explained_in_order_and_nothing_else_is() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in [
            "",
            "--network none",
            "-t --mem 64 --read-only -v /run:/data:ro",
            "-u nobody --hostname web",
        ] {
            let (seen, said) = both(&scene, &format!("run --rm {flags} $I true"));
            let count = |call: &str| {
                let name = format!("{call}(");
                said.values()
                    .flatten()
                    .filter(|line| line.starts_with(&name))
                    .count()
            };
            assert!(
                count("fsopen") >= 5 && count("clone3") == 1 && count("pivot_root") == 1,
                "{said:?}"
            );
            assert!(
                count("write") > 0 && count("prctl") > 20 && count("execve") > 0,
                "{said:?}"
            );
            assert_same(&seen, &said, &format!("run {flags}"));
        }
        scene.assert_all_gone("traced runs");
    });
}

/// The lines of an explanation as JSON.
fn objects(text: &str) -> Vec<serde_json::Map<String, Value>> {
    text.lines()
        .map(|line| {
            serde_json::from_str::<Value>(line)
                .unwrap()
                .as_object()
                .unwrap()
                .clone()
        })
        .collect()
}

#[test]
fn each_line_of_json_has_its_keys_and_the_containers_output_is_untouched() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let done = scene.run("run --rm --explain=json $I sh -c 'echo output; exit 3'");
        assert_eq!((done.code, done.out.as_str()), (3, "output\n"));
        let lines = objects(&done.err);
        assert!(lines.len() > 200, "{}", done.err);
        for line in &lines {
            let mut expected = vec!["args", "call", "man", "phase", "pid", "result", "why", "µs"];
            if line["result"].as_i64().unwrap() < 0 {
                expected.push("error");
            }
            let keys: BTreeSet<&str> = line.keys().map(String::as_str).collect();
            assert_eq!(keys, expected.into_iter().collect(), "{line:?}");
            let text = |key: &str| line[key].as_str().unwrap();
            assert!(
                !text("call").is_empty() && !text("why").is_empty(),
                "{line:?}"
            );
            assert!(
                text("man").ends_with(')') || text("man").starts_with("RFC "),
                "{line:?}"
            );
            let phase = text("phase");
            assert!(
                ["image", "fs", "cgroup", "ns", "net", "state"].contains(&phase),
                "{phase}"
            );
            assert!(
                line["pid"].as_u64().is_some_and(|pid| pid > 0) && line["µs"].is_u64(),
                "{line:?}"
            );
        }
        let pids: BTreeSet<u64> = lines
            .iter()
            .map(|line| line["pid"].as_u64().unwrap())
            .collect();
        assert_eq!(pids.len(), 2, "the parent and the child");
        // Each phase but the image's, which was there.
        for phase in ["fs", "cgroup", "ns", "net", "state"] {
            assert!(lines.iter().any(|line| line["phase"] == phase), "{phase}");
        }
        scene.assert_all_gone("runs explained as JSON");
    });
}

#[test]
fn a_story_has_each_call_on_a_line_of_its_own_with_reason_time_and_page() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let done = scene.run("run --rm --explain $I echo output");
        assert_eq!((done.code, done.out.as_str()), (0, "output\n"));
        assert!(
            !done.err.contains('\x1b'),
            "colours are for terminals: {:?}",
            done.err
        );
        let lines: Vec<_> = done.err.lines().collect();
        let is_call = |line: &&str| line.contains(" µs]  ");
        let calls: Vec<_> = lines.iter().copied().filter(is_call).collect();
        for (place, line) in lines.iter().enumerate().filter(|(_, line)| is_call(line)) {
            assert!(line.contains(") = ") && line.ends_with(')'), "{line:?}");
            let why = lines[place + 1].trim_start_matches(['│', ' ']);
            assert!(
                !why.is_empty() && !is_call(&why) && why.matches("so that").count() <= 1,
                "{line}: {why:?}"
            );
        }
        let place = |text: &str| {
            let found = done.err.find(text);
            found.unwrap_or_else(|| panic!("{text}: {}", done.err))
        };
        let order = [
            "state: ",
            "fsopen(\"overlay\"",
            "clone3(",
            "│ setsid(",
            "│ move_mount(",
            "│ pivot_root(",
            "│ capset(",
            "│ execve(",
            "The program runs",
            "It is over",
            " calls, ",
        ]
        .map(place);
        assert!(order.is_sorted(), "{order:?} in {}", done.err);
        for heading in ["state: ", "fs: ", "cgroup: ", "ns", "net: "] {
            assert!(
                lines.iter().any(|line| line.starts_with(heading)),
                "{heading}"
            );
        }
        let last = lines.last().unwrap();
        assert!(
            last.starts_with(&format!("{} calls, ", calls.len())),
            "{last}"
        );
        // Without the flag, nothing of it.
        assert_eq!(scene.run("run --rm $I true").err, "");
        scene.assert_all_gone("explained runs");
    });
}

#[test]
fn an_explanation_goes_into_a_file_and_nowhere_else() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let file = host.dir("said").join("explained");
        fs::write(&file, "old ".repeat(1 << 20)).unwrap();
        fs::remove_file(&file).unwrap();
        let flag = format!("--explain-file {}", file.display());
        let done = scene.run(&format!("run --rm {flag} $I echo output"));
        assert_eq!(
            (done.code, done.out.as_str(), done.err.as_str()),
            (0, "output\n", "")
        );
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("\nstate: ") && text.contains("pivot_root(") && !text.contains('\x1b'),
            "{text}"
        );
        assert!(text.lines().last().unwrap().contains(" calls, "), "{text}");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // A second one replaces the first.
        let done = scene.run(&format!("run --rm --explain=json {flag} $I true"));
        assert_eq!((done.code, done.err.as_str()), (0, ""));
        assert!(objects(&fs::read_to_string(&file).unwrap()).len() > 200);
        let before = host.state();
        let line = scene.fails(125, "run --name never --explain-file /no/such/file $I true");
        assert!(
            line.contains("/no/such/file: No such file or directory"),
            "{line}"
        );
        assert_eq!(
            (scene.containers(), host.state()),
            (Vec::new(), before),
            "nothing was done"
        );
        let line = scene.fails(125, "run --explain=yaml $I true");
        assert!(line.contains("text") && line.contains("json"), "{line}");
        scene.assert_all_gone("explanations in files");
    });
}

#[test]
fn the_call_that_failed_stands_out_with_its_likely_cause_and_those_tolerated_do_not() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let done = scene.run("run --rm --explain $I nosuch");
        assert_eq!(done.code, 127);
        let lines: Vec<_> = done.err.lines().collect();
        let tried: Vec<usize> = (0..lines.len())
            .filter(|place| lines[*place].contains("execve("))
            .collect();
        let (last, others) = tried.split_last().unwrap();
        assert!(
            others.iter().all(
                |place| lines[*place].contains("ENOENT (No such file or directory), tolerated")
            ),
            "{}",
            done.err
        );
        assert!(
            lines[*last].contains("nosuch") && !lines[*last].contains("tolerated"),
            "{}",
            lines[*last]
        );
        assert!(
            lines[last + 2].contains("why the command failed"),
            "{}",
            lines[last + 2]
        );
        assert!(
            lines[last + 3].contains("Likely cause: the image has no such program"),
            "{}",
            lines[last + 3]
        );
        assert_eq!(done.err.matches("why the command failed").count(), 1);
        let [.., error, likely, remedy] = &lines[..] else {
            panic!("{}", done.err);
        };
        assert!(error.starts_with("rocker: "), "{}", done.err);
        assert!(likely.contains("likely: "), "{}", done.err);
        assert!(remedy.contains("try:    "), "{}", done.err);

        let done = scene.run("run --rm --explain -v /no/such/dir:/data $I true");
        assert_eq!(done.code, 125);
        let failed = done.err.split("why the command failed").next().unwrap();
        let call = failed.lines().rev().nth(2).unwrap();
        assert!(
            call.contains("openat(") && call.contains("/no/such/dir"),
            "{call}"
        );
        scene.assert_all_gone("explained failures");
    });
}

#[test]
fn exec_pull_and_rm_are_explained_as_well() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--name web");
        let done = scene.run("exec --explain=json web echo inside");
        assert_eq!((done.code, done.out.as_str()), (0, "inside\n"));
        let has = |text: &str, call: &str| objects(text).iter().any(|line| line["call"] == call);
        assert!(
            has(&done.err, "setns") && has(&done.err, "execve"),
            "{}",
            done.err
        );
        assert_eq!(idle.end().code, 0);

        let done = scene.run("rm --explain=json web");
        assert_eq!((done.code, done.out.as_str()), (0, "web\n"));
        assert!(has(&done.err, "unlinkat"), "{}", done.err);

        let done = scene.run("rm --explain nosuch");
        assert_eq!(done.code, 1);
        assert!(
            done.err.contains("getdents64(") && done.err.contains("no container"),
            "{}",
            done.err
        );

        let done = scene.run("pull --explain=json $I");
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.out.starts_with("Digest: "), "{done:?}");
        assert!(!objects(&done.err).is_empty(), "{done:?}");
        scene.assert_all_gone("explained commands");
    });
}
