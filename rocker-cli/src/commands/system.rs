//! `rocker system`

use clap::{Args, Subcommand};
use serde_json::json;

use super::image::Titled;
use super::{ask, engine, print};
use crate::table::{self, Table};
use crate::{ImagePrune, Result, Usage};

/// Look after all of rocker
#[derive(Debug, Args)]
pub(crate) struct System {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how much room images, containers and volumes take
    Df(Df),
    /// Remove containers that do not run, networks that none needs, images without a name, and volumes if asked
    Prune(Prune),
    /// Start the containers whose restart policy asks for it, after a boot
    Boot(Boot),
}

#[derive(Debug, Args)]
#[command(after_help = "Example: rocker system df")]
struct Df {
    /// For programs: json
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: rocker system prune -f")]
struct Prune {
    /// Also images with a name, if no container is made of them
    #[arg(short, long)]
    all: bool,
    /// Also volumes that no container has and nobody named
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: rocker system boot    from a unit that systemd starts once")]
struct Boot {}

impl System {
    pub(crate) fn run(self) -> Result<u8> {
        match self.command {
            Command::Df(df) => df.run(),
            Command::Prune(prune) => prune.run(),
            Command::Boot(_) => boot(),
        }
    }
}

impl Df {
    fn run(&self) -> Result<u8> {
        let engine = engine()?;
        let rows = [
            ("Images", engine.image_usage()?),
            ("Containers", engine.container_usage()?),
            ("Local Volumes", engine.volume_usage()?),
        ];
        let mut table = Table::new(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
        let mut lines = String::new();
        for (kind, usage) in rows {
            let row = [
                kind.to_owned(),
                usage.total.to_string(),
                usage.active.to_string(),
                table::size(usage.bytes),
                reclaimable(&usage),
            ];
            let line = json!({
                "Type": row[0], "TotalCount": row[1], "Active": row[2], "Size": row[3], "Reclaimable": row[4],
            });
            lines.push_str(&format!("{line}\n"));
            table.row(row);
        }
        print(&match self.format {
            Some(_) => lines,
            None => table.to_string(),
        });
        Ok(0)
    }
}

fn reclaimable(usage: &Usage) -> String {
    let size = table::size(usage.reclaimable);
    match usage.bytes {
        0 => size,
        bytes => format!("{size} ({}%)", usage.reclaimable * 100 / bytes),
    }
}

impl Prune {
    fn run(&self) -> Result<u8> {
        let images = match self.all {
            true => "all images of which no container is made",
            false => "all images without a name",
        };
        let volumes = match self.volumes {
            true => ", and all volumes that no container has and nobody named",
            false => "",
        };
        let question = format!(
            "This removes all containers that do not run, all networks that no container has a place on, and {images}{volumes}."
        );
        if !self.force && !ask(&question) {
            return Ok(0);
        }
        let engine = engine()?;
        let (containers, freed) = engine.prune_containers(|_| true)?;
        let prune = ImagePrune {
            all: self.all,
            ..ImagePrune::default()
        };
        let mut list = Titled::new("Deleted Containers:");
        containers.iter().for_each(|line| list.print(line));
        list.end();
        let networks = engine.prune_networks(|_| true)?;
        let mut list = Titled::new("Deleted Networks:");
        networks.iter().for_each(|line| list.print(line));
        list.end();
        let mut list = Titled::new("Deleted Images:");
        let more = engine.prune_images(&prune, |_| true, |line| list.print(line))?;
        list.end();
        let mut most = 0;
        if self.volumes {
            let (volumes, freed) = engine.prune_volumes(|volume| volume.anonymous)?;
            let mut list = Titled::new("Deleted Volumes:");
            volumes.iter().for_each(|name| list.print(name));
            list.end();
            most = freed;
        }
        let total = table::size(freed + more + most);
        print(&format!("Total reclaimed space: {total}\n"));
        Ok(0)
    }
}

fn boot() -> Result<u8> {
    let engine = engine()?;
    let ids = engine.to_boot()?;
    Ok(super::each(&ids, |id| super::start::start(id, Vec::new())))
}
