//! What this crate reports of itself is what strace(1) sees of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics, also in its helper functions"
)]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::io::Read;
use std::process::{Child, Command, Stdio};

use rocker_cgroup::{Cgroup, Compat, CpuQuota, Hierarchy, Limits};

/// What changes something, and what looks for it, opens it and reads it to its end.
const CALLS: [&str; 9] = [
    "mkdir(",
    "rmdir(",
    "openat(",
    "read(",
    "write(",
    "statx(",
    "faccessat2(",
    "pidfd_open(",
    "pidfd_send_signal(",
];

/// A process that waits, and has done all its start took.
fn waiting() -> Child {
    let mut child = Command::new("sh")
        .args(["-c", "echo; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.as_mut().unwrap();
    output.read_exact(&mut [0]).unwrap();
    child
}

#[test]
fn the_life_of_a_cgroup_is_reported_call_by_call() {
    fake_host::run(|host| {
        let mut inside = waiting();
        let calls = against_strace::hold(
            "the_life_of_a_cgroup_is_reported_call_by_call",
            &host.dir("strace"),
            shorn,
            || {
                let hierarchy = Hierarchy::detect().unwrap();
                let limits = Limits::default()
                    .memory_bytes(64_u64 << 20)
                    .pids(50_u64)
                    .cpu(CpuQuota::from_cpus(0.5).unwrap());
                let (cgroup, _) =
                    Cgroup::create(&hierarchy, "rocker", "one", &limits, Compat::Require).unwrap();
                cgroup.add(inside.id()).unwrap();
                cgroup.stats().unwrap();
                cgroup.oom_kills().unwrap();
                cgroup.remove().unwrap();
            },
        );
        inside.kill().unwrap();
        inside.wait().unwrap();
        for name in CALLS {
            let made = calls.iter().any(|call| call.starts_with(name));
            // What a host without v1, or without v2, has no need of.
            assert!(made || name.starts_with("pidfd"), "{name} {calls:#?}");
        }
    });
}

/// Takes the buffers that the kernel fills from a call of strace, and leaves out what is none of [`CALLS`].
fn shorn(call: &str) -> Option<String> {
    if !CALLS.iter().any(|name| call.starts_with(name)) {
        return None;
    }
    let (call, result) = call.rsplit_once(" = ")?;
    let call = match call.split_once('(')?.0 {
        "read" => {
            let (file, _) = call.split_once(", ")?;
            format!("{file}, {}", call.rsplit_once(", ")?.1)
        }
        // The standard library tries once whether there is such a call.
        "statx" if call.contains("NULL") => return None,
        "statx" => call.split_inclusive("STATX_ALL").next()?.to_owned(),
        _ => call.to_owned(),
    };
    Some(format!("{call} = {result}"))
}
