//! `rocker inspect`

use clap::Args;
use serde_json::json;

use super::{engine, print};
use crate::Result;
use crate::table::Table;

/// Look at what a container is
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker inspect --actual web    shows what was asked for beside what the kernel says"
)]
pub(crate) struct Inspect {
    /// What was asked for, and what the kernel says of its first process
    #[arg(long, required = true)]
    actual: bool,
    /// For programs: json
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
    /// The container: its name, or the beginning of its ID
    container: String,
}

impl Inspect {
    /// 1 where the kernel says otherwise than was asked for.
    pub(crate) fn run(self) -> Result<u8> {
        let facts = engine()?.actual(&self.container)?;
        let mut table = Table::new(["", "WHAT", "ASKED", "ACTUAL"]);
        let mut lines = String::new();
        for fact in &facts {
            let mark = if fact.holds() { "" } else { "differs" };
            let line = json!({
                "what": fact.what,
                "asked": fact.asked,
                "actual": fact.actual,
                "holds": fact.holds(),
            });
            lines.push_str(&format!("{line}\n"));
            table.row([
                mark.to_owned(),
                fact.what.clone(),
                fact.asked.clone(),
                fact.actual.clone(),
            ]);
        }
        print(&match self.format {
            Some(_) => lines,
            None => table.to_string(),
        });
        Ok(u8::from(facts.iter().any(|fact| !fact.holds())))
    }
}
