//! A root file system with what is mounted over it, where nobody else sees it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use crate::calls;
use crate::error::{Error, Result};
use crate::mount::{Mount, MountAttributes, MountKind};
use crate::propagation::make_private;
use crate::resolve::{Access, create_dir_beneath, create_file_beneath, open_beneath};
use crate::source::Source;
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

impl View {
    /// Lays `mounts` over `root`, a mount that is attached to nothing, one after the other. Those of new file systems are left out;
    /// a target that is not there is made, a directory or an empty file; where it cannot be, that one is left out. `place` is any directory of the host, to mount at where nobody sees it. With `read_only`
    /// nothing can be written to the root itself.
    ///
    /// Targets are found beneath the root, and mounted on by descriptor: no symbolic link leads out. Nothing of it spreads to what the root and the mounts are
    /// copies of: they are made private first.
    ///
    /// # Errors
    /// [`Error::BindSource`]; [`Error::Mount`] with the target; [`Error::NotPermitted`] without CAP_SYS_ADMIN.
    ///
    /// See [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html). Linux 5.12.
    pub fn new(
        root: OwnedFd,
        read_only: bool,
        place: impl AsRef<Path>,
        mounts: &[Mount],
    ) -> Result<Self> {
        let place = place.as_ref();
        make_private(root.as_fd(), false, false)
            .map_err(failed("mount_setattr", Path::new("/")))?;
        // Before this namespace is left: a mount can be copied where it is.
        let copies = mounts
            .iter()
            .filter_map(copy_of)
            .collect::<Result<Vec<_>>>()?;
        let made = stack::in_thread(|| {
            stack::leave_namespace().map_err(|failure| failure.on(place))?;
            attach(
                root.as_fd(),
                place,
                "so that other mounts can be laid over this one",
            )?;
            for (copy, target) in &copies {
                lay(root.as_fd(), copy.as_fd(), target)?;
            }
            if read_only {
                make_private(root.as_fd(), false, true)
                    .map_err(failed("mount_setattr", Path::new("/")))?;
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

/// What a bind mount shows, attached to nothing, and where that is to be.
fn copy_of(mount: &Mount) -> Option<Result<(OwnedFd, &Path)>> {
    let MountKind::Bind { source, recursive } = &mount.kind else {
        return None;
    };
    let target = &mount.destination;
    let copied = || {
        let source = Source::open(source, *recursive)?;
        if let Some(users) = &mount.id_map {
            source.map_ids(users.as_fd(), *recursive)?;
        }
        let copy = source.mount.ok_or_else(|| Error::NotPermitted {
            operation: "open_tree",
            source: io::Error::from_raw_os_error(libc::EPERM),
        })?;
        let read_only = mount.attributes.contains(MountAttributes::RDONLY);
        let at_once = read_only && (mount.read_only_beneath || !*recursive);
        make_private(copy.as_fd(), *recursive, at_once)
            .and_then(|()| match read_only && !at_once {
                true => make_private(copy.as_fd(), false, true),
                false => Ok(()),
            })
            .map_err(failed("mount_setattr", target))?;
        Ok((copy, target.as_path()))
    };
    Some(copied())
}

fn lay(root: BorrowedFd<'_>, copy: BorrowedFd<'_>, target: &Path) -> Result<()> {
    let target = match open_beneath(root, target, Access::Path) {
        Err(Error::Resolve { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let why = "so that the place to mount it on is of its kind";
            let status = calls::fstat(copy, why);
            let status = status.map_err(|errno| failed("fstat", target)(errno.into()))?;
            let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
            let made = match kind {
                SFlag::S_IFDIR => create_dir_beneath(root, target, 0o755),
                _ => create_file_beneath(root, target, 0o644),
            };
            match made {
                Ok(made) => made,
                // The root may be read-only, or know nobody whose it would be.
                Err(_) => return Ok(()),
            }
        }
        target => target?,
    };
    let name = PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()));
    attach(copy, &name, "so that it lies where the container has it")
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
