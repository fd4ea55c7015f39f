//! `rocker network`

mod reload;
mod rules;

use clap::{Args, Subcommand};

use crate::Result;

/// Look after the network of containers
#[derive(Debug, Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what rocker has in the packet filter, and why
    Rules(rules::Rules),
    /// Put rocker's rules into the packet filter once more
    Reload(reload::Reload),
}

impl Network {
    pub(crate) fn run(self) -> Result<u8> {
        match self.command {
            Command::Rules(command) => command.run(),
            Command::Reload(command) => command.run(),
        }
    }
}
