//! Sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::made;

/// `accept4(2)`: the next connection, which like the listener does not wait, nor outlives `execve`.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let nobody = std::ptr::null_mut();
    // SAFETY: without room for an address the call writes nothing.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), nobody, std::ptr::null_mut(), flags) };
    // SAFETY: the call makes a descriptor for its caller.
    unsafe { made(fd.into()) }
}
