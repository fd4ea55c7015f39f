//! Looking up a path name by name, for where openat2(2) is missing: on a kernel before Linux 5.6, or behind a filter of system calls that does not know it.
//!
//! Symbolic links are read, not followed, and what they say is looked up from the root on, by names alone: `..` takes the last name away again, and is never opened. So whatever somebody renames
//! meanwhile, each directory that is opened is one that was in the directory opened before.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};

use crate::calls;

/// How many symbolic links are followed; the kernel's number.
const MAX_LINKS: usize = 40;

/// To open a directory on the way.
const STEP: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Opens `path` with `root` for its `/`; symbolic links are followed, but only inside.
pub(crate) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    why: &'static str,
) -> nix::Result<OwnedFd> {
    let real = resolved(root, path)?;
    let parent = walk(root, real.parent().unwrap_or(Path::new("")))?;
    let parent = parent.as_ref().map_or(root, |dir| dir.as_fd());
    let name = real.file_name().map_or(&b"."[..], OsStr::as_bytes);
    let opened = calls::openat(parent, name, flags | OFlag::O_NOFOLLOW, Mode::empty(), why)?;
    if flags.contains(OFlag::O_PATH) {
        // Somebody has put one there since it was looked up; a place that is one would be followed by whoever mounts or opens it again.
        let why = "so that no symbolic link is taken for what it leads to";
        let found = calls::fstat(opened.as_fd(), why)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK {
            return Err(Errno::ELOOP);
        }
    }
    Ok(opened)
}

/// Opens a directory whose path, without `..`, must have no symbolic link in it.
pub(crate) fn open_directory(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    why: &'static str,
) -> nix::Result<OwnedFd> {
    let path = Path::new(OsStr::from_bytes(path));
    if names(path).iter().any(|name| name == "..") {
        return Err(Errno::EXDEV);
    }
    let parent = walk(root, path.parent().unwrap_or(Path::new("")))?;
    let parent = parent.as_ref().map_or(root, |dir| dir.as_fd());
    let name = path.file_name().map_or(&b"."[..], OsStr::as_bytes);
    let flags = flags | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    calls::openat(parent, name, flags, Mode::empty(), why)
}

/// The path, from the root on, that `path` is when all symbolic links in it are followed inside of `root`. Of what is not there, the names stay as they are.
pub(crate) fn resolved(root: BorrowedFd<'_>, path: &Path) -> nix::Result<PathBuf> {
    let mut ahead = names(path);
    let mut real = PathBuf::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        match link_at(root, &real, &name)? {
            None => real.push(name),
            Some(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = Path::new(&target);
                if target.is_absolute() {
                    real.clear();
                }
                let mut whole = names(target);
                whole.extend(ahead);
                ahead = whole;
            }
        }
    }
    Ok(real)
}

/// What the symbolic link `name` in the directory `dir` says; none where it is no link, or not there.
fn link_at(root: BorrowedFd<'_>, dir: &Path, name: &OsStr) -> nix::Result<Option<OsString>> {
    let dir = match walk(root, dir) {
        Ok(dir) => dir,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let dir = dir.as_ref().map_or(root, |dir| dir.as_fd());
    let why = "so that a symbolic link is followed by its words, and only inside";
    match calls::readlink_at(dir, name.as_bytes(), why) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory whose path has no symbolic links in it; none for the root itself.
fn walk(root: BorrowedFd<'_>, path: &Path) -> nix::Result<Option<OwnedFd>> {
    let mut dir: Option<OwnedFd> = None;
    for name in path.iter() {
        let here = dir.as_ref().map_or(root, |dir| dir.as_fd());
        let why = "so that the next name is looked up in this very directory, reached by no symbolic link";
        dir = Some(calls::openat(
            here,
            name.as_bytes(),
            STEP,
            Mode::empty(),
            why,
        )?);
    }
    Ok(dir)
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}
