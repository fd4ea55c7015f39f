//! `rocker umount`

use clap::Args;

use super::{each, engine, print};
use crate::Result;

/// Unmount containers and images
///
/// Prints the ID of each. One that somebody is in, or has a file open of, stays, unless -f is given.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker umount -a")]
pub(crate) struct Umount {
    /// All that are mounted
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Also those in use: they are gone when nobody uses them any more
    #[arg(short, long)]
    force: bool,
    /// Names, or beginnings of IDs
    #[arg(required_unless_present = "all", value_name = "CONTAINER|IMAGE")]
    names: Vec<String>,
}

impl Umount {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let names = match self.all {
            true => engine
                .mounts()?
                .into_iter()
                .map(|mounted| mounted.id)
                .collect(),
            false => self.names,
        };
        Ok(each(&names, |name| {
            let id = engine.unmount(name, self.force)?;
            print(&format!("{id}\n"));
            Ok(())
        }))
    }
}
