//! `rocker diff`

use std::fmt::Write as _;

use clap::Args;

use super::{engine, plainly, print};
use crate::{Result, table};

/// Show what a container has changed of its image
///
/// A line for each file: A for one that is new, C for one that is changed, D for one that is gone. A directory is changed if something
/// in it is.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker diff web")]
pub(crate) struct Diff {
    /// A name, or the beginning of an ID
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Diff {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let mut text = String::new();
            for change in engine()?.diff(&self.container)? {
                let path = table::printable(&change.path.to_string_lossy());
                let _ = writeln!(text, "{} {path}", change.kind);
            }
            print(&text);
            Ok(())
        })
    }
}
