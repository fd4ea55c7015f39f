//! `rocker network inspect`

use clap::Args;
use serde_json::Value;

use crate::commands::listing::{escaped, lines};
use crate::commands::{each, engine, print};
use crate::template::Template;
use crate::{Error, Result};

/// Show all that is known of networks
///
/// As JSON under Docker's names; or the part of it that a template or a JSON pointer (RFC 6901) picks.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}' backend"
)]
pub(crate) struct Inspect {
    /// A template such as '{{.Name}}', a pointer such as /IPAM/Config/0/Subnet, or json for one object a line
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// For Docker's sake: all is shown in any case
    #[arg(short, long)]
    verbose: bool,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let template = match self.format.as_deref() {
            None | Some("json") => None,
            Some(pointer) if pointer.starts_with('/') => None,
            Some(text) => Some(Template::parse(text)?),
        };
        let mut all = Vec::new();
        let status = each(&self.networks, |name| {
            let found = engine.inspect_network(name)?;
            match (&template, self.format.as_deref()) {
                (Some(template), _) => print(&format!("{}\n", lines(&template.render(&found)?))),
                (None, None) => all.push(found),
                (None, Some("json")) => print(&escaped(&format!("{found}\n"))),
                (None, Some(pointer)) => {
                    let part = found.pointer(pointer).ok_or_else(|| {
                        let expected =
                            "the path of something that is there, such as /IPAM/Config/0/Subnet";
                        Error::bad_value("--format", pointer, expected)
                    })?;
                    print(&match part {
                        Value::String(text) => format!("{}\n", lines(text)),
                        other => escaped(&format!("{other}\n")),
                    });
                }
            }
            Ok(())
        });
        if self.format.is_none() {
            print(&escaped(&format!("{:#}\n", Value::from(all))));
        }
        Ok(status)
    }
}
