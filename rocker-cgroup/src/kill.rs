//! Killing all processes of a cgroup, and none outside of it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::directory::{Directory, procs};
use crate::freeze;
use crate::trace::traced;
use crate::{Cgroup, Controller, Error, Result, sys};

/// How long to wait until the processes are gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for v1 to freeze before killing what runs.
const FREEZE_PATIENCE: Duration = Duration::from_millis(200);

impl Cgroup {
    /// Kills every process of the cgroup and below it with SIGKILL, also those that fork meanwhile and those that are
    /// frozen, and returns when none is left. Zombies do not count; reaping them is their parents' affair.
    ///
    /// v2 does it in one write to `cgroup.kill` (Linux 5.14). Elsewhere the processes are frozen, killed through
    /// pidfds that are checked against the cgroup, and thawed, until none is left.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when one is left after 10 s: in an uninterruptible sleep, or, on v1, outside of the
    /// caller's PID namespace. [`Error::CallerInside`], [`Error::PermissionDenied`], [`Error::Kill`].
    #[doc(alias = "cgroup.kill")]
    pub fn kill(&self) -> Result<()> {
        let mut backoff = Backoff::new(PATIENCE);
        loop {
            kill_once(&self.directories)?;
            if procs(&self.directories)?.is_empty() {
                return Ok(());
            }
            if !backoff.pause() {
                let path = self.name.path();
                return Err(Error::TimedOut {
                    operation: "kill all processes of",
                    path,
                    limit: PATIENCE,
                });
            }
        }
    }
}

/// Sends SIGKILL to everything in `directories`, once.
pub(crate) fn kill_once(directories: &[Directory]) -> Result<()> {
    let members = procs(directories)?;
    if members.is_empty() {
        return Ok(());
    }
    refuse_caller("kill the processes of", directories, &members)?;
    let mut by_signal = Vec::new();
    for dir in directories {
        if !dir.is_v2() || !write_cgroup_kill(dir)? {
            by_signal.push(dir.clone());
        }
    }
    if by_signal.is_empty() {
        return Ok(());
    }
    let freezer = directories
        .iter()
        .find(|dir| dir.tree.kind.has(Controller::Freezer));
    if let Some(freezer) = freezer {
        // Without it a fork bomb may be faster than we are. Should it fail, killing comes to its end more slowly.
        if let Err(error) = freeze::freeze(freezer, FREEZE_PATIENCE) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "killing without freezing first"
            );
        }
    }
    let killed = kill_members(&by_signal);
    // Thawed in any case: a frozen process of v1 does not die.
    let thawed = freezer.map_or(Ok(()), freeze::thaw);
    match thawed {
        Err(error) if !error.is_vanished() => killed.and(Err(error)),
        _ => killed,
    }
}

/// Kills by `cgroup.kill`; false when this kernel does not have it.
fn write_cgroup_kill(dir: &Directory) -> Result<bool> {
    match dir.write(
        "cgroup.kill",
        "1",
        "so that everything in it dies, whatever it forks meanwhile",
    ) {
        Ok(()) => Ok(true),
        Err(error) if error.is_vanished() => Ok(false),
        // A threaded cgroup cannot be killed as one.
        Err(Error::Write { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Kills the members of the cgroups one by one.
fn kill_members(directories: &[Directory]) -> Result<()> {
    let mut opened: Vec<(u32, OwnedFd)> = Vec::new();
    for pid in procs(directories)? {
        // 0 is one that our PID namespace cannot see, nor kill; whoever dies meanwhile needs no killing.
        if pid == 0 {
            continue;
        }
        let args = || format!("{pid}, 0");
        let why = "so that the signal cannot hit a later process of the same number";
        if let Ok(pidfd) = traced("pidfd_open", why, args, || sys::pidfd_open(pid)) {
            opened.push((pid, pidfd));
        }
    }
    // Between the list and the pidfd a number may have passed to a process outside. One that is listed now is either
    // the one that we hold, or the one that we hold is dead.
    let members = procs(directories)?;
    for (pid, pidfd) in opened.iter().filter(|(pid, _)| members.contains(pid)) {
        let args = || format!("{}, SIGKILL, NULL, 0", pidfd.as_raw_fd());
        let why = "so that the process leaves the cgroup";
        match traced("pidfd_send_signal", why, args, || {
            sys::pidfd_kill(pidfd.as_fd())
        }) {
            Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                return Err(kill_error(directories, *pid, source));
            }
            _ => {}
        }
    }
    Ok(())
}

fn kill_error(directories: &[Directory], pid: u32, source: io::Error) -> Error {
    let path = directories
        .first()
        .map(|dir| dir.path.clone())
        .unwrap_or_default();
    Error::at("kill the processes of", &path, source, |path, source| {
        Error::Kill { pid, path, source }
    })
}

/// An error if this very process is among the members: frozen, it could not thaw itself again.
pub(crate) fn refuse_caller(
    operation: &'static str,
    directories: &[Directory],
    members: &BTreeSet<u32>,
) -> Result<()> {
    if members.contains(&std::process::id()) {
        let path = directories
            .first()
            .map(|dir| dir.path.clone())
            .unwrap_or_default();
        return Err(Error::CallerInside { operation, path });
    }
    Ok(())
}
