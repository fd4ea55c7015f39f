//! A lock between processes and threads, by a file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::trace::{Outcome, traced};
use crate::{Error, Result, file};

/// An exclusive lock, held until dropped. The kernel lets go of it when the process dies.
///
/// See [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html).
#[derive(Debug)]
#[must_use = "the lock is let go of when this is dropped"]
pub(crate) struct Lock {
    file: Option<Flock<File>>,
    path: PathBuf,
}

impl Outcome for Flock<File> {
    fn value(&self) -> i64 {
        0
    }
}

impl Lock {
    /// Waits for the lock on `path`, which is created if need be. Every call opens the file anew, so that threads of
    /// one process exclude each other as processes do.
    pub(crate) fn acquire(path: &Path, why: &'static str) -> Result<Self> {
        let opening = "so that there is a file to lock, which everybody finds by its name";
        let mut file =
            file::open_lock(path, opening).map_err(|error| Error::file("open", path, error))?;
        loop {
            let mut back = None;
            let number = file.as_raw_fd();
            let args = || format!("{number}<{}>, LOCK_EX", path.display());
            let locked = traced("flock", why, args, || {
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(file, errno)| {
                    back = Some(file);
                    io::Error::from(errno)
                })
            });
            match (locked, back) {
                (Ok(file), _) => {
                    let (file, path) = (Some(file), path.to_owned());
                    return Ok(Self { file, path });
                }
                (Err(error), Some(back)) if error.kind() == io::ErrorKind::Interrupted => {
                    file = back;
                }
                (Err(error), _) => return Err(Error::file("lock", path, error)),
            }
        }
    }
}

impl Lock {
    /// Whether it is still the lock that others find by its name.
    pub(crate) fn is_in_place(&self) -> bool {
        let why = "so that a lock that was removed with its directory is not taken for the one that others take";
        let same = |file: &Flock<File>| file::is_at(file, &self.path, why);
        self.file.as_ref().is_some_and(same)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to close(2): a process that is being started may have a copy of the descriptor for a moment.
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
