//! Removing a tree by directory descriptors, never through a symbolic link.

use std::os::fd::BorrowedFd;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Removes the directory `name` in `dir` with all that is in it. One descriptor a level is held: layers are at most
/// [`max_depth`](crate::UnpackOptions::max_depth) deep.
pub(crate) fn tree_at(dir: BorrowedFd<'_>, name: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut open = Dir::openat(dir, name, flags, Mode::empty())?;
    // The names first: what readdir(3) yields while files go away is unspecified.
    let mut names = Vec::new();
    for entry in open.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    for (name, kind) in names {
        let plain = match kind {
            Some(Type::Directory) => Err(Errno::EISDIR),
            _ => unlinkat(&open, name.as_slice(), UnlinkatFlags::NoRemoveDir),
        };
        match plain {
            Err(Errno::EISDIR) => tree_at(std::os::fd::AsFd::as_fd(&open), &name)?,
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    drop(open);
    unlinkat(dir, name, UnlinkatFlags::RemoveDir)
}
