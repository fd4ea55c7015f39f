//! One system call as it is reported.

use std::fmt::{self, Write as _};
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::field::{Field, Visit};

/// The fields of an event: of one on `rocker::syscall`, or of a message.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) primitive: String,
    pub(super) call: String,
    pub(super) args: String,
    pub(super) why: String,
    /// The message, and what belongs to it.
    pub(super) message: String,
    /// The value, or minus the errno.
    pub(super) result: i64,
    pub(super) us: u64,
    /// The child that made it; the parent made it without.
    pub(super) pid: Option<u64>,
    /// How many nanoseconds before the event the call began; without it, it has just ended.
    pub(super) ago: Option<u64>,
    /// Whether it is what made the command fail.
    pub(super) fatal: bool,
}

impl Call {
    /// When it began, as its event arrives.
    pub(super) fn began(&self) -> Instant {
        let ago = self
            .ago
            .map_or(Duration::from_micros(self.us), Duration::from_nanos);
        Instant::now().checked_sub(ago).unwrap_or_else(Instant::now)
    }

    /// Its errno, if it failed.
    pub(super) fn errno(&self) -> Option<i32> {
        let errno = self.result.checked_neg().filter(|errno| *errno > 0)?;
        i32::try_from(errno).ok()
    }

    /// The name of its errno and what that means, as strace(1) writes it.
    pub(super) fn error(&self) -> Option<String> {
        let errno = self.errno()?;
        let message = io::Error::from_raw_os_error(errno).to_string();
        let message = message.split(" (os error").next().unwrap_or_default();
        Some(format!("{:?} ({message})", Errno::from_raw(errno)))
    }

    /// The call as strace(1) writes it, and what it was for.
    pub(super) fn sentence(&self) -> String {
        let Self {
            call, args, why, ..
        } = self;
        format!(
            "{call}({args}) = -1 {}, made {why}",
            self.error().unwrap_or_default()
        )
    }

    /// What it was made on, as far as its arguments have that in quotes or brackets: paths and names.
    pub(super) fn objects(&self) -> impl Iterator<Item = &str> {
        let parts = self.args.split(['"', '<', '>']).skip(1).step_by(2);
        parts.filter(|object| object.len() > 1)
    }

    /// The page of the manual that describes it.
    pub(super) fn manual(&self) -> String {
        crate::manual::page(&self.primitive, &self.call, &self.args)
    }
}

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        let slot = match field.name() {
            "primitive" => &mut self.primitive,
            "call" => &mut self.call,
            "args" => &mut self.args,
            "why" => &mut self.why,
            _ => return self.record_debug(field, &value),
        };
        value.clone_into(slot);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "us" => self.us = value,
            "pid" => self.pid = Some(value),
            "ago" => self.ago = Some(value),
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "result" {
            self.result = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let separator = if self.message.is_empty() { "" } else { ", " };
        // A string takes all that is written to it.
        let _ = match field.name() {
            "message" => write!(self.message, "{separator}{value:?}"),
            name => write!(self.message, "{separator}{name}: {value:?}"),
        };
    }
}
