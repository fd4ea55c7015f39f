//! `rocker kill`

use clap::Args;

use super::{each, engine, print};
use crate::Result;

/// Send a signal to the commands of containers
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker kill -s HUP web    has many a server read its configuration anew"
)]
pub(crate) struct Kill {
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.containers, |name| {
            engine.kill(name, &self.signal)?;
            print(&format!("{name}\n"));
            Ok(())
        }))
    }
}
