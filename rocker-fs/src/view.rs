//! A root file system with what is mounted over it, where nobody else sees it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::calls;
use crate::encode;
use crate::error::{Error, Result};
use crate::resolve::{Access, open_beneath};
use crate::stack;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// A tree of mounts in a mount namespace in which no process is. It is gone when this is dropped.
#[must_use = "dropping this unmounts it all"]
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    /// What keeps the kernel from taking the mounts apart.
    _namespace: OwnedFd,
}

/// A file or directory of the host's in a [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewBind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where it is to be, from the root.
    pub target: PathBuf,
    /// Whether nothing can be written to it there.
    pub read_only: bool,
}

impl ViewBind {
    /// Shows `source` at `target`.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>, read_only: bool) -> Self {
        let (source, target) = (source.into(), target.into());
        Self {
            source,
            target,
            read_only,
        }
    }
}

impl View {
    /// Lays `binds` over `root`, a mount that is attached to nothing, one after the other. One whose source or target is not there
    /// is left out. `place` is any directory of the host, to mount at where nobody sees it.
    ///
    /// Targets are found beneath the root, and mounted on by descriptor: no symbolic link leads out.
    ///
    /// # Errors
    /// [`Error::Mount`] with the target; [`Error::NotPermitted`] without CAP_SYS_ADMIN.
    ///
    /// See [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html). Linux 5.12.
    pub fn new(root: OwnedFd, place: impl AsRef<Path>, binds: &[ViewBind]) -> Result<Self> {
        let place = place.as_ref();
        let made = stack::in_thread(|| {
            leave(place)?;
            attach(
                root.as_fd(),
                place,
                "so that other mounts can be laid over this one",
            )?;
            for bind in binds {
                lay(root.as_fd(), bind)?;
            }
            let why = "so that the mounts stay when this thread has ended";
            let own = Path::new("/proc/thread-self/ns/mnt");
            calls::open(own, OFlag::O_RDONLY | OFlag::O_CLOEXEC, why)
                .map_err(|errno| failed("open", own)(errno.into()))
        });
        let namespace = made.map_err(failed("clone for", place))??;
        Ok(Self {
            root,
            _namespace: namespace,
        })
    }
}

/// Its root.
impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Leaves the process's mount namespace for a copy.
fn leave(place: &Path) -> Result<()> {
    stack::leave_namespace().map_err(|(call, source)| match source.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted {
            operation: call,
            source,
        },
        _ => failed(call, place)(source),
    })
}

fn lay(root: BorrowedFd<'_>, bind: &ViewBind) -> Result<()> {
    let source = CString::new(bind.source.as_os_str().as_bytes());
    let source = source.map_err(|error| failed("open_tree", &bind.source)(error.into()))?;
    let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | uapi::AT_RECURSIVE;
    let copy = traced(
        "open_tree",
        "so that what the container has of the host's files can be seen in it",
        || format!("AT_FDCWD, {source:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE"),
        || sys::open_tree(None, &source, flags),
    );
    let copy = match copy {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        copy => copy.map_err(failed("open_tree", &bind.source))?,
    };
    if bind.read_only {
        let set = encode::mount_attr(uapi::MOUNT_ATTR_RDONLY, 0, 0);
        traced(
            "mount_setattr",
            "so that nothing is written that the container may only read",
            || {
                let copy = copy.as_raw_fd();
                format!(
                    "{copy}, \"\", AT_EMPTY_PATH|AT_RECURSIVE, {{attr_set=MOUNT_ATTR_RDONLY}}, 32"
                )
            },
            || sys::mount_setattr(copy.as_fd(), uapi::AT_RECURSIVE, &set),
        )
        .map_err(failed("mount_setattr", &bind.target))?;
    }
    let target = match open_beneath(root, &bind.target, Access::Path) {
        Err(Error::Resolve { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        target => target?,
    };
    let name = PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()));
    attach(
        copy.as_fd(),
        &name,
        "so that it lies where the container has it",
    )
}

fn attach(mount: BorrowedFd<'_>, target: &Path, why: &'static str) -> Result<()> {
    let path = CString::new(target.as_os_str().as_bytes());
    let path = path.map_err(|error| failed("move_mount", target)(error.into()))?;
    let args = || {
        let mount = mount.as_raw_fd();
        format!("{mount}, \"\", AT_FDCWD, {path:?}, MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_SYMLINKS")
    };
    traced("move_mount", why, args, || {
        sys::move_mount(mount, &path, uapi::MOVE_MOUNT_T_SYMLINKS)
    })
    .map_err(failed("move_mount", target))
}

fn failed(operation: &'static str, target: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Mount {
        operation,
        target: target.into(),
        source,
    }
}
