//! Limits a process with a cgroup, v1 or v2, and shows that the limits bite.
//!
//!     sudo -E cargo run --example limits
//!
//! Needs root, or on cgroup v2 a delegated cgroup. It makes the cgroup `rocker-example/limits` and removes it again.

use std::error::Error;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};

use rocker_cgroup::{Cgroup, Compat, CpuQuota, Hierarchy, Limits};

const MIB: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let hierarchy = Hierarchy::detect()?;
    say(&format!("cgroups here: {:?}", hierarchy.version()));

    let limits = Limits::default()
        .memory_bytes(64 * MIB)
        .memory_swap_bytes(64 * MIB) // memory and swap together: so no swap
        .pids(20_u64)
        .cpu(CpuQuota::from_cpus(0.5)?);
    // BestEffort, since not every kernel can limit swap. What was left out is said below.
    let (cgroup, applied) = Cgroup::create(
        &hierarchy,
        "rocker-example",
        "limits",
        &limits,
        Compat::BestEffort,
    )?;
    for limit in &applied.in_force {
        say(&format!("in force: {}, {}", limit.write, limit.write.why));
    }
    for limit in &applied.skipped {
        say(&format!("skipped: {limit}"));
    }

    // dd has a buffer of one block, so that its block size is the memory that it needs.
    for size in [16, 256] {
        let status = run_in(
            &cgroup,
            &format!("exec dd if=/dev/zero of=/dev/null bs={size}M count=1 2>&1"),
        )?;
        let kills = cgroup.oom_kills()?;
        say(&format!(
            "a process that needs {size} MiB: {status}; out-of-memory kills: {kills}"
        ));
    }

    let status = run_in(&cgroup, "for i in $(seq 40); do sleep 100 & done 2>&1")?;
    say(&format!(
        "a process that starts 40 more: {status}; tasks now: {:?}",
        cgroup.stats()?.pids
    ));

    cgroup.remove()?; // kills the sleepers
    say("removed, with all that was in it");
    Ok(())
}

/// Runs a shell script in the cgroup: the shell waits at `read` until it has been moved there.
fn run_in(cgroup: &Cgroup, script: &str) -> Result<ExitStatus, Box<dyn Error>> {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .spawn()?;
    cgroup.add(child.id())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(b"go\n")?;
    }
    Ok(child.wait()?)
}

#[expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]
fn say(line: &str) {
    println!("{line}");
}
