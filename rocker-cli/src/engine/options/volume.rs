//! What a container sees of files that are not its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rocker_ns::IdMap;
use serde::{Deserialize, Serialize};

use crate::engine::as_text;

/// Files that are not the container's own, and where it sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Volume {
    /// Whose they are.
    pub source: VolumeSource,
    /// Where they are in the container; absolute.
    pub destination: PathBuf,
    /// Whether the container may only read them.
    pub read_only: bool,
    /// What of the mounts beneath the source comes along.
    pub beneath: Beneath,
    /// How mounts that are made beneath it later spread.
    pub propagation: BindPropagation,
    /// Whether an empty volume stays empty, in place of getting what the image has there.
    pub no_copy: bool,
    /// The part of the source that is meant; relative to it.
    pub subpath: Option<PathBuf>,
    /// Whose the files are in the container, where that is not whose they are on the host.
    pub id_map: Option<MountIds>,
    /// The labels of a volume that is made for it.
    pub labels: BTreeMap<String, String>,
    /// The options of a volume that is made for it, as `volume create --opt` has them.
    pub options: BTreeMap<String, String>,
    /// The options as they were typed, for whoever inspects the container.
    pub mode: String,
    /// Whether it was asked for as with `--mount`, not as with `-v`.
    pub as_mount: bool,
}

/// Where the files of a [`Volume`] are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum VolumeSource {
    /// A directory or file of the host: its absolute path.
    Bind(PathBuf),
    /// A volume of rocker's: its name. It is made where there is none.
    Named(String),
    /// A volume that is made for the container, and goes with it where that is asked for; its name, empty for one that is made up.
    Anonymous(String),
    /// The files of another image. What the container changes of them, if it may, is lost when it ends.
    Image {
        /// A name, or the beginning of an ID.
        name: String,
        /// The digest of its manifest, by which it is in use; empty until it is looked up.
        manifest: String,
    },
}

/// What of the mounts beneath the source of a [`Volume`] comes along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beneath {
    /// All; if it is read-only, so are they.
    #[default]
    All,
    /// All, and what can be written to stays so, though the volume itself be read-only.
    Writable,
    /// None.
    Nothing,
}

/// How mounts spread between a [`Volume`] and its source, with the kernel's words; see mount_namespaces(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindPropagation {
    /// Not at all.
    #[default]
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
}

/// Whose the files of a [`Volume`] are in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MountIds {
    /// Whoever has the same number in the container has them.
    #[default]
    Containers,
    /// What each run of owners is to the container.
    Maps {
        /// Of users: the first that owns files, the first that it is on the host, how many.
        #[serde(with = "as_text")]
        uids: Vec<IdMap>,
        /// Of groups.
        #[serde(with = "as_text")]
        gids: Vec<IdMap>,
        /// Whether what they are is said as in the container, not as on the host: of users and of groups.
        inside: [bool; 2],
    },
}

impl Volume {
    /// The whole of a source at this place, to be read and written.
    pub fn new(source: VolumeSource, destination: impl Into<PathBuf>) -> Self {
        Self {
            source,
            destination: destination.into(),
            read_only: false,
            beneath: Beneath::default(),
            propagation: BindPropagation::default(),
            no_copy: false,
            subpath: None,
            id_map: None,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            mode: String::new(),
            as_mount: false,
        }
    }

    /// A directory or file of the host at this place.
    pub fn bind(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        Self::new(VolumeSource::Bind(source.into()), destination)
    }

    /// The name of the volume of rocker's that it is.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.source {
            VolumeSource::Named(name) | VolumeSource::Anonymous(name) => Some(name),
            VolumeSource::Bind(_) | VolumeSource::Image { .. } => None,
        }
    }
}

impl BindPropagation {
    /// The kernel's word for it, for a mount with all beneath.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "rprivate",
            Self::Slave => "rslave",
            Self::Shared => "rshared",
        }
    }
}

/// The volumes of another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Its name, or the beginning of its ID.
    pub container: String,
    /// Whether they can only be read here.
    pub read_only: bool,
}

/// A directory of the host in place of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDirectory {
    /// Its absolute path.
    pub path: PathBuf,
    /// Whether what the container changes is kept apart from it.
    pub overlay: bool,
}
