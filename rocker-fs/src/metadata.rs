//! Owner, mode, attributes and times of a file, always by descriptor or without following a symbolic link.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;
use tar::EntryType;

use crate::calls;
use crate::copy::itself;
use crate::error::{Error, Result};
use crate::member::Member;
use crate::ownership::{Given, Owners};

/// All bits of a mode that chmod(2) sets.
const ALL_BITS: u32 = 0o7777;
/// Those of them that chown(2) may take away.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// What gives a program capabilities, whoever executes it.
const CAPABILITY: &CStr = c"security.capability";

/// What of an entry was not as the layer says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left {
    /// How many entries belong to others.
    pub(crate) unmapped: u64,
    pub(crate) devices: u64,
    pub(crate) attributes: u64,
}

impl Left {
    pub(crate) fn add(&mut self, other: Self) {
        self.unmapped += other.unmapped;
        self.devices += other.devices;
        self.attributes += other.attributes;
    }
}

/// Sets all but the times of an open file or directory, which gets `mode`.
pub(crate) fn apply_to_open(
    file: BorrowedFd<'_>,
    member: &Member,
    mode: u32,
    owners: &Owners,
) -> Result<Left> {
    let failed = |operation, source| Error::Entry {
        operation,
        entry: member.name.clone(),
        source,
    };
    let directory = member.kind == EntryType::Directory;
    let given = owners.give(member.uid, member.gid, mode, directory);
    let (mode, capable) = match given.is_some() || directory {
        true => (mode, true),
        false => for_maker(file, member, mode).map_err(|errno| failed("fstat", errno.into()))?,
    };
    set_owner_and_mode(file, given, mode)
        .map_err(|(operation, errno)| failed(operation, errno.into()))?;
    let why = "so that the file has its capabilities and other attributes";
    let left = set_xattrs(member, owners, given, |name, value| {
        match capable || name != CAPABILITY {
            true => set_xattr(file, name, value, why),
            false => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    })
    .map_err(|source| failed("fsetxattr", source))?;
    Ok(left)
}

/// What a file that stays with whoever made it gets of a mode, and whether it may have capabilities: a program runs as nobody whom it was not meant to run as, and
/// whoever gave it capabilities is the one whose file it still is.
fn for_maker(file: BorrowedFd<'_>, member: &Member, mode: u32) -> nix::Result<(u32, bool)> {
    let capable = member.xattrs.iter().any(|(name, _)| **name == *CAPABILITY);
    if mode & SET_ID == 0 && !capable {
        return Ok((mode, true));
    }
    let why = "so that no program of one user's comes to run as another, whose file the copy is";
    let found = calls::fstat(file, why)?;
    let mut taken = 0;
    if found.st_uid != member.uid {
        taken |= libc::S_ISUID;
    }
    if found.st_gid != member.gid {
        taken |= libc::S_ISGID;
    }
    Ok((mode & !taken, found.st_uid == member.uid))
}

/// Sets everything of a file that is not to be opened: a symbolic link, a fifo, a device. It is held as a place.
pub(crate) fn apply_to_place(
    place: BorrowedFd<'_>,
    member: &Member,
    owners: &Owners,
) -> Result<Left> {
    let failed = |operation, source: io::Error| Error::Entry {
        operation,
        entry: member.name.clone(),
        source,
    };
    let given = owners.give(member.uid, member.gid, member.mode, false);
    if let Some(given) = given {
        let why = "so that the entry itself, not what it may point to, gets the owner that the layer names";
        calls::chown_place(place, given.uid, given.gid, why)
            .map_err(|errno| failed("fchownat", errno.into()))?;
    }
    if member.kind != EntryType::Symlink {
        // A symbolic link has no mode of its own.
        let mode = given.map_or(member.mode, |given| given.mode);
        let why = "so that the fifo or device gets its mode behind the back of the umask";
        calls::chmod_place(place, Mode::from_bits_truncate(mode), why)
            .map_err(|errno| failed("fchmodat", errno.into()))?;
    }
    let path = itself(place);
    let why =
        "so that the entry has its attributes: only by a path can they be set without opening it";
    let left = set_xattrs(member, owners, given, |key, value| {
        calls::setxattr(&path, key, value, why)
    })
    .map_err(|source| failed("setxattr", source))?;
    let why = "so that the entry itself is as old as the layer says";
    calls::set_times_of_place(place, member.mtime, member.mtime, why)
        .map_err(|errno| failed("utimensat", errno.into()))?;
    Ok(left)
}

/// Sets owner and mode, as given or `mode` alone, where they are not so already; says which call failed.
///
/// Most files are made by the user whom they are to belong to, with the mode that they are to have. To look is cheap; to set
/// either is a change of the inode, through the file system's journal.
pub(crate) fn set_owner_and_mode(
    file: BorrowedFd<'_>,
    given: Option<Given>,
    mode: u32,
) -> std::result::Result<(), (&'static str, Errno)> {
    let why = "so that owner and mode are set only where they are not yet what the layer says";
    let found = calls::fstat(file, why).map_err(|errno| ("fstat", errno))?;
    let mode = given.map_or(mode, |given| given.mode) & ALL_BITS;
    let other = given.filter(|given| (found.st_uid, found.st_gid) != (given.uid, given.gid));
    if let Some(given) = other {
        let why = "so that the file belongs to whom the layer says";
        calls::fchown(file, given.uid, given.gid, why).map_err(|errno| ("fchown", errno))?;
    }
    // Behind chown(2), which takes set-user-ID away.
    if found.st_mode & ALL_BITS != mode || (other.is_some() && mode & SET_ID != 0) {
        set_mode(file, mode).map_err(|errno| ("fchmod", errno))?;
    }
    Ok(())
}

/// Sets an entry's attributes by `set`, but for those that the file system does not know, and those whose value names
/// somebody who is not mapped, if that may be.
/// Returns what is not as the layer says.
fn set_xattrs(
    member: &Member,
    owners: &Owners,
    given: Option<Given>,
    set: impl Fn(&CStr, &[u8]) -> io::Result<()>,
) -> io::Result<Left> {
    let mut left = Left {
        unmapped: u64::from(given.is_some_and(|given| given.replaced)),
        devices: 0,
        attributes: member.xattrs_left_out,
    };
    for (name, value) in &member.xattrs {
        match set(name, value) {
            // What macOS or another file system gave to a file means nothing here. Docker goes on as well.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => left.attributes += 1,
            // An access control list, or the root of whose namespace a file capability counts.
            Err(error) if owners.are_mapped() && error.raw_os_error() == Some(libc::EINVAL) => {
                left.attributes += 1;
            }
            done => done?,
        }
    }
    Ok(left)
}

/// Sets the permission bits of an open file or directory.
pub(crate) fn set_mode(file: BorrowedFd<'_>, mode: u32) -> nix::Result<()> {
    let why = "so that the mode is the layer's, set-user-ID and all, whatever the umask";
    calls::fchmod(file, Mode::from_bits_truncate(mode), why)
}

/// Sets the times of an open file or directory.
pub(crate) fn set_times_of_open(file: BorrowedFd<'_>, time: TimeSpec) -> nix::Result<()> {
    let why =
        "so that the file is as old as the layer says, now that nothing more is written to it";
    calls::set_times(file, time, why)
}

/// Sets an extended attribute of an open file or directory.
pub(crate) fn set_xattr(
    file: BorrowedFd<'_>,
    name: &CStr,
    value: &[u8],
    why: &'static str,
) -> io::Result<()> {
    calls::fsetxattr(file, name, value, why)
}

/// Sets an extended attribute of what cannot be opened; there is no such call by directory before Linux 6.13.
pub(crate) fn set_xattr_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    key: &CStr,
    value: &[u8],
) -> io::Result<()> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path.push(0);
    let path = CStr::from_bytes_with_nul(&path).map_err(|_| io::ErrorKind::InvalidInput)?;
    let why =
        "so that the entry has its attributes: only by a path can they be set without opening it";
    calls::lsetxattr(path, key, value, why)
}
