//! `rocker container`

use clap::{Args, Subcommand};

use super::filter::Filters;
use super::request::value;
use super::{ask, engine, print};
use crate::{ContainerSummary, Result, table};

/// Look after all containers
#[derive(Debug, Args)]
pub(crate) struct Container {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove all containers that do not run
    Prune(Prune),
}

#[derive(Debug, Args)]
#[command(after_help = "Example: rocker container prune -f --filter until=24h")]
struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with: label=NAME[=VALUE], or made before until=TIME
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

impl Container {
    pub(crate) fn run(self) -> Result<u8> {
        let Command::Prune(prune) = self.command;
        let filters = Filters::parse(&prune.filter, &["label", "until"])?;
        let until = filters.of("until").last();
        let until = until
            .map(|text| value::moment("--filter", text))
            .transpose()?;
        if !prune.force && !ask("This removes all containers that do not run.") {
            return Ok(0);
        }
        let (removed, freed) = engine()?.prune_containers(|container| {
            until.is_none_or(|until| container.created < until)
                && filters.all(|name, wanted| name != "label" || has_label(container, wanted))
        })?;
        let mut text = String::new();
        if !removed.is_empty() {
            text.push_str(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")));
        }
        print(&format!(
            "{text}Total reclaimed space: {}\n",
            table::size(freed)
        ));
        Ok(0)
    }
}

/// Whether a container has a label, `NAME` or `NAME=VALUE`.
pub(super) fn has_label(container: &ContainerSummary, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => container.labels.get(name).is_some_and(|own| own == value),
        None => container.labels.contains_key(wanted),
    }
}
