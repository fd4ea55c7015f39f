//! An overlay that has a place in the mount table.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::calls;
use crate::error::{Error, Result};
use crate::trace::traced;

/// An overlay attached at a mount point; unmounted on drop.
#[must_use = "dropping this unmounts the overlay at once"]
#[derive(Debug)]
pub struct AttachedOverlay {
    target: PathBuf,
    /// The process that made this guard. A forked child has a copy of it, which must not undo anything.
    maker: (u32, Option<u64>),
    armed: bool,
}

impl AttachedOverlay {
    pub(crate) fn new(target: PathBuf) -> Self {
        Self {
            target,
            maker: this_process(),
            armed: true,
        }
    }

    /// Takes up the overlay at `target` that another process left with [`AttachedOverlay::detach`]. `target` is
    /// believed: nothing is looked up.
    pub fn open(target: impl Into<PathBuf>) -> Self {
        Self::new(target.into())
    }

    /// The mount point.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Unmounts the overlay.
    ///
    /// # Errors
    /// [`Error::Mount`], with EBUSY while something is open on it; the guard comes back, to be tried again.
    ///
    /// See [umount2(2)](https://man7.org/linux/man-pages/man2/umount2.2.html).
    pub fn unmount(mut self) -> std::result::Result<(), (Self, Error)> {
        match unmount(&self.target, MntFlags::UMOUNT_NOFOLLOW, "UMOUNT_NOFOLLOW") {
            Ok(()) => {
                self.armed = false;
                Ok(())
            }
            Err(error) => Err((self, error)),
        }
    }

    /// Leaves the overlay mounted, and returns where, for [`AttachedOverlay::open`].
    pub fn detach(mut self) -> PathBuf {
        self.armed = false;
        std::mem::take(&mut self.target)
    }
}

impl Drop for AttachedOverlay {
    fn drop(&mut self) {
        if !self.armed || self.maker != this_process() {
            return;
        }
        let flags = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH;
        if let Err(error) = unmount(&self.target, flags, "MNT_DETACH|UMOUNT_NOFOLLOW") {
            tracing::warn!(target = %self.target.display(), error = &error as &dyn std::error::Error, "overlay left mounted");
        }
    }
}

/// What tells this process from a forked one: its number, and the PID namespace that the number is of. In a container a
/// process and its child in a new PID namespace may both be number 1.
fn this_process() -> (u32, Option<u64>) {
    let why = "so that a copy of this guard in another process can be told from the original";
    let namespace = calls::status(Path::new("/proc/self/ns/pid"), why).ok();
    (std::process::id(), namespace.map(|found| found.st_ino))
}

fn unmount(target: &Path, flags: MntFlags, names: &str) -> Result<()> {
    traced(
        "umount2",
        "so that the overlay leaves the mount table",
        || format!("{target:?}, {names}"),
        || umount2(target, flags).map_err(io::Error::from),
    )
    .map_err(|source| Error::Mount {
        operation: "umount2",
        target: target.into(),
        source,
    })
}
