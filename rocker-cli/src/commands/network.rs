//! `rocker network`

mod connect;
mod create;
mod inspect;
mod ls;
mod prune;
mod reload;
mod rules;

use clap::{Args, Subcommand};

use super::{each, engine, print};
use crate::{NetworkSummary, Result};

pub(super) use self::prune::has_label;

/// Look after networks
#[derive(Debug, Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a network
    Create(create::Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Show all that is known of networks
    Inspect(inspect::Inspect),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove all networks that no container has a place on
    Prune(prune::Prune),
    /// Give a container a place on a network
    Connect(connect::Connect),
    /// Take away a container's place on a network
    Disconnect(connect::Disconnect),
    /// Show what rocker has in the packet filter, and why
    Rules(rules::Rules),
    /// Put rocker's rules into the packet filter once more
    Reload(reload::Reload),
}

#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network rm backend")]
struct Rm {
    /// That there is no such network is fine
    #[arg(short, long)]
    force: bool,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

impl Network {
    pub(crate) fn run(self) -> Result<u8> {
        match self.command {
            Command::Create(command) => command.run(),
            Command::Ls(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Rm(command) => command.run(),
            Command::Prune(command) => command.run(),
            Command::Connect(command) => command.run(),
            Command::Disconnect(command) => command.run(),
            Command::Rules(command) => command.run(),
            Command::Reload(command) => command.run(),
        }
    }
}

impl Rm {
    fn run(&self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.networks, |name| {
            match engine.remove_network(name) {
                Err(crate::Error::NoNetwork { .. }) if self.force => Ok(()),
                removed => removed.map(|name| print(&format!("{name}\n"))),
            }
        }))
    }
}

/// The beginning of a network's ID.
fn short_id(network: &NetworkSummary) -> &str {
    network.id.get(..12).unwrap_or(&network.id)
}
