//! Programs in a cgroup whose limits are measured: a shell, or the test binary itself in one of several roles.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rocker_cgroup::{Cgroup, Compat, Controller, Hierarchy, Limits};

pub const MIB: u64 = 1 << 20;
pub const PAGE: usize = 4096;
/// Generous, since a virtual machine without hardware support is some 50 times slower.
pub const LONG: Duration = Duration::from_secs(60);
/// Says to a copy of this test binary which part it plays, and with how much.
pub const ROLE: &str = "ROCKER_TEST_ROLE";

pub fn hierarchy() -> Hierarchy {
    Hierarchy::detect().expect("the fake host has cgroups")
}

pub fn has(controller: Controller) -> bool {
    hierarchy().controllers().contains(&controller)
}

pub fn on_v2(controller: Controller) -> bool {
    hierarchy().is_v2(controller) == Some(true)
}

#[track_caller]
pub fn create(parent: &str, name: &str, limits: &Limits) -> Cgroup {
    Cgroup::create(&hierarchy(), parent, name, limits, Compat::Require)
        .unwrap()
        .0
}

/// A process that waits for a line on its standard input, is moved into the cgroup, and goes on.
pub fn start(cgroup: &Cgroup, command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    cgroup.add(child.id()).unwrap();
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    child
}

/// A shell script in the cgroup.
pub fn sh(cgroup: &Cgroup, script: &str) -> Child {
    let script = format!("read line; {script}");
    let mut command = Command::new("sh");
    start(cgroup, command.args(["-c", &script]).stderr(Stdio::null()))
}

/// This binary in the cgroup, as `role` of the test `test`.
pub fn play(cgroup: &Cgroup, test: &str, role: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, role);
    start(cgroup, command.stdout(Stdio::piped()))
}

/// The part that this process plays, once it is where it belongs.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    std::io::stdin().read_line(&mut String::new()).unwrap();
    Some(role)
}

/// What it printed, and the signal that ended it.
pub fn outcome(mut child: Child) -> (String, Option<i32>) {
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).unwrap();
    }
    (said, child.wait().unwrap().signal())
}

pub fn used(cgroup: &Cgroup) -> Duration {
    cgroup.stats().unwrap().cpu_usage.unwrap()
}
