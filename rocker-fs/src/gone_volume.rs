//! A volume that is none any more, and that may take long to remove.

use std::io;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::remove;
use crate::volumes::Volumes;

/// A volume that has lost its name: nobody finds it any more, and nobody else removes it meanwhile. What it takes to remove it takes as long as there is much in it, with nothing locked
/// that others wait for. Where this is dropped instead, [`Volumes::sweep`] removes it.
#[must_use = "what is in it takes room until it is removed"]
#[derive(Debug)]
pub struct GoneVolume<'a> {
    volumes: &'a Volumes,
    name: String,
    _lock: Lock,
}

impl<'a> GoneVolume<'a> {
    pub(crate) fn new(volumes: &'a Volumes, name: String, lock: Lock) -> Self {
        Self {
            volumes,
            name,
            _lock: lock,
        }
    }

    /// Removes all that is in it.
    ///
    /// # Errors
    /// [`Error::Store`]. What is left then is for [`Volumes::sweep`].
    pub fn remove(self) -> Result<()> {
        match remove::tree_at(self.volumes.dir(), self.name.as_bytes()) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::Store {
                operation: "remove",
                path: self.volumes.root().join(&self.name),
                source: io::Error::from(errno),
            }),
        }
    }
}
