//! `rocker stats`

use std::io::{IsTerminal, stdout};
use std::thread;
use std::time::Duration;

use clap::Args;
use rocker_cgroup::{Max, Pressure};
use serde_json::{Value, json};

use super::listing::listing;
use super::{engine, print, try_print};
use crate::engine::is_uncounted;
use crate::table;
use crate::{ContainerStats, ContainerSummary, Engine, Result};

/// How long is measured what a container uses of the CPUs.
const PERIOD: Duration = Duration::from_secs(1);

/// What clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show what containers use, again each second
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}'"
)]
pub(crate) struct Stats {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Once, and no more
    #[arg(long)]
    no_stream: bool,
    /// Whole IDs
    #[arg(long)]
    no_trunc: bool,
    /// json, a template such as '{{.Name}} {{.CPUPerc}} {{.MemPressure}}', or the same behind the word table
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names, or beginnings of IDs; all that run, without
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// A container, and what it had used then.
type Sample = (ContainerSummary, Option<ContainerStats>);

impl Stats {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let machine = engine.memory_of_machine()?;
        let clears = stdout().is_terminal() && self.format.as_deref() != Some("json");
        let mut before = self.sample(&engine)?;
        loop {
            thread::sleep(PERIOD);
            let now = self.sample(&engine)?;
            let rows: Vec<Value> = now
                .iter()
                .map(|sample| self.row(sample, &before, machine))
                .collect();
            let columns = [
                "Container",
                "Name",
                "CPUPerc",
                "MemUsage",
                "MemPerc",
                "NetIO",
                "BlockIO",
                "PIDs",
            ];
            let text = listing(self.format.as_deref(), &columns, &rows, heading)?;
            if self.no_stream {
                print(&text);
                return Ok(0);
            }
            let start = if clears { CLEAR } else { "" };
            // Whoever reads it has gone.
            if !try_print(&format!("{start}{text}")) {
                return Ok(0);
            }
            before = now;
        }
    }

    /// What those use that were asked for.
    fn sample(&self, engine: &Engine) -> Result<Vec<Sample>> {
        let wanted = match self.containers.is_empty() {
            true => {
                let mut all = engine.containers()?;
                all.retain(|one| self.all || one.status.is_up());
                all
            }
            false => {
                let found = self.containers.iter().map(|name| engine.container(name));
                found.collect::<Result<_>>()?
            }
        };
        let sample = |one: ContainerSummary| match engine.stats(&one.id) {
            Ok(stats) => Some(Ok((one, stats))),
            // It was removed a moment ago.
            Err(crate::Error::NoContainer { .. }) => None,
            // An ordinary user's may have no cgroup, in which its use would be counted.
            Err(error) if is_uncounted(&error) => Some(Ok((one, None))),
            Err(error) => Some(Err(error)),
        };
        wanted.into_iter().filter_map(sample).collect()
    }

    /// What there is to show of a container, under Docker's names.
    fn row(&self, (container, now): &Sample, before: &[Sample], machine: u64) -> Value {
        let id = match self.no_trunc {
            true => container.id.clone(),
            false => container.short_id().to_owned(),
        };
        let earlier = before.iter().find(|(one, _)| one.id == container.id);
        let earlier = earlier.and_then(|(_, stats)| stats.as_ref());
        let used = now.as_ref().map(|now| &now.used);
        let memory = used
            .and_then(rocker_cgroup::Stats::memory_in_use_bytes)
            .unwrap_or(0);
        let limit = match used.and_then(|used| used.memory_limit) {
            Some(Max::At(limit)) => limit.min(machine),
            Some(Max::Unlimited) => machine,
            None => 0,
        };
        let io = used.map(|used| used.io.as_slice()).unwrap_or_default();
        let (read, written) = io.iter().fold((0, 0), |(read, written), one| {
            (read + one.read_bytes, written + one.write_bytes)
        });
        let (received, sent) = now
            .as_ref()
            .map_or((0, 0), |now| (now.received_bytes, now.sent_bytes));
        let pressure = |of: fn(&rocker_cgroup::Stats) -> Option<Pressure>| {
            used.and_then(of).map_or("--".to_owned(), |pressure| {
                format!("{:.2}%", pressure.some.avg10)
            })
        };
        let cpu = now
            .as_ref()
            .zip(earlier)
            .map_or(0.0, |(now, before)| percent_of_cpu(before, now));
        json!({
            "Container": id,
            "ID": id,
            "Name": container.name,
            "CPUPerc": format!("{cpu:.2}%"),
            "MemUsage": format!("{} / {}", binary(memory), binary(limit)),
            "MemPerc": format!("{:.2}%", percent(memory as f64, limit as f64)),
            "NetIO": format!("{} / {}", table::size(received), table::size(sent)),
            "BlockIO": format!("{} / {}", table::size(read), table::size(written)),
            "PIDs": used.and_then(|used| used.pids).unwrap_or(0).to_string(),
            "CPUPressure": pressure(|used| used.cpu_pressure),
            "MemPressure": pressure(|used| used.memory_pressure),
            "IOPressure": pressure(|used| used.io_pressure),
        })
    }
}

/// Docker's heads of columns.
fn heading(name: &str) -> String {
    match name {
        "Container" => "CONTAINER ID".to_owned(),
        "CPUPerc" => "CPU %".to_owned(),
        "MemUsage" => "MEM USAGE / LIMIT".to_owned(),
        "MemPerc" => "MEM %".to_owned(),
        "NetIO" => "NET I/O".to_owned(),
        "BlockIO" => "BLOCK I/O".to_owned(),
        other => other.to_uppercase(),
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => part / whole * 100.0,
        false => 0.0,
    }
}

/// Of one CPU: two that are busy are 200 %.
fn percent_of_cpu(before: &ContainerStats, now: &ContainerStats) -> f64 {
    let usage = |stats: &ContainerStats| stats.used.cpu_usage.unwrap_or_default();
    let used = usage(now).saturating_sub(usage(before));
    percent(used.as_secs_f64(), (now.at - before.at).as_secs_f64())
}

/// A size in powers of 1024, as Docker has it for memory: `1.5MiB`.
fn binary(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    // Four digits that count, and no zeros behind the point.
    let digits = match value {
        0.0..10.0 => 3,
        0.0..100.0 => 2,
        0.0..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_said_as_docker_says_it() {
        let texts = [0, 512, 1536, 32 << 20, (7 << 30) + (800 << 20), 1000 << 20].map(binary);
        assert_eq!(
            texts,
            ["0B", "512B", "1.5KiB", "32MiB", "7.781GiB", "1000MiB"]
        );
    }
}
