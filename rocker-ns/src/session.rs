//! Two processes for one command: one that the shell waits for, and one that can go on without it.
//!
//! Who leaves a program to itself wants the shell back, and the program still needs somebody who waits for it. So a
//! command that can be left is two processes: the shell's own, which stands in, and its child, which does the work.

use std::fs::OpenOptions;
use std::io::{self, stdin};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::process::{Child, ExitStatus};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid, write};

use crate::terminal::SavedMode;
use crate::{Error, Process, Result, Signals, sys};

/// The line by which a worker says that it goes on by itself.
#[derive(Debug)]
#[must_use = "a worker is told of it by its token"]
pub struct Line {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// The worker's side: who stands in for it, and the line to it.
static STAND_IN: OnceLock<(u32, OwnedFd)> = OnceLock::new();

impl Line {
    /// Opens a line whose one end every program inherits that this process starts from here on, beside the standard streams;
    /// of what this process has itself inherited they get nothing (from Linux 5.11 on), or a worker that goes on by itself would
    /// keep open what is somebody else's.
    ///
    /// # Errors
    /// [`Error::Call`] when no more files can be opened.
    pub fn new() -> Result<Self> {
        let failed = |call: &'static str| {
            move |source: io::Error| Error::Call {
                call: call.to_owned(),
                why: "so that the worker can say that it goes on by itself",
                source,
            }
        };
        sys::keep_from_children();
        let (reader, writer) = io::pipe().map_err(failed("pipe2(O_CLOEXEC)"))?;
        let writer = OwnedFd::from(writer);
        let inherited = fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty()));
        inherited.map_err(|errno| failed("fcntl(F_SETFD, 0)")(errno.into()))?;
        Ok(Self {
            reader: reader.into(),
            writer,
        })
    }

    /// What the worker has to know for [`die_with`]; an environment variable can hold it.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}:{}", std::process::id(), self.writer.as_raw_fd())
    }
}

/// Waits for `worker`, a child of this process that was told of `line`, and passes signals on to it. None when the
/// worker has [left the session](leave_session) and goes on by itself.
///
/// Signals that come from the terminal reach both processes, and are not passed on. If standard input is a terminal, its
/// mode is afterwards what it was before.
///
/// # Errors
/// [`Error::Call`] when waiting fails.
pub fn stand_in(mut worker: Child, line: Line, signals: &Signals) -> Result<Option<ExitStatus>> {
    let failed = |call: &str, source: io::Error| Error::Call {
        call: call.to_owned(),
        why: "so that the shell learns how the command ends",
        source,
    };
    drop(line.writer);
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
            PollFd::new(line.reader.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("poll", errno.into())),
        }
        // A worker that ends leaves the line without a word.
        let word = fds[2].revents().unwrap_or(PollFlags::empty());
        if word.contains(PollFlags::POLLIN) {
            return Ok(None);
        }
        if word.contains(PollFlags::POLLHUP) {
            return match worker.wait() {
                Ok(status) => Ok(Some(status)),
                Err(source) => Err(failed("wait4", source)),
            };
        }
        while let Some(signal) = signals.next() {
            if signal.is_from_a_process {
                process.pass_on(signal.number, signal.sender)?;
            }
        }
    }
}

/// Leaves terminal, session and [standing-in](stand_in) parent behind: the process goes on in the background, in `/`, with
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
    #[expect(
        clippy::disallowed_methods,
        reason = "it is what leaving means: the process would keep somebody's file system from being unmounted"
    )]
    chdir("/").map_err(|errno| failed("chdir(\"/\")")(errno.into()))?;
    let replaced = dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null));
    replaced.map_err(|errno| failed("dup2")(errno.into()))?;
    match STAND_IN.get() {
        // Who stood in may have ended just now, and hears nothing any more.
        Some((_, line)) => match write(line, b"L") {
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(errno) => Err(failed("write")(errno.into())),
        },
        None => Ok(()),
    }
}

/// Sees to it that this process ends when its parent does, which [stands in](stand_in) for it and has the [`Line`] of that
/// token. False when it is not the parent of that token.
///
/// # Errors
/// [`Error::Gone`] when the parent has just ended, [`Error::Call`] when the kernel refuses.
#[doc(alias = "PR_SET_PDEATHSIG")]
pub fn die_with(token: &str) -> Result<bool> {
    let Some((parent, line)) = token.split_once(':') else {
        return Ok(false);
    };
    let (Ok(parent), Ok(line)) = (parent.parse::<u32>(), line.parse()) else {
        return Ok(false);
    };
    if parent_id() != parent {
        return Ok(false);
    }
    let Some(line) = sys::inherited_pipe(line) else {
        return Ok(false);
    };
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| Error::Call {
        call: "prctl(PR_SET_PDEATHSIG, SIGKILL)".to_owned(),
        why: "so that nothing goes on that nobody can reach",
        source: errno.into(),
    })?;
    // It may have died before the kernel knew.
    if parent_id() != parent {
        return Err(Error::Gone);
    }
    let _ = STAND_IN.set((parent, line));
    Ok(true)
}

/// The process that [stands in](stand_in) for this one, if one does, as [`die_with`] was told.
#[must_use]
pub fn stood_in_by() -> Option<u32> {
    STAND_IN.get().map(|(process, _)| *process)
}
