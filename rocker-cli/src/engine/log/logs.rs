//! Reading a container's log, also while it is written.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rocker_ns::Output;

use super::lines::Lines;
use super::{Entry, LOG};
use crate::engine::lock::is_held;
use crate::engine::watch::Watch;
use crate::engine::{Engine, disk};
use crate::{Error, Result};

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogQuery {
    /// Whether to go on with what is written from now on, until the container ends.
    pub follow: bool,
    /// None from before.
    pub since: Option<SystemTime>,
    /// None from after.
    pub until: Option<SystemTime>,
    /// No more than so many of those that are there, the last ones.
    pub tail: Option<u64>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// When it was written.
    pub time: SystemTime,
    /// Where to.
    pub output: Output,
    /// The line with its end. A long line, or the last one, may have none; a long one goes on in the next.
    pub text: String,
}

/// The lines of a log. Whoever is slow to take them holds up nobody: they are read from the file.
#[derive(Debug)]
pub struct Logs {
    lines: Lines,
    query: LogQuery,
    watch: Option<Watch>,
    run: PathBuf,
    /// Whether the one who wrote it was gone before all of it was read.
    ended: bool,
}

/// When it is looked whether the writer has died without a word.
const TURN: Duration = Duration::from_secs(1);

impl Engine {
    /// What the program of a container has written.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NoLog`].
    pub fn logs(&self, name: &str, query: LogQuery) -> Result<Logs> {
        let found = self.container(name)?;
        let data = self.roots().containers().join(&found.id);
        let run = self.roots().running().join(&found.id);
        let path = data.join(LOG);
        let watch = match query.follow {
            true => Some(Watch::over(&data)?),
            false => None,
        };
        let was_started = self.state(&found.id).is_ok_and(|state| state.is_some());
        let why = "so that one knows whether a log is kept";
        if !disk::exists(&path, why)
            && was_started
            && found.status != crate::engine::Status::Created
        {
            return Err(Error::NoLog { name: found.name });
        }
        let mut lines = Lines::open(&path).map_err(disk::failed("read", &path))?;
        if let Some(count) = query.tail {
            lines
                .skip_to_last(count)
                .map_err(disk::failed("read", &path))?;
        }
        Ok(Logs {
            lines,
            query,
            watch,
            run,
            ended: false,
        })
    }
}

impl Iterator for Logs {
    type Item = Result<LogLine>;

    fn next(&mut self) -> Option<Result<LogLine>> {
        loop {
            match self.lines.next() {
                Ok(Some(line)) => {
                    // What is no line of a log is left of somebody who died while he wrote it.
                    let Ok(entry) = serde_json::from_slice::<Entry<'_>>(&line) else {
                        continue;
                    };
                    if self.query.since.is_some_and(|since| entry.time < since) {
                        continue;
                    }
                    if self.query.until.is_some_and(|until| entry.time > until) {
                        return None;
                    }
                    return Some(Ok(LogLine {
                        time: entry.time,
                        output: match &*entry.stream {
                            "stderr" => Output::Stderr,
                            _ => Output::Stdout,
                        },
                        text: entry.log.into_owned(),
                    }));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(disk::failed("read", &self.run)(error))),
            }
            let watch = self.watch.as_ref()?;
            if self.ended
                || self
                    .query
                    .until
                    .is_some_and(|until| SystemTime::now() > until)
            {
                return None;
            }
            // Asked before the last look: what it wrote until then is there.
            self.ended = !is_held(&self.run).unwrap_or(false);
            if !self.ended {
                watch.wait(TURN);
            }
        }
    }
}
