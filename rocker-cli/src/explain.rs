//! `--explain`: the system calls of a command, in the order in which they happened, each with what it was for.
//!
//! The crates report what they do as `tracing` events (target `rocker::syscall`); this is the one who listens. The
//! child's calls are reported when it is done with them, and put into their place by time.

mod call;
mod json;
mod story;

use std::collections::{HashMap, HashSet};
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

/// The explanation of this process's command. Without anybody who asked for it, it knows the calls that failed, for the
/// error that may come of one.
static EXPLANATION: OnceLock<Mutex<Explanation>> = OnceLock::new();

/// How many failed calls are kept where nothing is written.
const KEPT: usize = 256;

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
    /// None when nothing is to be written.
    format: Option<Format>,
    /// The call that an error comes from, and what it was for.
    culprit: Option<String>,
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
pub(crate) fn listen(format: Option<Format>) {
    EXPLANATION.get_or_init(|| {
        Mutex::new(Explanation {
            events: Vec::new(),
            format,
            culprit: None,
            file: None,
            story: Story::new(Page::of(&io::stderr())),
        })
    });
}

/// The call that `error` comes from, and what it was for, where neither the error nor an explanation says so, and the call was
/// reported.
pub(crate) fn culprit(error: &Error) -> Option<String> {
    let mut culprit = None;
    change(|explanation| {
        if explanation.format.is_none() {
            explanation.blame(error);
            culprit = explanation.culprit.take();
        }
    });
    culprit.filter(|_| !error.chain().contains("so that "))
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
    listen(None);
    let mut max = LevelFilter::DEBUG;
    change(|explanation| {
        if explanation.format.is_some() {
            max = LevelFilter::TRACE;
        }
    });
    let _ = tracing::subscriber::set_global_default(Listener { max });
}

impl Explanation {
    /// Which call it was, its errno says, and what it was made on: the last such call before all was taken down. Where the
    /// error does not say on what, it was the last call of its process, or none that was reported.
    fn blame(&mut self, error: &Error) {
        let Some(failed) = error.call() else { return };
        let errno = failed.errno;
        let chain = error.chain();
        let calls = self.events.iter_mut().map_while(|(_, what)| match what {
            What::Phase(name) if name == "ending" => None,
            What::Phase(_) => Some(None),
            What::Call(call) => Some(Some(call)),
        });
        let mut over = HashSet::new();
        let mut last = None;
        for call in calls.flatten().collect::<Vec<_>>().into_iter().rev() {
            let is_last = over.insert(call.pid);
            if call.errno() != Some(errno) {
                continue;
            }
            if call.objects().any(|object| chain.contains(object)) {
                call.fatal = true;
                self.culprit = Some(call.sentence());
                return;
            }
            if is_last {
                last = Some(call);
            }
        }
        if let Some(call) = last {
            call.fatal = true;
        }
    }

    /// Adds a call. Where nothing is written, only the last ones are kept.
    fn add(&mut self, event: (Instant, What)) {
        if self.format.is_none() && self.events.len() >= KEPT {
            self.events.drain(..KEPT / 2);
        }
        self.events.push(event);
    }

    /// Writes the events in the order in which they began.
    fn write(&mut self, end: bool) {
        let Some(format) = self.format else {
            return self.events.clear();
        };
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
            match (format, what) {
                (Format::Json, What::Call(call)) => json::line(&mut text, &call, own),
                (Format::Json, What::Phase(_)) => {}
                (Format::Text, What::Call(call)) => self.story.call(&mut text, &call),
                (Format::Text, What::Phase(name)) => self.story.note(&mut text, phase(&name)),
            }
        }
        if end && format == Format::Text {
            self.story.end(&mut text);
        }
        let mut stderr = io::stderr().lock();
        let written = match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()),
            None => stderr.write_all(text.as_bytes()),
        };
        if let Err(error) = written {
            let _ = writeln!(
                stderr,
                "rocker: warning: the explanation is not whole: {error}"
            );
        }
    }
}

/// What a phase means for the reader.
fn phase(name: &str) -> &'static str {
    match name {
        "running" => "The program runs. What it calls from here on is its own.",
        _ => "It is over. What was made for the container is taken down.",
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
        let mut call = Call::default();
        event.record(&mut call);
        match event.metadata().target() {
            "rocker::syscall" => {
                let event = (call.began(), What::Call(call));
                change(|explanation| explanation.add(event));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An explanation of calls by their arguments, result and process, none of which was written.
    fn of(calls: &[(&str, i64, Option<u64>)]) -> Explanation {
        let call = |(args, result, pid): &(&str, i64, Option<u64>)| {
            let call = Call {
                call: "openat".to_owned(),
                args: (*args).to_owned(),
                result: *result,
                pid: *pid,
                ..Call::default()
            };
            (Instant::now(), What::Call(call))
        };
        Explanation {
            events: calls.iter().map(call).collect(),
            format: Some(Format::Text),
            culprit: None,
            file: None,
            story: Story::new(Page::endless()),
        }
    }

    /// The call that is blamed for an error about `/a/file`.
    fn blamed(mut explanation: Explanation) -> Option<usize> {
        explanation.blame(&Error::State {
            operation: "read",
            path: "/a/file".into(),
            source: io::Error::from_raw_os_error(2),
        });
        explanation
            .events
            .iter()
            .position(|(_, what)| matches!(what, What::Call(call) if call.fatal))
    }

    #[test]
    fn the_call_that_is_blamed_is_the_one_that_the_error_speaks_of() {
        let tolerated = ("AT_FDCWD, \"/other\", O_RDONLY", -2, None);
        let failed = ("AT_FDCWD, \"/a/file\", O_RDONLY", -2, None);
        let fine = ("AT_FDCWD, \"/a/file\", O_RDONLY", 3, None);
        assert_eq!(blamed(of(&[tolerated, failed, tolerated, fine])), Some(1));
        assert_eq!(blamed(of(&[fine, tolerated])), Some(1), "the last of all");
        assert_eq!(blamed(of(&[tolerated, fine])), None, "it was not reported");
        let child = |call: (&'static str, i64, Option<u64>)| (call.0, call.1, Some(7));
        assert_eq!(
            blamed(of(&[child(tolerated), fine])),
            Some(0),
            "the child's last"
        );
        let mut after = of(&[failed]);
        after
            .events
            .push((Instant::now(), What::Phase("ending".to_owned())));
        after.events.extend(of(&[failed]).events);
        assert_eq!(blamed(after), Some(0), "what is taken down is no cause");
    }
}
