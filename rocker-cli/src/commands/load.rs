//! `rocker load`

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use rocker_image::Loaded;

use super::{engine, plainly, print};
use crate::{Error, Result};

/// Load images from an archive
///
/// One that docker, podman, skopeo or rocker wrote: Docker's, old or new, or an OCI image layout; compressed by gzip or zstd, or not.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker load -i debian.tar\n\
                  Example: ssh build.example docker save app | rocker load")]
pub(crate) struct Load {
    /// From this file, and not from standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print only what was loaded, which is all there is to print
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let archive: Box<dyn Read> = match self.input {
                Some(path) => Box::new(File::open(&path).map_err(|source| Error::State {
                    operation: "read",
                    path,
                    source,
                })?),
                None if io::stdin().is_terminal() => return Err(Error::FromTerminal),
                None => Box::new(io::stdin().lock()),
            };
            for image in engine()?.load_images(archive)? {
                print(&told(&image));
            }
            Ok(())
        })
    }
}

/// What Docker says of an image that it has loaded.
fn told(loaded: &Loaded) -> String {
    let mut text = String::new();
    for displaced in &loaded.displaced {
        text.push_str(&format!(
            "The image {} already exists, renaming the old one with ID {} to empty string\n",
            displaced.name.familiar(),
            displaced.id
        ));
    }
    if loaded.names.is_empty() {
        text.push_str(&format!(
            "Loaded image ID: {}\n",
            loaded.image.config_digest()
        ));
    }
    for name in &loaded.names {
        text.push_str(&format!("Loaded image: {}\n", name.familiar()));
    }
    text
}
