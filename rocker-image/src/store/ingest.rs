//! [`Ingest`]: a file of the store that has no name yet.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A temporary file in the store's `ingest` directory, which gets its name by [`commit`](Self::commit) and is removed
/// if it is dropped before.
///
/// If the process dies the file stays, until a collection finds that nobody is writing.
#[derive(Debug)]
pub(crate) struct Ingest {
    file: NamedTempFile,
}

impl Ingest {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let file = tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(dir)
            .map_err(|source| Error::Store {
                operation: "make a file in",
                path: dir.to_owned(),
                source,
            })?;
        Ok(Self { file })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| Error::Store {
            operation: "write",
            path: self.file.path().to_owned(),
            source,
        })
    }

    /// Gives the file its name, in place of what had it before. When this returns, a power cut takes nothing back.
    pub(crate) fn commit(self, path: &Path) -> Result<()> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Store {
                operation,
                path,
                source,
            }
        };
        self.file
            .as_file()
            .sync_all()
            .map_err(failed("fsync", self.file.path()))?;
        self.file
            .persist(path)
            .map_err(|error| error.error)
            .map_err(failed("rename a temporary file to", path))?;
        let dir = path
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_owned);
        File::open(&dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("fsync", &dir))
    }
}

/// Removes a file, and is content if it is not there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Store {
            operation: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
