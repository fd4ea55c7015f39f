//! `rocker mount`

use std::fmt::Write as _;

use clap::Args;

use super::{each, engine, print};
use crate::{Result, table};

/// Mount containers and images, to look at their files
///
/// Prints where each is mounted on the host. A container can be written to, also while it runs; an image cannot. Volumes are no part
/// of it. Without a name, lists what is mounted.
#[derive(Debug, Args)]
#[command(after_help = "Example: ls $(rocker mount debian)/etc")]
pub(crate) struct Mount {
    /// Names, or beginnings of IDs
    #[arg(value_name = "CONTAINER|IMAGE")]
    names: Vec<String>,
}

impl Mount {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        if self.names.is_empty() {
            let mut text = String::new();
            for mounted in engine.mounts()? {
                let id = mounted.id.get(..12).unwrap_or(&mounted.id);
                let _ = writeln!(
                    text,
                    "{id} {}",
                    table::printable(&mounted.path.to_string_lossy())
                );
            }
            print(&text);
            return Ok(0);
        }
        Ok(each(&self.names, |name| {
            let mounted = engine.mount(name)?;
            print(&format!("{}\n", mounted.path.display()));
            Ok(())
        }))
    }
}
