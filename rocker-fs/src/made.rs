//! What was made a moment ago, found again by its name.
//!
//! Nothing but a regular file is open once it is made. Who may write to the directory can give its name to something else before it is opened: to a file of
//! root's that was there already, say, which would then get the owner of the new one. So what is found is looked at, and from then on held.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Uid, setfsuid};

use crate::calls;
use crate::copy::names_in;
use crate::seen::Seen;
use crate::trace::traced;

/// The user as whom this thread makes files.
pub(crate) fn maker() -> u32 {
    let why = "so that what this thread makes is known by its owner: nobody has the number -1, so nothing changes";
    let asked = || Ok(setfsuid(Uid::from_raw(u32::MAX)).as_raw() as usize);
    let own = traced("setfsuid", why, || "-1".to_owned(), asked);
    own.map_or(u32::MAX, |own| u32::try_from(own).unwrap_or(u32::MAX))
}

/// What has the name, held as a place, if it is of this kind, and of this user's; otherwise EEXIST.
pub(crate) fn place(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: SFlag,
    maker: Option<u32>,
) -> nix::Result<Seen> {
    let found = Seen::at(dir, name)?.ok_or(Errno::ENOENT)?;
    let is_own = maker.is_none_or(|maker| found.status.st_uid == maker);
    match found.kind() == kind && is_own {
        true => Ok(found),
        false => Err(Errno::EEXIST),
    }
}

/// Opens the directory of this name, and says whether it can be the one that was made: it is this user's, and empty.
pub(crate) fn directory(
    dir: BorrowedFd<'_>,
    name: &[u8],
    maker: Option<u32>,
) -> nix::Result<(OwnedFd, bool)> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let why = "so that owner, mode and attributes are given to this very directory";
    let opened = calls::openat(dir, name, flags, Mode::empty(), why)?;
    let Some(maker) = maker else {
        return Ok((opened, true));
    };
    let why = "so that no directory that was there already gets another owner or mode";
    let is_own = calls::fstat(opened.as_fd(), why)?.st_uid == maker;
    let is_new = is_own && names_in(opened.as_fd(), why).is_ok_and(|names| names.is_empty());
    Ok((opened, is_new))
}
