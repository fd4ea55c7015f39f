//! [`Lock`]: one of the store's two lock files, held.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{Error, Result};

/// A lock on a file, by [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html), so that the kernel gives it back
/// however the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Option<Flock<File>>,
    owner: u32,
}

impl Lock {
    /// Waits for the lock, beside others who share it.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        Self::acquire(path, FlockArg::LockShared)?.ok_or_else(|| failed(path, Errno::EWOULDBLOCK))
    }

    /// Waits for the lock, alone.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        Self::acquire(path, FlockArg::LockExclusive)?
            .ok_or_else(|| failed(path, Errno::EWOULDBLOCK))
    }

    /// Takes the lock alone if nobody has it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::acquire(path, FlockArg::LockExclusiveNonblock)
    }

    fn acquire(path: &Path, how: FlockArg) -> Result<Option<Self>> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| Error::Store {
                operation: "open",
                path: path.to_owned(),
                source,
            })?;
        loop {
            file = match Flock::lock(file, how) {
                Ok(lock) => {
                    return Ok(Some(Self {
                        file: Some(lock),
                        owner: std::process::id(),
                    }));
                }
                Err((file, Errno::EINTR)) => file,
                Err((_, Errno::EWOULDBLOCK)) if how == FlockArg::LockExclusiveNonblock => {
                    return Ok(None);
                }
                Err((_, errno)) => return Err(failed(path, errno)),
            };
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares: it must not unlock it for its parent.
        if std::process::id() != self.owner {
            std::mem::forget(self.file.take());
        }
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::Store {
        operation: "lock",
        path: path.to_owned(),
        source: io::Error::from(errno),
    }
}
