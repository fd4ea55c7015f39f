//! `rocker rm`

use clap::Args;

use super::{Executable, Explain, each, print};
use crate::Result;

/// Remove containers
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker rm -f web")]
pub(crate) struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Also the volumes that were made for them and nobody named
    #[arg(short, long)]
    volumes: bool,
    #[command(flatten)]
    explain: Explain,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    pub(crate) fn run(self) -> Result<u8> {
        self.explain.around(Executable::AsItIs, |engine| {
            Ok(each(&self.containers, |name| {
                engine.remove_with(name, self.force, self.volumes)?;
                print(&format!("{name}\n"));
                Ok(())
            }))
        })
    }
}
