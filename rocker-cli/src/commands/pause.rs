//! `rocker pause`

use clap::Args;

use super::{each, engine, print};
use crate::Result;

/// Have all processes of containers stand still
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker pause web    until rocker unpause web")]
pub(crate) struct Pause {
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Pause {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.containers, |name| {
            engine.pause(name)?;
            print(&format!("{name}\n"));
            Ok(())
        }))
    }
}
