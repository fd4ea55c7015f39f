//! The process of pasta, and how it is tied to ours.
//!
//! A parent-death signal cannot be had: it is asked for between fork and exec, where this crate has no code, and it is for
//! the thread that starts the child. Two pipes do instead, of which pasta has the writing ends and nobody but
//! this process the reading ends.
//!
//! - Standard error. The kernel is told to send SIGKILL to pasta when something happens to this pipe (`F_SETOWN`, `F_SETSIG`,
//!   `O_ASYNC`). Nothing ever does, as nobody reads, but that its last reader goes away: with this process.
//! - Standard output, which pasta writes its PID to when it is ready. It finds this pipe full, and waits, until the
//!   first one has been set up and this one is drained. If this process ends before, the write fails, and pasta ends
//!   by itself.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::pipe2;

use crate::trace::{Outcome, traced};
use crate::{Error, Result, sys};

/// How long it may take to be ready. It takes some ten milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much a pipe is made to hold, or as much more as the kernel insists on.
const PIPE_BYTES: i32 = 4096;
/// How much is read at once.
const CHUNK: usize = 4096;

/// pasta while it runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Helper {
    program: PathBuf,
    child: Child,
    /// The process that started it, and may end it.
    starter: u32,
    /// Where it tells its PID.
    news: File,
    /// Its standard error. That this is closed is its end.
    complaints: File,
}

impl Outcome for Child {
    fn value(&self) -> i64 {
        // What execve(2) returns where it returns in the new program.
        0
    }
}

impl Outcome for ExitStatus {
    fn value(&self) -> i64 {
        0
    }
}

impl Helper {
    /// Starts the program, with `netns` as its standard input.
    pub(super) fn start(
        program: &Path,
        arguments: &[String],
        netns: BorrowedFd<'_>,
    ) -> Result<Self> {
        let failed = |operation| {
            move |source| Error::Pasta {
                operation,
                program: program.to_owned(),
                source,
            }
        };
        let wired = |error| failed("make pipes for")(error);
        let (news, said) = full_pipe().map_err(wired)?;
        // It must not wait for somebody to read what it complains of.
        let why =
            "so that the kernel ends pasta when the reading end goes, with this process or before";
        let (complaints, complained) = pipe(OFlag::O_NONBLOCK, why).map_err(wired)?;
        let netns = netns.try_clone_to_owned().map_err(wired)?;
        let spawned = {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .env_clear()
                .process_group(0)
                .stdin(netns)
                .stdout(said)
                .stderr(complained.try_clone().map_err(wired)?);
            let why = "so that pasta carries what the container sends to sockets of this user's, and back";
            let args = || {
                let words = arguments.iter().map(|word| format!(", {word:?}"));
                format!(
                    "{program:?}, [{program:?}{}], []",
                    words.collect::<String>()
                )
            };
            // Its own process group: keys that are typed at the terminal are for the container.
            traced("execve", why, args, || command.spawn())
        };
        let child = spawned.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoPasta {
                source: Some(source),
            },
            _ => failed("start")(source),
        })?;
        let helper = Self {
            program: program.to_owned(),
            child,
            starter: process::id(),
            news: news.into(),
            complaints: complaints.into(),
        };
        let tied = tie(complained.as_fd(), helper.id());
        tied.map_err(failed("tie to the life of this process"))?;
        Ok(helper)
    }

    /// Waits until it is ready, or has given up.
    pub(super) fn ready(mut self) -> Result<Self> {
        let told = self.wait_for_news().map_err(|source| Error::Pasta {
            operation: "read from",
            program: self.program.clone(),
            source,
        })?;
        match told {
            News::Ready => Ok(self),
            News::Late => Err(Error::PastaSlow {
                program: self.program.clone(),
                limit: PATIENCE,
            }),
            News::End => Err(self.failure()),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn remove(mut self) -> Result<()> {
        self.end().map_err(|source| Error::Pasta {
            operation: "end",
            program: self.program.clone(),
            source,
        })
    }

    fn wait_for_news(&mut self) -> io::Result<News> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let news = match readable(self.news.as_fd(), millis) {
                Ok(false) => return Ok(News::Late),
                Ok(true) => {
                    let why =
                        "so that pasta finds room for its PID, which it tells when it is ready";
                    read(&mut self.news, "the word of pasta", why)
                }
                Err(error) => Err(error),
            };
            match news {
                Ok(chunk) if chunk.is_empty() => return Ok(News::End),
                Ok(chunk) if chunk.iter().any(u8::is_ascii_digit) => return Ok(News::Ready),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What a process that has closed its end has to say.
    fn failure(&mut self) -> Error {
        // It may have closed it, and go on.
        let ended = self.end_with_status();
        let mut says = Vec::new();
        while let Ok(chunk) = read(
            &mut self.complaints,
            "what pasta complains of",
            "so that the error has its own words",
        ) && !chunk.is_empty()
        {
            says.extend_from_slice(&chunk);
        }
        match ended {
            Ok(status) => Error::PastaFailed {
                program: self.program.clone(),
                status,
                says: in_a_line(&String::from_utf8_lossy(&says)),
            },
            Err(source) => Error::Pasta {
                operation: "wait for",
                program: self.program.clone(),
                source,
            },
        }
    }
}

impl Helper {
    fn end(&mut self) -> io::Result<()> {
        self.end_with_status().map(drop)
    }

    /// Kills it and waits for it. How it ended is its own word if it had ended by itself.
    fn end_with_status(&mut self) -> io::Result<ExitStatus> {
        let pid = self.id();
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let why = "so that the network namespace is cut off, and its ports are free";
        traced(
            "kill",
            why,
            || format!("{pid}, SIGKILL"),
            || self.child.kill(),
        )?;
        let why = "so that nothing is left of pasta";
        let args = || format!("{pid}, NULL, 0, NULL");
        traced("wait4", why, args, || self.child.wait())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if process::id() != self.starter {
            return;
        }
        if let Err(error) = self.end() {
            tracing::warn!(%error, pid = self.id(), "pasta could not be ended");
        }
    }
}

/// What is heard of a process that gets ready.
enum News {
    Ready,
    /// It has closed its end.
    End,
    Late,
}

/// Sees to it that the process is killed when the last reader of the pipe that `end` writes to goes.
fn tie(end: BorrowedFd<'_>, pid: u32) -> io::Result<()> {
    let number = end.as_raw_fd();
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let why = "so that it is pasta that hears of it when this process is gone";
    let args = || format!("{number}, F_SETOWN, {pid}");
    traced("fcntl", why, args, || sys::set_owner(end, pid))?;
    let why = "so that what it hears is the signal that it cannot ignore";
    let args = || format!("{number}, F_SETSIG, SIGKILL");
    traced("fcntl", why, args, || sys::set_signal(end, libc::SIGKILL))?;
    let why = "so that the kernel watches from here on, however this process ends";
    let args = || format!("{number}, F_SETFL, O_NONBLOCK|O_ASYNC");
    traced("fcntl", why, args, || {
        let flags = OFlag::O_NONBLOCK | OFlag::O_ASYNC;
        fcntl(end, FcntlArg::F_SETFL(flags)).map(drop)?;
        Ok(())
    })
}

/// The reading and the writing end of a pipe.
fn pipe(flags: OFlag, why: &'static str) -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = OnceCell::new();
    let names = match flags.contains(OFlag::O_NONBLOCK) {
        true => "O_NONBLOCK|O_CLOEXEC",
        false => "O_CLOEXEC",
    };
    let args = || {
        let numbers = ends.get().map(|(reader, writer): &(OwnedFd, OwnedFd)| {
            format!("[{}, {}]", reader.as_raw_fd(), writer.as_raw_fd())
        });
        format!("{}, {names}", numbers.unwrap_or_default())
    };
    traced("pipe2", why, args, || {
        ends.set(pipe2(flags | OFlag::O_CLOEXEC)?)
            .map_err(|_| io::ErrorKind::AlreadyExists.into())
    })?;
    ends.into_inner()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A pipe that whoever writes to has to wait.
fn full_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let why = "so that pasta can tell when it is ready";
    let (reader, writer) = pipe(OFlag::empty(), why)?;
    let number = writer.as_raw_fd();
    let size = traced(
        "fcntl",
        "so that little fills the pipe",
        || format!("{number}, F_SETPIPE_SZ, {PIPE_BYTES}"),
        || {
            let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES))?;
            Ok(usize::try_from(size).unwrap_or_default())
        },
    )?;
    let why = "so that pasta waits until it is certain to end with this process";
    let mut file = File::from(writer);
    let args = || format!("{number}, \"\\n\"..., {size}");
    let written = traced("write", why, args, || file.write(&vec![b'\n'; size]))?;
    if written < size {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok((reader, file.into()))
}

/// Whether there is something to read, or the end, within that time.
fn readable(fd: BorrowedFd<'_>, millis: u16) -> io::Result<bool> {
    let args = || {
        let number = fd.as_raw_fd();
        format!("[{{fd={number}, events=POLLIN}}], 1, {millis}")
    };
    let why = "so that pasta is waited for, but not for ever";
    let ready = traced("poll", why, args, || {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        let ready = poll(&mut fds, millis)?;
        Ok(usize::try_from(ready).unwrap_or_default())
    })?;
    Ok(ready > 0)
}

/// Some of what there is.
fn read(file: &mut File, name: &str, why: &'static str) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK];
    let number = file.as_raw_fd();
    let args = || format!("{number}<{name}>, {CHUNK}");
    let count = traced("read", why, args, || file.read(&mut chunk))?;
    chunk.truncate(count);
    Ok(chunk)
}

/// What it complains of in one line, without that it found nobody else to complain to.
fn in_a_line(says: &str) -> String {
    let lines = says.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.ends_with("bytes to syslog"));
    // Behind an option that it does not know stands all that it knows.
    lines.take(4).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in place of pasta, which does as `script` says.
    fn helper(script: &str) -> Result<Helper> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("pasta");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let stdin = File::open("/dev/null").unwrap();
        Helper::start(&program, &["--option".to_owned()], stdin.as_fd()).and_then(Helper::ready)
    }

    #[test]
    fn what_gives_up_is_told_with_its_status_and_its_own_words() {
        let error = helper("echo 'Failed to send 56 bytes to syslog\nno such thing' >&2; exit 3")
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("gave up (exit status: 3); it says: no such thing"),
            "{error}"
        );
        let error = helper("echo \"$1\" >&2; exec >&-; while :; do :; done").unwrap_err();
        assert!(error.to_string().ends_with("it says: --option"), "{error}");
    }

    #[test]
    fn it_runs_until_it_is_dropped_and_what_it_complains_of_does_not_stop_it() {
        // More than a pipe holds.
        let helper = helper(
            "echo $$ >/proc/self/fd/1; while :; do echo complaint complaint complaint >&2; done",
        )
        .unwrap();
        let proc = format!("/proc/{}", helper.id());
        assert!(fs::exists(&proc).unwrap());
        helper.remove().unwrap();
        assert!(!fs::exists(&proc).unwrap());
    }

    #[test]
    fn it_is_killed_when_the_reading_end_of_its_standard_error_goes() {
        let mut helper = helper("echo $$ >/proc/self/fd/1; while :; do :; done").unwrap();
        helper.complaints = File::open("/dev/null").unwrap();
        let status = helper.child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
    }

    #[test]
    fn it_has_no_word_for_its_readiness_before_it_is_tied() {
        let (reader, writer) = full_pipe().unwrap();
        let mut ends = [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)];
        assert_eq!(poll(&mut ends, 0u16).unwrap(), 0);
        let mut reader = File::from(reader);
        read(&mut reader, "", "so that there is room").unwrap();
        assert_eq!(poll(&mut ends, 0u16).unwrap(), 1);
    }
}
