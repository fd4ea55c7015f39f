//! What is remembered of a container on disk: who it is, and where in its life.

use std::path::Path;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::options::{HealthCheck, RunOptions, VolumeSource};
use crate::engine::{disk, time};
use crate::{Error, Result};

/// The file of a container's directory that holds its [`Record`].
pub(crate) const RECORD: &str = "container.json";

/// The file of a container's directory that holds its [`State`].
pub(crate) const STATE: &str = "state.json";

/// The file of a container's directory that holds its OCI runtime specification.
pub(crate) const CONFIG: &str = "config.json";

/// Who a container is, and what was asked for: all that is needed to start it. Who changes it holds the lock of those who make containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    /// A name that it had, or was about to get when somebody who gave it was killed: it may still have the link of it.
    #[serde(default)]
    pub(crate) other_name: Option<String>,
    /// The digest of the image's manifest, by which the image is in use.
    pub(crate) manifest: String,
    /// The program and its arguments, as image and options have them.
    pub(crate) command: Vec<String>,
    #[serde(with = "time::as_text")]
    pub(crate) created: SystemTime,
    /// The signal that asks the program to end, as options or image have it.
    pub(crate) stop_signal: Option<String>,
    pub(crate) health: Option<HealthCheck>,
    pub(crate) options: RunOptions<'static>,
}

impl Record {
    /// The manifests of the images that the container needs: the one that it is made of, and those whose files it sees.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &str> {
        let volumes = self.options.volumes.iter();
        let theirs = volumes.filter_map(|volume| match &volume.source {
            VolumeSource::Image { manifest, .. } => Some(manifest.as_str()),
            _ => None,
        });
        let own = Some(self.manifest.as_str()).filter(|own| !own.is_empty());
        own.into_iter().chain(theirs)
    }
}

/// Where in its life a container is; one that has no such file is being put together. Who changes it holds the container's lock,
/// and that lock decides what counts as running, see [`Container`](super::Container).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum State {
    /// It is made, and was never started.
    Created,
    /// Its program runs.
    Running(Running),
    /// Its program has ended, and is about to be started again.
    Restarting(Ended),
    /// It has ended.
    Exited(Ended),
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// See [`rocker_ns::Process::start_time`].
    pub(crate) start_time: u64,
    #[serde(with = "time::as_text")]
    pub(crate) started: SystemTime,
    /// How often it was started again.
    pub(crate) restarts: u32,
    pub(crate) health: Option<Health>,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: u8,
    #[serde(with = "time::as_text")]
    pub(crate) started: SystemTime,
    #[serde(with = "time::as_text")]
    pub(crate) finished: SystemTime,
    pub(crate) oom_killed: bool,
    /// Whose memory was used up then, in words.
    #[serde(default)]
    pub(crate) oom_level: Option<String>,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// Whether somebody asked for it.
    pub(crate) stopped: bool,
    /// What kept the program from running.
    pub(crate) error: Option<String>,
    pub(crate) health: Option<Health>,
}

/// How a container is, as its health check finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    pub(crate) status: HealthStatus,
    /// How many checks have failed in a row.
    pub(crate) failing: u32,
    /// The last checks, the oldest first.
    pub(crate) log: Vec<Probe>,
}

/// What the checks so far say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HealthStatus {
    /// Nothing yet.
    #[default]
    Starting,
    /// It does what it is there for.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// One check of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    #[serde(with = "time::as_text")]
    pub(crate) start: SystemTime,
    #[serde(with = "time::as_text")]
    pub(crate) end: SystemTime,
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// Reads a file that rocker wrote; none if it is absent.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = read_text(path)?;
    text.map(|text| understand(path, &text)).transpose()
}

/// The same, for whoever knows what to make of its text.
pub(crate) fn read_text(path: &Path) -> Result<Option<Vec<u8>>> {
    let why = "so that what rocker wrote down earlier is known again";
    match disk::read(path, why) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk::failed("read", path)(error)),
    }
}

/// What the text of a file says.
pub(crate) fn understand<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| Error::Damaged {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file so that a reader finds either the old one or the new one.
///
/// It is not forced to the disk: a container does not outlive the power cut that could lose it, and what the cut leaves
/// is read as a damaged record.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    write_text(path, &text(path, value)?)
}

/// The text of a file.
pub(crate) fn text(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| disk::failed("write", path)(error.into()))
}

/// The same for a text that is there already.
pub(crate) fn write_text(path: &Path, text: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let failed = disk::failed("write", path);
    let beside =
        "so that it is written beside the file that others read, and they find no half of it";
    let at_once =
        "so that whoever reads it finds the old one or the new one, and nothing in between";
    let written = disk::write(&temporary, text, beside)
        .and_then(|()| disk::rename(&temporary, path, at_once));
    if written.is_err() {
        let why = "so that half a file takes no room on a disk that is full";
        let _ = disk::remove_file(&temporary, why);
    }
    written.map_err(failed)
}
