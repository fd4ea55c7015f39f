//! `rocker logout`

use clap::Args;
use rocker_image::AuthFiles;

use super::{login, print};
use crate::Result;

/// Forget what is saved for a registry, also by docker and podman
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker logout ghcr.io")]
pub(crate) struct Logout {
    /// Forget it for all registries
    #[arg(short, long, conflicts_with = "registry")]
    all: bool,
    /// The registry
    #[arg(default_value = login::DEFAULT)]
    registry: String,
}

impl Logout {
    pub(crate) fn run(self) -> Result<u8> {
        crate::explain::install();
        let files = AuthFiles::from_env();
        let registries = match self.all {
            true => files.registries()?,
            false => vec![self.registry],
        };
        for registry in registries {
            let line = match files.remove(&registry)? {
                true => format!("Removing login credentials for {registry}\n"),
                false => format!("Not logged in to {registry}\n"),
            };
            print(&crate::table::printable(line.trim_end()));
            print("\n");
        }
        Ok(0)
    }
}
