//! `rocker rmi`

use clap::Args;

use super::{each, engine, print};
use crate::Result;

/// Remove images
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker rmi debian:12-slim")]
pub(crate) struct Rmi {
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        Ok(each(&self.images, |name| {
            for line in engine.remove_image(name)? {
                print(&format!("{line}\n"));
            }
            Ok(())
        }))
    }
}
