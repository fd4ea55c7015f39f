//! Device nodes of a root file system.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, major, minor};

use crate::calls;
use crate::error::{Error, Result};

/// What a device node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe, which has no numbers.
    Fifo,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Char => "character device",
            Self::Block => "block device",
            Self::Fifo => "named pipe",
        })
    }
}

impl DeviceKind {
    /// The kind of a file that is one.
    fn of(status: &FileStat) -> Option<Self> {
        match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFCHR => Some(Self::Char),
            SFlag::S_IFBLK => Some(Self::Block),
            _ => None,
        }
    }

    pub(crate) fn encode(self) -> (u32, &'static str) {
        match self {
            Self::Char => (libc::S_IFCHR, "S_IFCHR"),
            Self::Block => (libc::S_IFBLK, "S_IFBLK"),
            Self::Fifo => (libc::S_IFIFO, "S_IFIFO"),
        }
    }
}

/// A device node beneath /dev, as `linux.devices` of the
/// [OCI runtime specification](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#devices) describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Where it is: an absolute path beneath /dev.
    pub path: PathBuf,
    /// What it stands for.
    pub kind: DeviceKind,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// Its permission bits. Default: 0666.
    pub mode: u32,
    /// Its owner. Default: 0.
    pub uid: u32,
    /// Its group. Default: 0.
    pub gid: u32,
    /// Where the host has it, for [`Rootfs::host_devices`](crate::Rootfs::host_devices). Default: at the same path.
    pub source: PathBuf,
    /// Whether the node can be changed in nothing (see [`Device::read_only`]). Default: no.
    pub read_only: bool,
}

impl Device {
    /// A device that everybody may read and write, owned by root.
    pub fn new(path: impl Into<PathBuf>, kind: DeviceKind, major: u32, minor: u32) -> Self {
        let path = path.into();
        Self {
            source: path.clone(),
            read_only: false,
            path,
            kind,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        }
    }

    /// The device that the host has at `source`, with its kind, numbers, permission bits and owner, as `path`.
    ///
    /// A symbolic link at `source` is followed. Nothing is done to the device: it is looked at as a place only.
    ///
    /// # Errors
    /// [`Error::HostDevice`] where there is nothing; [`Error::NotADevice`] for a file, directory or pipe.
    pub fn of_host(source: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Result<Self> {
        let source = source.into();
        let failed = |operation, errno: Errno| Error::HostDevice {
            operation,
            path: source.clone(),
            source: errno.into(),
        };
        let why = "so that the device can be looked at, and does not notice";
        let place = calls::open(&source, OFlag::O_PATH | OFlag::O_CLOEXEC, why)
            .map_err(|errno| failed("open", errno))?;
        let why = "so that the node in the container is of the same device";
        let status = calls::fstat(place.as_fd(), why).map_err(|errno| failed("fstat", errno))?;
        let Some(kind) = DeviceKind::of(&status) else {
            return Err(Error::NotADevice { path: source });
        };
        let (major, minor) = numbers(&status);
        let mut device = Self::new(path, kind, major, minor)
            .mode(status.st_mode & 0o7777)
            .owner(status.st_uid, status.st_gid);
        device.source = source;
        Ok(device)
    }

    /// Takes the permission to write from everybody, and lets nobody change permissions or owner of the node.
    ///
    /// This is as much as a file system can do: it does not keep a process with CAP_DAC_OVERRIDE from writing, since no
    /// mount forbids that of a device. Rules of the device cgroup do. Of a device that is the host's node
    /// ([`Rootfs::host_devices`](crate::Rootfs::host_devices)) the permission bits stay the host's.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self.mode &= !0o222;
        self
    }

    /// The error that something else is at `source` on the host.
    pub(crate) fn not_at(&self, source: &Path) -> Error {
        Error::OtherDevice {
            path: source.into(),
            kind: self.kind,
            major: self.major,
            minor: self.minor,
        }
    }

    /// Whether `status` is of this very device.
    pub(crate) fn is(&self, status: &FileStat) -> bool {
        let known = DeviceKind::of(status) == Some(self.kind);
        known && numbers(status) == (self.major, self.minor)
    }

    /// Sets its permission bits.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets its owner and group.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// The devices that every container has: null, zero, full, random, urandom and tty.
    ///
    /// See [Default Devices](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices).
    pub fn standard() -> Vec<Self> {
        let numbers = [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        ];
        let device = |(name, major, minor)| {
            Self::new(
                PathBuf::from("/dev").join(name),
                DeviceKind::Char,
                major,
                minor,
            )
        };
        numbers.map(device).into()
    }
}

/// Major and minor number; Linux has 12 and 20 bits for them.
fn numbers(status: &FileStat) -> (u32, u32) {
    let device = status.st_rdev;
    (major(device) as u32, minor(device) as u32)
}
