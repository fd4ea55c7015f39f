//! A name in a directory of a tree that somebody else may be changing: where a file is, or is to be.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use crate::error::{Error, Result};
use crate::file_system;
use crate::resolve::{Access, open_beneath};
use crate::seen::Seen;

/// How many symbolic links are followed, as by the kernel.
const LINKS: usize = 40;

/// Where a path leads beneath a root: a directory, and a name in it. Both stay what they are, whatever becomes of the path.
#[derive(Debug)]
pub struct Place {
    dir: OwnedFd,
    name: OsString,
    found: Option<Seen>,
}

impl Place {
    /// Finds `path` with `root` for its `/`. Symbolic links on the way are followed, but only inside; one at the end of the path is
    /// if `follow` says so, also one that leads to nothing.
    ///
    /// # Errors
    /// [`Error::Resolve`], with ENOENT if the directory that should have the name is not there; that nothing has the name is no error.
    pub fn find(root: BorrowedFd<'_>, path: impl AsRef<Path>, follow: bool) -> Result<Self> {
        let mut path = Path::new("/").join(path);
        for _ in 0..LINKS {
            let Some(Component::Normal(name)) = path.components().next_back() else {
                // The root itself, or a directory that is called by `..`.
                let found = open_beneath(root, &path, Access::Path)?;
                let dir = open_beneath(root, &path, Access::Path)?;
                return Ok(Self {
                    dir,
                    name: OsString::new(),
                    found: Some(seen(found, &path)?),
                });
            };
            let name = name.to_owned();
            let above = path.parent().unwrap_or(Path::new("/")).to_owned();
            let dir = open_beneath(root, &above, Access::Path)?;
            let at = Seen::at(dir.as_fd(), name.as_bytes());
            let found = at.map_err(|errno| unresolved("openat", &path, errno))?;
            match &found {
                Some(link) if follow && link.kind() == SFlag::S_IFLNK => {
                    let target = link.target();
                    let target = target.map_err(|errno| unresolved("readlinkat", &path, errno))?;
                    // The kernel resolves what stands in front of a `..` before it goes up.
                    path = above.join(OsString::from_vec(target));
                }
                _ => return Ok(Self { dir, name, found }),
            }
        }
        Err(unresolved("readlinkat", &path, Errno::ELOOP))
    }

    /// The directory; one that was opened as a place only.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The name in it; empty if the place is the directory itself.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// What has the name, opened as a place only.
    pub fn found(&self) -> Option<BorrowedFd<'_>> {
        self.found.as_ref().map(Seen::as_fd)
    }

    /// Whether that is a directory.
    pub fn is_directory(&self) -> bool {
        self.found.as_ref().is_some_and(Seen::is_directory)
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        let found = self.found.as_ref();
        found.is_some_and(|found| found.kind() == SFlag::S_IFREG)
    }

    /// Whether it is on a file system whose files the kernel makes up as they are read, such as /proc. They have no size, and so
    /// no archive has them.
    pub fn is_the_kernels(&self) -> bool {
        let found = self.found();
        found.is_some_and(|found| file_system::is_the_kernels(found).unwrap_or(false))
    }
}

fn seen(place: OwnedFd, path: &Path) -> Result<Seen> {
    Seen::of(place).map_err(|errno| unresolved("fstat", path, errno))
}

fn unresolved(operation: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Resolve {
        operation,
        path: PathBuf::from(path),
        source: io::Error::from(errno),
    }
}
