//! `rocker rmi`

use clap::Args;

use super::{each, engine, print};
use crate::{Error, Result};

/// Remove images
///
/// A name is taken away, and with its last one the image; an ID means the image with all its names.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker rmi debian:12-slim")]
pub(crate) struct Rmi {
    /// Also where an image has several names or is in use; the containers that are made of it keep it. No such image is no error
    #[arg(short, long)]
    force: bool,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        let tell = |line: &str| print(&format!("{line}\n"));
        let remove = |name: &str| match engine.remove_image(name, self.force, tell) {
            Err(Error::NoImage { .. }) if self.force => Ok(()),
            done => done,
        };
        Ok(each(&self.images, remove))
    }
}
