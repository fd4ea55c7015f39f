//! `rocker export`

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{engine, plainly};
use crate::{Error, Result};

/// Write all files of a container into an archive
///
/// As the container sees them, but for what is mounted over them: volumes are left out. It may run meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker export -o web.tar web")]
pub(crate) struct Export {
    /// Into this file, and not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A name, or the beginning of an ID
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Export {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| match &self.output {
            Some(path) => self.to_file(path),
            None if io::stdout().is_terminal() => Err(Error::ToTerminal),
            None => engine()?.export(&self.container, standard_output()?),
        })
    }

    /// Writes a file, which nobody else may read, and which has its name only when it is whole. A pipe is written to as it is.
    fn to_file(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::State {
            operation: "write",
            path: path.to_owned(),
            source,
        };
        let engine = engine()?;
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            let out = File::options().write(true).open(path).map_err(failed)?;
            return engine.export(&self.container, out);
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        let mut options = File::options();
        let mut out = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        let written = engine
            .export(&self.container, &mut out)
            .and_then(|()| out.flush().map_err(failed))
            .and_then(|()| fs::rename(&beside, path).map_err(failed));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

/// Standard output past its buffer, which looks for the ends of lines.
pub(super) fn standard_output() -> Result<File> {
    let out = io::stdout().as_fd().try_clone_to_owned();
    out.map(File::from).map_err(|source| Error::State {
        operation: "write",
        path: "standard output".into(),
        source,
    })
}
