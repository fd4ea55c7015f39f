//! `rocker save`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rocker_image::ArchiveFormat;

use super::{engine, plainly};
use crate::{Error, Result};

/// Write images into an archive
///
/// A name without a tag stands for all tags of its repository.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker save -o debian.tar debian:12-slim")]
pub(crate) struct Save {
    /// Into this file, and not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What it looks like inside: as Docker writes it, or an OCI image layout
    #[arg(long, value_enum, default_value = "docker-archive")]
    format: Format,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    DockerArchive,
    OciArchive,
}

impl Save {
    pub(crate) fn run(self) -> Result<u8> {
        let format = match self.format {
            Format::DockerArchive => ArchiveFormat::Docker,
            Format::OciArchive => ArchiveFormat::Oci,
        };
        plainly(|| {
            let stdout = io::stdout();
            match &self.output {
                Some(path) => engine()?.save_images_to(&self.images, format, path),
                None if stdout.is_terminal() => Err(Error::ToTerminal),
                None => {
                    // Past the buffer of standard output, which looks for the ends of lines.
                    let failed = |source| Error::State {
                        operation: "write",
                        path: "standard output".into(),
                        source,
                    };
                    let out = stdout.as_fd().try_clone_to_owned().map_err(failed)?;
                    let out = BufWriter::with_capacity(128 * 1024, File::from(out));
                    engine()?.save_images(&self.images, format, out)
                }
            }
        })
    }
}
