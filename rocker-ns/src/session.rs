//! Two processes for one command: one that the shell waits for, and one that can go on without it.
//!
//! Who leaves a program to itself wants the shell back, and the program still needs somebody who waits for it. So a
//! command that can be left is two processes: the shell's own, which stands in, and its child, which does the work.

use std::fs::OpenOptions;
use std::io::{self, stdin};
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::process::{Child, ExitStatus};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::terminal::SavedMode;
use crate::{Error, Process, Result, Signals};

/// Waits for `worker`, a child of this process, and passes signals on to it. None when the worker has
/// [left the session](leave_session) and goes on by itself.
///
/// Signals that come from the terminal reach both processes, and are not passed on. If standard input is a terminal, its
/// mode is afterwards what it was before.
///
/// # Errors
/// [`Error::Call`] when waiting fails.
pub fn stand_in(mut worker: Child, signals: &Signals) -> Result<Option<ExitStatus>> {
    let failed = |call: &str, source: io::Error| Error::Call {
        call: call.to_owned(),
        why: "so that the shell learns how the command ends",
        source,
    };
    let process = Process::by_id(worker.id())?;
    // A worker that is killed leaves the terminal as it was at that moment.
    let _mode = SavedMode::of(stdin());
    loop {
        let ended = worker.try_wait();
        if let Some(status) = ended.map_err(|source| failed("wait4", source))? {
            return Ok(Some(status));
        }
        let mut fds = [
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("poll", errno.into())),
        }
        while let Some(signal) = signals.next() {
            if signal.sender == worker.id() {
                return Ok(None);
            }
            if signal.is_from_a_process {
                process.signal(signal.number)?;
            }
        }
    }
}

/// Leaves terminal, session and [standing-in](stand_in) parent behind: the process goes on in the background, with
/// `/dev/null` for its standard streams.
///
/// # Errors
/// [`Error::Call`] when the process is the leader of a process group, or `/dev/null` cannot be opened.
#[doc(alias = "setsid")]
pub fn leave_session() -> Result<()> {
    let failed = |call: &str| {
        let call = call.to_owned();
        move |source: io::Error| Error::Call {
            call,
            why: "so that the program can go on without its terminal",
            source,
        }
    };
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(failed("open(\"/dev/null\")"))?;
    prctl::set_pdeathsig(None)
        .map_err(|errno| failed("prctl(PR_SET_PDEATHSIG, 0)")(errno.into()))?;
    setsid().map_err(|errno| failed("setsid()")(errno.into()))?;
    let replaced = dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null));
    replaced.map_err(|errno| failed("dup2")(errno.into()))?;
    // The parent knows from whom the signal comes, and needs no other word.
    let parent = Process::by_id(parent_id())?;
    parent.signal(libc::SIGUSR1)
}

/// Sees to it that this process ends when `parent` does, which made it and [stands in](stand_in) for it. False when
/// that is not its parent.
///
/// # Errors
/// [`Error::Gone`] when the parent has just ended, [`Error::Call`] when the kernel refuses.
#[doc(alias = "PR_SET_PDEATHSIG")]
pub fn die_with(parent: u32) -> Result<bool> {
    if parent_id() != parent {
        return Ok(false);
    }
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| Error::Call {
        call: "prctl(PR_SET_PDEATHSIG, SIGKILL)".to_owned(),
        why: "so that nothing goes on that nobody can reach",
        source: errno.into(),
    })?;
    // It may have died before the kernel knew.
    if parent_id() != parent {
        return Err(Error::Gone);
    }
    Ok(true)
}
