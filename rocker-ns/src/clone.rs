//! Making the process: `clone3(2)`, and what there is in its place where the kernel lacks it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::command::Command;
use crate::report::Report;
use crate::step::Step;
use crate::sys::{self, Side};
use crate::trace::traced;
use crate::{Error, Namespace, Result, child, namespace};

const WHY: &str = "so that there is a process in namespaces of its own";

/// What the new process is to do.
#[derive(Debug, Clone)]
pub(crate) struct Orders<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) report: &'a Report,
    pub(crate) fail_at: usize,
    /// The memory of an [`Init`](crate::init::Init); empty without.
    pub(crate) memory: Range<usize>,
}

/// Makes the process of `command`: in new namespaces, in its cgroup, and on its way through its orders, which begin
/// with a wait for the parent. Returns its id and its pidfd.
pub(crate) fn clone(command: &Command, orders: &Orders<'_>) -> Result<(u32, OwnedFd)> {
    // A cgroup namespace made now would show the parent's cgroup; the child unshares it when it is in its own.
    let kinds = command.unshare.iter().copied();
    let kinds: Vec<_> = kinds.filter(|kind| *kind != Namespace::Cgroup).collect();
    let (flags, names) = namespace::flags(&kinds);
    let cgroup = command.cgroup.as_ref().map(AsFd::as_fd);
    let mut made = clone3(flags, &names, cgroup, orders);
    let mut inside = cgroup.is_some();
    if inside && errno(&made).is_some_and(|errno| matches!(errno, libc::EINVAL | libc::E2BIG)) {
        // Linux 5.5 and 5.6 make no process in a cgroup.
        made = clone3(flags, &names, None, orders);
        inside = false;
    }
    if errno(&made) == Some(libc::ENOSYS) {
        // Before Linux 5.5, or with a filter around this process that knows no clone3(2).
        if kinds.contains(&Namespace::Time) {
            // Its flag is a part of clone(2)'s exit signal.
            return Err(unsupported(Namespace::Time));
        }
        made = old_clone(flags, &names, orders);
        inside = false;
    }
    let (pid, pidfd) = made.map_err(|source| {
        let missing = |kind: &Namespace| !Path::new("/proc/self/ns").join(kind.name()).exists();
        match (
            source.raw_os_error(),
            kinds.iter().find(|kind| missing(kind)),
        ) {
            (Some(libc::EINVAL), Some(kind)) => unsupported(*kind),
            _ => Error::Call {
                call: format!("clone3({})", arguments(&names, inside)),
                why: WHY,
                source,
            },
        }
    })?;
    if let Some(cgroup) = cgroup.filter(|_| !inside) {
        join_cgroup(cgroup, pid).inspect_err(|_| {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(pidfd.as_fd(), "so that nothing of it is left");
        })?;
    }
    Ok((pid, pidfd))
}

fn errno(made: &io::Result<(u32, OwnedFd)>) -> Option<i32> {
    made.as_ref().err()?.raw_os_error()
}

fn unsupported(kind: Namespace) -> Error {
    Error::Unsupported {
        what: format!("{kind} namespaces"),
        needs: kind.needs(),
    }
}

fn arguments(names: &str, cgroup: bool) -> String {
    let into = if cgroup { "|CLONE_INTO_CGROUP" } else { "" };
    let size = sys::clone3_size(cgroup);
    format!("{{flags={names}|CLONE_PIDFD|CLONE_CLEAR_SIGHAND{into}, exit_signal=SIGCHLD}}, {size}")
}

fn clone3(
    flags: u64,
    names: &str,
    cgroup: Option<BorrowedFd<'_>>,
    orders: &Orders<'_>,
) -> io::Result<(u32, OwnedFd)> {
    let args = || arguments(names, cgroup.is_some());
    traced("clone3", WHY, args, || {
        // SAFETY: the child only follows its orders, which makes raw system calls.
        take_side(unsafe { sys::clone3(flags, cgroup) }?, orders)
    })
}

fn old_clone(flags: u64, names: &str, orders: &Orders<'_>) -> io::Result<(u32, OwnedFd)> {
    let args = || format!("{names}|CLONE_PIDFD|SIGCHLD, NULL, [pidfd], NULL, 0");
    traced("clone", WHY, args, || {
        // SAFETY: as above.
        take_side(unsafe { sys::clone(flags) }?, orders)
    })
}

/// The parent returns; the child follows its orders.
fn take_side(side: Side, orders: &Orders<'_>) -> io::Result<(u32, OwnedFd)> {
    let (header, records) = (orders.report.header(), orders.report.records());
    match side {
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        // SAFETY: its memory is a copy but for the report; the steps are those of a plan.
        Side::Child => unsafe {
            child::walk(
                orders.steps,
                header,
                records,
                orders.fail_at,
                orders.memory.clone(),
            )
        },
    }
}

/// Puts a process that waits into the cgroup that it could not be made in.
fn join_cgroup(cgroup: BorrowedFd<'_>, pid: u32) -> Result<()> {
    let path = format!("/proc/self/fd/{}/cgroup.procs", cgroup.as_raw_fd());
    let why =
        "so that the process is in its cgroup, which this kernel does not do when it makes it";
    let joined = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| {
            let args = || format!("{path}, \"{pid}\"");
            traced("write", why, args, || {
                file.write(pid.to_string().as_bytes())
            })
        });
    joined.map(drop).map_err(|source| Error::Proc {
        operation: "write",
        path,
        source,
    })
}
