//! Processes by file descriptor: children, and processes that somebody else made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};

use crate::{Error, Result, kernel_file, sys};

/// A running program, in the manner of [`std::process::Child`]; dropping it leaves the program running.
#[derive(Debug)]
pub struct Child {
    process: Process,
    /// The other end of the program's standard input, with [`Stdio::piped`](crate::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The other end of the program's standard output, with [`Stdio::piped`](crate::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// The other end of the program's standard error, with [`Stdio::piped`](crate::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    status: Option<ExitStatus>,
}

impl Child {
    pub(crate) fn new(
        pid: u32,
        pidfd: OwnedFd,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> Self {
        Self {
            process: Process::new(pid, pidfd),
            stdin: stdin.map(Into::into),
            stdout: stdout.map(Into::into),
            stderr: stderr.map(Into::into),
            status: None,
        }
    }

    /// The process's id in the parent's PID namespace.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.pid
    }

    /// The program's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Closes the program's standard input and waits for the program's end.
    ///
    /// # Errors
    /// [`Error::Call`] when it was waited for elsewhere, as with an ignored `SIGCHLD`.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        let status = match self.status {
            Some(status) => status,
            None => sys::wait(self.process.as_fd(), WHY).map_err(|error| self.lost(error))?,
        };
        self.status = Some(status);
        Ok(status)
    }

    /// How the program ended, if it did.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let ended = sys::try_wait(self.process.as_fd(), WHY);
            self.status = ended.map_err(|error| self.lost(error))?;
        }
        Ok(self.status)
    }

    /// Kills the program. In a PID namespace of its own, all of its processes die with it.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn kill(&mut self) -> Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        self.process.signal(libc::SIGKILL)
    }

    fn lost(&self, source: io::Error) -> Error {
        Error::Call {
            call: format!("waitid(P_PIDFD, {})", self.process.pid),
            why: WHY,
            source,
        }
    }
}

const WHY: &str = "so that the exit status of the program is known";

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

/// A process by file descriptor: what is done to it cannot hit another one that got its number later.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

const OPEN: &str = "so that what is done to this process can hit no other one";

impl Process {
    /// The process that `pidfd` is of.
    pub(crate) fn new(pid: u32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd }
    }

    /// The process `pid`, if it is still the one that [started](Process::start_time) at `start_time`.
    ///
    /// # Errors
    /// [`Error::Call`] when the kernel does not know pidfds (Linux 5.3).
    pub fn open(pid: u32, start_time: u64) -> Result<Option<Self>> {
        let pidfd = match sys::pidfd_open(pid, OPEN) {
            Ok(pidfd) => pidfd,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                return Ok(None);
            }
            Err(source) => {
                let call = format!("pidfd_open({pid}, 0)");
                return Err(Error::Call {
                    call,
                    why: OPEN,
                    source,
                });
            }
        };
        let process = Self { pid, pidfd };
        // Read after the pidfd is open: if the time is right now, the descriptor is the right one.
        Ok(process
            .start_time()
            .ok()
            .filter(|found| *found == start_time)
            .map(|_| process))
    }

    /// Whether the process `pid` is still the one that [started](Process::start_time) at `start_time`, and has not ended. It says
    /// nothing about the next moment; whoever wants to do something to the process [opens](Process::open) it.
    #[must_use]
    pub fn lives(pid: u32, start_time: u64) -> bool {
        let stat = kernel_file::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
        self::start_time(&stat) == Some(start_time) && has_not_ended(&stat)
    }

    /// The calling process.
    ///
    /// # Errors
    /// [`Error::Call`] when the kernel does not know pidfds (Linux 5.3), or no more files can be opened.
    pub fn current() -> Result<Self> {
        Self::by_id(std::process::id())
    }

    /// The process that has the id now: for one that cannot be replaced meanwhile, such as a child of the caller's.
    pub(crate) fn by_id(pid: u32) -> Result<Self> {
        let why = "so that this process is known by more than its number";
        match sys::pidfd_open(pid, why) {
            Ok(pidfd) => Ok(Self { pid, pidfd }),
            Err(source) => Err(Error::Call {
                call: format!("pidfd_open({pid}, 0)"),
                why,
                source,
            }),
        }
    }

    /// The process's id in the caller's PID namespace.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// When the process started, in clock ticks after boot: with its id it names a process for as long as the machine is
    /// up, see [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
    ///
    /// # Errors
    /// [`Error::Gone`] when the process has ended and was waited for.
    pub fn start_time(&self) -> Result<u64> {
        let stat =
            kernel_file::read(&format!("/proc/{}/stat", self.pid)).map_err(|_| Error::Gone)?;
        start_time(&stat).ok_or(Error::Gone)
    }

    /// Whether the process has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let stat = kernel_file::read(&format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // Signal 0 asks whether there is a process to send to; a zombie still counts for that.
        sys::pidfd_send_signal(self.pidfd.as_fd(), 0).is_ok() && has_not_ended(&stat)
    }

    /// Whether somebody has stopped the process, as Ctrl-Z does.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let stat = kernel_file::read(&format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        matches!(state(&stat), Some("T" | "t")) && self.is_alive()
    }

    /// Sends a signal, see [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html). A
    /// process that has ended is no error.
    ///
    /// # Errors
    /// [`Error::Call`] for lack of permission or a signal that does not exist.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.sent(signal, sys::pidfd_send_signal(self.pidfd.as_fd(), signal))
    }

    /// Passes on a signal that another process has sent to this one.
    pub(crate) fn pass_on(&self, signal: i32, sender: u32) -> Result<()> {
        self.sent(
            signal,
            sys::pidfd_pass_signal(self.pidfd.as_fd(), signal, sender),
        )
    }

    fn sent(&self, signal: i32, sent: io::Result<()>) -> Result<()> {
        match sent {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(Error::Call {
                call: format!("pidfd_send_signal({}, {signal})", self.pid),
                why: "so that the program gets the signal",
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// A further descriptor for the same process, such as [`Command::enter`](crate::Command::enter) takes.
    ///
    /// # Errors
    /// [`Error::Call`] when no more files can be opened.
    pub fn to_fd(&self) -> Result<OwnedFd> {
        self.pidfd.try_clone().map_err(|source| Error::Call {
            call: "fcntl(F_DUPFD_CLOEXEC)".to_owned(),
            why: "so that another process can be put beside this one",
            source,
        })
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Whether `/proc/PID/stat` is of a process that is not a zombie.
fn has_not_ended(stat: &str) -> bool {
    !matches!(state(stat), None | Some("Z" | "X"))
}

/// Field 3 of `/proc/PID/stat`.
fn state(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().next()
}

/// Field 22 of `/proc/PID/stat`. The second field is the program's name in brackets, which may hold anything.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// How a shell or container engine reports an exit status: the code, or 128 and the number of the signal.
pub trait ExitCode {
    /// The number from 0 to 255.
    fn exit_code(&self) -> u8;
}

impl ExitCode for ExitStatus {
    fn exit_code(&self) -> u8 {
        let code = self
            .code()
            .or_else(|| self.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time("garbage"), None);
    }

    #[test]
    fn a_process_is_only_found_under_its_own_start_time() {
        let me = Process::current().unwrap();
        let start = me.start_time().unwrap();
        assert!(
            Process::open(me.id(), start)
                .unwrap()
                .is_some_and(|process| process.is_alive())
        );
        assert!(Process::open(me.id(), start + 1).unwrap().is_none());
        assert!(Process::lives(me.id(), start) && !Process::lives(me.id(), start + 1));
    }

    #[test]
    fn handles_may_go_from_thread_to_thread() {
        fn shared<T: Send + Sync>() {}
        shared::<(Child, Process, crate::Created, crate::Command)>();
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(ExitStatus::from_raw(3 << 8).exit_code(), 3);
        assert_eq!(ExitStatus::from_raw(libc::SIGKILL).exit_code(), 137);
    }
}
