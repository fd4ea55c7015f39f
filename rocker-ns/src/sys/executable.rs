//! The executable of this process.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

use super::{done, is_same_file, made};

/// Whether nothing can be written through the mount that this process's program was started from.
pub(crate) fn own_executable_is_read_only() -> io::Result<bool> {
    let flags = nix::sys::statvfs::fstatvfs(&own_executable()?)?.flags();
    Ok(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}

fn own_executable() -> io::Result<File> {
    path_only(Path::new("/proc/self/exe"))
}

fn path_only(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

/// Executes this process's program out of a read-only mount of it; returns only when that fails, and why.
pub(crate) fn execute_read_only(args: &[CString], variables: &[CString]) -> io::Error {
    match mount_read_only() {
        Ok(mount) => {
            let pointers = |strings: &[CString]| -> Vec<_> {
                strings
                    .iter()
                    .map(|text| text.as_ptr())
                    .chain([ptr::null()])
                    .collect()
            };
            let (args, variables) = (pointers(args), pointers(variables));
            // SAFETY: both arrays end with a null pointer, and their strings outlive the call.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    mount.as_raw_fd(),
                    c"".as_ptr(),
                    args.as_ptr(),
                    variables.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
            }
            io::Error::last_os_error()
        }
        Err(error) => error,
    }
}

/// A detached read-only mount of the file that is this process's program.
fn mount_read_only() -> io::Result<OwnedFd> {
    let program = own_executable()?;
    let mount = match open_tree(&program) {
        // It was started from a mount of another mount namespace, where this process is no more. Here the file has the
        // same name.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let here = path_only(&std::fs::read_link("/proc/self/exe")?)?;
            if !is_same_file(&here, &program) {
                return Err(error);
            }
            open_tree(&here)?
        }
        mount => mount?,
    };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the call reads a mount_attr of the size that it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attributes,
            size_of_val(&attributes),
        )
    };
    done(result)?;
    Ok(mount)
}

/// A detached copy of the mount of a file.
fn open_tree(file: &File) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the call takes numbers and an empty string, and makes a descriptor for its caller.
    unsafe {
        made(libc::syscall(
            libc::SYS_open_tree,
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
        ))
    }
}
