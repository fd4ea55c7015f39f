//! `rocker attach`

use std::io::{Write, stderr};

use clap::Args;
use rocker_ns::AttachOptions;

use super::engine;
use super::request::keys;
use crate::Result;

/// Connect to the command of a running container
///
/// Its output comes here, and what is typed here goes there, until it ends. Several may be connected at once.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker attach web    and Ctrl-P Ctrl-Q to leave it")]
pub(crate) struct Attach {
    /// Do not connect standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the command
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Leave the command at these keys; none if empty
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// The container: its name, or the beginning of its ID
    container: String,
}

impl Attach {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let has_stdin = !self.no_stdin && engine.io_of(&self.container)?.interactive;
        let options = AttachOptions {
            stdin: has_stdin,
            output: true,
            keys: keys(&self.detach_keys)?.filter(|_| has_stdin),
            pass_signals: self.sig_proxy,
        };
        if let Some(code) = engine.attach(&self.container, options)? {
            return Ok(code);
        }
        let _ = writeln!(stderr(), "\nrocker: the command goes on by itself");
        Ok(0)
    }
}
