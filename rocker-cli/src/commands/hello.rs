//! The program of the built-in image `hello`: it looks around inside of its container and tells what it sees.

use std::fmt::Write as _;
use std::fs;

use rocker_ns::{Capabilities, Namespace};

use super::print;
use crate::Result;

/// Shows what is isolated.
pub(super) fn show() -> Result<u8> {
    let mut text = String::from("Hello from inside of a container.\n\n");
    for (what, seen, why) in [
        ("process", process(), which_process()),
        (
            "host name",
            read("/proc/sys/kernel/hostname"),
            "its UTS namespace has a name of its own",
        ),
        (
            "namespaces",
            namespaces(),
            "each a view of its own of one kernel resource",
        ),
        (
            "root",
            root(),
            "pivot_root made this mount the whole of its file system",
        ),
        (
            "files in /",
            entries(),
            "what the image holds, and what was mounted for it",
        ),
        ("address", addresses(), which_network()),
        (
            "limits",
            limits(),
            "kept by its cgroup; none were asked for where it says none",
        ),
        (
            "capabilities",
            capabilities(),
            "all that its root user may do",
        ),
    ] {
        let mut lines = wrap(&seen).into_iter();
        // A string takes all that is written to it.
        let _ = writeln!(text, "  {what:<13} {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "  {:<13} {line}", "");
        }
        let _ = writeln!(text, "  {:<13}   {why}", "");
    }
    text.push_str("\nTo see every system call that made it: rocker run --rm --explain hello\n");
    print(&text);
    Ok(0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn which_process() -> &'static str {
    match std::process::id() {
        1 => "it is the first in its PID namespace",
        2 => "the second in its PID namespace; the first is the init in front of it",
        _ => "one of several in its PID namespace",
    }
}

fn which_network() -> &'static str {
    let has = |file: &str| fs::exists(format!("/sys/class/net/eth0/{file}")).unwrap_or(false);
    if has("tun_flags") {
        "of a network card (tap) whose other end is a program of the same user, pasta"
    } else if has("address") {
        "one end of a cable (veth) whose other end is on the host's bridge"
    } else {
        "the host's own, or nothing but itself"
    }
}

fn process() -> String {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let count = all
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .count();
    format!("PID {}, of {count} in sight", std::process::id())
}

fn namespaces() -> String {
    let link = |namespace: &Namespace| fs::read_link(format!("/proc/self/ns/{namespace}")).ok();
    let links = Namespace::ALL.iter().filter_map(link);
    links
        .map(|link| link.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The mount at `/`, by the fields of proc_pid_mountinfo(5).
fn root() -> String {
    let mounts = read("/proc/self/mountinfo");
    let root = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/"));
    let kind = root
        .and_then(|line| line.split_once(" - "))
        .map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
    format!(
        "{} file system, one of {} mounts",
        kind.unwrap_or("unknown"),
        mounts.lines().count()
    )
}

fn entries() -> String {
    let mut names: Vec<_> = fs::read_dir("/")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.join(" ")
}

/// The addresses of proc's routing trie: each stands on the line before the one that says that it is this host's.
fn addresses() -> String {
    let trie = read("/proc/net/fib_trie");
    let lines: Vec<&str> = trie.lines().collect();
    let mut found: Vec<&str> = lines
        .windows(2)
        .filter(|pair| pair[1].contains("/32 host LOCAL"))
        .filter_map(|pair| pair[0].rsplit(' ').next())
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(" ")
    }
}

fn limits() -> String {
    let first = |paths: &[&str]| {
        paths
            .iter()
            .map(|path| read(&format!("/sys/fs/cgroup/{path}")))
            .find(|text| !text.is_empty())
    };
    let bound = |text: Option<String>| text.filter(|text| text != "max" && text != "-1");
    let memory = bound(first(&["memory.max", "memory/memory.limit_in_bytes"]));
    let memory = memory
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|bytes| *bytes < 1 << 60);
    let memory = memory.map_or("none".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    let pids = bound(first(&["pids.max", "pids/pids.max"])).unwrap_or_else(|| "none".to_owned());
    let cpu = first(&["cpu.max"]).or_else(|| {
        let quota = first(&["cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us"])?;
        let period = first(&["cpu/cpu.cfs_period_us", "cpu,cpuacct/cpu.cfs_period_us"])?;
        Some(format!("{quota} {period}"))
    });
    let cpus = cpu.and_then(|text| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
        (quota > 0.0).then(|| format!("{}", quota / period))
    });
    format!(
        "memory {memory}, CPUs {}, processes {pids}",
        cpus.unwrap_or_else(|| "none".to_owned())
    )
}

fn capabilities() -> String {
    let names = |set: Capabilities| {
        set.names()
            .map(|name| name.trim_start_matches("CAP_").to_lowercase())
            .collect::<Vec<_>>()
    };
    let names = Capabilities::permitted().map(names).unwrap_or_default();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

/// Breaks a line at spaces so that the whole fits 80 columns.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
            } else if line.chars().count() + 1 + word.chars().count() <= 62 {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
    }
    lines
}
