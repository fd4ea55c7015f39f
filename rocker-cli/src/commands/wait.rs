//! `rocker wait`

use clap::Args;

use super::{each, engine, print};
use crate::Result;

/// Wait until containers end, and print their exit statuses
#[derive(Debug, Args)]
#[command(after_help = "Example: status=$(rocker wait job)")]
pub(crate) struct Wait {
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.containers, |name| {
            let code = engine.wait(name)?;
            print(&format!("{code}\n"));
            Ok(())
        }))
    }
}
