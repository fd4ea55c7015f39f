//! Namespaces by file descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::made;

/// Whether two descriptors are of one file.
pub(crate) fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    let identity = |fd: BorrowedFd<'_>| {
        let status = nix::sys::stat::fstat(fd).ok()?;
        Some((status.st_dev, status.st_ino))
    };
    let one = identity(one.as_fd());
    one.is_some() && one == identity(other.as_fd())
}

/// `NS_GET_USERNS`: the user namespace that a namespace belongs to, see ioctl_ns(2).
pub(crate) fn owner_of_namespace(namespace: impl AsFd) -> io::Result<OwnedFd> {
    let namespace = namespace.as_fd().as_raw_fd();
    // SAFETY: the request takes no argument.
    let owner = unsafe { libc::ioctl(namespace, NS_GET_USERNS) };
    // SAFETY: it makes a descriptor for its caller.
    unsafe { made(owner.into()) }
}

/// `_IO(0xb7, 0x1)` of linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;
