//! Removing a tree by directory descriptors: never through a symbolic link, never across a mount, however deep it is.
//!
//! Who may write to a tree can make it deeper than a process may have files open, or than a path can be long. So what lies deeper than some levels is moved up beside
//! what is removed first, and its turn comes later: a directory is moved once at most, since it is never that deep again.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use crate::calls;
use crate::error::{Error, Result};
use crate::location::{Location, location};

/// How many names of a directory are held at once.
const BATCH: usize = 1024;
/// How many directories are open at once.
const LEVELS: usize = 32;

/// Removes the directory `dir` with all that is in it, however deep that is; false where there is none. A symbolic link is refused.
///
/// What is mounted in it stays, with all above it.
///
/// # Errors
/// [`Error::Store`], with EBUSY where something is mounted in it.
///
/// See [unlinkat(2)](https://man7.org/linux/man-pages/man2/unlinkat.2.html).
pub fn remove_tree(dir: impl AsRef<Path>) -> Result<bool> {
    let path = dir.as_ref();
    let failed = |errno: Errno| Error::Store {
        operation: "remove",
        path: path.into(),
        source: errno.into(),
    };
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(Errno::EINVAL).map_err(failed)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let why = "so that the directory is removed from the very one that it is in";
    let removed = calls::open(above, flags, why)
        .and_then(|above| tree_at(above.as_fd(), name.as_encoded_bytes()));
    match removed {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

/// A directory that is being emptied.
struct Level {
    dir: Dir,
    name: Vec<u8>,
    /// The directories in it that are known of.
    below: Vec<Vec<u8>>,
    /// Whether there may be others, or files.
    unread: bool,
    /// Whether the last look has found anything.
    found: bool,
}

/// Removes the directory `name` in `above` with all that is in it.
pub(crate) fn tree_at(above: BorrowedFd<'_>, name: &[u8]) -> nix::Result<()> {
    let mut levels = vec![Level::open(above, name)?];
    let mount = levels[0].mount()?;
    let mut moved = 0;
    while let Some(mut here) = levels.pop() {
        if let Some(name) = here.below.pop() {
            let opened = Level::open(here.dir.as_fd(), &name);
            levels.push(here);
            let below = match opened {
                // Somebody else removes the same.
                Err(Errno::ENOENT) => continue,
                opened => opened?,
            };
            if below.mount()? != mount {
                return Err(Errno::EBUSY);
            }
            // With quotas by directory nothing can be moved: then it takes a descriptor a level.
            if levels.len() < LEVELS || !move_up(&levels, &below.name, &mut moved)? {
                levels.push(below);
            }
        } else if here.unread {
            here.read()?;
            levels.push(here);
        } else {
            let parent = levels.last().map_or(above, |level| level.dir.as_fd());
            let why = "so that the directory itself goes, now that it is empty";
            match calls::unlinkat(parent, &here.name, UnlinkatFlags::RemoveDir, why) {
                Ok(()) => {}
                Err(Errno::ENOENT) if !levels.is_empty() => {}
                // What was moved up, or what somebody has made meanwhile.
                Err(Errno::ENOTEMPTY | Errno::EEXIST) if here.found => {
                    here.unread = true;
                    levels.push(here);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Moves the directory `name` of the last level to the first; false where the file system does not let it.
fn move_up(levels: &[Level], name: &[u8], moved: &mut u64) -> nix::Result<bool> {
    let (Some(first), Some(last)) = (levels.first(), levels.last()) else {
        return Ok(false);
    };
    let why = "so that what lies deep is removed without an open directory for each level";
    loop {
        *moved += 1;
        let place = format!(".{moved}");
        let (from, to) = (last.dir.as_fd(), first.dir.as_fd());
        match calls::rename_between((from, name), (to, place.as_bytes()), why) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(true),
            Err(Errno::EEXIST) => {}
            Err(Errno::EXDEV | Errno::EINVAL) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
}

impl Level {
    fn open(dir: BorrowedFd<'_>, name: &[u8]) -> nix::Result<Self> {
        Ok(Self {
            dir: open(dir, name)?,
            name: name.to_vec(),
            below: Vec::new(),
            unread: true,
            found: false,
        })
    }

    /// Which mount it is on; where the kernel does not tell, which file system.
    fn mount(&self) -> nix::Result<Location> {
        let why = "so that nothing that somebody has mounted there is removed";
        Ok(match location(self.dir.as_fd(), why)? {
            // A directory may be a volume of its file system, with a number of its own.
            (_, _, Some(mount)) => (0, 0, Some(mount)),
            device => device,
        })
    }

    /// Removes its files, and notes which directories are in it.
    fn read(&mut self) -> nix::Result<()> {
        // The names first: what readdir(3) yields while files go away is unspecified.
        let names = match batch(&mut self.dir) {
            // It has been removed.
            Err(Errno::ENOENT) => Vec::new(),
            names => names?,
        };
        self.found = !names.is_empty();
        self.unread = names.len() == BATCH;
        let why = "so that the directory becomes empty";
        for (name, kind) in names {
            let plain = match kind {
                Some(Type::Directory) => Err(Errno::EISDIR),
                _ => calls::unlinkat(self.dir.as_fd(), &name, UnlinkatFlags::NoRemoveDir, why),
            };
            match plain {
                Err(Errno::EISDIR) => self.below.push(name),
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
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
