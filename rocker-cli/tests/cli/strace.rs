//! What strace(1) sees of a run, and what an explanation says of it, in one form.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::Scene;

/// The calls that make a container, each to be explained whenever it is made.
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
    "sethostname",
    "mknodat",
    "symlinkat",
    "capset",
    "prctl",
    "seccomp",
    "setresuid",
    "setresgid",
    "setgroups",
    "execve",
    "mkdir",
    "mkdirat",
    "write",
    "sendto",
    "sendmsg",
];

/// The calls of a process, in order.
pub type Calls = BTreeMap<&'static str, Vec<String>>;

/// Runs `rocker ARGS` below strace with an explanation as JSON, and returns what strace saw and what was explained.
#[track_caller]
pub fn both(scene: &Scene<'_>, args: &str) -> (Calls, Calls) {
    let (command, rest) = args.split_once(' ').unwrap();
    let script = format!(
        "exec strace -f -qq -y -s 4096 -o /run/trace -e trace=execveat,{} \
         rocker {command} --explain=json --explain-file /run/said {rest}",
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
    (
        seen(&trace),
        said_of(&fs::read_to_string("/run/said").unwrap()),
    )
}

/// What strace saw from where rocker has started over, out of a read-only mount of its own executable.
fn seen(trace: &str) -> Calls {
    let lines: Vec<(&str, String)> = whole_lines(trace);
    let (parent, _) = lines[0];
    let start = lines
        .iter()
        .position(|(_, call)| call.starts_with("execveat(") && call.ends_with("= 0"));
    let mut calls = Calls::new();
    let mut child = "";
    let mut program_runs = false;
    let owned = &lines[start.expect("rocker starts over") + 1..];
    for (pid, call) in owned {
        let (name, _) = call.split_once('(').unwrap();
        let is_thread = call.contains("CLONE_THREAD");
        if name == "clone3" && *pid == parent && !is_thread {
            child = call.rsplit_once("= ").unwrap().1.split(' ').next().unwrap();
        }
        let who = if *pid == child { "child" } else { "parent" };
        // A thread names itself, and glibc its memory: no business of the container's.
        let of_thread = name == "prctl" && who == "parent" && *pid != parent;
        let left_out =
            is_thread || of_thread || call.contains("PR_SET_VMA") || !matters(name, call);
        if left_out || (who == "child" && program_runs) {
            continue;
        }
        program_runs |= name == "execve" && call.ends_with("= 0");
        calls.entry(who).or_default().push(plain(name, call));
    }
    calls
}

/// The lines of a trace, each a process and its call; a call that others came in between of is put together at the place
/// where it began.
fn whole_lines(trace: &str) -> Vec<(&str, String)> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut begun: HashMap<&str, usize> = HashMap::new();
    for line in trace.lines() {
        let (pid, text) = line.split_once(' ').unwrap();
        let text = text.trim_start();
        if let Some(half) = text.strip_suffix("<unfinished ...>") {
            begun.insert(pid, lines.len());
            lines.push((pid, half.trim_end().to_owned()));
        } else if let Some((_, end)) = text
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            lines[begun.remove(pid).unwrap()].1.push_str(end);
        } else if text.contains('(') {
            lines.push((pid, text.to_owned()));
        }
    }
    // `?` stands where a process died in its call, or the kernel makes it anew by itself, as it does for a setting of the network while
    // somebody else changes one.
    lines.retain(|(_, call)| {
        (call.contains(") = ") || call.contains(") ")) && !call.contains(" = ? ERESTARTNOINTR")
    });
    lines
}

fn said_of(text: &str) -> Calls {
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The first of all is the parent's.
    let parent = lines[0]["pid"].as_u64();
    let mut calls = Calls::new();
    for line in &lines {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let who = if line["pid"].as_u64() == parent {
            "parent"
        } else {
            "child"
        };
        let result = match line.get("error").and_then(Value::as_str) {
            Some(error) => format!("-1 {error}"),
            None => line["result"].to_string(),
        };
        let call = format!("{}({}) = {result}", text("call"), text("args"));
        let is_known = CALLS.contains(&text("call").as_str());
        let in_phase = match text("call").as_str() {
            "write" => {
                let phase = text("phase");
                phase == "cgroup" || (phase == "ns" && call.contains("id_map"))
            }
            "mkdir" | "mkdirat" => text("phase") == "cgroup",
            _ => true,
        };
        if is_known && in_phase {
            calls
                .entry(who)
                .or_default()
                .push(plain(&text("call"), &call));
        }
    }
    calls
}

/// Whether a call of strace's is of those that make a container.
fn matters(name: &str, call: &str) -> bool {
    match name {
        "execveat" => false,
        "mkdir" | "mkdirat" => call.contains("/sys/fs/cgroup/"),
        "write" => {
            let file = call
                .split_once('<')
                .map_or("", |(_, rest)| rest.split('>').next().unwrap());
            file.starts_with("/sys/fs/cgroup/")
                || (file.starts_with("/proc/")
                    && ["uid_map", "gid_map", "setgroups"]
                        .iter()
                        .any(|name| file.ends_with(name)))
        }
        "sendto" | "sendmsg" => call.contains("nlmsg_type") || call.contains("nfgen_family"),
        _ => true,
    }
}

/// What both sides say of a call in the same way: its name, its strings and flags, and how it ended.
fn plain(name: &str, call: &str) -> String {
    let (args, result) = call.rsplit_once(" = ").unwrap();
    let args = args.split_once('(').unwrap().1;
    let words = match name {
        // A list of capabilities has many forms, a message of netlink too.
        "capset" => Vec::new(),
        "sendto" | "sendmsg" => messages(args),
        "execve" | "mkdir" | "mkdirat" => strings(args).into_iter().take(1).collect(),
        "write" => strings(args).into_iter().next_back().into_iter().collect(),
        _ => [strings(args), words(args)].concat(),
    };
    let outcome = match result.trim().split(' ').collect::<Vec<_>>()[..] {
        ["-1", errno, ..] => errno.to_owned(),
        _ => "done".to_owned(),
    };
    let mut words = words;
    // The order of flags is everybody's own.
    words.sort();
    format!("{name}({}) {outcome}", words.join(" "))
}

/// The messages to rtnetlink(7). strace does not know the first of a socket, which has no address yet, and shows a number.
/// To nf_tables the same numbers mean the beginning and the end of a batch.
fn messages(args: &str) -> Vec<String> {
    if args.contains("nlmsg_type=0xa") || args.contains("NFNL_") {
        return Vec::new();
    }
    let numbers = [
        ("=0x10 ", "=RTM_NEWLINK "),
        ("=0x11 ", "=RTM_DELLINK "),
        ("=0x12 ", "=RTM_GETLINK "),
        ("=0x13 ", "=RTM_SETLINK "),
        ("=0x14 ", "=RTM_NEWADDR "),
        ("=0x16 ", "=RTM_GETADDR "),
        ("=0x18 ", "=RTM_NEWROUTE "),
        ("=0x1a ", "=RTM_GETROUTE "),
    ];
    let known = numbers
        .iter()
        .fold(args.to_owned(), |text, (number, name)| {
            text.replace(&format!("nlmsg_type{number}"), &format!("nlmsg_type{name}"))
        });
    let words = words(&known).into_iter();
    words
        .filter(|word| word.starts_with("RTM_") && !word.starts_with("RTM_F_"))
        .collect()
}

/// The strings in quotes.
fn strings(args: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = args;
    while let Some((_, from)) = rest.split_once('"') {
        let mut escaped = false;
        let end = from.char_indices().find(|(_, letter)| {
            let is_end = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            is_end
        });
        let (end, _) = end.unwrap();
        all.push(from[..end].to_owned());
        rest = &from[end + 1..];
    }
    all
}

/// The flags by name, outside of strings and of what strace says of descriptors.
fn words(args: &str) -> Vec<String> {
    let mut bare = String::new();
    let (mut quoted, mut depth) = (false, 0_u32);
    for letter in args.chars() {
        match letter {
            '"' => quoted = !quoted,
            '<' if !quoted => depth += 1,
            '>' if !quoted => depth = depth.saturating_sub(1),
            _ if quoted || depth > 0 => {}
            _ => bare.push(letter),
        }
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = bare.split(|letter| !is_word(letter));
    let is_flag = |word: &&str| {
        word.contains('_')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    // What is a number to whoever reads prctl(2), and what strace says of a 0 that could be flags.
    let of_strace = |word: &&str| ["SUID_DUMP_DISABLE", "MS_"].contains(word);
    let flags = words.filter(is_flag).filter(|word| !of_strace(word));
    flags.map(str::to_owned).collect()
}

/// Both lists are the same: each process made what was explained, in that order, and nothing else was explained.
#[track_caller]
pub fn assert_same(seen: &Calls, said: &Calls, what: &str) {
    for who in ["parent", "child"] {
        let (seen, said) = (&seen[who], &said[who]);
        let same = seen
            .iter()
            .zip(said)
            .take_while(|(one, other)| one == other)
            .count();
        let around = |list: &[String]| {
            list.iter()
                .skip(same.saturating_sub(3))
                .take(8)
                .cloned()
                .collect::<Vec<_>>()
        };
        assert!(
            same == seen.len() && same == said.len(),
            "{what}, {who}: the lists differ from call {same} on\nstrace ({}): {:#?}\nexplained ({}): {:#?}",
            seen.len(),
            around(seen),
            said.len(),
            around(said)
        );
    }
}
