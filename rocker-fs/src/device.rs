//! Device nodes of a root file system.

use std::path::PathBuf;

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

impl DeviceKind {
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
}

impl Device {
    /// A device that everybody may read and write, owned by root.
    pub fn new(path: impl Into<PathBuf>, kind: DeviceKind, major: u32, minor: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        }
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
