//! A program in namespaces of its own, from rocker-ns alone: the list of system calls that makes it, its run, and the
//! error when one of the calls fails.
//!
//!     cargo run --example namespaces
//!
//! Needs no privilege where users may make user namespaces, and root where they may not. Leaves nothing behind.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;

use rocker_ns::{Arg, Command, ExitCode, IdMap, Namespace, Stdio, Step};

fn main() -> Result<(), Box<dyn Error>> {
    let mut command = contained("id -u; echo $$; hostname; ls -d /proc/[0-9]*");
    command.setup([mount_proc()?]);

    println!("What the new process will do before it is the program:\n");
    print!("{}", command.plan()?);

    println!("\nWhat the program sees (user, process, host name, processes):\n");
    println!("It ended with {}.", command.status()?.exit_code());

    // The parent learns which call failed, with its arguments, and what the call was for.
    let mut broken = contained("echo this is never seen");
    let nowhere = vec![
        Arg::Cwd,
        Arg::string("/proc/nowhere")?,
        Arg::flags(0o755, "0755"),
    ];
    broken.setup([Step::new("mkdirat", nowhere)?.because("so that there is something to fail")]);
    if let Err(error) = broken.spawn() {
        let cause = error.source().map(ToString::to_string);
        println!("\nA failure: {error}: {}", cause.unwrap_or_default());
    }
    Ok(())
}

/// A shell script with a view of its own of users, processes, mounts, names, the network and IPC.
fn contained(script: &str) -> Command {
    let (uid, gid) = fs::metadata("/proc/self").map_or((0, 0), |own| (own.uid(), own.gid()));
    let root = |outside| {
        [IdMap {
            inside: 0,
            outside,
            count: 1,
        }]
    };
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .stdin(Stdio::null())
        .unshare([Namespace::User, Namespace::Pid, Namespace::Mount])
        .unshare([Namespace::Uts, Namespace::Net, Namespace::Ipc])
        .id_maps(root(uid), root(gid))
        .hostname("contained");
    command
}

/// A proc of the new PID namespace, over the one of the old.
fn mount_proc() -> Result<Step, Box<dyn Error>> {
    let (proc, flags) = (Arg::string("proc")?, "MS_NOSUID|MS_NODEV|MS_NOEXEC");
    let args = vec![
        proc.clone(),
        Arg::string("/proc")?,
        proc,
        Arg::flags(2 | 4 | 8, flags),
        Arg::Null,
    ];
    Ok(Step::new("mount", args)?.because("so that /proc shows the processes of its namespace"))
}
