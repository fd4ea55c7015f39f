//! The marks of overlayfs by which a layer hides what lies below it.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::sys::statfs::OVERLAYFS_SUPER_MAGIC;
use nix::unistd::UnlinkatFlags;

use crate::calls;
use crate::copy::{PLACE, itself};
use crate::layer::XattrNamespace;
use crate::metadata;

/// The mark of a directory in which there are whiteouts that are files.
const HAS_WHITEOUTS: &[u8] = b"x";
/// The mark of a directory that hides all below.
const OPAQUE: &[u8] = b"y";

/// Hides `name` of the layers below, where nothing has this name.
///
/// It is a device with the number 0:0. On an overlay there can be none, since that would take it for a whiteout of its own;
/// there it is an empty file with an attribute, and the directory is marked to have such files. Linux 6.8.
pub(crate) fn make(
    dir: BorrowedFd<'_>,
    name: &[u8],
    xattrs: XattrNamespace,
    why: &'static str,
) -> nix::Result<()> {
    match calls::mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), (0, 0), why) {
        Err(Errno::EPERM) if is_overlay(dir) => {}
        made => return made,
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let why = "so that there is a file that can be marked as a whiteout: an overlay takes no device for one";
    calls::openat(dir, name, flags, Mode::empty(), why)?;
    let mark = |name: &[u8], key: &CStr, value: &[u8]| {
        metadata::set_xattr_at(dir, name, key, value).map_err(|error| {
            // An older kernel keeps these names for itself, and says EPERM or ENOTSUPP. What helps is another one.
            error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
        })
    };
    let marked = mark(name, xattrs.whiteout(), OPAQUE).and_then(|()| match opaque(dir, xattrs) {
        Some(_) => Ok(()),
        None => mark(b".", xattrs.opaque(), HAS_WHITEOUTS),
    });
    if marked.is_err() {
        let why =
            "so that a file that could not become a whiteout is not taken for one of the layer's";
        let _ = calls::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir, why);
    }
    marked
}

/// Whether `name` in `dir`, of which `status` is known, is a whiteout.
pub(crate) fn is_one(
    dir: BorrowedFd<'_>,
    name: &[u8],
    status: &FileStat,
    xattrs: XattrNamespace,
) -> bool {
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFCHR => status.st_rdev == 0,
        SFlag::S_IFREG if status.st_size == 0 => {
            let why = "so that an empty file that is a whiteout is told from others";
            calls::openat(dir, name, PLACE, Mode::empty(), why).is_ok_and(|file| {
                use std::os::fd::AsFd;
                calls::getxattr(&itself(file.as_fd()), xattrs.whiteout(), &mut [0; 8], why).is_ok()
            })
        }
        _ => false,
    }
}

/// Whether a directory, be it open as a place only, hides all that the layers below have there.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>, xattrs: XattrNamespace) -> bool {
    opaque(dir, xattrs).is_some_and(|value| value == OPAQUE)
}

/// How a directory is marked.
fn opaque(dir: BorrowedFd<'_>, xattrs: XattrNamespace) -> Option<[u8; 1]> {
    let why = "so that it is known what of the layers below the directory hides";
    let mut value = [0; 1];
    let read: io::Result<usize> = calls::getxattr(&itself(dir), xattrs.opaque(), &mut value, why);
    (read.ok()? == 1).then_some(value)
}

/// Whether this is on an overlay. What cannot be asked is not.
pub(crate) fn is_overlay(dir: BorrowedFd<'_>) -> bool {
    let why = "so that it is known why there can be no device 0:0";
    let found = calls::fstatfs(dir, why);
    found.is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}
