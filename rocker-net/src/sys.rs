//! The system calls that have no safe wrapper, and nothing else.

use std::io;
use std::mem;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Whom the kernel sends a signal when something happens to `fd`, once `O_ASYNC` is set:
/// [F_SETOWN](https://man7.org/linux/man-pages/man2/F_SETOWN.2const.html).
pub(crate) fn set_owner(fd: BorrowedFd<'_>, pid: i32) -> io::Result<()> {
    set(fd, libc::F_SETOWN, pid)
}

/// Which signal that is: [F_SETSIG](https://man7.org/linux/man-pages/man2/F_SETSIG.2const.html).
pub(crate) fn set_signal(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // libc has no name for it; the same on all architectures that rocker runs on.
    const F_SETSIG: i32 = 10;
    set(fd, F_SETSIG, signal)
}

fn set(fd: BorrowedFd<'_>, command: i32, value: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and these commands take an integer, so that no
    // memory of this process is touched.
    succeeded(unsafe { libc::fcntl(fd.as_raw_fd(), command, value) }).map(drop)
}

/// A socket of IPv4 of this type, close-on-exec: [socket(2)](https://man7.org/linux/man-pages/man2/socket.2.html).
pub(crate) fn socket(kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three integers and touches no memory of this process.
    let fd = succeeded(unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `SO_REUSEADDR`, see [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
pub(crate) fn reuse_address(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads one integer, whose address and
    // size these are, before the call returns.
    succeeded(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Gives a socket its address: [bind(2)](https://man7.org/linux/man-pages/man2/bind.2.html).
pub(crate) fn bind(socket: BorrowedFd<'_>, address: SocketAddrV4) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads one sockaddr_in, whose address and
    // size these are, before the call returns.
    succeeded(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            mem::size_of_val(&address) as libc::socklen_t,
        )
    })
    .map(drop)
}

fn succeeded(result: i32) -> io::Result<RawFd> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
