//! The lock on the directory of a layer, or of a volume.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{Flock, FlockArg};

use crate::calls::call;
use crate::trace::Outcome;

/// A directory that nobody else holds, until this is dropped.
#[must_use = "dropping this unlocks"]
#[derive(Debug)]
pub(crate) struct Lock(Option<Flock<OwnedFd>>);

impl Outcome for Lock {
    fn value(&self) -> i64 {
        0
    }
}

impl Lock {
    /// Takes the lock: waits for it, or fails with EWOULDBLOCK.
    pub(crate) fn take(dir: OwnedFd, wait: bool, why: &'static str) -> nix::Result<Self> {
        let number = dir.as_raw_fd();
        let (how, name) = match wait {
            true => (FlockArg::LockExclusive, "LOCK_EX"),
            false => (FlockArg::LockExclusiveNonblock, "LOCK_EX|LOCK_NB"),
        };
        call(
            "flock",
            why,
            || format!("{number}, {name}"),
            || {
                let lock = Flock::lock(dir, how).map_err(|(_, errno)| errno)?;
                Ok(Self(Some(lock)))
            },
        )
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let lock = self.0.as_ref().expect("it is taken out only by drop");
        lock.as_fd()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to close(2): a process that is being started may have a copy of the descriptor for a moment.
        let Some(lock) = self.0.take() else { return };
        let number = lock.as_raw_fd();
        let why = "so that whoever waits for the lock need not wait for copies of the descriptor";
        let _ = call(
            "flock",
            why,
            || format!("{number}, LOCK_UN"),
            || lock.unlock().map(drop).map_err(|(_, errno)| errno),
        );
    }
}
