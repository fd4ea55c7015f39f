//! Reports the system calls that this crate makes to whoever listens.
//!
//! One `tracing` event a call, target `rocker::syscall`, level TRACE (DEBUG for one that failed), with the fields `primitive`, `call`, `args`
//! (as strace(1) writes them, without the buffers that the kernel only fills, and without the fields of structures that
//! are 0), `result` (the value, or minus the errno), `why`, and `us` (microseconds). With no listener the cost is one
//! atomic load: the arguments are not even formatted.
//!
//! One kind of event is no system call: a request over HTTP, whose calls are made by other crates, unseen. It stands as one
//! event whose `call` is the method, `args` the URL without its query, in which storage services put the signature that
//! lets anybody in, `result` the HTTP status (or minus the errno behind a failure, -EIO where there is none), and `us` the
//! time until the headers came. No header is shown, so no token and no password is either.
//!
//! Left out: close(2), getdents64(2) and the fstat(2) that the C library makes before it, and the reads and writes of
//! blobs, which are bulk data.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use reqwest::{Response, Url};
use tracing::Level;

use crate::registry::shown;

/// The target of the events; a subscriber filters by it.
const TARGET: &str = "rocker::syscall";
/// The crate that speaks.
const PRIMITIVE: &str = "image";

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

/// Sends a request for `url`, and reports it as the event that is no system call.
pub(crate) async fn requested(
    url: &Url,
    why: &'static str,
    request: reqwest::RequestBuilder,
) -> reqwest::Result<Response> {
    if !tracing::enabled!(target: TARGET, Level::TRACE) {
        return request.send().await;
    }
    let (client, request) = request.build_split();
    let request = request?;
    let method = request.method().clone();
    let started = Instant::now();
    let outcome = client.execute(request).await;
    let us = started.elapsed().as_micros() as u64;
    let result = match &outcome {
        Ok(response) => i64::from(response.status().as_u16()),
        Err(error) => -i64::from(errno_behind(error)),
    };
    let (call, args) = (method.as_str(), shown(url));
    tracing::event!(target: TARGET, Level::TRACE, primitive = PRIMITIVE, call, args, result, why, us);
    outcome
}

fn errno_behind(error: &reqwest::Error) -> i32 {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if let Some(errno) = io.and_then(io::Error::raw_os_error) {
            return errno;
        }
        cause = error.source();
    }
    Errno::EIO as i32
}
