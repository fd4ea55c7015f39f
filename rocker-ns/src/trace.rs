//! Reports every system call that this crate makes to whoever listens.
//!
//! One `tracing` event a call, target `rocker::syscall`, level TRACE (DEBUG for one that failed), with the fields `primitive`, `call`, `args`
//! (as strace(1) writes them), `result` (the value, or minus the errno), `why`, and `us` (microseconds). With no
//! listener the cost is one atomic load: the arguments are not even formatted.
//!
//! Left out is what goes on while the program runs: the waits (poll(2)) and the reads and writes of the relay, of which there
//! are as many as the program has to say. So is what the memory allocator and the reading of `/proc` cost, but
//! for the files by which a process is attested: each is named once, when it is opened.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Instant;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::Termios;
use tracing::Level;

use crate::report::Done;
use crate::{Step, sys};

/// The target of the events; a subscriber filters by it.
const TARGET: &str = "rocker::syscall";
/// The crate that speaks.
pub(crate) const PRIMITIVE: &str = "ns";

/// What a system call returned, as a number for the listener.
pub(crate) trait Outcome {
    /// The value that strace(1) would print behind `=`.
    fn value(&self) -> i64;
}

impl Outcome for () {
    fn value(&self) -> i64 {
        0
    }
}

impl Outcome for usize {
    fn value(&self) -> i64 {
        i64::try_from(*self).unwrap_or(i64::MAX)
    }
}

impl Outcome for std::fs::File {
    fn value(&self) -> i64 {
        i64::from(self.as_raw_fd())
    }
}

impl Outcome for OwnedFd {
    fn value(&self) -> i64 {
        i64::from(self.as_raw_fd())
    }
}

/// Makes one system call through `run`, and reports it with its arguments, its result and why it was made.
pub(crate) fn traced<T: Outcome>(
    call: &'static str,
    why: &'static str,
    args: impl FnOnce() -> String,
    run: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if !tracing::enabled!(target: TARGET, Level::DEBUG) {
        return run();
    }
    let started = Instant::now();
    let outcome = run();
    let us = started.elapsed().as_micros() as u64;
    match &outcome {
        Ok(value) => {
            let result = value.value();
            tracing::event!(target: TARGET, Level::TRACE, primitive = PRIMITIVE, call, args = args(), result, why, us);
        }
        Err(error) => {
            let result = -i64::from(error.raw_os_error().unwrap_or(0));
            tracing::event!(target: TARGET, Level::DEBUG, primitive = PRIMITIVE, call, args = args(), result, why, us);
        }
    }
    outcome
}

impl Outcome for ExitStatus {
    fn value(&self) -> i64 {
        0
    }
}

impl Outcome for Option<ExitStatus> {
    fn value(&self) -> i64 {
        0
    }
}

impl Outcome for (u32, OwnedFd) {
    fn value(&self) -> i64 {
        i64::from(self.0)
    }
}

impl Outcome for SigSet {
    fn value(&self) -> i64 {
        0
    }
}

impl Outcome for SignalFd {
    fn value(&self) -> i64 {
        i64::from(self.as_fd().as_raw_fd())
    }
}

impl Outcome for Termios {
    fn value(&self) -> i64 {
        0
    }
}

/// An address, for which strace(1) would print hexadecimal digits.
impl Outcome for std::ptr::NonNull<libc::c_void> {
    fn value(&self) -> i64 {
        self.as_ptr() as i64
    }
}

impl Outcome for (UnixStream, UnixStream) {
    fn value(&self) -> i64 {
        0
    }
}

/// Whether somebody listens.
pub(crate) fn listening() -> bool {
    tracing::enabled!(target: TARGET, Level::TRACE)
}

/// Reports a system call that the child made, with two more fields: `pid`, and `ago`, how many nanoseconds ago it began,
/// so that a listener can put it into the order of things.
pub(crate) fn child_step(pid: u32, step: &Step, args: &str, done: Done) {
    let us = done.took / 1000;
    let ago = if done.started == 0 {
        0
    } else {
        sys::monotonic().saturating_sub(done.started)
    };
    let (primitive, call, why) = (step.primitive(), step.call(), step.why());
    let result = done.result;
    tracing::event!(target: TARGET, Level::TRACE, primitive, call, args, result, why, us, pid, ago);
}
