//! `rocker network prune`

use clap::Args;

use crate::commands::filter::Filters;
use crate::commands::request::value;
use crate::commands::{ask, engine, plainly, print};
use crate::{NetworkSummary, Result};

/// Remove all networks that no container has a place on
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network prune -f --filter until=24h")]
pub(crate) struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with: label=NAME[=VALUE], without: label!=NAME[=VALUE], or made before until=TIME
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

impl Prune {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let filters = Filters::parse(&self.filter, &["label", "label!", "until"])?;
            let until = filters.of("until").last();
            let until = until
                .map(|text| value::moment("--filter", text))
                .transpose()?;
            let question = "This removes all networks that no container has a place on.";
            if !self.force && !ask(question) {
                return Ok(());
            }
            let removed = engine()?.prune_networks(|network| {
                until.is_none_or(|until| network.created < until)
                    && filters.all(|name, wanted| name != "label" || has_label(network, wanted))
                    && !filters
                        .of("label!")
                        .iter()
                        .any(|other| has_label(network, other))
            })?;
            if !removed.is_empty() {
                print(&format!("Deleted Networks:\n{}\n", removed.join("\n")));
            }
            Ok(())
        })
    }
}

/// Whether a network has a label, `NAME` or `NAME=VALUE`.
pub(in crate::commands) fn has_label(network: &NetworkSummary, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => network.labels.get(name).is_some_and(|own| own == value),
        None => network.labels.contains_key(wanted),
    }
}
