//! Files without content.

use nix::sys::stat::{Mode, SFlag, makedev};

use crate::seen::Seen;

/// The mode that fifos and devices are made with.
pub(super) const AS_MADE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// A file without content.
pub(crate) enum Node<'a> {
    Symlink(&'a [u8]),
    Fifo,
    Char((u32, u32)),
    Block((u32, u32)),
}

impl Node<'_> {
    pub(crate) fn kind(&self) -> SFlag {
        match self {
            Self::Symlink(_) => SFlag::S_IFLNK,
            Self::Fifo => SFlag::S_IFIFO,
            Self::Char(_) => SFlag::S_IFCHR,
            Self::Block(_) => SFlag::S_IFBLK,
        }
    }

    /// Whether something of the kind can be this one as it was made.
    pub(crate) fn is_at(&self, place: &Seen) -> nix::Result<bool> {
        let is_closed = place.mode() & !AS_MADE.bits() == 0;
        Ok(match self {
            Self::Symlink(target) => place.target()? == *target,
            Self::Fifo => is_closed,
            Self::Char((major, minor)) | Self::Block((major, minor)) => {
                let device = makedev(u64::from(*major), u64::from(*minor));
                is_closed && place.status.st_rdev == device
            }
        })
    }
}
