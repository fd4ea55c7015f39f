//! `rocker volume prune`

use clap::Args;

use super::has_label;
use crate::commands::filter::Filters;
use crate::commands::image::Titled;
use crate::commands::{ask, engine, plainly, print};
use crate::{Result, table};

/// Remove all volumes that no container has and nobody named
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker volume prune -a --filter label=scratch")]
pub(crate) struct Prune {
    /// Also those with a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with: label=NAME[=VALUE], or without: label!=NAME[=VALUE]; all=true is -a
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

impl Prune {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let filters = Filters::parse(&self.filter, &["label", "label!", "all"])?;
            let all = self.all
                || filters
                    .of("all")
                    .iter()
                    .any(|all| matches!(&all[..], "true" | "1"));
            let which = match all {
                true => "all volumes that no container has",
                false => "all volumes that no container has and nobody named",
            };
            if !self.force && !ask(&format!("This removes {which}.")) {
                return Ok(());
            }
            let (removed, freed) = engine()?.prune_volumes(|volume| {
                (all || volume.anonymous)
                    && filters.all(|name, wanted| name != "label" || has_label(volume, wanted))
                    && !filters
                        .of("label!")
                        .iter()
                        .any(|label| has_label(volume, label))
            })?;
            let mut list = Titled::new("Deleted Volumes:");
            removed.iter().for_each(|name| list.print(name));
            list.end();
            print(&format!("Total reclaimed space: {}\n", table::size(freed)));
            Ok(())
        })
    }
}
