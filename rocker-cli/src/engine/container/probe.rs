//! One check of a container's health: a program that is run beside its own, and what it says.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rocker_ns::{Child, ExitCode, Process, Stdio};

use super::exec::ExecOptions;
use super::keeper::after;
use super::process;
use super::record::Probe;
use crate::engine::{Engine, disk};
use crate::{Error, Result};

/// As much of what it says is remembered, as with Docker.
const OUTPUT: usize = 4096;

/// How often at most it is read at one turn.
const READS: usize = 16;

/// How long it may take until the program of a check runs: a container can stop what comes among its processes, and all else that is
/// to be done for it waits so long.
const SETUP: Duration = Duration::from_secs(2);

/// A check that runs. It has to be looked after also while the container ends: the kernel waits until it is reaped.
#[derive(Debug)]
pub(crate) struct RunningProbe {
    child: Child,
    /// None when there is no more to come.
    reader: Option<PipeReader>,
    output: Vec<u8>,
    start: SystemTime,
    limit: Instant,
    time: Duration,
    /// Whether it has taken too long.
    late: bool,
}

impl RunningProbe {
    /// Starts `command` beside the program of a container. It is ended when `time` has passed.
    pub(crate) fn start(
        engine: &Engine,
        id: &str,
        program: &Process,
        command: Vec<String>,
        time: Duration,
    ) -> Result<Self> {
        let spec = engine.spec_of(id)?.ok_or(Error::NoCommand)?;
        let options = ExecOptions {
            command,
            ..ExecOptions::default()
        };
        let (reader, writers) = pipe().map_err(disk::failed("make", Path::new("a pipe")))?;
        let streams = |command: &mut rocker_ns::Command| {
            let [stdout, stderr] = writers.map(Stdio::from);
            command
                .stdin(Stdio::null())
                .stdout(stdout)
                .stderr(stderr)
                .die_with_parent(true)
                .ready_within(SETUP.min(time));
        };
        let created = engine.create_beside(id, program, &spec, &options, streams)?;
        let (child, _) = process::start(created, |_| Ok(()))?;
        Ok(Self {
            child,
            reader: Some(reader),
            output: Vec::new(),
            start: SystemTime::now(),
            limit: after(time),
            time,
            late: false,
        })
    }

    /// When it is to be ended.
    pub(crate) fn limit(&self) -> Option<Instant> {
        Some(self.limit).filter(|_| !self.late)
    }

    /// Whether it is to be ended for taking too long.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.late && self.limit <= now
    }

    /// Gives it all of its time once more.
    pub(crate) fn prolong(&mut self) {
        self.limit = after(self.time);
    }

    /// What says that it is worth to look after it.
    pub(crate) fn wakers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let reader = self.reader.as_ref().map(PipeReader::as_fd);
        [self.child.as_fd()].into_iter().chain(reader)
    }

    /// Reads what it says, and ends it when it takes too long. What it has found, when it has ended.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Probe> {
        self.read();
        let code = match self.child.try_wait() {
            Ok(Some(status)) => i32::from(status.exit_code()),
            Ok(None) => {
                if self.is_due(now) {
                    self.late = true;
                    let _ = self.child.kill();
                }
                return None;
            }
            Err(_) => -1,
        };
        self.read();
        let (code, output) = match self.late {
            true => (-1, format!("the check took longer than {:?}", self.time)),
            false => (code, String::from_utf8_lossy(&self.output).into_owned()),
        };
        Some(Probe {
            start: self.start,
            end: SystemTime::now(),
            code,
            output,
        })
    }

    /// Ends it, whatever it finds.
    pub(crate) fn end(mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::warn!(%error, "a health check could not be ended");
        }
    }

    fn read(&mut self) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let mut buffer = [0; OUTPUT];
        // What talks without pause waits for the next turn, as everything else does.
        for _ in 0..READS {
            match reader.read(&mut buffer) {
                Ok(0) => return self.reader = None,
                Ok(count) => {
                    let room = OUTPUT - self.output.len();
                    self.output.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.reader = None,
            }
        }
    }
}

/// A pipe whose end here never makes one wait, with two ends for a program.
fn pipe() -> io::Result<(PipeReader, [OwnedFd; 2])> {
    let (reader, writer) = io::pipe()?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, [writer.try_clone()?.into(), writer.into()]))
}
