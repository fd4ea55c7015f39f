//! A stack of directories as one: overlayfs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::calls;
use crate::context::{self, Failure};
use crate::error::{Error, Result};
use crate::file_system::FileSystem;
use crate::ground::{self, Ground};
use crate::idmap::{self, Mapped};
use crate::layer::XattrNamespace;
use crate::memory::Memory;
use crate::mounted::OverlayMount;
use crate::stack;
use crate::sys::uapi;

/// The most layers that the kernel stacks.
const MAX_LAYERS: usize = 500;

/// The description of an overlay: which directories lie over which.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// The topmost first, as the kernel wants them.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: Option<Upper>,
    read_only: bool,
    pub(crate) xattrs: XattrNamespace,
    id_map: Option<Arc<OwnedFd>>,
    way: Way,
}

/// Where changes go.
#[derive(Debug, Clone)]
pub(crate) enum Upper {
    /// To a directory; the other one is for the kernel.
    Dirs(PathBuf, PathBuf),
    /// To a file system in memory.
    Memory { size_bytes: Option<u64> },
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
        self.upper = Some(Upper::Dirs(upper.into(), work.into()));
        self
    }

    /// Lets changes go to a file system in memory, which is made for it and is gone with the mount: where no directory can
    /// be an upper one, or where changes are not to outlive it. It holds `size_bytes` at most; without, half of the memory.
    #[doc(alias = "tmpfs")]
    pub fn upper_in_memory(mut self, size_bytes: Option<u64>) -> Self {
        self.upper = Some(Upper::Memory { size_bytes });
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

    /// Mounts by mount(2) from a thread in a mount namespace of its own, as on kernels before 6.8. For tests.
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
    /// [`Error::NoLayers`] and [`Error::TooManyLayers`]; for an upper directory that overlayfs cannot use what
    /// [`Probe::verdict`](crate::Probe::verdict) says; [`Error::NotPermitted`] without CAP_SYS_ADMIN;
    /// [`Error::Unsupported`] where the kernel has no overlayfs, or is older than 5.2; [`Error::Store`] naming a directory
    /// that cannot be opened; [`Error::NoIdMap`] and [`Error::NotMapped`] with [`Overlay::id_map`]; [`Error::Overlay`]
    /// for what else the kernel refuses, with what it said.
    ///
    /// See [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html) and
    /// [overlayfs](https://docs.kernel.org/filesystems/overlayfs.html). Linux 6.8 for the direct way; before that,
    /// a thread of its own does mount(2) in a mount namespace of its own, and hands the mount over.
    #[doc(alias = "fsmount")]
    pub fn mount(&self) -> Result<OverlayMount> {
        let mut visible = self.clone();
        let opaque = self
            .lower
            .iter()
            .position(|dir| ground::is_opaque(dir, self.xattrs));
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
                None => OverlayMount::of_layer(only),
            };
        }
        let memory = match self.upper {
            Some(Upper::Memory { size_bytes }) => {
                let made = Memory::new(size_bytes).map_err(|failure| self.refused(failure))?;
                Ground::of(&made.upper, &made.work, self.xattrs)?.verdict(
                    &made.upper,
                    &made.work,
                    self.xattrs,
                )?;
                Some(made)
            }
            _ => None,
        };
        match userns {
            Some(userns) => self.in_thread(|| self.mount_mapped(userns, memory.as_ref())),
            None => self.mount_dirs(&self.options(memory.as_ref())),
        }
    }

    /// Mounts directories as they look through the map of `userns`, in a thread that may become another user.
    fn mount_mapped(
        &self,
        userns: BorrowedFd<'_>,
        memory: Option<&Memory>,
    ) -> Result<OverlayMount> {
        let mut mapped = Mapped::new(userns);
        let lower = self.lower.iter().map(|dir| mapped.dir(dir));
        let lower = lower.collect::<Result<Vec<_>>>()?;
        let upper = match (&self.upper, memory) {
            (Some(Upper::Dirs(upper, work)), _) => Some((mapped.dir(upper)?, mapped.dir(work)?)),
            (_, Some(memory)) => {
                idmap::lay_over(memory.mount.as_fd(), &memory.upper, userns, 0, false)?;
                Some((memory.upper.clone(), memory.work.clone()))
            }
            (_, None) => None,
        };
        if let Some((_, work)) = &upper {
            idmap::become_owner(work)?;
        }
        let options = self.options(memory);
        let mount = self.mount_dirs(&stack::Options {
            lower: &lower,
            upper: upper.as_ref().map(|(upper, work)| (&**upper, &**work)),
            loose: mapped.copies().chain(options.loose).collect(),
            ..options
        })?;
        match &self.upper {
            // overlayfs that cannot use its work directory says so to the kernel's log, and is read-only.
            Some(Upper::Dirs(_, work)) if !self.read_only && FileSystem::of(&mount)?.read_only => {
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
        match context::mount(options) {
            Err(failure) if failure.is_of_an_old_kernel() => self.mount_apart(options),
            Err(failure) => Err(self.refused(failure)),
            Ok(mount) => Ok(OverlayMount(mount)),
        }
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
        match &self.upper {
            Some(Upper::Dirs(upper, work)) => {
                Ground::of(upper, work, self.xattrs)?.verdict(upper, work, self.xattrs)
            }
            _ => Ok(()),
        }
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

    fn options<'a>(&'a self, memory: Option<&'a Memory>) -> stack::Options<'a> {
        let upper = match &self.upper {
            Some(Upper::Dirs(upper, work)) => Some((&**upper, &**work)),
            _ => memory.map(|memory| (&*memory.upper, &*memory.work)),
        };
        stack::Options {
            lower: &self.lower,
            upper,
            read_only: self.is_read_only(),
            user_xattrs: self.xattrs == XattrNamespace::User,
            place: &self.lower[0],
            loose: memory
                .map(|memory| memory.mount.as_fd())
                .into_iter()
                .collect(),
        }
    }

    fn is_read_only(&self) -> bool {
        self.read_only || self.upper.is_none()
    }

    /// The first layer that is missing, or no directory. That is looked for when the kernel has refused: it does not say which it
    /// is, and to look before would take as long as a part of the mount itself.
    fn bad_layer(&self) -> Option<Error> {
        let why = "so that a missing directory is named; the kernel would not say which it is";
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        self.lower.iter().find_map(|dir| {
            let error = calls::open(dir, flags, why).err()?;
            Some(unusable("open", dir, error))
        })
    }

    fn refused(&self, failure: Failure) -> Error {
        if matches!(
            failure.errno,
            Errno::EINVAL
                | Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::EACCES
                | Errno::ELOOP
                | Errno::ENAMETOOLONG
        ) && let Some(error) = self.bad_layer()
        {
            return error;
        }
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

fn unusable(operation: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Store {
        operation,
        path: path.into(),
        source: errno.into(),
    }
}
