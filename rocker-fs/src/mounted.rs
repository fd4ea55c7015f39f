//! A mount that is attached to nothing: an overlay, or a directory in its place.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::attached::AttachedOverlay;
use crate::error::{Error, Result};
use crate::propagation::make_private;
use crate::source::detached_directory;
use crate::stack;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// A mounted overlay that is attached to nothing. Dropping it unmounts it.
#[must_use = "dropping this unmounts the overlay at once"]
#[derive(Debug)]
pub struct OverlayMount(pub(crate) OwnedFd);

impl OverlayMount {
    /// A directory in place of an overlay, writable, as [`detached_directory`] has it.
    ///
    /// # Errors
    /// As there.
    pub fn of_directory(dir: impl AsRef<Path>, id_map: Option<BorrowedFd<'_>>) -> Result<Self> {
        detached_directory(dir, id_map).map(Self)
    }

    /// A directory that is a layer, read-only.
    pub(crate) fn of_layer(dir: &Path) -> Result<Self> {
        let why = "so that the only layer can be mounted elsewhere";
        let mount = clone(dir, why).map_err(|source| refused("open_tree", dir, source))?;
        let made = make_private(mount.as_fd(), false, true);
        match made {
            Ok(()) => Ok(Self(mount)),
            // Before Linux 5.12 mount(2) can do it, to what is in a mount table.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                stack::in_thread(|| stack::bind_read_only(dir))
                    .unwrap_or_else(|source| Err(stack::Failure::of("clone")(source)))
                    .map(Self)
                    .map_err(|failure| failure.on(dir))
            }
            Err(source) => Err(refused("mount_setattr", dir, source)),
        }
    }

    /// Attaches the overlay at the directory `target`, where everybody in this mount namespace sees it.
    ///
    /// # Errors
    /// [`Error::Mount`] with the target; [`Error::Unsupported`] before Linux 5.2.
    ///
    /// See [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html). Linux 5.2.
    #[doc(alias = "move_mount")]
    pub fn attach(self, target: impl AsRef<Path>) -> Result<AttachedOverlay> {
        let path = target.as_ref();
        let failed = |source| Error::Mount {
            operation: "move_mount",
            target: path.into(),
            source,
        };
        // The guard must find it again, wherever the process goes.
        let target = std::path::absolute(path).map_err(failed)?;
        let text =
            CString::new(target.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
        traced(
            "move_mount",
            "so that the overlay can be seen here",
            || {
                format!(
                    "{}, \"\", AT_FDCWD, {text:?}, MOVE_MOUNT_F_EMPTY_PATH",
                    self.0.as_raw_fd()
                )
            },
            || sys::move_mount(self.0.as_fd(), &text, 0),
        )
        .map_err(|source| match source.raw_os_error() {
            Some(libc::ENOSYS) => refused("move_mount", path, source),
            _ => failed(source),
        })?;
        Ok(AttachedOverlay::new(target))
    }
}

impl AsFd for OverlayMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OverlayMount> for OwnedFd {
    fn from(mount: OverlayMount) -> Self {
        mount.0
    }
}

/// A copy of the mount at `dir`, of that directory, attached to nothing.
fn clone(dir: &Path, why: &'static str) -> io::Result<OwnedFd> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC;
    traced(
        "open_tree",
        why,
        || format!("AT_FDCWD, {path:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"),
        || sys::open_tree(None, &path, flags),
    )
}

/// Why a directory could not be mounted elsewhere.
pub(crate) fn refused(operation: &'static str, dir: &Path, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted { operation, source },
        Some(libc::ENOSYS) => Error::Unsupported {
            what: operation,
            needs: match operation {
                "mount_setattr" => "Linux 5.12",
                _ => "Linux 5.2",
            },
            source,
        },
        _ => Error::Store {
            operation,
            path: dir.into(),
            source,
        },
    }
}
