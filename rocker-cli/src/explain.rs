//! `--explain`: the system calls of a command, in the order in which they happened, each with what it was for.
//!
//! The crates report what they do as `tracing` events (target `rocker::syscall`); this is the one who listens. The
//! child's calls are reported when it is done with them, and put into their place by time.

mod call;
mod json;
mod story;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use self::call::Call;
use self::story::Story;
use crate::page::Page;
use crate::{Error, Result};

pub(crate) use self::story::heading;

/// The explanation of this process's command, once somebody asked for it.
static EXPLANATION: OnceLock<Mutex<Explanation>> = OnceLock::new();

/// How an explanation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A story for people
    Text,
    /// One JSON object a line
    Json,
}

/// What was reported and not written yet, and where it is written to.
#[derive(Debug)]
struct Explanation {
    events: Vec<(Instant, What)>,
    format: Format,
    /// Standard error without one.
    file: Option<File>,
    story: Story,
}

/// What an event is about.
#[derive(Debug)]
enum What {
    Call(Call),
    /// Where in its life the container is.
    Phase(String),
}

/// Begins to listen; what happens before is not explained.
pub(crate) fn listen(format: Format) {
    EXPLANATION.get_or_init(|| {
        Mutex::new(Explanation {
            events: Vec::new(),
            format,
            file: None,
            story: Story::new(Page::of(&io::stderr())),
        })
    });
}

/// Has the explanation written to the file `path`, which is made, or emptied.
pub(crate) fn write_to(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let file = options.open(path).map_err(|source| Error::State {
        operation: "open the explanation's file",
        path: path.to_owned(),
        source,
    })?;
    change(|explanation| {
        explanation.story = Story::new(Page::of(&file));
        explanation.file = Some(file);
    });
    Ok(())
}

/// Marks the call that `error` comes from, if it was reported and not written yet.
pub(crate) fn blame(error: &Error) {
    change(|explanation| explanation.blame(error));
}

/// Writes what was reported, and what it all cost.
pub(crate) fn finish() {
    change(|explanation| explanation.write(true));
}

fn change(work: impl FnOnce(&mut Explanation)) {
    if let Some(explanation) = EXPLANATION.get()
        && let Ok(mut explanation) = explanation.lock()
    {
        work(&mut explanation);
    }
}

/// Installs the listener for the whole process: warnings go to stderr, and system calls into the explanation. To be called
/// once there is one, or will not be.
pub(crate) fn install() {
    let max = if EXPLANATION.get().is_some() {
        LevelFilter::TRACE
    } else {
        LevelFilter::WARN
    };
    let _ = tracing::subscriber::set_global_default(Listener { max });
}

impl Explanation {
    /// The errno says which call it was: the last that failed with it before all was taken down.
    fn blame(&mut self, error: &Error) {
        let Some(errno) = errno(error) else { return };
        let taken_down =
            |(_, what): &(_, What)| matches!(what, What::Phase(name) if name == "ending");
        let end = self.events.iter().position(taken_down);
        let end = end.unwrap_or(self.events.len());
        for (_, what) in self.events[..end].iter_mut().rev() {
            if let What::Call(call) = what
                && call.errno() == Some(errno)
            {
                call.fatal = true;
                return;
            }
        }
    }

    /// Writes the events in the order in which they began.
    fn write(&mut self, end: bool) {
        // A child's event carries its time, to which the way here only adds; none began after the next one did.
        let mut next: HashMap<u64, Instant> = HashMap::new();
        for (began, what) in self.events.iter_mut().rev() {
            if let What::Call(Call { pid: Some(pid), .. }) = what {
                *began = next.get(pid).map_or(*began, |next| (*began).min(*next));
                next.insert(*pid, *began);
            }
        }
        self.events.sort_by_key(|(began, _)| *began);
        let own = std::process::id();
        let mut text = String::new();
        for (_, what) in self.events.drain(..) {
            match (self.format, what) {
                (Format::Json, What::Call(call)) => json::line(&mut text, &call, own),
                (Format::Json, What::Phase(_)) => {}
                (Format::Text, What::Call(call)) => self.story.call(&mut text, &call),
                (Format::Text, What::Phase(name)) => self.story.note(&mut text, phase(&name)),
            }
        }
        if end && self.format == Format::Text {
            self.story.end(&mut text);
        }
        let _ = match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()),
            None => io::stderr().lock().write_all(text.as_bytes()),
        };
    }
}

/// What a phase means for the reader.
fn phase(name: &str) -> &'static str {
    match name {
        "running" => "The program runs. What it calls from here on is its own.",
        _ => "It is over. What was made for the container is taken down.",
    }
}

/// The errno at the bottom of an error.
fn errno(error: &Error) -> Option<i32> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut found = None;
    while let Some(error) = source {
        let io = error.downcast_ref::<io::Error>();
        found = io.and_then(io::Error::raw_os_error).or(found);
        source = error.source();
    }
    found
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
        let mut call = Call::default();
        event.record(&mut call);
        match event.metadata().target() {
            "rocker::syscall" => {
                let event = (call.began(), What::Call(call));
                change(|explanation| explanation.events.push(event));
            }
            "rocker::phase" => change(|explanation| {
                let is_running = call.message == "running";
                let event = (Instant::now(), What::Phase(call.message));
                explanation.events.push(event);
                // The program is about to speak for itself.
                if is_running {
                    explanation.write(false);
                }
            }),
            _ if *event.metadata().level() <= Level::WARN => {
                let _ = writeln!(io::stderr(), "rocker: warning: {}", call.message);
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
