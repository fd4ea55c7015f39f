//! Reports the system calls that this crate makes to whoever listens.
//!
//! One `tracing` event a call, target `rocker::syscall`, level TRACE (DEBUG for one that failed), with the fields `primitive`, `call`, `args`
//! (as strace(1) writes them, without the buffers that the kernel only fills, and without the fields of structures that
//! are 0), `result` (the value, or minus the errno), `why`, and `us` (microseconds). With no listener the cost is one
//! atomic load: the arguments are not even formatted.
//!
//! Left out: close(2), dup(2), getcwd(2), getdents64(2) and the fstat(2) that the C library makes before it, and the
//! reads and writes of bulk data: what the reader of a layer reads, what is written to a layer's files, what `pack` reads
//! of files, and what `read_beneath` reads, and of the process's ID maps; geteuid(2), getegid(2) and uname(2). Calls of the stat(2) family and fchmodat(2) stand under their own names, though the C library
//! may make them by way of newer calls or of /proc.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use tracing::Level;

/// The target of the events; a subscriber filters by it.
const TARGET: &str = "rocker::syscall";
/// The crate that speaks.
const PRIMITIVE: &str = "fs";

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

impl Outcome for OsString {
    fn value(&self) -> i64 {
        i64::try_from(self.len()).unwrap_or(i64::MAX)
    }
}

impl Outcome for OwnedFd {
    fn value(&self) -> i64 {
        i64::from(self.as_raw_fd())
    }
}

impl Outcome for File {
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
