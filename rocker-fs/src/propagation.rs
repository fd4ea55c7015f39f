//! Mounts that are nobody's peers.
//!
//! A copy of a mount is a peer of the original, where that is shared: what comes to lie on the one comes to lie on the other as well. systemd has the host's
//! `/` shared, so a copy of any directory of the host's is to be taken out of its group before anything is mounted on it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::encode;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// Makes a mount that is attached to nothing private, or all beneath as well, and with `read_only` read-only.
pub(crate) fn make_private(
    mount: BorrowedFd<'_>,
    recursive: bool,
    read_only: bool,
) -> io::Result<()> {
    let why = match read_only {
        true => {
            "so that what is mounted on the copy is not mounted on the original, and nothing is written to it"
        }
        false => "so that what is mounted on the copy is not mounted on the original as well",
    };
    let (set, shown) = match read_only {
        true => (uapi::MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"),
        false => (0, "0"),
    };
    let (flags, names) = match recursive {
        true => (uapi::AT_RECURSIVE, "AT_EMPTY_PATH|AT_RECURSIVE"),
        false => (0, "AT_EMPTY_PATH"),
    };
    let args = || {
        let mount = mount.as_raw_fd();
        format!("{mount}, \"\", {names}, {{attr_set={shown}, propagation=MS_PRIVATE}}, 32")
    };
    let attributes = encode::mount_attr(set, 0, libc::MS_PRIVATE);
    traced("mount_setattr", why, args, || {
        sys::mount_setattr(mount, flags, &attributes)
    })
}
