//! `rocker unpause`

use clap::Args;

use super::{each, engine, print};
use crate::Result;

/// Let the processes of paused containers go on
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker unpause web")]
pub(crate) struct Unpause {
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Unpause {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.containers, |name| {
            engine.unpause(name)?;
            print(&format!("{name}\n"));
            Ok(())
        }))
    }
}
