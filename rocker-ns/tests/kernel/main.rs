//! Processes in namespaces, on the real kernel.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::{self, File};
use std::io::Read;

use rocker_ns::{Arg, Command, ExitCode, Namespace, Stdio, Step};

#[path = "../../../tests/fake_host/mod.rs"]
mod fake_host;
#[path = "../../../tests/probe/mod.rs"]
mod probe;

mod attach;
mod attendant;
mod attributes;
mod enter;
mod init;
mod namespaces;
mod old_kernels;
mod privileges;
mod seccomp;
mod spawn;
mod terminal;
mod threads;

const OWN: [Namespace; 6] = [
    Namespace::Cgroup,
    Namespace::Ipc,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Pid,
    Namespace::Uts,
];

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}

/// Runs the command and returns what it wrote to standard output.
fn output(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().exit_code(), 0, "{text}");
    text
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error
        .source()
        .map(|source| format!(": {}", chain(source)))
        .unwrap_or_default();
    format!("{error}{source}")
}

/// The children that this process has not waited for.
fn zombies() -> usize {
    let own = std::process::id();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(|stat| {
            let fields: Vec<&str> = stat
                .rsplit_once(')')
                .unwrap()
                .1
                .split_whitespace()
                .collect();
            fields[0] == "Z" && fields[1] == own.to_string()
        })
        .count()
}

/// A file system of terminals.
fn devpts() -> Step {
    let text = |text: &str| Arg::string(text).unwrap();
    let data = text("newinstance,ptmxmode=0666,mode=620");
    let (source, target, fstype) = (text("devpts"), text("/dev/pts"), text("devpts"));
    Step::new("mount", vec![source, target, fstype, Arg::Int(0), data]).unwrap()
}

/// All that comes from the other end of a terminal, until no process has it open.
fn read_all(mut master: File) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&text).into_owned()
}
