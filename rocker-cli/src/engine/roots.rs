//! Where things are on disk.

use std::env;
use std::path::{Path, PathBuf};

/// The two directories of an engine: one that lasts, and one that is empty after a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    data: PathBuf,
    run: PathBuf,
}

impl Roots {
    /// `/var/lib/rocker` and `/run/rocker`, or what `ROCKER_ROOT` and `ROCKER_RUN` say.
    #[must_use]
    pub fn from_env() -> Self {
        let path =
            |name, default: &str| env::var_os(name).map_or_else(|| default.into(), PathBuf::from);
        Self::new(
            path("ROCKER_ROOT", "/var/lib/rocker"),
            path("ROCKER_RUN", "/run/rocker"),
        )
    }

    /// Directories of one's own.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            run: run.into(),
        }
    }

    /// What lasts: images, layers, containers.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// The containers that have, or had, somebody to look after them since the machine started.
    pub(crate) fn running(&self) -> PathBuf {
        self.run.join("containers")
    }
}
