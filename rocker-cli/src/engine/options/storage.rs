//! Where a container's root file system comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an image becomes a root file system that a container can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageDriver {
    /// The image's layers beneath a directory of the container's own, by overlayfs.
    Overlay,
    /// The same, but what the container changes is in memory, and gone when it ends.
    Tmpfs,
    /// A copy of the layers, whose data are shared where the file system can. It takes no overlayfs; the name is Docker's.
    Vfs,
}

/// As `--storage-opt driver=` takes it.
impl fmt::Display for StorageDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlay => "overlay",
            Self::Tmpfs => "tmpfs",
            Self::Vfs => "vfs",
        })
    }
}

/// How a container's files are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageOptions {
    /// By what. Without, by an overlay, and by a copy where there can be none.
    pub driver: Option<StorageDriver>,
    /// How many bytes it may write, with [`StorageDriver::Tmpfs`] alone; half of the memory without.
    pub size_bytes: Option<u64>,
}
