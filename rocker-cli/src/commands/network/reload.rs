//! `rocker network reload`

use clap::Args;

use crate::Result;
use crate::commands::engine;

/// Put rocker's rules into the packet filter once more, as after somebody has flushed it
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network reload    from what reloads the host's firewall")]
pub(crate) struct Reload {}

impl Reload {
    pub(crate) fn run(self) -> Result<u8> {
        engine()?.reload_network()?;
        Ok(0)
    }
}
