//! Holds what a crate reports on `rocker::syscall` against what strace(1) sees of it.
//!
//! [`hold`] starts the calling test again below strace. There it does its work with a subscriber that writes the events
//! down; then both lists are compared, call by call, in both directions.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::exit,
    clippy::unwrap_used,
    reason = "each test binary uses its part of this module, and a test panics"
)]

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Set below strace: where the events go.
const EVENTS: &str = "ROCKER_TEST_EVENTS";
/// Names that are asked for so that the log shows where the work begins and ends.
const BEGIN: &str = "/the-work-begins";
const END: &str = "/the-work-ends";

/// Collects the system calls as `call(args) = result`, and insists on a reason for each, and on who makes it.
#[derive(Clone, Default)]
pub struct Listener(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Call {
    primitive: String,
    call: String,
    args: String,
    result: i64,
    why: String,
}

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "primitive" => self.primitive = value.to_owned(),
            "call" => self.call = value.to_owned(),
            "args" => self.args = value.to_owned(),
            "why" => self.why = value.to_owned(),
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "result" {
            self.result = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "rocker::syscall"
    }

    fn event(&self, event: &Event<'_>) {
        let mut seen = Call::default();
        event.record(&mut seen);
        let speaker = format!("rocker-{}", seen.primitive);
        assert_eq!(speaker, env!("CARGO_PKG_NAME"));
        let why = &seen.why;
        assert!(
            why.starts_with("so that ") && !why.contains('\n'),
            "{why:?}"
        );
        let line = format!("{}({}) = {}", seen.call, seen.args, seen.result);
        self.0.lock().unwrap().push(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Listener {
    /// Does the work, and returns the calls that this thread reported meanwhile, and those that work for it.
    pub fn during(work: impl FnOnce()) -> Vec<String> {
        let listener = Self::default();
        tracing::subscriber::with_default(listener.clone(), work);
        let calls = listener.0.lock().unwrap();
        calls.clone()
    }
}

/// Does `work` below strace, and compares its calls, each given to `concerns` as `call(args) = result`: it leaves out
/// those that do not matter, and what only one side knows of the others. To be called once in the test of the name
/// `test`, which is all that is run again.
///
/// `dir` is for the two lists. Returns the calls that both have.
#[track_caller]
pub fn hold(
    test: &str,
    dir: &Path,
    concerns: impl Fn(&str) -> Option<String>,
    work: impl FnOnce(),
) -> Vec<String> {
    if let Some(file) = std::env::var_os(EVENTS) {
        report(&Listener::during(|| marked(work)), file);
    }
    let (seen, reported) = both(test, dir, concerns);
    assert_same(&seen, &reported);
    seen
}

/// As [`hold`], for work on threads that run beside each other: their calls are compared whatever the order.
#[track_caller]
pub fn hold_unordered(
    test: &str,
    dir: &Path,
    concerns: impl Fn(&str) -> Option<String>,
    work: impl FnOnce(),
) -> Vec<String> {
    if let Some(file) = std::env::var_os(EVENTS) {
        let listener = Listener::default();
        tracing::subscriber::set_global_default(listener.clone()).unwrap();
        marked(work);
        report(&listener.0.lock().unwrap(), file);
    }
    let (mut seen, mut reported) = both(test, dir, concerns);
    seen.sort();
    reported.sort();
    assert_same(&seen, &reported);
    seen
}

fn marked(work: impl FnOnce()) {
    let _ = fs::metadata(BEGIN);
    work();
    let _ = fs::metadata(END);
}

fn report(calls: &[String], file: impl AsRef<Path>) -> ! {
    fs::write(file, calls.join("\n")).unwrap();
    std::process::exit(0)
}

/// What strace sees of the test, and what the test reports.
#[track_caller]
fn both(
    test: &str,
    dir: &Path,
    concerns: impl Fn(&str) -> Option<String>,
) -> (Vec<String>, Vec<String>) {
    let (log, events) = (dir.join("strace"), dir.join("events"));
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", "65536", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(EVENTS, &events)
        .stdin(Stdio::null())
        .output()
        .expect("strace is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "below strace: {said}");
    let seen = seen(&fs::read_to_string(log).unwrap());
    let reported = fs::read_to_string(events).unwrap();
    let reported: Vec<String> = reported.lines().map(plain).collect();
    let pick = |calls: &[String]| -> Vec<String> {
        let kept = calls.iter().filter_map(|call| concerns(call));
        kept.collect()
    };
    (pick(&seen), pick(&reported))
}

/// Shows the first call in which the lists differ, with those around it.
#[track_caller]
fn assert_same(seen: &[String], reported: &[String]) {
    let pairs = seen.iter().zip(reported);
    let same = pairs.take_while(|(one, other)| one == other).count();
    if same == seen.len() && same == reported.len() {
        return;
    }
    let mut text = String::new();
    let from = same.saturating_sub(3);
    for (what, list) in [("strace", seen), ("events", reported)] {
        let _ = writeln!(text, "{what}: {} calls", list.len());
        for call in list.iter().skip(from).take(8) {
            let _ = writeln!(text, "  {call}");
        }
    }
    panic!("the lists differ from call {same} on\n{text}");
}

/// The calls of a log of strace between the two marks, in the order in which they returned.
fn seen(log: &str) -> Vec<String> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    let mut inside = false;
    for line in log.lines() {
        let (pid, text) = line.split_once(' ').unwrap_or(("", line));
        let text = text.trim_start();
        // Of the two blanks behind a comma one belongs to the call.
        if let Some(half) = text.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, half.to_owned());
            continue;
        }
        let whole = match text.strip_prefix("<... ") {
            Some(rest) => {
                let end = rest.split_once(" resumed>").map_or("", |(_, end)| end);
                begun.remove(pid).unwrap_or_default() + end
            }
            None => text.to_owned(),
        };
        if whole.contains(BEGIN) || whole.contains(END) {
            inside = whole.contains(BEGIN);
        } else if inside
            && whole.contains(" = ")
            && !whole.ends_with(" = ?")
            // The kernel makes it anew by itself, as it does for a setting of the network while somebody else changes one.
            && !whole.contains(" = ? ERESTART")
        {
            // `?` stands where a process died in its call.
            calls.push(plain(&whole));
        }
    }
    calls
}

/// Takes from a call what only one side knows: the paths behind descriptors, and the words behind an error.
fn plain(call: &str) -> String {
    let mut text = String::new();
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_u32);
    let mut letters = call.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        // `1<<4` is no descriptor.
        let opens = before != '<' && letters.peek() != Some(&'<');
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '<' if !quoted && opens => depth += 1,
            '>' if !quoted && depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            text.push(letter);
        }
        before = letter;
    }
    // What strace says of a file that has been removed.
    let text = text.replace("(deleted)", "");
    let (call, result) = text.rsplit_once(" = ").unwrap_or((&text, ""));
    let value = match result.split(' ').collect::<Vec<_>>()[..] {
        ["-1", name, ..] => name.to_owned(),
        [number, ..] => match number.parse::<i32>() {
            Ok(errno @ ..0) => format!("{:?}", nix::errno::Errno::from_raw(-errno)),
            _ => number.to_owned(),
        },
        [] => String::new(),
    };
    // strace fills up with blanks between the call and its result.
    format!("{} = {value}", call.trim_end())
}
