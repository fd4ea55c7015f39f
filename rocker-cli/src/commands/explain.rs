//! `--explain`, which several commands share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::progress::Bars;
use crate::engine::become_root;
use crate::explain::{self, Format};
use crate::{Engine, Result};

/// Whether, how and where a command explains itself.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Explain every system call on stderr, in order; =json for programs
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        hide_possible_values = true
    )]
    explain: Option<Format>,
    /// Explain in this file instead
    #[arg(long, value_name = "PATH")]
    explain_file: Option<PathBuf>,
}

/// What is to be ready before a command does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Executable {
    AsItIs,
    /// None of what runs in a container can write to rocker's executable. The process is started over for that, once.
    Protected,
}

impl Explain {
    /// The same flags for another process.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let format = self.explain.map(|format| match format {
            Format::Text => "--explain=text".into(),
            Format::Json => "--explain=json".into(),
        });
        let file = self.explain_file.as_ref();
        let file = file.map(|path| {
            let mut arg = OsString::from("--explain-file=");
            arg.push(path);
            arg
        });
        format.into_iter().chain(file).collect()
    }

    /// What shows the progress of a pull: nothing, where it would come in between of the explanation's lines for programs.
    pub(crate) fn bars(&self) -> Bars {
        match (self.explain, &self.explain_file) {
            (Some(Format::Json), None) => Bars::hidden(),
            _ => Bars::new(),
        }
    }

    /// Does `work`, and explains it if that was asked for.
    ///
    /// A process that is started over explains what it does from there on, and opens the file only then.
    pub(crate) fn around<T>(
        &self,
        executable: Executable,
        work: impl FnOnce(&Engine) -> Result<T>,
    ) -> Result<T> {
        let format = self
            .explain
            .or(self.explain_file.as_ref().and(Some(Format::Text)));
        explain::listen(format);
        explain::install();
        become_root()?;
        if executable == Executable::Protected {
            rocker_ns::protect_executable()?;
        }
        if let Some(path) = &self.explain_file {
            explain::write_to(path)?;
        }
        let outcome = super::open().and_then(|engine| work(&engine));
        if let Err(error) = &outcome {
            explain::blame(error);
        }
        explain::finish();
        outcome
    }
}
