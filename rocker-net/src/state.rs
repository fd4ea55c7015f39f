//! Small files of the state directory, written so that a crash leaves the old content or the new, never half of it.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, file};

/// Reads `path` as JSON; `None` if there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, why: &'static str) -> Result<Option<T>> {
    match file::read_small(path, why) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::file("read", path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, error)),
    }
}

/// Writes `value` as JSON to `path`, so that it survives a power cut too. The caller holds the lock that keeps other writers away.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, why: &'static str) -> Result<()> {
    let bytes =
        serde_json::to_vec_pretty(value).map_err(|error| Error::file("write", path, error))?;
    replace(path, &bytes, true, why).map_err(|error| Error::file("write", path, error))
}

/// The same without waiting for the disk, for what does not matter any more after a power cut.
pub(crate) fn write_quickly<T: Serialize>(path: &Path, value: &T, why: &'static str) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::file("write", path, error))?;
    replace(path, &bytes, false, why).map_err(|error| Error::file("write", path, error))
}

fn replace(path: &Path, content: &[u8], lasting: bool, why: &'static str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let beside = "so that the new content is written beside the old, which stays until then";
    let file = file::create(&temporary, beside)?;
    file::write(&file, &temporary, content, why)?;
    if lasting {
        let whole = "so that the new content is on the disk before it has the name";
        file::sync(&file, &temporary, whole)?;
    }
    let at_once = "so that a reader finds the old content or the new, never half of it";
    file::rename(&temporary, path, at_once)
}

/// Removes `path`. That there is none is fine.
pub(crate) fn remove(path: &Path, why: &'static str) -> Result<()> {
    match file::unlink(path, why) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        _ => Ok(()),
    }
}
