//! `rocker volume rm`

use clap::Args;

use crate::Result;
use crate::commands::{each, engine, print};

/// Remove volumes that no container has
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker volume rm data")]
pub(crate) struct Rm {
    /// That there is no such volume is fine
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl Rm {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.volumes, |name| {
            engine.remove_volume(name, self.force)?;
            print(&format!("{name}\n"));
            Ok(())
        }))
    }
}
