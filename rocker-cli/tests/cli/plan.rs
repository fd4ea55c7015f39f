//! `rocker plan` shows what `rocker run` does, to everybody.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::fake_host;
use crate::support::Scene;

/// A call, its arguments one by one, and why it is made.
type Step = (String, Vec<String>, String);
/// And the step without whose success it is not made.
type Planned = (Step, Option<u64>);

/// The calls of lines of JSON, of the child's if there are others.
fn steps(text: &str) -> Vec<Planned> {
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let parent = lines[0]["pid"].as_u64();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines
        .iter()
        .filter(|line| parent.is_none() || line["pid"].as_u64() != parent)
        .map(|line| {
            let args = arguments(&text(line, "args"));
            let step = (text(line, "call"), args, text(line, "why"));
            (step, line["needs"].as_u64())
        })
        .collect()
}

/// The arguments, taken apart at the commas between them.
fn arguments(args: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let (mut quoted, mut escaped, mut depth) = (false, false, 0);
    for letter in args.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' | '<' if !quoted => depth += 1,
            ']' | '}' | '>' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().unwrap().push(letter);
    }
    all.iter().map(|arg| arg.trim().to_owned()).collect()
}

/// Whether an argument of the plan is what the run has, where a placeholder stands for any number, and an id for any id.
fn same(planned: &str, made: &str) -> bool {
    let is_placeholder = planned.starts_with('<') && planned.ends_with('>');
    if is_placeholder {
        return made.parse::<i64>().is_ok();
    }
    let mut made = made.to_owned();
    for (id, length) in [("<id>", 64), ("<id, 12 hex>", 12)] {
        while let Some(place) = planned.find(id).filter(|_| !made.contains(id)) {
            let Some(found) = made.get(place..place + length) else {
                return false;
            };
            if !found.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return false;
            }
            made.replace_range(place..place + length, id);
        }
    }
    planned == made
}

#[test]
fn the_plan_is_what_the_child_of_a_run_does() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir -p /run/some; echo x >/run/some/file");
        for args in [
            "$I true",
            "-v /run/some:/data -v /run/some/file:/etc/motd:ro --read-only --hostname web $I true",
            "-t -u nobody --workdir /tmp -e A=b --network host --cap-drop ALL $I true",
            "--privileged $I true",
            "hello",
        ] {
            let done = scene.run(&format!(
                "run --rm --explain=json --explain-file /run/said {args}"
            ));
            assert_eq!(done.code, 0, "{done:?}");
            let made = steps(&std::fs::read_to_string("/run/said").unwrap());
            let mut planned = steps(&scene.ok(&format!("plan --format json {args}")));
            // Steps that need what is not there are planned, and none of them is made.
            let mut rest = made.iter().peekable();
            let mut made_with = BTreeMap::new();
            planned.retain(|(step, needed)| {
                let Some(needed) = needed else {
                    rest.next();
                    return true;
                };
                let first = rest
                    .peek()
                    .is_some_and(|(made, _)| (&made.0, &made.2) == (&step.0, &step.2));
                let is_made = *made_with.entry(*needed).or_insert(first);
                if is_made {
                    rest.next();
                }
                is_made
            });
            let planned: Vec<_> = planned.into_iter().map(|(step, _)| step).collect();
            let made: Vec<_> = made.into_iter().map(|(step, _)| step).collect();
            for (index, (planned, made)) in planned.iter().zip(&made).enumerate() {
                let arguments = planned.1.len() == made.1.len()
                    && planned
                        .1
                        .iter()
                        .zip(&made.1)
                        .all(|(one, other)| same(one, other));
                assert!(
                    planned.0 == made.0 && arguments,
                    "plan {args}, step {index}: planned {planned:?}, made {made:?}"
                );
            }
            // Those that are left are the places where the program would have been looked for next.
            assert!(
                made.len() <= planned.len() && made.len() > 100,
                "{} of {}",
                made.len(),
                planned.len()
            );
            assert!(
                planned[made.len()..]
                    .iter()
                    .all(|(call, ..)| call == "execve"),
                "plan {args}"
            );
        }
        scene.assert_all_gone("runs as planned");
    });
}

#[test]
fn everybody_may_see_a_plan_and_nothing_is_made_for_it() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let before = (host.state(), host.sh("find /run /var/lib/rocker | sort"));
        // The directories of the test are closed to others, so the program is started from a copy.
        host.sh("mkdir -m 755 /run/open");
        std::fs::copy(env!("CARGO_BIN_EXE_rocker"), "/run/open/rocker").unwrap();
        let nobody_with = |root: &str, args: &[&str]| {
            Command::new("/run/open/rocker")
                .args(args)
                .env_clear()
                .env("ROCKER_ROOT", root)
                .uid(65534)
                .gid(65534)
                .output()
                .unwrap()
        };
        let as_nobody = |args: &[&str]| nobody_with("/run/open/none", args);
        let done = as_nobody(&["plan", "hello"]);
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        assert!(done.status.success() && err.is_empty(), "{err}");
        assert!(
            out.starts_with("ns: ") && out.contains("\n   0  prctl("),
            "{out}"
        );
        assert!(
            out.contains("pivot_root(\".\", \".\")  pivot_root(2)\n") && out.contains("<root>"),
            "{out}"
        );
        let root = scene.ok("plan hello");
        let names = |text: &str| -> Vec<String> {
            let calls = text
                .lines()
                .filter(|line| line.ends_with(')') && line.contains('('));
            calls
                .filter_map(|line| line.split('(').next().map(str::to_owned))
                .collect()
        };
        assert_eq!(names(&out), names(&root), "root sees the same");

        let done = as_nobody(&["plan", "some/image"]);
        let err = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(125));
        assert!(
            err.contains("`rocker pull some/image`") && err.lines().count() == 1,
            "{err}"
        );
        host.sh("mkdir -m 700 /run/open/closed");
        let done = nobody_with("/run/open/closed", &["plan", "some/image"]);
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(
            err.contains("closed to this user") && err.contains("sudo"),
            "{err}"
        );
        host.sh("rm -r /run/open");
        let after = (host.state(), host.sh("find /run /var/lib/rocker | sort"));
        assert_eq!(after, before);
        scene.assert_all_gone("plans");
    });
}
