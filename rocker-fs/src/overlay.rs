//! A stack of directories as one: overlayfs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::OVERLAYFS_SUPER_MAGIC;

use crate::attached::AttachedOverlay;
use crate::calls;
use crate::context::{self, Failure};
use crate::encode;
use crate::error::{Error, Result};
use crate::file_system::FileSystem;
use crate::idmap::{self, Mapped};
use crate::layer::XattrNamespace;
use crate::stack;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// The most layers that the kernel stacks.
const MAX_LAYERS: usize = 500;

/// The description of an overlay: which directories lie over which.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// The topmost first, as the kernel wants them.
    lower: Vec<PathBuf>,
    upper: Option<(PathBuf, PathBuf)>,
    read_only: bool,
    xattrs: XattrNamespace,
    id_map: Option<Arc<OwnedFd>>,
    way: Way,
}

/// How an overlay is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By fsopen(2), and where the kernel does not know how, by mount(2).
    Best,
    /// By mount(2).
    Mount,
}

impl Overlay {
    /// An overlay of these directories, the **bottommost first**, as an image lists its layers. What lies below one
    /// whose root is marked as opaque is left out when it is mounted: overlayfs itself heeds that mark only further down.
    pub fn new(lower: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let mut lower: Vec<PathBuf> = lower.into_iter().map(Into::into).collect();
        lower.reverse();
        Self {
            lower,
            upper: None,
            read_only: false,
            xattrs: XattrNamespace::Trusted,
            id_map: None,
            way: Way::Best,
        }
    }

    /// Lets changes go to `upper`. `work` is an empty directory on the same file system, for the kernel's own use.
    /// Without an upper directory the overlay is read-only.
    #[doc(alias = "upperdir")]
    #[doc(alias = "workdir")]
    pub fn upper(mut self, upper: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        self.upper = Some((upper.into(), work.into()));
        self
    }

    /// Makes the mount read-only, whether or not there is an upper directory.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Where overlayfs keeps its marks: [`XattrNamespace::User`] in a user namespace.
    #[doc(alias = "userxattr")]
    pub fn xattr_namespace(mut self, namespace: XattrNamespace) -> Self {
        self.xattrs = namespace;
        self
    }

    /// Lets all files belong to whom the map of this user namespace (an open `/proc/PID/ns/user`) makes of their owners.
    ///
    /// That is for a container in that namespace: its root finds the image's files as its own, and what it makes has its
    /// own IDs in the upper directory. Nothing is changed or copied for it. `upper` and `work` must have one parent,
    /// and an owner that is mapped. Nobody whom the map does not know can make files: this process, say.
    ///
    /// It takes CAP_SYS_ADMIN in the initial user namespace, a file system that can
    /// ([mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html) has a list), and Linux 5.19.
    #[doc(alias = "MOUNT_ATTR_IDMAP")]
    pub fn id_map(mut self, userns: impl Into<Arc<OwnedFd>>) -> Self {
        self.id_map = Some(userns.into());
        self
    }

    /// Mounts by mount(2) from a thread in a mount namespace of its own, as on kernels before 6.5. For tests.
    #[doc(hidden)]
    pub fn by_mount(mut self) -> Self {
        self.way = Way::Mount;
        self
    }

    /// Mounts the overlay, attached to nothing: it is in no mount table, and is gone when its descriptor is closed.
    ///
    /// A single lower directory without an upper one needs no overlay: it is bind-mounted, read-only.
    ///
    /// # Errors
    /// [`Error::NoLayers`] and [`Error::TooManyLayers`]; [`Error::UpperOnOverlay`]; [`Error::NotPermitted`] without
    /// CAP_SYS_ADMIN; [`Error::Unsupported`] where the kernel has no overlayfs; [`Error::Store`] naming a directory
    /// that cannot be opened; [`Error::NoIdMap`] and [`Error::NotMapped`] with [`Overlay::id_map`]; [`Error::Overlay`]
    /// for what else the kernel refuses, with what it said.
    ///
    /// See [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html) and
    /// [overlayfs](https://docs.kernel.org/filesystems/overlayfs.html). Linux 6.5 for the direct way; before that,
    /// a thread of its own does mount(2) in a mount namespace of its own, and hands the mount over.
    #[doc(alias = "fsmount")]
    pub fn mount(&self) -> Result<OverlayMount> {
        let mut visible = self.clone();
        let opaque = self.lower.iter().position(|dir| self.is_opaque(dir));
        visible
            .lower
            .truncate(opaque.map_or(usize::MAX, |at| at + 1));
        visible.mount_all()
    }

    fn mount_all(&self) -> Result<OverlayMount> {
        self.check()?;
        let userns = self.id_map.as_ref().map(|userns| userns.as_fd());
        if let ([only], None) = (self.lower.as_slice(), &self.upper) {
            return match userns {
                Some(userns) => {
                    idmap::copy(only, userns, uapi::MOUNT_ATTR_RDONLY).map(OverlayMount)
                }
                None => clone_read_only(only),
            };
        }
        match userns {
            Some(userns) => self.in_thread(|| self.mount_mapped(userns)),
            None => self.mount_dirs(&self.options()),
        }
    }

    /// Mounts directories as they look through the map of `userns`, in a thread that may become another user.
    fn mount_mapped(&self, userns: BorrowedFd<'_>) -> Result<OverlayMount> {
        let mut mapped = Mapped::new(userns);
        let lower = self.lower.iter().map(|dir| mapped.dir(dir));
        let lower = lower.collect::<Result<Vec<_>>>()?;
        let upper = match &self.upper {
            Some((upper, work)) => Some((mapped.dir(upper)?, mapped.dir(work)?)),
            None => None,
        };
        if let Some((_, work)) = &upper {
            idmap::become_owner(work)?;
        }
        let mount = self.mount_dirs(&stack::Options {
            lower: &lower,
            upper: pair(&upper),
            loose: mapped.copies().collect(),
            ..self.options()
        })?;
        match &self.upper {
            // overlayfs that cannot use its work directory says so to the kernel's log, and is read-only.
            Some((_, work)) if !self.read_only && FileSystem::of(&mount)?.read_only => {
                let source = io::Error::from(Errno::EOVERFLOW);
                Err(Error::NotMapped {
                    path: work.clone(),
                    source,
                })
            }
            _ => Ok(mount),
        }
    }

    fn mount_dirs(&self, options: &stack::Options<'_>) -> Result<OverlayMount> {
        if self.way == Way::Mount {
            return self.mount_apart(options);
        }
        // Before 6.5 overlayfs knows no `lowerdir+`, and says EINVAL when the mount is made, as before 6.15 of a layer
        // in no mount namespace; before 5.2 there is no fsopen(2).
        match context::mount(options) {
            Err(Failure {
                errno: Errno::EINVAL | Errno::ENOSYS,
                said,
                ..
            }) if !said.contains("overlay:") => self.mount_apart(options),
            Err(failure) => Err(self.refused(failure)),
            Ok(mount) => Ok(OverlayMount(mount)),
        }
    }

    /// Whether a layer's root is marked so. What is wrong with the directory is said by who opens it.
    fn is_opaque(&self, dir: &Path) -> bool {
        let why = "so that layers below one that hides them all are left out of the overlay";
        let mut value = [0; 1];
        CString::new(dir.as_os_str().as_bytes())
            .is_ok_and(|dir| calls::getxattr(&dir, self.xattrs.opaque(), &mut value, why).is_ok())
            && value == *b"y"
    }

    /// Looks for what the kernel would refuse with an EINVAL or ENOENT that says nothing.
    fn check(&self) -> Result<()> {
        match self.lower.len() {
            0 => return Err(Error::NoLayers),
            1..=MAX_LAYERS => {}
            count => {
                return Err(Error::TooManyLayers {
                    count,
                    limit: MAX_LAYERS,
                });
            }
        }
        let upper = self.upper.iter().flat_map(|(upper, work)| [upper, work]);
        let why = "so that a missing directory is named; the kernel would not say which it is";
        for dir in self.lower.iter().chain(upper) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            calls::open(dir, flags, why).map_err(|errno| unusable("open", dir, errno))?;
        }
        if let Some((upper, _)) = &self.upper {
            let why =
                "so that an upper directory that is on an overlay itself is refused in plain words";
            let found =
                calls::statfs(upper, why).map_err(|errno| unusable("statfs", upper, errno))?;
            if found.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
                return Err(Error::UpperOnOverlay {
                    upper: upper.clone(),
                });
            }
        }
        Ok(())
    }

    /// Mounts by mount(2), in a thread that leaves the process's mount namespace.
    fn mount_apart(&self, options: &stack::Options<'_>) -> Result<OverlayMount> {
        let mounted = match self.id_map {
            // This is such a thread already.
            Some(_) => options.mount_here(),
            None => stack::in_thread(|| options.mount_here()).unwrap_or_else(|source| {
                Err(stack::Failure::Call {
                    call: "clone",
                    source,
                })
            }),
        };
        match mounted {
            Ok(mount) => Ok(OverlayMount(mount)),
            Err(stack::Failure::TooLong { room }) => Err(Error::TooManyLayers {
                count: self.lower.len(),
                limit: room,
            }),
            Err(stack::Failure::Call { call, source }) => {
                Err(self.refused(Failure::new(call, &source, None)))
            }
        }
    }

    fn in_thread<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        stack::in_thread(work)
            .unwrap_or_else(|source| Err(self.refused(Failure::new("clone", &source, None))))
    }

    fn options(&self) -> stack::Options<'_> {
        stack::Options {
            lower: &self.lower,
            upper: pair(&self.upper),
            read_only: self.is_read_only(),
            user_xattrs: self.xattrs == XattrNamespace::User,
            place: &self.lower[0],
            loose: Vec::new(),
        }
    }

    fn is_read_only(&self) -> bool {
        self.read_only || self.upper.is_none()
    }

    fn refused(&self, failure: Failure) -> Error {
        let source = io::Error::from(failure.errno);
        match (failure.call, failure.errno) {
            (operation, Errno::EPERM) => Error::NotPermitted { operation, source },
            (_, Errno::ENODEV) => Error::Unsupported {
                what: "overlayfs",
                needs: "CONFIG_OVERLAY_FS",
                source,
            },
            (what, Errno::ENOSYS) => Error::Unsupported {
                what,
                needs: "Linux 5.2",
                source,
            },
            (_, Errno::EINVAL) if self.id_map.is_some() && !idmap::can_be_stacked(&release()) => {
                Error::Unsupported {
                    what: "overlays of directories that are seen through an ID map",
                    needs: "Linux 5.19",
                    source,
                }
            }
            (call, _) => Error::Overlay {
                layers: self.lower.len(),
                call,
                said: failure.said,
                source,
            },
        }
    }
}

/// The running kernel's release, such as `6.18.2`.
fn release() -> String {
    let known = nix::sys::utsname::uname();
    known.map_or_else(
        |_| String::new(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// An upper and a work directory, borrowed.
fn pair(dirs: &Option<(PathBuf, PathBuf)>) -> Option<(&Path, &Path)> {
    dirs.as_ref().map(|(upper, work)| (&**upper, &**work))
}

fn clone_read_only(dir: &Path) -> Result<OverlayMount> {
    let unusable = |call, source: io::Error| match source.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted {
            operation: call,
            source,
        },
        Some(libc::ENOSYS) => Error::Unsupported {
            what: call,
            needs: "Linux 5.12",
            source,
        },
        _ => Error::Store {
            operation: call,
            path: dir.into(),
            source,
        },
    };
    let path = CString::new(dir.as_os_str().as_bytes())
        .map_err(|error| unusable("open_tree", error.into()))?;
    let mount = traced(
        "open_tree",
        "so that the only layer can be mounted elsewhere",
        || format!("AT_FDCWD, {path:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"),
        || sys::open_tree(None, &path, uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC),
    )
    .map_err(|source| unusable("open_tree", source))?;
    traced(
        "mount_setattr",
        "so that the layer is not changed",
        || {
            format!(
                "{}, \"\", AT_EMPTY_PATH, {{attr_set=MOUNT_ATTR_RDONLY}}, 32",
                mount.as_raw_fd()
            )
        },
        || {
            sys::mount_setattr(
                mount.as_fd(),
                0,
                &encode::mount_attr(uapi::MOUNT_ATTR_RDONLY, 0, 0),
            )
        },
    )
    .map_err(|source| unusable("mount_setattr", source))?;
    Ok(OverlayMount(mount))
}

fn unusable(operation: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Store {
        operation,
        path: path.into(),
        source: errno.into(),
    }
}

/// A mounted overlay that is attached to nothing. Dropping it unmounts it.
#[must_use = "dropping this unmounts the overlay at once"]
#[derive(Debug)]
pub struct OverlayMount(pub(crate) OwnedFd);

impl OverlayMount {
    /// Attaches the overlay at the directory `target`, where everybody in this mount namespace sees it.
    ///
    /// # Errors
    /// [`Error::Mount`] with the target.
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
        .map_err(failed)?;
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
