//! `rocker plan`

use std::io::stdout;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::print;
use super::request::Request;
use crate::explain::heading;
use crate::page::{Entry, Ink, Page};
use crate::{Engine, Result, Roots, manual};

/// Show what run would have a container's process do, without doing it
///
/// The system calls between clone3(2) and execve(2), in order, each with what it is for. It needs no privileges, and
/// nothing is made, pulled or run. What is known only at run time is shown in brackets.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "rocker plan [OPTIONS OF run] IMAGE[:TAG|@DIGEST] [COMMAND] [ARG]..."
)]
#[command(after_help = "Example: rocker plan --read-only --network none hello")]
pub(crate) struct Plan {
    /// text, or json for one object a line
    #[arg(
        long,
        value_enum,
        default_value = "text",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Other options"
    )]
    format: Format,
    #[command(flatten)]
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A step as its line has it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    call: &'a str,
    args: &'a str,
    why: &'a str,
    man: &'a str,
    phase: &'a str,
    /// The number of the step, from 0, without whose success this one is not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<usize>,
}

impl Plan {
    pub(crate) fn run(self) -> Result<u8> {
        crate::explain::install();
        let engine = Engine::look(Roots::from_env());
        let plan = engine.plan(&self.request.options()?)?;
        print(&match self.format {
            Format::Text => text(&plan, Page::of(&stdout())),
            Format::Json => json(&plan),
        });
        Ok(0)
    }
}

/// The list for people.
fn text(plan: &rocker_ns::Plan, page: Page) -> String {
    let mut text = String::new();
    let mut under = None;
    let mut known = Vec::new();
    for (index, step) in plan.steps().iter().enumerate() {
        let primitive = step.primitive();
        let mut title = String::new();
        heading(
            page,
            &mut title,
            (primitive, None),
            &mut under,
            known.contains(&primitive),
        );
        known.push(primitive);
        text.push_str(if index == 0 {
            title.trim_start()
        } else {
            &title
        });
        let args = args(step);
        let why = match step.needs() {
            Some(needed) => format!("{} (made only if {needed} succeeds)", step.why()),
            None => step.why().to_owned(),
        };
        page.entry(
            &mut text,
            &Entry {
                margin: [&format!("{index:>4}  "), "      "],
                margin_ink: Ink::Dim,
                call: format!("{}({args})", step.call()),
                call_ink: Ink::Of(primitive),
                time: None,
                why: &why,
                manual: manual::page(primitive, step.call(), &args),
            },
        );
    }
    text
}

/// The list for programs.
fn json(plan: &rocker_ns::Plan) -> String {
    let mut text = String::new();
    for step in plan.steps() {
        let args = args(step);
        let line = Line {
            call: step.call(),
            args: &args,
            why: step.why(),
            man: &manual::page(step.primitive(), step.call(), &args),
            phase: step.primitive(),
            needs: step.needs(),
        };
        // Strings are always JSON.
        text.push_str(&serde_json::to_string(&line).unwrap_or_default());
        text.push('\n');
    }
    text
}

/// The arguments of a step; a descriptor has a number only when it is open, and here it is a placeholder.
fn args(step: &rocker_ns::Step) -> String {
    let args: Vec<String> = step
        .args()
        .iter()
        .map(|arg| match arg {
            rocker_ns::Arg::Fd(_) => "<fd>".to_owned(),
            arg => arg.to_string(),
        })
        .collect();
    args.join(", ")
}
