//! `rocker restart`

use std::time::Duration;

use clap::Args;

use super::start::start;
use super::{each, engine};
use crate::Result;

/// Stop containers and start them again
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker restart web")]
pub(crate) struct Restart {
    /// How many seconds they may take to end; their own --stop-timeout, or 10, by default
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Restart {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let patience = self.time.map(Duration::from_secs);
        Ok(each(&self.containers, |name| {
            engine.stop_to_restart(name, patience)?;
            start(name, Vec::new())
        }))
    }
}
