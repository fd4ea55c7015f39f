//! The system calls that nix has no safe wrapper for. All of this crate's unsafe code is here.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

/// Constants of `linux/mount.h` that libc does not have for this target.
pub(crate) mod uapi {
    pub(crate) const FSOPEN_CLOEXEC: u32 = 1;
    pub(crate) const FSMOUNT_CLOEXEC: u32 = 1;
    pub(crate) const FSCONFIG_SET_FLAG: u32 = 0;
    pub(crate) const FSCONFIG_SET_STRING: u32 = 1;
    pub(crate) const FSCONFIG_CMD_CREATE: u32 = 6;
    pub(crate) const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
    pub(crate) const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
    pub(crate) const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    pub(crate) const OPEN_TREE_CLONE: u32 = 1;
    pub(crate) const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
    pub(crate) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
    pub(crate) const AT_RECURSIVE: u32 = 0x8000;
    pub(crate) const AT_EMPTY_PATH: u32 = 0x1000;
    pub(crate) const MOUNT_ATTR_RDONLY: u64 = 1;
    pub(crate) const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    /// Of `linux/securebits.h`: a change of user IDs takes no capability.
    pub(crate) const SECBIT_NO_SETUID_FIXUP: u64 = 1 << 2;
}

/// Turns the return value of a system call that makes a file descriptor into its owner.
fn new_fd(value: libc::c_long) -> io::Result<OwnedFd> {
    let fd = Errno::result(value)?;
    // SAFETY: the kernel has just returned this number as a new descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn pointer(text: Option<&CStr>) -> *const libc::c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}

/// fsopen(2)
pub(crate) fn fsopen(fstype: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `fstype` is NUL-terminated and outlives the call, which only reads it.
    new_fd(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), uapi::FSOPEN_CLOEXEC) })
}

/// fsconfig(2), with a string or no value
pub(crate) fn fsconfig(
    context: BorrowedFd<'_>,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> io::Result<()> {
    // SAFETY: key and value are NULL or NUL-terminated, outlive the call, and are only read.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// fsmount(2)
pub(crate) fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    new_fd(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            uapi::FSMOUNT_CLOEXEC,
            attributes,
        )
    })
}

/// move_mount(2) of a detached mount to a path
pub(crate) fn move_mount(from: BorrowedFd<'_>, target: &CStr, flags: u32) -> io::Result<()> {
    // SAFETY: both strings are NUL-terminated, outlive the call, and are only read.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            uapi::MOVE_MOUNT_F_EMPTY_PATH | flags,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// open_tree(2) of a path, or of the descriptor `dir` itself where the path is empty
pub(crate) fn open_tree(
    dir: Option<BorrowedFd<'_>>,
    path: &CStr,
    flags: u32,
) -> io::Result<OwnedFd> {
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.as_raw_fd());
    // SAFETY: `path` is NUL-terminated and outlives the call, which only reads it.
    new_fd(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// mount_setattr(2) of the mount behind a descriptor, with an encoded `struct mount_attr`
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, flags: u32, attr: &[u8; 32]) -> io::Result<()> {
    // SAFETY: the kernel reads exactly the given 32 bytes, which outlive the call; any bytes are a valid mount_attr.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            uapi::AT_EMPTY_PATH | flags,
            attr.as_ptr(),
            attr.len(),
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// prctl(2) of an option that takes one number at most, and returns one
pub(crate) fn prctl(option: i32, value: u64) -> io::Result<usize> {
    // SAFETY: the call takes numbers only; the options that this crate uses change nothing about memory.
    let value = unsafe { libc::prctl(option, value, 0, 0, 0) };
    Ok(Errno::result(value)? as usize)
}

/// fsetxattr(2)
pub(crate) fn fsetxattr(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated, the value as long as said; both outlive the call, which only reads them.
    let done = unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// fgetxattr(2), which returns how many bytes of `value` it has filled
pub(crate) fn fgetxattr(file: BorrowedFd<'_>, name: &CStr, value: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the name is NUL-terminated, and the call writes at most as many bytes to `value` as that has.
    let length = unsafe {
        libc::fgetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    Ok(Errno::result(length)? as usize)
}

/// statx(2) of an open file: the major and minor number of its file system, and its mount where the kernel says it (Linux 5.8)
pub(crate) fn location(file: BorrowedFd<'_>) -> io::Result<(u32, u32, Option<u64>)> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is NUL-terminated and only read; the kernel writes one struct statx, for which there is room.
    let done = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            uapi::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            found.as_mut_ptr(),
        )
    };
    Errno::result(done)?;
    // SAFETY: all of it is initialized, with zeros, and numbers may have any value.
    let found = unsafe { found.assume_init() };
    let mount = (found.stx_mask & libc::STATX_MNT_ID != 0).then_some(found.stx_mnt_id);
    Ok((found.stx_dev_major, found.stx_dev_minor, mount))
}

/// getxattr(2), which returns how many bytes of `value` it has filled
pub(crate) fn getxattr(path: &CStr, name: &CStr, value: &mut [u8]) -> io::Result<usize> {
    // SAFETY: path and name are NUL-terminated, and the call writes at most as many bytes to `value` as that has.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    Ok(Errno::result(length)? as usize)
}

/// listxattr(2), which returns how many bytes of `list` it has filled
pub(crate) fn listxattr(path: &CStr, list: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the path is NUL-terminated, and the call writes at most as many bytes to `list` as that has.
    let length = unsafe { libc::listxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    Ok(Errno::result(length)? as usize)
}

/// ioctl(2) FICLONE of one open file to another
pub(crate) fn clone_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes a descriptor's number only, and changes nothing about memory.
    let done = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) };
    Ok(Errno::result(done).map(drop)?)
}

/// lsetxattr(2)
pub(crate) fn lsetxattr(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: path and name are NUL-terminated, the value as long as said; all outlive the call, which only reads them.
    let done = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// setxattr(2)
pub(crate) fn setxattr(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: path and name are NUL-terminated, the value as long as said; all outlive the call, which only reads them.
    let done = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}
