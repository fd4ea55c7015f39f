//! `rocker volume`

mod create;
mod inspect;
mod ls;
mod prune;
mod rm;

use clap::{Args, Subcommand};

use crate::{Result, VolumeSummary};

/// Look after volumes
#[derive(Debug, Args)]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a volume
    Create(create::Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Show all that is known of volumes
    Inspect(inspect::Inspect),
    /// Remove volumes that no container has
    #[command(visible_alias = "remove")]
    Rm(rm::Rm),
    /// Remove all volumes that no container has and nobody named
    Prune(prune::Prune),
}

impl Volume {
    pub(crate) fn run(self) -> Result<u8> {
        match self.command {
            Command::Create(command) => command.run(),
            Command::Ls(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Rm(command) => command.run(),
            Command::Prune(command) => command.run(),
        }
    }
}

/// Whether a volume has a label, `NAME` or `NAME=VALUE`.
fn has_label(volume: &VolumeSummary, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => volume.labels.get(name).is_some_and(|own| own == value),
        None => volume.labels.contains_key(wanted),
    }
}
