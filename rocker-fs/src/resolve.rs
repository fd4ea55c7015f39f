//! Paths inside of a directory tree that somebody else wrote.
//!
//! Every path is resolved by the kernel beneath a directory's descriptor, as if that were `/`: `..` and absolute
//! symbolic links stay inside, and magic links of /proc are refused. See openat2(2), Linux 5.6.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::error::{Error, Result};

/// How often a resolution is tried again that a rename disturbed, before somebody must be doing it on purpose.
const RETRIES: usize = 128;

/// How [`open_beneath`] opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Access {
    /// For reading (`O_RDONLY`). Never blocks, not even on a fifo.
    #[default]
    Read,
    /// For reading and writing (`O_RDWR`). Never blocks and never creates.
    ReadWrite,
    /// As a place in the tree only (`O_PATH`): nothing happens to what is there, be it a device.
    Path,
    /// As a directory (`O_RDONLY|O_DIRECTORY`).
    Directory,
}

impl Access {
    fn flags(self) -> OFlag {
        match self {
            Self::Read => OFlag::O_RDONLY | OFlag::O_NONBLOCK,
            Self::ReadWrite => OFlag::O_RDWR | OFlag::O_NONBLOCK,
            Self::Path => OFlag::O_PATH,
            Self::Directory => OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        }
    }
}

/// Opens `path` with `root` for its `/`; symbolic links are followed, but only inside.
///
/// # Errors
/// [`Error::Resolve`] with the path: not found, a magic link, a loop. [`Error::Unsupported`] before Linux 5.6.
///
/// See [openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html).
#[doc(alias = "RESOLVE_IN_ROOT")]
pub fn open_beneath(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    access: Access,
) -> Result<OwnedFd> {
    let path = path.as_ref();
    open_in_root(root, path, access.flags()).map_err(|errno| unresolved("openat2", path, errno))
}

/// Reads the regular file at `path` with `root` for its `/`; `None` where there is none.
///
/// This is the way to read what an image says about itself, such as its /etc/passwd: a fifo does not block, a device is
/// not touched, a symbolic link does not lead out, and at most `limit` bytes are held.
///
/// # Errors
/// [`Error::NotRegular`], [`Error::FileTooLarge`], or [`Error::Resolve`].
pub fn read_beneath(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    limit: u64,
) -> Result<Option<Vec<u8>>> {
    let path = path.as_ref();
    // First as a place, so that a device's open routine never runs.
    let place = match open_in_root(root, path, OFlag::O_PATH) {
        Ok(place) => place,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(errno) => return Err(unresolved("openat2", path, errno)),
    };
    let seen = fstat(&place).map_err(|errno| unresolved("fstat", path, errno))?;
    if SFlag::from_bits_truncate(seen.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Error::NotRegular { path: path.into() });
    }
    // The same inode again, whatever may be at the path by now.
    let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).map_err(|source| {
        Error::Resolve {
            operation: "open",
            path: path.into(),
            source,
        }
    })?;
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|source| Error::Resolve {
            operation: "read",
            path: path.into(),
            source,
        })?;
    if content.len() as u64 > limit {
        return Err(Error::FileTooLarge {
            path: path.into(),
            limit,
        });
    }
    Ok(Some(content))
}

/// Makes the directory `path` and those above it that are missing, with `root` for its `/`, and opens it.
///
/// What exists stays as it is; `mode` is that of the new ones, less the process's umask. Symbolic links to directories are followed inside.
///
/// # Errors
/// [`Error::Resolve`] with the path that could not be made; [`Error::Destination`] for one with `..`.
pub fn create_dir_beneath(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    mode: u32,
) -> Result<OwnedFd> {
    let mut so_far = PathBuf::new();
    let mut dir = open_beneath(root, "/", Access::Directory)?;
    for name in components(path.as_ref())? {
        match mkdirat(&dir, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(unresolved("mkdirat", &so_far.join(name), errno)),
        }
        so_far.push(name);
        // From the root again, since this name may be a symbolic link to an absolute path.
        dir = open_beneath(root, &so_far, Access::Directory)?;
    }
    Ok(dir)
}

/// The names that lead from the root to `path`, which may not have `..` in it.
pub(crate) fn components(path: &Path) -> Result<Vec<&Path>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(Path::new(name)),
            Component::ParentDir => {
                return Err(Error::Destination {
                    path: path.into(),
                    why: "`..` is not allowed",
                });
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(names)
}

fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(
            flags
                | OFlag::O_CLOEXEC
                | if flags.contains(OFlag::O_PATH) {
                    OFlag::empty()
                } else {
                    OFlag::O_NOCTTY
                },
        )
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = if path.as_os_str().is_empty() {
        Path::new("/")
    } else {
        path
    };
    let mut opened = openat2(root, path, how);
    for _ in 0..RETRIES {
        // A rename somewhere raced with the resolution of `..`; the kernel asks to try again.
        let Err(Errno::EAGAIN | Errno::EINTR) = opened else {
            break;
        };
        opened = openat2(root, path, how);
    }
    opened
}

fn unresolved(operation: &'static str, path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ENOSYS => Error::Unsupported {
            what: operation,
            needs: "Linux 5.6",
            source: io::Error::from(errno),
        },
        _ => Error::Resolve {
            operation,
            path: path.into(),
            source: io::Error::from(errno),
        },
    }
}
