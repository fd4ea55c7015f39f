//! `rocker network ls`

use clap::Args;
use serde_json::{Value, json};

use super::{has_label, short_id};
use crate::commands::filter::Filters;
use crate::commands::listing::listing;
use crate::commands::{engine, plainly, print};
use crate::engine::time;
use crate::{NetworkSummary, Result};

/// What can be filtered by.
const FILTERS: [&str; 7] = ["driver", "id", "label", "name", "scope", "type", "dangling"];

/// List networks
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network ls --filter type=custom")]
pub(crate) struct Ls {
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Whole IDs
    #[arg(long)]
    no_trunc: bool,
    /// Only those with: name=PART, id=BEGINNING, label=NAME[=VALUE], driver=…, scope=local, type=custom|builtin, dangling=true|false
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, a template such as '{{.Name}} {{.ID}}', or the same behind the word table
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Ls {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let filters = Filters::parse(&self.filter, &FILTERS)?;
            let mut networks = engine()?.list_networks()?;
            networks.retain(|network| filters.all(|name, wanted| fits(network, name, wanted)));
            if self.quiet && self.format.is_none() {
                let ids = networks
                    .iter()
                    .map(|network| format!("{}\n", self.id(network)));
                print(&ids.collect::<String>());
                return Ok(());
            }
            let rows: Vec<_> = networks.iter().map(|network| self.row(network)).collect();
            let columns = ["ID", "Name", "Driver", "Scope"];
            print(&listing(self.format.as_deref(), &columns, &rows, heading)?);
            Ok(())
        })
    }

    fn id<'a>(&self, network: &'a NetworkSummary) -> &'a str {
        match self.no_trunc {
            true => &network.id,
            false => short_id(network),
        }
    }

    fn row(&self, network: &NetworkSummary) -> Value {
        let labels: Vec<_> = network
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        json!({
            "ID": self.id(network),
            "Name": network.name,
            "Driver": network.driver,
            "Scope": "local",
            "IPv4": "true",
            "IPv6": network.ipv6.to_string(),
            "Internal": network.internal.to_string(),
            "CreatedAt": time::text(network.created),
            "Labels": labels.join(","),
            "Label": network.labels,
        })
    }
}

fn fits(network: &NetworkSummary, name: &str, wanted: &str) -> bool {
    match name {
        "driver" => network.driver == wanted,
        "id" => network.id.starts_with(wanted),
        "label" => has_label(network, wanted),
        "name" => network.name.contains(wanted),
        "scope" => wanted == "local",
        "type" => {
            wanted
                == if network.is_predefined() {
                    "builtin"
                } else {
                    "custom"
                }
        }
        _ => {
            let is_dangling = !network.is_used && !network.is_predefined();
            matches!(
                (wanted, is_dangling),
                ("true" | "1", true) | ("false" | "0", false)
            )
        }
    }
}

/// Docker's heads of columns.
fn heading(name: &str) -> String {
    match name {
        "ID" => "NETWORK ID".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        other => other.to_uppercase(),
    }
}
