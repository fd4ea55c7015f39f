//! [`Lock`]: one of the store's two lock files, the file of a download, or a directory, held.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::trace::{Outcome, traced};
use crate::{Error, Result, file};

/// A lock on a file, by [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html), so that the kernel gives it back
/// however the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Option<Flock<File>>,
    path: PathBuf,
    owner: u32,
}

impl Outcome for Flock<File> {
    fn value(&self) -> i64 {
        0
    }
}

impl Lock {
    /// Waits for the lock, beside others who share it.
    pub(crate) fn shared(path: &Path, why: &'static str) -> Result<Self> {
        Self::acquire(path, FlockArg::LockShared, why)?
            .ok_or_else(|| failed(path, Errno::EWOULDBLOCK.into()))
    }

    /// Waits for the lock, alone.
    pub(crate) fn exclusive(path: &Path, why: &'static str) -> Result<Self> {
        Self::acquire(path, FlockArg::LockExclusive, why)?
            .ok_or_else(|| failed(path, Errno::EWOULDBLOCK.into()))
    }

    /// Takes the lock alone if nobody has it.
    pub(crate) fn try_exclusive(path: &Path, why: &'static str) -> Result<Option<Self>> {
        Self::acquire(path, FlockArg::LockExclusiveNonblock, why)
    }

    /// Takes the lock of a file that is open already, alone, if nobody has it.
    pub(crate) fn try_on(file: File, path: &Path, why: &'static str) -> Result<Option<Self>> {
        Self::hold(file, path, FlockArg::LockExclusiveNonblock, why)
    }

    /// Waits for the lock of a file or directory that is open already, alone.
    pub(crate) fn on(file: File, path: &Path, why: &'static str) -> Result<Self> {
        Self::hold(file, path, FlockArg::LockExclusive, why)?
            .ok_or_else(|| failed(path, Errno::EWOULDBLOCK.into()))
    }

    /// The file that is locked.
    pub(crate) fn file(&self) -> io::Result<&File> {
        // It is there until the lock is dropped.
        self.file.as_deref().ok_or_else(|| Errno::EBADF.into())
    }

    /// Whether it is this process that took the lock, and not one that this one was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        std::process::id() == self.owner
    }

    fn acquire(path: &Path, how: FlockArg, why: &'static str) -> Result<Option<Self>> {
        let opening = "so that there is a file to lock, which everybody finds by its name";
        let file = file::open_lock(path, opening).map_err(|source| Error::Store {
            operation: "open",
            path: path.to_owned(),
            source,
        })?;
        Self::hold(file, path, how, why)
    }

    fn hold(mut file: File, path: &Path, how: FlockArg, why: &'static str) -> Result<Option<Self>> {
        let name = match how {
            FlockArg::LockShared => "LOCK_SH",
            FlockArg::LockExclusive => "LOCK_EX",
            _ => "LOCK_EX|LOCK_NB",
        };
        loop {
            let mut back = None;
            let number = file.as_raw_fd();
            let args = || format!("{number}<{}>, {name}", path.display());
            let locked = traced("flock", why, args, || {
                Flock::lock(file, how).map_err(|(file, errno)| {
                    back = Some(file);
                    io::Error::from(errno)
                })
            });
            file = match (locked, back) {
                (Ok(lock), _) => {
                    return Ok(Some(Self {
                        file: Some(lock),
                        path: path.to_owned(),
                        owner: std::process::id(),
                    }));
                }
                (Err(error), Some(file)) if error.kind() == io::ErrorKind::Interrupted => file,
                (Err(error), _)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && how == FlockArg::LockExclusiveNonblock =>
                {
                    return Ok(None);
                }
                (Err(error), _) => return Err(failed(path, error)),
            };
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares: it must not unlock it for its parent.
        if !self.is_ours() {
            std::mem::forget(self.file.take());
        }
        let Some(lock) = self.file.take() else { return };
        let number = lock.as_raw_fd();
        let args = || format!("{number}<{}>, LOCK_UN", self.path.display());
        let why = "so that whoever waits for the lock gets it now";
        let _ = traced("flock", why, args, || {
            lock.unlock()
                .map(drop)
                .map_err(|(_, errno)| io::Error::from(errno))
        });
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Store {
        operation: "lock",
        path: path.to_owned(),
        source,
    }
}
