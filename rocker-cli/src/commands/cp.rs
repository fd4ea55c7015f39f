//! `rocker cp`

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;

use super::export::standard_output;
use super::{engine, plainly};
use crate::{CopyEnd, CopyOptions, CopyStream, Error, Result, table};

/// Copy files between a container and the host
///
/// One of the two is CONTAINER:PATH, and the other one a path of the host, or - for a tar archive on standard input or output. A
/// directory is copied with all that is in it; with /. behind it, only what is in it. The container may run or not. On the host,
/// files belong to the caller, and in the container to its root, unless -a keeps their owners.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker cp web:/var/log/. logs\n\
                  Example: tar -c site | rocker cp - web:/srv")]
pub(crate) struct Cp {
    /// Keep owners, set-user-ID bits, attributes and devices
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not say what was copied
    #[arg(short, long)]
    quiet: bool,
    /// From where
    #[arg(value_name = "CONTAINER:PATH|PATH|-")]
    source: String,
    /// To where
    #[arg(value_name = "CONTAINER:PATH|PATH|-")]
    target: String,
}

impl Cp {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let mut options = CopyOptions::default();
            (options.archive, options.follow) = (self.archive, self.follow_link);
            let (from, to) = (end(&self.source)?, end(&self.target)?);
            if to == CopyEnd::Stream && io::stdout().is_terminal() {
                return Err(Error::ToTerminal);
            }
            if from == CopyEnd::Stream && io::stdin().is_terminal() {
                return Err(Error::FromTerminal);
            }
            let stream = CopyStream {
                input: &mut io::stdin(),
                out: &mut standard_output()?,
            };
            let copied = engine()?.copy(&from, &to, stream, &options)?;
            if !self.quiet && to != CopyEnd::Stream && from != CopyEnd::Stream {
                let size = table::size(copied.bytes);
                let text = format!("Successfully copied {size} to {}\n", self.target);
                let _ = io::Write::write_all(
                    &mut io::stderr(),
                    table::printable(text.trim_end()).as_bytes(),
                );
                let _ = io::Write::write_all(&mut io::stderr(), b"\n");
            }
            Ok(())
        })
    }
}

/// What is meant, as Docker reads it: what begins like a path is one, colon or not.
fn end(text: &str) -> Result<CopyEnd> {
    if text == "-" {
        return Ok(CopyEnd::Stream);
    }
    match text.split_once(':') {
        Some((container, path)) if !text.starts_with(['/', '.']) => Ok(CopyEnd::Container {
            container: container.to_owned(),
            path: path.to_owned(),
        }),
        _ => {
            let absolute = std::path::absolute(Path::new(text)).map_err(|source| Error::State {
                operation: "find the working directory for",
                path: text.into(),
                source,
            })?;
            let mut path = absolute.to_string_lossy().into_owned();
            // They mean something here, and a path may lose them.
            for ending in ["/.", "/"] {
                if (text.ends_with(ending) || text == "." && ending == "/.")
                    && !path.ends_with(ending)
                {
                    path.push_str(ending);
                    break;
                }
            }
            Ok(CopyEnd::Local(path))
        }
    }
}
