//! `rocker ps`

use clap::Args;

use super::{engine, print};
use crate::table::{self, Table};
use crate::{ContainerSummary, Result, Status};

/// List containers
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Whole IDs and commands
    #[arg(long)]
    no_trunc: bool,
}

impl Ps {
    pub(crate) fn run(self) -> Result<u8> {
        let containers = engine()?.containers()?;
        let now = crate::engine::now();
        let mut table = Table::new([
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "NAMES",
        ]);
        let mut ids = String::new();
        for container in containers {
            if !self.all && !matches!(container.status, Status::Running { .. }) {
                continue;
            }
            let id = if self.no_trunc {
                container.id.clone()
            } else {
                container.id[..12].to_owned()
            };
            ids.push_str(&id);
            ids.push('\n');
            table.row([
                id,
                container.image.clone(),
                self.command(&container),
                created(&container, now),
                status(&container, now),
                container.name,
            ]);
        }
        print(&if self.quiet { ids } else { table.to_string() });
        Ok(0)
    }

    fn command(&self, container: &ContainerSummary) -> String {
        let command = container.command.join(" ");
        if self.no_trunc || command.chars().count() <= 20 {
            return format!("\"{command}\"");
        }
        format!("\"{}…\"", command.chars().take(19).collect::<String>())
    }
}

fn created(container: &ContainerSummary, now: u64) -> String {
    match container.created {
        0 => "N/A".to_owned(),
        at => format!("{} ago", table::ago(now, at)),
    }
}

fn status(container: &ContainerSummary, now: u64) -> String {
    match container.status {
        Status::Starting => "Created".to_owned(),
        Status::Running { since, .. } => format!("Up {}", table::ago(now, since)),
        Status::Exited {
            code,
            at,
            oom_killed,
        } => {
            let oom = if oom_killed { ", out of memory" } else { "" };
            format!("Exited ({code}{oom}) {} ago", table::ago(now, at))
        }
        Status::Damaged => "Damaged".to_owned(),
    }
}
