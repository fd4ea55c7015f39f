//! [`Ingest`]: a file of the store that has no name yet.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use tempfile::TempPath;

use crate::trace::traced;
use crate::{Error, Result, file};

/// A temporary file in the store's `ingest` directory, which gets its name by [`commit`](Self::commit) and is removed
/// if it is dropped before.
///
/// If the process dies the file stays, until a collection finds that nobody is writing.
#[derive(Debug)]
pub(crate) struct Ingest {
    file: File,
    /// Where it is until it has its name.
    path: Option<TempPath>,
}

impl Ingest {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let why = "so that content grows under a name that nobody takes for that of a whole file";
        let made = tempfile::Builder::new()
            .prefix("blob-")
            .make_in(dir, |path| file::create_new(path, why));
        let (file, path) = made.map_err(failed("make a file in", dir))?.into_parts();
        let path = Some(path);
        Ok(Self { file, path })
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(failed("write", self.path()))
    }

    /// How much is in it, and the file, to be read from its beginning. It goes when `self` does.
    pub(crate) fn reread(&mut self) -> Result<(u64, &mut File)> {
        let rewound = self.file.stream_position().and_then(|length| {
            self.file.rewind()?;
            Ok(length)
        });
        let length = rewound.map_err(failed(
            "read",
            self.path.as_deref().unwrap_or(Path::new("")),
        ))?;
        Ok((length, &mut self.file))
    }

    /// Gives the file its name, in place of what had it before. When this returns, a power cut takes nothing back.
    pub(crate) fn commit(mut self, path: &Path) -> Result<()> {
        let from = self.path().to_owned();
        let path_guard = &mut self.path;
        settle(&self.file, &from, path, || {
            // It is not there any more, so nothing is left to remove.
            let _ = path_guard.take().map(TempPath::keep);
        })
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let why = "so that nothing is left of content that did not come whole";
        let name = path.to_path_buf();
        let _ = traced("unlink", why, || format!("{name:?}"), || path.close());
    }
}

/// Gives a file that is written to its end its name. `renamed` is called as soon as it is not called `from` any more.
pub(super) fn settle(file: &File, from: &Path, to: &Path, renamed: impl FnOnce()) -> Result<()> {
    let why = "so that the content is on the disk before it has the name of whole content";
    file::sync(file, from, why).map_err(failed("fsync", from))?;
    let why = "so that whoever looks for the name finds all of the content, or none";
    file::rename(from, to, why).map_err(failed("rename a temporary file to", to))?;
    renamed();
    let dir = to.parent().unwrap_or(Path::new("."));
    let why = "so that the directory itself can be forced to the disk";
    let opened = file::open(dir, why).map_err(failed("open", dir))?;
    let why = "so that not even a power cut takes the new name back";
    file::sync(&opened, dir, why).map_err(failed("fsync", dir))
}

pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Store {
        operation,
        path,
        source,
    }
}

/// Removes a file, and is content if it is not there.
pub(crate) fn remove(path: &Path, why: &'static str) -> Result<()> {
    match file::unlink(path, why) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Store {
            operation: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
