//! `rocker import`

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{engine, plainly, print};
use crate::{Error, ImportOptions, Result};

/// Make an image of the files of a root directory
///
/// They come as a tar archive, compressed by gzip or zstd or not. Prints the image's ID.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: debootstrap bookworm root && tar -cC root . | rocker import - debian -c 'CMD [\"bash\"]'"
)]
pub(crate) struct Import {
    /// A line of a Dockerfile to apply: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "LINE")]
    change: Vec<String>,
    /// What the image's history is to say
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What it is made for, such as linux/arm64; this machine otherwise
    #[arg(long)]
    platform: Option<String>,
    /// The archive; - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Its name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Import {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let options = ImportOptions {
                name: self.name,
                changes: self.change,
                message: self.message,
                platform: self.platform.map(|text| text.parse()).transpose()?,
            };
            let tar: Box<dyn Read> = match self.file.as_path() {
                path if path != Path::new("-") => {
                    Box::new(File::open(path).map_err(|source| Error::State {
                        operation: "read",
                        path: path.to_owned(),
                        source,
                    })?)
                }
                _ if io::stdin().is_terminal() => return Err(Error::FromTerminal),
                _ => Box::new(io::stdin().lock()),
            };
            let image = engine()?.import_image(tar, &options)?;
            print(&format!("{}\n", image.config_digest()));
            Ok(())
        })
    }
}
