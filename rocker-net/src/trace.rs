//! Reports the system calls that this crate makes to whoever listens.
//!
//! One `tracing` event a call, target `rocker::syscall`, level TRACE (DEBUG for one that failed), with the fields `primitive`, `call`, `args`
//! (as strace(1) writes them, without the buffers that the kernel only fills, and without the fields of structures that
//! are 0), `result` (the value, or minus the errno), `why`, and `us` (microseconds). With no listener the cost is one
//! atomic load: the arguments are not even formatted.
//!
//! Left out: close(2), getdents64(2) and the fstat(2) that the C library makes before it, and what the C library does to
//! start and end a thread. Of `pasta`, the execve(2) stands for what the standard library does to start it (fork, streams, signal
//! mask); how it is searched for in `PATH`, copies of descriptors and a look whether it has ended already are left out
//! too. So is what the thread does that passes on published ports: it goes on for as long as the container. Messages of netlink stand with their type, their flags and our words for what they are about,
//! not with each attribute.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use tracing::Level;

/// The target of the events; a subscriber filters by it.
const TARGET: &str = "rocker::syscall";
/// The crate that speaks.
const PRIMITIVE: &str = "net";

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
