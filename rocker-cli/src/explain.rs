//! `--explain`: the system calls of a command, in the order in which they happened, each with what it was for.
//!
//! The crates report what they do as `tracing` events (target `rocker::syscall`); this is the one who listens. The
//! child's calls are reported when it is done with them, and put into their place by time.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The calls that were reported and not printed yet.
type Calls = Arc<Mutex<Vec<Call>>>;

/// Where calls are collected, once somebody asked for them.
static CALLS: OnceLock<Calls> = OnceLock::new();

/// One system call.
#[derive(Debug)]
struct Call {
    began: Instant,
    fields: Fields,
}

/// The calls that happen from now on.
#[derive(Debug)]
pub(crate) struct Explanation(Calls);

impl Explanation {
    /// Begins to listen.
    pub(crate) fn listen() -> Self {
        Self(Arc::clone(CALLS.get_or_init(Calls::default)))
    }

    /// Prints on stderr what was not printed yet.
    pub(crate) fn print(&self) {
        print(&self.0);
    }
}

/// Installs the listener for the whole process: warnings go to stderr, and system calls where an [`Explanation`] asks for
/// them. To be called once an [`Explanation`] exists, or will not.
pub(crate) fn install() {
    let max = if CALLS.get().is_some() {
        LevelFilter::TRACE
    } else {
        LevelFilter::WARN
    };
    let _ = tracing::subscriber::set_global_default(Listener { max });
}

/// Writes the calls in the order in which they began.
fn print(calls: &Calls) {
    let Ok(mut calls) = calls.lock() else { return };
    calls.sort_by_key(|call| call.began);
    let mut text = String::new();
    for call in calls.drain(..) {
        call.render(&mut text);
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

impl Call {
    fn render(&self, text: &mut String) {
        let Fields {
            primitive,
            call,
            args,
            why,
            result,
            us,
            pid,
            ..
        } = &self.fields;
        let place = if pid.is_some() {
            format!("{primitive} child")
        } else {
            primitive.clone()
        };
        let result = match result {
            error if *error < 0 => {
                let error = i32::try_from(-error).unwrap_or(0);
                let message = io::Error::from_raw_os_error(error).to_string();
                format!(
                    "-1 {}",
                    message.split(" (os error").next().unwrap_or_default()
                )
            }
            value => value.to_string(),
        };
        // A string takes all that is written to it.
        let _ = writeln!(text, "{place:<9} {call}({args}) = {result}  [{us} µs]");
        let _ = writeln!(text, "          {why}");
    }
}

/// The fields of an event on `rocker::syscall`.
#[derive(Debug, Default)]
struct Fields {
    primitive: String,
    call: String,
    args: String,
    why: String,
    message: String,
    result: i64,
    us: u64,
    pid: Option<u64>,
    /// How many nanoseconds before the event the call began; without it, it has just ended.
    ago: Option<u64>,
}

impl Visit for Fields {
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
        let _ = match field.name() {
            "message" => write!(self.message, "{separator}{value:?}"),
            name => write!(self.message, "{separator}{name}: {value:?}"),
        };
    }
}

/// The one who listens.
#[derive(Debug)]
struct Listener {
    max: LevelFilter,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("rocker");
        ours && *metadata.level() <= self.max
            && (*metadata.level() <= Level::WARN || metadata.target().starts_with("rocker::"))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match (event.metadata().target(), CALLS.get()) {
            ("rocker::syscall", Some(calls)) => {
                let ago = fields
                    .ago
                    .map_or(Duration::from_micros(fields.us), Duration::from_nanos);
                let began = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
                if let Ok(mut calls) = calls.lock() {
                    calls.push(Call { began, fields });
                }
            }
            // The program is about to speak for itself.
            ("rocker::phase", Some(calls)) => print(calls),
            _ if *event.metadata().level() <= Level::WARN => {
                let _ = writeln!(io::stderr(), "rocker: warning: {}", fields.message);
            }
            _ => {}
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
