//! Reports the system calls that this crate makes itself to whoever listens: those on rocker's own files.
//!
//! One `tracing` event a call, target `rocker::syscall`, level TRACE, with the fields `primitive`, `call`, `args`
//! (as strace(1) writes them), `result` (the value, or minus the errno), `why`, and `us` (microseconds). With no
//! listener the cost is one atomic load: the arguments are not even formatted.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use tracing::Level;

/// The target of the events; a subscriber filters by it.
const TARGET: &str = "rocker::syscall";
/// What rocker's own files count as, beside the five primitives.
pub(crate) const STATE: &str = "state";

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

impl Outcome for File {
    fn value(&self) -> i64 {
        i64::from(self.as_raw_fd())
    }
}

/// Makes one system call through `run`, and reports it with its arguments, its result and why it was made.
pub(crate) fn traced<T: Outcome>(
    primitive: &'static str,
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
            tracing::event!(target: TARGET, Level::TRACE, primitive, call, args = args(), result, why, us);
        }
        Err(error) => {
            let result = -i64::from(error.raw_os_error().unwrap_or(EIO));
            tracing::event!(target: TARGET, Level::DEBUG, primitive, call, args = args(), result, why, us);
        }
    }
    outcome
}

/// Stands for an error that is the standard library's own; the same number on every Linux.
const EIO: i32 = 5;

/// Whether somebody listens to all calls, and not only to those that fail.
pub(crate) fn listening() -> bool {
    tracing::enabled!(target: TARGET, Level::TRACE)
}

/// Tells the listener where in its life a container is.
pub(crate) fn phase(name: &'static str) {
    tracing::debug!(target: "rocker::phase", "{name}");
}
