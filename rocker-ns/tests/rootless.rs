//! An ordinary user who becomes root of a user namespace.
//!
//! Whoever does that has one thread, which no process of the test harness has: so this is a program of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "what the test harness would say")]

use std::fs;
use std::io::Read;
use std::process::Stdio as StdStdio;

use rocker_ns::{Capabilities, Command, ExitCode, Namespace, Process, Stdio, SubordinateIds, User};

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use fake_host::Host;

/// Set in a process of uid 1000: what it is to do.
const ROLE: &str = "ROCKER_NS_ROLE";
/// This program, where that user can execute it.
const PROGRAM: &str = "/run/rootless";

const OWN: [Namespace; 5] = [
    Namespace::Ipc,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Pid,
    Namespace::Uts,
];

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("granted") => an_ordinary_user_becomes_root(&SubordinateIds::of_caller(), "several ids"),
        Ok("own") => an_ordinary_user_becomes_root(&SubordinateIds::own(), "one id"),
        Ok("several ids") => an_ordinary_user_is_root(false),
        Ok("one id") => an_ordinary_user_is_root(true),
        Ok("first") => another_process_of_the_user_gets_to_the_same_place(),
        Ok(beside) => joins(beside.parse().unwrap()),
        Err(_) => {
            fake_host::run(|host| {
                ["granted", "own", "first"]
                    .map(|role| as_user(host, role))
                    .into_iter()
                    .collect()
            });
            println!("test result: ok. 1 passed; 0 failed; 0 ignored");
        }
    }
}

/// Runs this program again as uid 1000, with the id grants of a small machine.
fn as_user(host: &Host, role: &str) {
    host.sh("mkdir -p /run/etc; touch /etc/subuid /etc/subgid
        printf 'root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/run/alice:/bin/sh\n' >/run/etc/passwd
        printf 'alice:100000:65536\n' >/run/etc/subid
        mount --bind /run/etc/passwd /etc/passwd
        mount --bind /run/etc/subid /etc/subuid; mount --bind /run/etc/subid /etc/subgid");
    // The directories above the program's own file need not be open to everybody.
    fs::copy(std::env::current_exe().unwrap(), PROGRAM).unwrap();
    host.sh("chown 1000:1000 /run/rootless");
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=1000", "--regid=1000", "--clear-groups", PROGRAM])
        .env(ROLE, role)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{role}: {said}");
}

fn an_ordinary_user_becomes_root(ids: &SubordinateIds, next: &str) {
    let directory = std::env::current_dir().unwrap();
    rocker_ns::become_root(ids).unwrap();
    assert!(rocker_ns::in_user_namespace().unwrap());
    assert!(rocker_ns::owns(Namespace::Mount).unwrap());
    assert!(!rocker_ns::owns(Namespace::Net).unwrap());
    assert_eq!(std::env::current_dir().unwrap(), directory);
    // Its memory still belongs to the namespace that it was started in.
    panic!("{}", rocker_ns::start_over([(ROLE, next.as_ref())]));
}

fn an_ordinary_user_is_root(single: bool) {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    assert_eq!(map.lines().count(), if single { 1 } else { 2 }, "{map}");
    let write = nix::unistd::access("/proc/self/exe", nix::unistd::AccessFlags::W_OK);
    assert_eq!(write, Err(nix::errno::Errno::EROFS));
    // A container in there, and one more program in it.
    let user = |spec| User::resolve(spec, b"", b"").unwrap();
    let mut first = shell("sleep 1000");
    first
        .unshare(OWN)
        .user(user("0:0"))
        .capabilities(Capabilities::container_default());
    let mut created = first.create().unwrap();
    created.attest().unwrap();
    let mut first = created.start().unwrap();
    let number = if single { "0" } else { "77" };
    let mut beside = shell("id -u; id -g; hostname inside 2>/dev/null; hostname");
    beside
        .enter(first.process().to_fd().unwrap(), OWN)
        .user(user(&format!("{number}:{number}")))
        .capabilities(Capabilities::NONE.with("SYS_ADMIN").unwrap())
        .stdout(Stdio::piped());
    let mut beside = beside.spawn().unwrap();
    let mut text = String::new();
    let mut said = beside.stdout.take().unwrap();
    said.read_to_string(&mut text).unwrap();
    assert_eq!(beside.wait().unwrap().exit_code(), 0, "{text}");
    // Root holds the capability, another user does not.
    let expected = format!("{number}\n{number}\n");
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(text.ends_with("\ninside\n"), single, "{text}");
    first.kill().unwrap();
    first.wait().unwrap();
}

fn another_process_of_the_user_gets_to_the_same_place() {
    // It is born outside, and goes on when this one is inside.
    let mut second = std::process::Command::new("sh")
        .args(["-c", "read line; exec \"$@\"", "sh", PROGRAM])
        .env(ROLE, std::process::id().to_string())
        .stdin(StdStdio::piped())
        .spawn()
        .unwrap();
    rocker_ns::become_root(&SubordinateIds::of_caller()).unwrap();
    drop(second.stdin.take());
    assert!(second.wait().unwrap().success());
}

fn joins(first: u32) {
    let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
    let start = start.unwrap().parse().unwrap();
    let process = Process::open(first, start).unwrap().unwrap();
    rocker_ns::become_root_beside(&process).unwrap();
    let user = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(user("self"), user(&first.to_string()));
    assert!(rocker_ns::owns(Namespace::Mount).unwrap());
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}
