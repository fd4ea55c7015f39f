//! `rocker create`

use clap::Args;

use super::request::Request;
use super::{Executable, Explain, print};
use crate::Result;

/// Make a container, to be started later
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "rocker create [OPTIONS] IMAGE[:TAG|@DIGEST] [COMMAND] [ARG]..."
)]
#[command(after_help = "Example: rocker create --name web -v ./site:/srv:ro debian httpd")]
pub(crate) struct Create {
    #[command(flatten)]
    request: Request,
    #[command(flatten, next_help_heading = "Other options")]
    explain: Explain,
}

impl Create {
    pub(crate) fn run(self) -> Result<u8> {
        let bars = self.explain.bars();
        let options = self.request.options()?.watched_by(&bars);
        let id = self
            .explain
            .around(Executable::AsItIs, |engine| engine.create(&options))?;
        print(&format!("{id}\n"));
        Ok(0)
    }
}
