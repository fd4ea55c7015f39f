//! A command that a person can leave is two processes: the shell's, which stands in, and its child, which does the work
//! and goes on when it is left.

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rocker_ns::{ExitCode, Line, Signals};

use crate::{Error, Result};

/// Tells the worker which process stands in for it.
const FRONT: &str = "ROCKER_FRONT";
/// The program that runs, wherever it was started from.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Whether this process is the one that does the work. If so, it ends when the other one does.
pub(super) fn is_worker() -> Result<bool> {
    match std::env::var(FRONT) {
        Ok(token) => Ok(rocker_ns::die_with(&token)?),
        Err(_) => Ok(false),
    }
}

/// Has a worker do what this process was started for, and stands in for it until it has ended or is left to itself; if
/// there is a `person`, that is then told.
pub(super) fn stand_in(person: bool) -> Result<u8> {
    stand_in_for(std::env::args_os().skip(1), person)
}

/// Has a worker start the container of that ID, with further `flags`, and stands in for it until that runs.
pub(super) fn start(id: &str, flags: Vec<OsString>) -> Result<u8> {
    let first = [OsString::from("start")];
    let last = ["--", id].map(OsString::from);
    stand_in_for(first.into_iter().chain(flags).chain(last), false)
}

fn stand_in_for(args: impl IntoIterator<Item = OsString>, person: bool) -> Result<u8> {
    let signals = Signals::hold()?;
    let line = Line::new()?;
    let mut worker = Command::new(OWN_PROGRAM);
    if let Some(name) = std::env::args_os().next() {
        worker.arg0(name);
    }
    let worker = worker
        .args(args)
        .env(FRONT, line.token())
        .spawn()
        .map_err(|source| Error::State {
            operation: "start",
            path: OWN_PROGRAM.into(),
            source,
        })?;
    match rocker_ns::stand_in(worker, line, &signals)? {
        Some(status) => Ok(status.exit_code()),
        None if !person => Ok(0),
        None => {
            let _ = writeln!(
                stderr(),
                "\nrocker: the command goes on by itself; `rocker ps` lists its container"
            );
            Ok(0)
        }
    }
}
