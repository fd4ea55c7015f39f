//! `rocker rename`

use clap::Args;

use super::engine;
use crate::Result;

/// Give a container another name
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker rename brave_otter web")]
pub(crate) struct Rename {
    /// The container: its name, or the beginning of its ID
    container: String,
    /// What it is called from now on
    name: String,
}

impl Rename {
    pub(crate) fn run(self) -> Result<u8> {
        engine()?.rename(&self.container, &self.name)?;
        Ok(0)
    }
}
