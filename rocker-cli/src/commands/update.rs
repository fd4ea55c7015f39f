//! `rocker update`

use clap::Args;

use super::request::resources::Resources;
use super::{each, engine, print};
use crate::{Error, Restart, Result};

/// Change what containers may use, also while they run
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker update --cpus 2 -m 512m --memory-swap 1g web")]
pub(crate) struct Update {
    #[command(flatten)]
    resources: Resources,
    /// What becomes of it when it ends: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY", help_heading = "Life")]
    restart: Option<String>,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER", help_heading = "Arguments")]
    containers: Vec<String>,
}

impl Update {
    pub(crate) fn run(self) -> Result<u8> {
        if self.resources.is_empty() && self.restart.is_none() {
            let expected = "one or more flags that say what is to change";
            return Err(Error::bad_value("update", String::new(), expected));
        }
        let restart = self
            .restart
            .as_deref()
            .map(str::parse::<Restart>)
            .transpose()?;
        let engine = engine()?;
        Ok(each(&self.containers, |name| {
            engine.update(name, restart, |limits| self.resources.add_to(limits))?;
            print(&format!("{name}\n"));
            Ok(())
        }))
    }
}
