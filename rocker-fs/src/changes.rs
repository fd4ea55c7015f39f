//! What an overlay's upper directory changes of the layers below it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::layer::XattrNamespace;
use crate::pack_options::PackOptions;
use crate::seen::{Seen, join, names, names_beneath};
use crate::traces::Traces;

/// How deep a tree may be: each level holds a descriptor.
const MAX_DEPTH: usize = 256;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The layers below have it, and it is another one now, or has another content.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// `C`, `A` or `D`.
impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "C",
            Self::Added => "A",
            Self::Deleted => "D",
        })
    }
}

/// A file that is not as the layers below have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Change {
    /// Where it is, from the root: `/etc/passwd`.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Tells `found` of everything that an overlay's upper directory changes of `lower`, which is what the layers below have in
/// all ([`Overlay`](crate::Overlay) without an upper directory); or a whole tree, see [`PackOptions::whole`]. Sorted by path; a directory comes before what is in it, and
/// is changed if something in it is. Of a directory that is gone, what was in it is not mentioned.
///
/// The overlay may be mounted, and in use: nothing is followed or opened but directories.
///
/// # Errors
/// [`Error::Entry`] when a system call fails, [`Error::Unpackable`] for a tree of more than 256 levels, and those of `found`.
///
/// Linux 5.6, for openat2(2).
pub fn changes<E: From<Error>>(
    upper: BorrowedFd<'_>,
    lower: BorrowedFd<'_>,
    options: &PackOptions<'_>,
    found: impl FnMut(Change) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let place = upper
        .try_clone_to_owned()
        .map_err(|source| failed("fcntl", b"", source))?;
    let seen = Seen::of(place).map_err(|errno| failed("fstat", b"", errno.into()))?;
    let mut walk = Walk {
        lower,
        marks: options.marks.unwrap_or(XattrNamespace::Trusted),
        whole: options.whole,
        traces: Traces::of(&options.mount_points),
        pending: Vec::new(),
        found,
    };
    walk.directory(b"", seen, false, 0)
}

struct Walk<'a, F> {
    lower: BorrowedFd<'a>,
    marks: XattrNamespace,
    whole: bool,
    traces: Traces,
    /// Directories on the way down that are as they were, so far as is known.
    pending: Vec<Vec<u8>>,
    found: F,
}

impl<E: From<Error>, F: FnMut(Change) -> std::result::Result<(), E>> Walk<'_, F> {
    /// Lists what is in a directory of the upper one. `is_known` says whether the layers below have it as a directory.
    fn directory(
        &mut self,
        path: &[u8],
        seen: Seen,
        is_known: bool,
        depth: usize,
    ) -> std::result::Result<(), E> {
        if depth > MAX_DEPTH {
            let why = "it is deeper than 256 directories";
            let path = shown(path);
            return Err(Error::Unpackable { path, why }.into());
        }
        let opaque = seen
            .xattr(self.marks.opaque())
            .map_err(|error| failed("getxattr", path, error))?;
        let mut dir = seen
            .open_directory()
            .map_err(|errno| failed("open", path, errno.into()))?;
        drop(seen);
        let own = names(&mut dir).map_err(|errno| failed("getdents64", path, errno.into()))?;
        let mut all: BTreeSet<(Vec<u8>, bool)> = own.into_iter().map(|name| (name, true)).collect();
        let hides = self.whole || opaque.as_deref() == Some(b"y");
        if hides && (is_known || path.is_empty()) {
            let below = names_beneath(self.lower, path)
                .map_err(|errno| failed("getdents64", path, errno.into()))?;
            for name in below {
                if !all.contains(&(name.clone(), true)) {
                    all.insert((name, false));
                }
            }
        }
        let marked_files = opaque.as_deref() == Some(b"x");
        for (name, is_own) in all {
            let path = join(path, &name);
            if !is_own {
                self.tell(&path, ChangeKind::Deleted)?;
                continue;
            }
            let seen = Seen::at(dir.as_fd(), &name)
                .map_err(|errno| failed("openat", &path, errno.into()))?;
            let Some(seen) = seen else { continue };
            self.one(&path, seen, marked_files, depth)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        path: &[u8],
        seen: Seen,
        marked_files: bool,
        depth: usize,
    ) -> std::result::Result<(), E> {
        let trace = self
            .traces
            .is_one(path, &seen, self.lower, self.marks)
            .map_err(|error| failed("openat2", path, error))?;
        if trace {
            return Ok(());
        }
        let below = Seen::beneath(self.lower, path)
            .map_err(|errno| failed("openat2", path, errno.into()))?;
        let by_attribute = marked_files
            && seen
                .is_whiteout_by_attribute(self.marks)
                .map_err(|error| failed("getxattr", path, error))?;
        if seen.is_whiteout() || by_attribute {
            return match below {
                Some(_) => self.tell(path, ChangeKind::Deleted),
                // It was made and removed again.
                None => Ok(()),
            };
        }
        let is_as_it_was = match &below {
            Some(below) if self.whole => seen
                .is_as(below)
                .map_err(|error| failed("getxattr", path, error))?,
            _ => false,
        };
        if !seen.is_directory() && is_as_it_was {
            return Ok(());
        }
        if !seen.is_directory() {
            let kind = match below {
                Some(_) => ChangeKind::Changed,
                None => ChangeKind::Added,
            };
            return self.tell(path, kind);
        }
        let known = below.as_ref().is_some_and(Seen::is_directory);
        let mtime = |file: &Seen| (file.status.st_mtime, file.status.st_mtime_nsec);
        let is_same = is_as_it_was
            || below
                .as_ref()
                .is_some_and(|below| seen.has_the_rights_of(below) && mtime(&seen) == mtime(below));
        match below {
            _ if is_same => self.pending.push(path.to_vec()),
            Some(_) => self.tell(path, ChangeKind::Changed)?,
            None => self.tell(path, ChangeKind::Added)?,
        }
        let listed = self.directory(path, seen, known, depth + 1);
        // Nothing in it has changed either.
        self.pending.pop_if(|last| last == path);
        listed
    }

    fn tell(&mut self, path: &[u8], kind: ChangeKind) -> std::result::Result<(), E> {
        for above in std::mem::take(&mut self.pending) {
            let path = rooted(&above);
            let kind = ChangeKind::Changed;
            (self.found)(Change { path, kind })?;
        }
        let path = rooted(path);
        (self.found)(Change { path, kind })
    }
}

fn rooted(path: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec([b"/", path].concat()))
}

fn shown(path: &[u8]) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(path)).to_owned()
}

fn failed(operation: &'static str, path: &[u8], source: io::Error) -> Error {
    Error::Entry {
        operation,
        entry: shown(path),
        source,
    }
}
