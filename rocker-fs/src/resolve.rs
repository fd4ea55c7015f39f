//! Paths inside of a directory tree that somebody else wrote.
//!
//! Every path is resolved by the kernel beneath a directory's descriptor, as if that were `/`: `..` and absolute
//! symbolic links stay inside, and magic links of /proc are refused. See openat2(2), Linux 5.6; where that is missing, the
//! path is walked name by name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{Mode, SFlag};

use crate::calls;
use crate::error::{Error, Result};
use crate::walk;

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
/// [`Error::Resolve`] with the path: not found, a magic link, a loop.
///
/// See [openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html).
#[doc(alias = "RESOLVE_IN_ROOT")]
pub fn open_beneath(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    access: Access,
) -> Result<OwnedFd> {
    let why = "so that no symbolic link of the image leads out: its own root counts as /";
    open(root, path.as_ref(), access, why)
}

fn open(root: BorrowedFd<'_>, path: &Path, access: Access, why: &'static str) -> Result<OwnedFd> {
    open_in_root(root, path, access.flags(), why)
        .map_err(|errno| unresolved("openat2", path, errno))
}

/// The path that `path` is, with `root` for its `/`, when all symbolic links in it are followed, inside: absolute, without `..`. What is not there needs not be: its
/// names stay as they are. To know is not to have: somebody who can write to the tree may change it at once, and whoever uses the path looks it up anew.
///
/// # Errors
/// [`Error::Resolve`] with the path: a loop.
pub fn resolve_beneath(root: BorrowedFd<'_>, path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    let real = walk::resolved(root, path).map_err(|errno| unresolved("readlinkat", path, errno))?;
    Ok(Path::new("/").join(real))
}

/// Reads the regular file at `path` with `root` for its `/`; `None` where there is none.
///
/// This is the way to read what an image says about itself, such as its /etc/passwd: a fifo does not block, a device is
/// not touched, a symbolic link does not lead out, and at most `limit` bytes are held.
///
/// # Errors
/// [`Error::NotRegular`], [`Error::FileTooLarge`], or [`Error::Resolve`]; with EAGAIN while somebody has a lease on the
/// file, who is told to let go.
pub fn read_beneath(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    limit: u64,
) -> Result<Option<Vec<u8>>> {
    let path = path.as_ref();
    // First as a place, so that a device's open routine never runs.
    let why = "so that it can be looked at what this is, without a device or fifo noticing";
    let place = match open_in_root(root, path, OFlag::O_PATH, why) {
        Ok(place) => place,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(errno) => return Err(unresolved("openat2", path, errno)),
    };
    let why = "so that nothing but a regular file is read";
    let seen =
        calls::fstat(place.as_fd(), why).map_err(|errno| unresolved("fstat", path, errno))?;
    if SFlag::from_bits_truncate(seen.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Error::NotRegular { path: path.into() });
    }
    let too_large = || Error::FileTooLarge {
        path: path.into(),
        limit,
    };
    if u64::try_from(seen.st_size).is_ok_and(|size| size > limit) {
        return Err(too_large());
    }
    // The same inode again, whatever may be at the path by now.
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let why = "so that the very file that was looked at is read, whatever has its name by now";
    // Not even a lease that somebody holds on it is waited for.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = calls::open(Path::new(&again), flags, why)
        .map_err(|errno| unresolved("open", path, errno))?;
    let mut content = Vec::new();
    File::from(file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|source| Error::Resolve {
            operation: "read",
            path: path.into(),
            source,
        })?;
    // It may have grown.
    if content.len() as u64 > limit {
        return Err(too_large());
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
    let why = "so that the way down begins at the root of the image";
    let mut dir = open(root, Path::new("/"), Access::Directory, why)?;
    for name in components(path.as_ref())? {
        let why = "so that the directory is there; that it was there before does not matter";
        let mode = Mode::from_bits_truncate(mode);
        match calls::mkdirat(dir.as_fd(), name.as_os_str().as_bytes(), mode, why) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(unresolved("mkdirat", &so_far.join(name), errno)),
        }
        so_far.push(name);
        // From the root again, since this name may be a symbolic link to an absolute path.
        let why = "so that the next directory is made in this one, wherever a link led inside";
        dir = open(root, &so_far, Access::Directory, why)?;
    }
    Ok(dir)
}

/// Makes the empty file `path` and the directories above it that are missing, with `root` for its `/`, and opens it as a place only.
///
/// What exists stays as it is; `mode` is that of a new file, less the process's umask.
pub(crate) fn create_file_beneath(root: BorrowedFd<'_>, path: &Path, mode: u32) -> Result<OwnedFd> {
    let names = components(path)?;
    let Some((name, _)) = names.split_last() else {
        return Err(unresolved("mknodat", path, Errno::EISDIR));
    };
    let above = path.parent().unwrap_or(Path::new("/"));
    let dir = create_dir_beneath(root, above, 0o755)?;
    let name = name.as_os_str().as_bytes();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let why =
        "so that there is a file to mount something on; that it was there before does not matter";
    match calls::openat(
        dir.as_fd(),
        name,
        flags,
        Mode::from_bits_truncate(mode),
        why,
    ) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(unresolved("openat", path, errno)),
    }
    // From the root, as of all that is mounted on.
    open_beneath(root, path, Access::Path)
}

/// Opens a directory of which everything else is found by its descriptor, and says where it is; where it is missing it is made, for its owner only.
pub(crate) fn open_store(
    path: &Path,
    made: &'static str,
    opened: &'static str,
) -> Result<(PathBuf, OwnedFd)> {
    let failed = |operation, source| Error::Store {
        operation,
        path: path.into(),
        source,
    };
    let root = std::path::absolute(path).map_err(|source| failed("getcwd for", source))?;
    make_directory(&root, made).map_err(|errno| failed("mkdir", errno.into()))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = calls::open(&root, flags, opened).map_err(|errno| failed("open", errno.into()))?;
    Ok((root, dir))
}

/// Makes the directory, for its owner only, and those above it that are missing. What has its name already is looked at by who opens it.
fn make_directory(path: &Path, why: &'static str) -> nix::Result<()> {
    let make = || match calls::mkdir(path, Mode::S_IRWXU, why) {
        Err(Errno::EEXIST) => Ok(()),
        made => made,
    };
    match (make(), path.parent()) {
        (Err(Errno::ENOENT), Some(above)) => {
            make_directory(above, why)?;
            make()
        }
        (made, _) => made,
    }
}

/// The names that lead from the root to `path`, which may not have `..` in it.
pub(crate) fn components(path: &Path) -> Result<Vec<&Path>> {
    let mut names = Vec::new();
    // As `Path::components` has it, in a fraction of its time: a plan asks a thousand times.
    for name in path.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                return Err(Error::Destination {
                    path: path.into(),
                    why: "`..` is not allowed",
                });
            }
            name => names.push(Path::new(OsStr::from_bytes(name))),
        }
    }
    Ok(names)
}

/// Whether `names` begin with `others`, byte for byte.
pub(crate) fn begin_with(names: &[impl AsRef<Path>], others: &[impl AsRef<Path>]) -> bool {
    let mut pairs = names.iter().zip(others);
    names.len() >= others.len()
        && pairs.all(|(one, other)| one.as_ref().as_os_str() == other.as_ref().as_os_str())
}

fn open_in_root(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    why: &'static str,
) -> nix::Result<OwnedFd> {
    let no_terminal = if flags.contains(OFlag::O_PATH) {
        OFlag::empty()
    } else {
        OFlag::O_NOCTTY
    };
    let flags = flags | OFlag::O_CLOEXEC | no_terminal;
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() {
        Path::new("/")
    } else {
        path
    };
    let mut opened = calls::openat2(root, path.as_os_str().as_bytes(), flags, resolve, why);
    for _ in 0..RETRIES {
        // A rename somewhere raced with the resolution of `..`; the kernel asks to try again.
        let Err(Errno::EAGAIN | Errno::EINTR) = opened else {
            break;
        };
        opened = calls::openat2(root, path.as_os_str().as_bytes(), flags, resolve, why);
    }
    match opened {
        // The kernel's word for a call that it lacks, and that of a filter which does not know it.
        Err(Errno::ENOSYS | Errno::EPERM) => walk::open(root, path, flags, why),
        opened => opened,
    }
}

/// Opens a directory beneath `root` that no symbolic link is on the way to.
pub(crate) fn open_directory_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    why: &'static str,
) -> nix::Result<OwnedFd> {
    let beneath = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match calls::openat2(root, path, flags, beneath, why) {
        Err(Errno::ENOSYS | Errno::EPERM) => walk::open_directory(root, path, flags, why),
        opened => opened,
    }
}

/// Whether openat2(2) is there for this process and its children.
pub(crate) fn has_openat2(dir: BorrowedFd<'_>) -> bool {
    let why = "so that it is known whether paths can be looked up by one call each";
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_IN_ROOT;
    let opened = calls::openat2(dir, b".", flags, resolve, why);
    !matches!(opened, Err(Errno::ENOSYS | Errno::EPERM))
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
