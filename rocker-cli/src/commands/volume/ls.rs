//! `rocker volume ls`

use clap::Args;
use serde_json::{Value, json};

use super::has_label;
use crate::commands::filter::Filters;
use crate::commands::listing::listing;
use crate::commands::request::value;
use crate::commands::{engine, plainly, print};
use crate::{Result, VolumeSummary, table};

/// List volumes
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker volume ls --filter dangling=true --format '{{.Name}} {{.Mountpoint}}'"
)]
pub(crate) struct Ls {
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Only those with: name, label, driver=VALUE, or dangling=true for those that no container has
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, a template such as '{{.Name}}', or the same behind the word table
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Ls {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let filters = Filters::parse(&self.filter, &["name", "label", "driver", "dangling"])?;
            for wanted in filters.of("dangling") {
                dangling(wanted)?;
            }
            let engine = engine()?;
            let mut volumes = engine.volumes()?;
            volumes.retain(|volume| filters.all(|name, wanted| fits(volume, name, wanted)));
            if self.quiet && self.format.is_none() {
                let names = volumes.iter().map(|volume| format!("{}\n", volume.name));
                print(&names.collect::<String>());
                return Ok(());
            }
            let measured = self
                .format
                .as_ref()
                .is_some_and(|text| text.contains(".Size"));
            let row = |volume: &VolumeSummary| {
                let size = measured.then(|| table::size(engine.size_of_volume(volume)));
                row(volume, size)
            };
            let rows: Vec<Value> = volumes.iter().map(row).collect();
            let columns = ["Driver", "Name"];
            print(&listing(self.format.as_deref(), &columns, &rows, heading)?);
            Ok(())
        })
    }
}

/// What there is to show of a volume, under Docker's names.
fn row(volume: &VolumeSummary, size: Option<String>) -> Value {
    let labels = volume
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Label": volume.labels,
        "Labels": labels.collect::<Vec<_>>().join(","),
        "Links": volume.users.len().to_string(),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": size.unwrap_or_else(|| "N/A".to_owned()),
        "Status": "N/A",
    })
}

fn heading(name: &str) -> String {
    match name {
        "Name" => "VOLUME NAME".to_owned(),
        other => other.to_uppercase(),
    }
}

fn fits(volume: &VolumeSummary, name: &str, wanted: &str) -> bool {
    match name {
        "name" => volume.name.contains(wanted),
        "label" => has_label(volume, wanted),
        "driver" => wanted == "local",
        _ => dangling(wanted).is_ok_and(|wanted| volume.users.is_empty() == wanted),
    }
}

/// A truth value, as Docker takes it here.
fn dangling(text: &str) -> Result<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(value::bad(
            "--filter",
            &format!("dangling={text}"),
            "dangling=true or dangling=false",
        )),
    }
}
