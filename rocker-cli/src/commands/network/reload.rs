//! `rocker network reload`

use clap::Args;

use crate::Result;
use crate::commands::{engine, print};

/// Put rocker's rules into the packet filter once more, as after somebody has flushed it
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network reload    from what reloads the host's firewall")]
pub(crate) struct Reload {}

impl Reload {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        if !engine.reload_network()? {
            print(match engine.makes_networks()? {
                true => "Nothing to put back: no container is on a network that has rules.\n",
                false => {
                    "Nothing to put back: an ordinary user's containers have no rules in the packet filter. What pasta leads, it leads by \
                     itself, and no flush takes that away.\n"
                }
            });
        }
        Ok(0)
    }
}
