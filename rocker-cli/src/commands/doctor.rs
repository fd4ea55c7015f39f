//! `rocker doctor`

use std::io::stdout;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::print;
use crate::engine::become_root;
use crate::engine::doctor::{Check, Health};
use crate::engine::host::Host;
use crate::page::{Ink, Page};
use crate::{Engine, Result, Roots};

/// Check whether this machine can run containers
///
/// Everything that a plain run needs is looked at, or tried and undone: nothing is left, and nothing of the machine is
/// changed. The exit status is 0 if all is there, and 1 otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Example: sudo rocker doctor")]
pub(crate) struct Doctor {
    /// text, or json for one object a line
    #[arg(
        long,
        value_enum,
        default_value = "text",
        hide_possible_values = true,
        hide_default_value = true
    )]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A check as its line has it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    check: &'a str,
    status: Health,
    found: &'a str,
    cause: Option<&'a str>,
    remedy: Option<&'a str>,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<u8> {
        crate::explain::install();
        // Without it there is less that can be tried.
        let barred = become_root().err();
        let checks = Engine::look(Roots::from_env()).examine(&Host::this(), barred.as_ref());
        print(&match self.format {
            Format::Text => text(&checks, Page::of(&stdout())),
            Format::Json => json(&checks),
        });
        let is_well = checks.iter().all(|check| check.health != Health::Problem);
        Ok(if is_well { 0 } else { 1 })
    }
}

/// The checks for people: how it is, what, and what was found; beneath it what helps.
fn text(checks: &[Check], page: Page) -> String {
    let names = checks.iter().map(|check| check.name.chars().count());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (word, ink) = match check.health {
            Health::Ok => ("ok", Ink::Of("ns")),
            Health::Note => ("note", Ink::Of("cgroup")),
            Health::Problem => ("PROBLEM", Ink::Red),
        };
        let label = format!("{word:<7}  {:<width$}  ", check.name);
        page.labelled(&mut text, &label, &check.found, ink);
        if let Some(advice) = &check.advice {
            let margin = " ".repeat(9);
            page.labelled(
                &mut text,
                &format!("{margin}likely: "),
                &advice.cause,
                Ink::Dim,
            );
            page.labelled(
                &mut text,
                &format!("{margin}try:    "),
                &advice.remedy,
                Ink::Dim,
            );
        }
    }
    let problems = checks
        .iter()
        .filter(|check| check.health == Health::Problem);
    let (line, ink) = match problems.count() {
        0 => (
            "All that a plain `rocker run` needs is there.".to_owned(),
            Ink::Bold,
        ),
        1 => (
            "One problem keeps a plain `rocker run` from working.".to_owned(),
            Ink::Red,
        ),
        count => (
            format!("{count} problems keep a plain `rocker run` from working."),
            Ink::Red,
        ),
    };
    text.push('\n');
    page.line(&mut text, &line, ink);
    text
}

/// The checks for programs.
fn json(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let advice = check.advice.as_ref();
        let line = Line {
            check: &check.name,
            status: check.health,
            found: &check.found,
            cause: advice.map(|advice| advice.cause.as_str()),
            remedy: advice.map(|advice| advice.remedy.as_str()),
        };
        // Strings are always JSON.
        text.push_str(&serde_json::to_string(&line).unwrap_or_default());
        text.push('\n');
    }
    text
}
