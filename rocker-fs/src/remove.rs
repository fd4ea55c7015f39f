//! Removing a tree by directory descriptors, never through a symbolic link.

use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use crate::calls;

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
        let why = "so that the directory becomes empty";
        for (name, kind) in names {
            let plain = match kind {
                Some(Type::Directory) => Err(Errno::EISDIR),
                _ => calls::unlinkat(open.as_fd(), &name, UnlinkatFlags::NoRemoveDir, why),
            };
            match plain {
                Err(Errno::EISDIR) => tree_at(open.as_fd(), &name)?,
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    drop(open);
    let why = "so that the directory itself goes, now that it is empty";
    calls::unlinkat(dir, name, UnlinkatFlags::RemoveDir, why)
}

/// Opens a directory that can be emptied: its mode came from a layer, and may keep even its owner out.
fn open(dir: BorrowedFd<'_>, name: &[u8]) -> nix::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let why = "so that what is in the directory can be listed and removed";
    match calls::open_dir(dir, name, flags, why) {
        Err(Errno::EACCES) => {
            let opening = "so that the directory, which is closed to its owner, can be opened";
            calls::chmod_at(dir, name, Mode::S_IRWXU, opening)?;
            calls::open_dir(dir, name, flags, why)
        }
        opened => {
            let opened = opened?;
            let why = "so that it is seen whether its owner may remove what is in it";
            let mode = calls::fstat(opened.as_fd(), why)?.st_mode;
            if !Mode::from_bits_truncate(mode).contains(Mode::S_IRWXU) {
                let why = "so that its owner may remove what is in it";
                calls::fchmod(opened.as_fd(), Mode::S_IRWXU, why)?;
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
