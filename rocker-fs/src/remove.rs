//! Removing a tree by directory descriptors, never through a symbolic link.

use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// How many names of a directory are held at once.
const BATCH: usize = 1024;

/// Removes the directory `name` in `dir` with all that is in it. One descriptor a level is held: layers are at most
/// [`max_depth`](crate::UnpackOptions::max_depth) deep.
pub(crate) fn tree_at(dir: BorrowedFd<'_>, name: &[u8]) -> nix::Result<()> {
    let mut open = open(dir, name)?;
    loop {
        // The names first: what readdir(3) yields while files go away is unspecified.
        let names = batch(&mut open)?;
        if names.is_empty() {
            break;
        }
        for (name, kind) in names {
            let plain = match kind {
                Some(Type::Directory) => Err(Errno::EISDIR),
                _ => unlinkat(&open, name.as_slice(), UnlinkatFlags::NoRemoveDir),
            };
            match plain {
                Err(Errno::EISDIR) => tree_at(open.as_fd(), &name)?,
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    drop(open);
    unlinkat(dir, name, UnlinkatFlags::RemoveDir)
}

/// Opens a directory that can be emptied: its mode came from a layer, and may keep even its owner out.
fn open(dir: BorrowedFd<'_>, name: &[u8]) -> nix::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match Dir::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {
            fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            Dir::openat(dir, name, flags, Mode::empty())
        }
        opened => {
            let opened = opened?;
            if !Mode::from_bits_truncate(fstat(opened.as_fd())?.st_mode).contains(Mode::S_IRWXU) {
                fchmod(opened.as_fd(), Mode::S_IRWXU)?;
            }
            Ok(opened)
        }
    }
}

/// The first names of a directory, from its beginning.
fn batch(dir: &mut Dir) -> nix::Result<Vec<(Vec<u8>, Option<Type>)>> {
    let mut names = Vec::new();
    // It begins at the beginning, since the iterator before it went back there when it was dropped.
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}
