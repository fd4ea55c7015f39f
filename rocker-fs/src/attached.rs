//! An overlay that has a place in the mount table.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::calls;
use crate::error::{Error, Result};
use crate::mounted::OverlayMount;
use crate::propagation::make_private;
use crate::stack;
use crate::sys::{self, uapi};
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

    /// A second mount of the same overlay, attached to nothing. What lies over the overlay is no part of it, nor will be what is mounted on it later.
    ///
    /// So two may use one upper directory; of two overlays with the same one, neither would know what the other does.
    ///
    /// # Errors
    /// [`Error::Mount`].
    ///
    /// See [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html). Linux 5.12.
    #[doc(alias = "open_tree")]
    pub fn copy(&self) -> Result<OverlayMount> {
        copy_of(&self.target)
    }

    /// The same of the overlay that is the root of the mount namespace `namespace`, an open `/proc/PID/ns/mnt`.
    ///
    /// # Errors
    /// [`Error::Mount`], [`Error::NotPermitted`] without CAP_SYS_ADMIN there.
    ///
    /// See [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html), which a thread of its own does. Linux 5.12.
    #[doc(alias = "setns")]
    pub fn copy_of_root(namespace: BorrowedFd<'_>) -> Result<OverlayMount> {
        let root = Path::new("/");
        let failed = |operation| {
            move |source: io::Error| match source.raw_os_error() {
                Some(libc::EPERM) => Error::NotPermitted { operation, source },
                _ => Error::Mount {
                    operation,
                    target: root.into(),
                    source,
                },
            }
        };
        let copied = stack::in_thread(|| {
            traced(
                "unshare",
                "so that this thread can be in another mount namespace than its process",
                || "CLONE_FS".to_owned(),
                || Ok(unshare(CloneFlags::CLONE_FS)?),
            )
            .map_err(failed("unshare"))?;
            traced(
                "setns",
                "so that the mount can be copied: the kernel copies those of one's own namespace",
                || format!("{}, CLONE_NEWNS", namespace.as_raw_fd()),
                || Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?),
            )
            .map_err(failed("setns"))?;
            copy_of(root)
        });
        copied.map_err(failed("clone"))?
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

fn copy_of(path: &Path) -> Result<OverlayMount> {
    let failed = |source| Error::Mount {
        operation: "open_tree",
        target: path.into(),
        source,
    };
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    traced(
        "open_tree",
        "so that the same overlay can be mounted elsewhere as well",
        || format!("AT_FDCWD, {text:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"),
        || sys::open_tree(None, &text, uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC),
    )
    .map_err(&failed)
    .and_then(|mount| {
        make_private(mount.as_fd(), false, false).map_err(|source| Error::Mount {
            operation: "mount_setattr",
            target: path.into(),
            source,
        })?;
        Ok(OverlayMount(mount))
    })
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
