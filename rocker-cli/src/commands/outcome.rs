//! How a command ends: its exit status, and what is said of a failure.

use std::io::{self, Write};
use std::thread;

use super::print;
use crate::Result;
use crate::advice;
use crate::engine::View;
use crate::engine::host::Host;
use crate::page::{Ink, Page};

/// Prints the help that was asked for, or says in one line what is wrong with the command line.
pub(super) fn misunderstood(error: &clap::Error) -> u8 {
    let text = error.render();
    let paragraphs: Vec<String> = text
        .to_string()
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let is_complaint = paragraphs
        .first()
        .is_some_and(|first| first.starts_with("error: "));
    if !is_complaint {
        let _ = error.print();
        return if error.use_stderr() { 125 } else { 0 };
    }
    let mut line = paragraphs[0].trim_start_matches("error: ").to_owned();
    for tip in paragraphs
        .iter()
        .filter_map(|part| part.strip_prefix("tip: "))
        .filter(|tip| tip.starts_with("a similar") || tip.starts_with("some similar"))
    {
        line.push_str("; ");
        line.push_str(tip.split(" tip: ").next().unwrap_or_default());
    }
    let _ = writeln!(io::stderr(), "rocker: {line} (see --help)");
    125
}

/// Says what went wrong, and returns the exit status for it.
pub(super) fn finish(outcome: Result<u8>, view: impl FnOnce() -> Option<View>) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&error, view);
            error.exit_code()
        }
    }
}

/// Writes an error on stderr, and beneath it what is most likely behind it.
pub(super) fn complain(error: &crate::Error, view: impl FnOnce() -> Option<View>) {
    let mut text = format!("rocker: {}\n", error.chain());
    let page = Page::of(&io::stderr());
    if let Some(culprit) = crate::explain::culprit(error) {
        page.labelled(&mut text, "        call:   ", &culprit, Ink::Dim);
    }
    if let Some(advice) = advice::of(error, &Host::this(), view) {
        page.labelled(&mut text, "        likely: ", &advice.cause, Ink::Dim);
        page.labelled(&mut text, "        try:    ", &advice.remedy, Ink::Dim);
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Does something for each of several names; the first error decides the exit status, and all are shown.
pub(super) fn each(names: &[String], mut work: impl FnMut(&str) -> Result<()>) -> u8 {
    let mut status = 0;
    for name in names {
        if let Err(error) = work(name) {
            crate::explain::blame(&error);
            complain(&error, || None);
            status = 1;
        }
    }
    status
}

/// The same for what takes its time, for all of them at once; their names are printed as they are done.
pub(super) fn each_at_once(names: &[String], work: impl Fn(&str) -> Result<()> + Sync) -> u8 {
    let work = &work;
    let done = thread::scope(|scope| {
        let all: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || work(name).map(|()| print(&format!("{name}\n")))))
            .collect();
        all.into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    let mut done = done.into_iter();
    each(names, |_| match done.next() {
        Some(Ok(done)) => done,
        // What it had to say it has said.
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => Ok(()),
    })
}

/// Does what is no run of a container: as with Docker, the exit status of a failure is 1 then.
pub(super) fn plainly(work: impl FnOnce() -> Result<()>) -> Result<u8> {
    let outcome = work().inspect_err(|error| {
        crate::explain::blame(error);
        complain(error, || None);
    });
    Ok(u8::from(outcome.is_err()))
}
