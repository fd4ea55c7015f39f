//! What is mounted in a root file system, as plain data.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

bitflags::bitflags! {
    /// Properties of a mount; the bits are those of mount_setattr(2).
    ///
    /// See [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html). Linux 5.12.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MountAttributes: u64 {
        /// Nothing can be written through it.
        #[doc(alias = "MOUNT_ATTR_RDONLY")]
        const RDONLY = 0x01;
        /// Set-user-ID bits and file capabilities count for nothing.
        #[doc(alias = "MOUNT_ATTR_NOSUID")]
        const NOSUID = 0x02;
        /// Device nodes cannot be opened.
        #[doc(alias = "MOUNT_ATTR_NODEV")]
        const NODEV = 0x04;
        /// Programs cannot be executed.
        #[doc(alias = "MOUNT_ATTR_NOEXEC")]
        const NOEXEC = 0x08;
        /// Access times are not kept.
        #[doc(alias = "MOUNT_ATTR_NOATIME")]
        const NOATIME = 0x10;
        /// Access times are always kept. With neither this nor `NOATIME` they are kept now and then (relatime).
        #[doc(alias = "MOUNT_ATTR_STRICTATIME")]
        const STRICTATIME = 0x20;
        /// Access times of directories are not kept.
        #[doc(alias = "MOUNT_ATTR_NODIRATIME")]
        const NODIRATIME = 0x80;
        /// Symbolic links are not followed. Linux 5.14.
        #[doc(alias = "MOUNT_ATTR_NOSYMFOLLOW")]
        const NOSYMFOLLOW = 0x20_0000;
    }
}

impl MountAttributes {
    /// The default way to keep access times; it has no bits.
    #[doc(alias = "MOUNT_ATTR_RELATIME")]
    pub const RELATIME: Self = Self::empty();
    /// The bits of which at most one is set.
    pub(crate) const ATIME: Self = Self::NOATIME.union(Self::STRICTATIME);
}

/// As C writes it: `MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV`, or `0`.
impl fmt::Display for MountAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("0");
        }
        for (place, (name, _)) in self.iter_names().enumerate() {
            let before = if place == 0 { "" } else { "|" };
            write!(f, "{before}MOUNT_ATTR_{name}")?;
        }
        Ok(())
    }
}

/// How mounts and unmounts beneath a mount spread between it and its copies.
///
/// See [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Propagation {
    /// Not at all.
    #[default]
    #[doc(alias = "MS_PRIVATE")]
    Private,
    /// From the host into the container.
    #[doc(alias = "MS_SLAVE")]
    Slave,
    /// Both ways.
    #[doc(alias = "MS_SHARED")]
    Shared,
    /// Not at all, and the mount cannot be copied.
    #[doc(alias = "MS_UNBINDABLE")]
    Unbindable,
}

impl Propagation {
    pub(crate) fn encode(self) -> (u64, &'static str) {
        match self {
            Self::Private => (libc::MS_PRIVATE, "MS_PRIVATE"),
            Self::Slave => (libc::MS_SLAVE, "MS_SLAVE"),
            Self::Shared => (libc::MS_SHARED, "MS_SHARED"),
            Self::Unbindable => (libc::MS_UNBINDABLE, "MS_UNBINDABLE"),
        }
    }
}

/// Where a bind mount comes from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BindSource {
    /// A path of the host, with symbolic links followed.
    Path(PathBuf),
    /// An open file or directory.
    Fd(Arc<OwnedFd>),
    /// A mount that is attached to nothing: it is attached itself, not a copy of it.
    Detached(Arc<OwnedFd>),
    /// A path of another mount namespace, such as what another container has in memory.
    In {
        /// The mount namespace, as `/proc/PID/ns/mnt` has it.
        namespace: Arc<OwnedFd>,
        /// The path, as whoever is in there sees it.
        path: PathBuf,
    },
}

/// What is mounted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MountKind {
    /// A file or directory of the host.
    #[doc(alias = "MS_BIND")]
    Bind {
        /// Which.
        source: BindSource,
        /// Whether what is mounted beneath comes along, and gets the same attributes.
        recursive: bool,
    },
    /// A new file system.
    Filesystem {
        /// Its type, as /proc/filesystems has it.
        fstype: String,
        /// Its options in order: flags, and keys with a value.
        options: Vec<(String, Option<String>)>,
    },
}

/// One mount of a root file system.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mount {
    /// Where, inside of the root file system. What is missing of it is made.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// With which properties.
    pub attributes: MountAttributes,
    /// How mounts beneath it spread. Default: not at all.
    pub propagation: Propagation,
    /// The user namespace whose ID map a bind mount is seen through. Default: none.
    pub id_map: Option<Arc<OwnedFd>>,
    /// Whether a bind mount that is read-only is so with all that is mounted beneath it, not at its top alone. Default: yes.
    pub read_only_beneath: bool,
}

impl Mount {
    /// A bind mount of a host's file or directory, with what is mounted beneath.
    pub fn bind(source: impl AsRef<Path>, destination: impl Into<PathBuf>) -> Self {
        Self::bind_source(BindSource::Path(source.as_ref().into()), destination)
    }

    /// A bind mount of an open file or directory, with what is mounted beneath.
    pub fn bind_fd(source: impl Into<Arc<OwnedFd>>, destination: impl Into<PathBuf>) -> Self {
        Self::bind_source(BindSource::Fd(source.into()), destination)
    }

    /// A bind mount of what is at `path` in another mount namespace, with what is mounted beneath. It takes CAP_SYS_ADMIN in the user
    /// namespaces of both, and CAP_SYS_CHROOT.
    pub fn bind_in(
        namespace: impl Into<Arc<OwnedFd>>,
        path: impl Into<PathBuf>,
        destination: impl Into<PathBuf>,
    ) -> Self {
        let (namespace, path) = (namespace.into(), path.into());
        Self::bind_source(BindSource::In { namespace, path }, destination)
    }

    /// A mount that is attached to nothing yet, such as an [`OverlayMount`](crate::OverlayMount), at this place; once.
    pub fn detached(mount: impl Into<Arc<OwnedFd>>, destination: impl Into<PathBuf>) -> Self {
        Self::bind_source(BindSource::Detached(mount.into()), destination)
    }

    fn bind_source(source: BindSource, destination: impl Into<PathBuf>) -> Self {
        Self::new(
            MountKind::Bind {
                source,
                recursive: true,
            },
            destination,
        )
    }

    /// A new file system of this type, such as `proc` or `tmpfs`.
    pub fn filesystem(fstype: impl Into<String>, destination: impl Into<PathBuf>) -> Self {
        let fstype = fstype.into();
        // What /proc/mounts shows in its first column.
        let options = vec![("source".to_owned(), Some(fstype.clone()))];
        Self::new(MountKind::Filesystem { fstype, options }, destination)
    }

    fn new(kind: MountKind, destination: impl Into<PathBuf>) -> Self {
        let (attributes, propagation) = Default::default();
        Self {
            destination: destination.into(),
            kind,
            attributes,
            propagation,
            id_map: None,
            read_only_beneath: true,
        }
    }

    /// Adds properties.
    pub fn attributes(mut self, attributes: MountAttributes) -> Self {
        self.attributes |= attributes;
        self
    }

    /// Sets how mounts beneath it spread.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = propagation;
        self
    }

    /// Lets the files of a bind mount belong to whom the map of this user namespace makes of their owners, as
    /// [`Overlay::id_map`](crate::Overlay::id_map) does. No other mount has that.
    #[doc(alias = "MOUNT_ATTR_IDMAP")]
    pub fn id_map(mut self, userns: impl Into<Arc<OwnedFd>>) -> Self {
        self.id_map = Some(userns.into());
        self
    }

    /// Whether what is mounted beneath a bind mount's source comes along. No other mount has that.
    pub fn recursive(mut self, along: bool) -> Self {
        if let MountKind::Bind { recursive, .. } = &mut self.kind {
            *recursive = along;
        }
        self
    }

    /// Whether [`MountAttributes::RDONLY`] counts for what is mounted beneath a bind mount's source, too; the other properties always do.
    pub fn read_only_beneath(mut self, too: bool) -> Self {
        self.read_only_beneath = too;
        self
    }

    /// Adds an option with a value to a new file system: `size=64m`. A bind mount has none.
    pub fn option(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.any_option(key.into(), Some(value.into()))
    }

    /// Adds an option without a value to a new file system: `newinstance`. A bind mount has none.
    pub fn flag(self, key: impl Into<String>) -> Self {
        self.any_option(key.into(), None)
    }

    fn any_option(mut self, key: String, value: Option<String>) -> Self {
        if let MountKind::Filesystem { options, .. } = &mut self.kind {
            options.push((key, value));
        }
        self
    }
}
