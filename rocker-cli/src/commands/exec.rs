//! `rocker exec`

use std::io::{IsTerminal, stdin};

use clap::Args;

use super::request::keys;
use super::{Executable, Explain, front};
use crate::{Error, ExecOptions, Io, Result};

/// Run a command in a running container
#[derive(Debug, Args)]
#[command(override_usage = "rocker exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
#[command(after_help = "Example: rocker exec -it web sh")]
pub(crate) struct Exec {
    /// Connect standard input
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Leave the command to itself as soon as it runs
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Leave the command to itself at these keys; none if empty
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// All capabilities, whatever the container has
    #[arg(long)]
    privileged: bool,
    /// Set a variable; NAME alone takes it from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Run as this user
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    #[command(flatten)]
    explain: Explain,
    /// The container: its name, or the beginning of its ID
    container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(crate) fn run(self) -> Result<u8> {
        let for_a_person = self.tty && self.interactive;
        if for_a_person && !stdin().is_terminal() {
            return Err(Error::NotATerminal);
        }
        let detach_keys = keys(&self.detach_keys)?.filter(|_| for_a_person);
        if (detach_keys.is_some() || self.detach) && !front::is_worker()? {
            return front::stand_in(!self.detach);
        }
        let options = ExecOptions {
            command: self.command,
            io: Io {
                interactive: self.interactive,
                terminal: self.tty,
            },
            detach: self.detach,
            detach_keys,
            privileged: self.privileged,
            fail_at: None,
            env: self.env,
            workdir: self.workdir,
            user: self.user,
        };
        self.explain.around(Executable::Protected, |engine| {
            engine.exec(&self.container, &options)
        })
    }
}
