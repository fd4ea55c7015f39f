//! `rocker ps`

use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use super::container::has_label;
use super::filter::Filters;
use super::listing::listing;
use super::port::ports;
use super::{engine, print};
use crate::engine::time;
use crate::table;
use crate::{ContainerSummary, Engine, Result, Status};

/// What can be filtered by.
const FILTERS: [&str; 12] = [
    "id", "name", "label", "status", "exited", "ancestor", "before", "since", "network", "health",
    "publish", "volume",
];

/// List containers
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker ps -a --filter status=exited --format 'table {{.Names}}\\t{{.Status}}'"
)]
pub(crate) struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Only the one that was made last, whether it runs or not
    #[arg(short, long)]
    latest: bool,
    /// Only so many that were made last, whether they run or not
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "latest")]
    last: Option<usize>,
    /// With what they have written, and the room that their image takes
    #[arg(short, long)]
    size: bool,
    /// Whole IDs and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only those with: id, name, label, status, exited, ancestor, before, since, network, health, publish or volume=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, a template such as '{{.ID}} {{.Names}}', or the same behind the word table
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Ps {
    pub(crate) fn run(self) -> Result<u8> {
        let filters = Filters::parse(&self.filter, &FILTERS)?;
        let engine = engine()?;
        let containers = self.wanted(&engine, &filters)?;
        let now = SystemTime::now();
        if self.quiet && self.format.is_none() {
            let line = |one: &ContainerSummary| format!("{}\n", self.id(one));
            print(&containers.iter().map(line).collect::<String>());
            return Ok(0);
        }
        let row = |one: &ContainerSummary| self.row(&engine, one, now);
        let columns = [
            "ID",
            "Image",
            "Command",
            "RunningFor",
            "Status",
            "Ports",
            "Names",
        ];
        let size = self.size.then_some("Size");
        let columns: Vec<_> = columns.into_iter().chain(size).collect();
        let rows: Vec<Value> = containers.iter().map(row).collect();
        print(&listing(self.format.as_deref(), &columns, &rows, heading)?);
        Ok(0)
    }

    /// The containers that were asked for, the newest first.
    fn wanted(&self, engine: &Engine, filters: &Filters) -> Result<Vec<ContainerSummary>> {
        let mut all = engine.containers()?;
        let made = |name: &str| {
            let found = filters.of(name).last();
            let found = found.map(|name| engine.container(name)).transpose();
            found.map(|found| found.map(|found| found.created))
        };
        let (before, since) = (made("before")?, made("since")?);
        let any = self.all
            || self.latest
            || self.last.is_some()
            || !filters.of("status").is_empty()
            || !filters.of("exited").is_empty();
        all.retain(|one| {
            (any || one.status.is_up())
                && before.is_none_or(|before| one.created < before)
                && since.is_none_or(|since| one.created > since)
                && filters.all(|name, wanted| fits(one, name, wanted))
        });
        let most = if self.latest { Some(1) } else { self.last };
        all.truncate(most.unwrap_or(usize::MAX));
        Ok(all)
    }

    fn id(&self, container: &ContainerSummary) -> String {
        match self.no_trunc {
            true => container.id.clone(),
            false => container.short_id().to_owned(),
        }
    }

    fn command(&self, container: &ContainerSummary) -> String {
        // It may be the image's.
        let command = table::printable(&container.command.join(" "));
        if self.no_trunc || command.chars().count() <= 20 {
            return format!("\"{command}\"");
        }
        format!("\"{}…\"", command.chars().take(19).collect::<String>())
    }

    fn mounts(&self, container: &ContainerSummary) -> String {
        let short = |source: &str| match self.no_trunc || source.chars().count() <= 15 {
            true => source.to_owned(),
            false => format!("{}…", source.chars().take(14).collect::<String>()),
        };
        let all = container.mounts.iter().map(|(source, _)| short(source));
        all.collect::<Vec<_>>().join(",")
    }

    /// What there is to show of a container, under Docker's names.
    fn row(&self, engine: &Engine, container: &ContainerSummary, now: SystemTime) -> Value {
        let size = match self.size
            || self
                .format
                .as_ref()
                .is_some_and(|text| text.contains(".Size"))
        {
            true => {
                let (own, all) = engine.size_of(container);
                format!("{} (virtual {})", table::size(own), table::size(all))
            }
            false => "0B".to_owned(),
        };
        let ports: Vec<_> = match container.status.is_up() {
            true => ports(container),
            false => Vec::new(),
        };
        let ports: Vec<_> = ports
            .iter()
            .map(|(inside, host)| format!("{host}->{inside}"))
            .collect();
        let labels: Vec<_> = container
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let volumes = container
            .mounts
            .iter()
            .filter(|(source, _)| !source.starts_with('/'));
        json!({
            "ID": self.id(container),
            "Image": container.image,
            "Command": self.command(container),
            "CreatedAt": time::text(container.created),
            "RunningFor": created(container, now),
            "Status": status(container, now),
            "State": container.status.word(),
            "Ports": ports.join(", "),
            "Names": container.name,
            "Labels": labels.join(","),
            "Label": container.labels,
            "Mounts": self.mounts(container),
            "LocalVolumes": volumes.count().to_string(),
            "Networks": container.network,
            "Size": size,
        })
    }
}

/// Docker's heads of columns.
fn heading(name: &str) -> String {
    match name {
        "ID" => "CONTAINER ID".to_owned(),
        "RunningFor" => "CREATED".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        other => other.to_uppercase(),
    }
}

fn fits(container: &ContainerSummary, name: &str, wanted: &str) -> bool {
    match name {
        "id" => container.id.starts_with(wanted),
        "name" => has_name(container, wanted),
        "label" => has_label(container, wanted),
        "status" => container.status.word() == wanted,
        "exited" => {
            matches!(container.status, Status::Exited { code, .. } if code.to_string() == wanted)
        }
        "ancestor" => {
            let bare = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
            bare(&container.image) == bare(wanted)
        }
        "network" => container.network.split(',').any(|one| one == wanted),
        "health" => match container.status {
            Status::Running { health, .. } => {
                health.map_or("none", |health| health.word()) == wanted
            }
            _ => wanted == "none",
        },
        "publish" => ports(container).iter().any(|(_, host)| {
            host.rsplit(':').next() == Some(wanted.split('/').next().unwrap_or_default())
        }),
        "volume" => container
            .mounts
            .iter()
            .any(|(source, place)| source == wanted || place.as_os_str() == wanted),
        // Looked at already, all at once.
        _ => true,
    }
}

/// Whether a part of its name is `wanted`; `^` and `$` stand for its beginning and its end, and a `/` before it for nothing.
fn has_name(container: &ContainerSummary, wanted: &str) -> bool {
    let (starts, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let wanted = wanted.trim_start_matches('/');
    let name = container.name.as_str();
    match (starts, wanted.strip_suffix('$')) {
        (true, Some(wanted)) => name == wanted,
        (true, None) => name.starts_with(wanted),
        (false, Some(wanted)) => name.ends_with(wanted),
        (false, None) => name.contains(wanted),
    }
}

fn created(container: &ContainerSummary, now: SystemTime) -> String {
    match container.created {
        SystemTime::UNIX_EPOCH => "N/A".to_owned(),
        at => format!("{} ago", table::ago(now, at)),
    }
}

fn status(container: &ContainerSummary, now: SystemTime) -> String {
    match container.status {
        Status::Running {
            since,
            paused: true,
            ..
        } => format!("Up {} (Paused)", table::ago(now, since)),
        Status::Starting | Status::Created => "Created".to_owned(),
        Status::Running { since, health, .. } => {
            let up = format!("Up {}", table::ago(now, since));
            match health {
                Some(crate::HealthStatus::Starting) => format!("{up} (health: starting)"),
                Some(health) => format!("{up} ({})", health.word()),
                None => up,
            }
        }
        Status::Restarting { code, at } => {
            format!("Restarting ({code}) {} ago", table::ago(now, at))
        }
        Status::Exited {
            code,
            at,
            oom_killed,
        } => {
            let oom = match (&container.oom_level, oom_killed) {
                (Some(level), _) => format!(", out of memory within {level}"),
                (None, true) => ", out of memory".to_owned(),
                (None, false) => String::new(),
            };
            format!("Exited ({code}{oom}) {} ago", table::ago(now, at))
        }
        Status::Damaged => "Damaged".to_owned(),
    }
}
