//! What is remembered of a container on disk.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk;
use crate::{Error, Result};

/// The file of a container's directory that holds its [`Record`].
pub(crate) const STATE: &str = "state.json";

/// The file of a container's directory that holds its OCI runtime specification.
pub(crate) const CONFIG: &str = "config.json";

/// What `config.json`, the OCI specification, has no place for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The image as it was asked for.
    pub(crate) image: String,
    /// The digest of the image's manifest, by which the image is in use.
    pub(crate) manifest: String,
    pub(crate) command: Vec<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Whether nothing is kept when it ends.
    pub(crate) remove: bool,
    /// Whether it is on the bridge.
    pub(crate) bridged: bool,
    pub(crate) state: State,
}

/// Where in its life a container is. What counts as running is decided by the lock, see
/// [`Container`](super::container::Container).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum State {
    /// It is being put together.
    Starting,
    /// Its program runs.
    Running {
        pid: u32,
        start_time: u64,
        started: u64,
    },
    /// It has ended.
    Exited {
        code: u8,
        finished: u64,
        oom_killed: bool,
    },
}

/// Reads a file that rocker wrote; none if it is absent.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match disk::read(
        path,
        "so that what rocker wrote down earlier is known again",
    ) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::failed("read", path)(error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| Error::Damaged {
            path: path.to_owned(),
            source,
        })
}

/// Writes a file so that a reader finds either the old one or the new one.
///
/// It is not forced to the disk: a container does not outlive the power cut that could lose it, and what the cut leaves
/// is read as a damaged record.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let failed = disk::failed("write", path);
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let beside =
        "so that it is written beside the file that others read, and they find no half of it";
    let at_once =
        "so that whoever reads it finds the old one or the new one, and nothing in between";
    disk::write(&temporary, &text, beside)
        .and_then(|()| disk::rename(&temporary, path, at_once))
        .map_err(failed)
}
