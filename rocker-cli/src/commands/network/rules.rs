//! `rocker network rules`

use clap::Args;
use rocker_net::RuleLine;
use serde_json::json;

use crate::Result;
use crate::commands::{engine, print};

/// Show each table, set, element, chain and rule that rocker has in the packet filter, why it is there, and whether it is
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker network rules    exits with 1 if some are missing; rocker network reload puts them back"
)]
pub(crate) struct Rules {
    /// For programs: json
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Rules {
    pub(crate) fn run(self) -> Result<u8> {
        let rules = engine()?.network_rules()?;
        let text: String = match self.format {
            Some(_) => rules.iter().map(|rule| as_json(rule) + "\n").collect(),
            None => rules.iter().map(line).collect(),
        };
        print(&text);
        Ok(u8::from(rules.iter().any(|rule| !rule.present)))
    }
}

/// One line: what it is, in nft's words, and behind a `#` why.
fn line(rule: &RuleLine) -> String {
    let indent = "    ".repeat(rule.depth);
    let missing = if rule.present { "" } else { "MISSING " };
    format!("{indent}{missing}{}  # {}\n", rule.text, rule.why)
}

fn as_json(rule: &RuleLine) -> String {
    json!({
        "Depth": rule.depth,
        "Rule": rule.text,
        "Why": rule.why,
        "Present": rule.present,
    })
    .to_string()
}
