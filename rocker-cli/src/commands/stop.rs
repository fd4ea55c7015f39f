//! `rocker stop`

use std::time::Duration;

use clap::Args;

use super::{each_at_once, engine};
use crate::Result;

/// Ask containers to end, and kill those that do not
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker stop -t 3 web")]
pub(crate) struct Stop {
    /// How many seconds they may take; their own --stop-timeout, or 10, by default
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let patience = self.time.map(Duration::from_secs);
        Ok(each_at_once(&self.containers, |name| {
            engine.stop(name, patience)
        }))
    }
}
