//! Making processes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::{made, syscall};

/// Flags of `clone3(2)` above 32 bits, which libc has too narrow types for.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which of the two processes a `clone3(2)` returned in.
#[derive(Debug)]
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The one that asked for it.
    Parent {
        /// The new process's id.
        pid: u32,
        /// The new process, by file descriptor.
        pidfd: OwnedFd,
    },
}

/// How much of `struct clone_args` the kernel is to read: with a cgroup all of it, which Linux 5.7 knows; without, what
/// the first kernels with the call have.
pub(crate) const fn clone3_size(cgroup: bool) -> usize {
    if cgroup {
        size_of::<libc::clone_args>()
    } else {
        64
    }
}

/// Makes a process by `clone3(2)`. Signal handlers do not reach the child.
///
/// # Safety
/// On [`Side::Child`] the caller must only do what is async-signal-safe until `execve(2)` or `_exit(2)`.
pub(crate) unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain numbers, for which zero is valid and means absent.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let args = ptr::from_mut(&mut args) as usize;
    let words = [args, clone3_size(cgroup.is_some()), 0, 0, 0, 0];
    // SAFETY: without CLONE_VM and a stack this is a fork: the child has its own copy of all memory.
    let result = unsafe { syscall(libc::SYS_clone3, words) };
    // SAFETY: the kernel has made this descriptor for the parent.
    side(result, || unsafe { made(pidfd.into()) })
}

/// Makes a process by `clone(2)`, for kernels without `clone3(2)`. Signal handlers stay until `execve(2)`.
///
/// # Safety
/// As [`clone3`].
pub(crate) unsafe fn clone(flags: u64) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    let flags = flags | libc::CLONE_PIDFD as u64 | libc::SIGCHLD as u64;
    let words = [
        flags as usize,
        0,
        ptr::from_mut(&mut pidfd) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: as above; the pidfd is written where the parent's thread id would be.
    let result = unsafe { syscall(libc::SYS_clone, words) };
    // SAFETY: as above.
    side(result, || unsafe { made(pidfd.into()) })
}

fn side(result: isize, pidfd: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Side> {
    match result {
        0 => Ok(Side::Child),
        pid if pid > 0 => Ok(Side::Parent {
            pid: pid as u32,
            pidfd: pidfd()?,
        }),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    }
}
