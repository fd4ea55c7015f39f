//! A lock between processes and threads, by a file.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{Error, Result};

/// An exclusive lock, held until dropped. The kernel lets go of it when the process dies.
///
/// See [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html).
#[derive(Debug)]
#[must_use = "the lock is let go of when this is dropped"]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock on `path`, which is created if need be. Every call opens the file anew, so that threads of
    /// one process exclude each other as processes do.
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|error| Error::file("open", path, error))?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(file) => return Ok(Self { _file: file }),
                Err((back, Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(Error::file("lock", path, errno)),
            }
        }
    }
}
