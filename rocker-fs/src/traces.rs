//! What mounts left in a container's upper directory: the empty files and directories that were made to be mounted on.
//!
//! They are rocker's and not the container's, so that they belong neither to a list of changes nor to a layer. Docker has a
//! layer for them below the container's own.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, PathBuf};

use nix::dir::Dir;
use nix::sys::stat::SFlag;

use crate::layer::XattrNamespace;
use crate::seen::{Seen, join, names};

/// The places where something was mounted, beneath the root.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    places: BTreeSet<Vec<u8>>,
    /// The directories on the way to them.
    above: BTreeSet<Vec<u8>>,
}

impl Traces {
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut traces = Self::default();
        for path in paths {
            let mut so_far = Vec::new();
            for component in path.components() {
                if let Component::Normal(name) = component {
                    if !so_far.is_empty() {
                        traces.above.insert(so_far.clone());
                    }
                    so_far = join(&so_far, name.as_bytes());
                }
            }
            if !so_far.is_empty() {
                traces.places.insert(so_far);
            }
        }
        traces
    }

    /// Whether what the upper directory has at `path` is there because something was mounted at or beneath it, and for no
    /// other reason. `lower` is what the layers below have in all.
    pub(crate) fn is_one(
        &self,
        path: &[u8],
        seen: &Seen,
        lower: BorrowedFd<'_>,
        marks: XattrNamespace,
    ) -> io::Result<bool> {
        let is_place = self.places.contains(path);
        if !is_place && !self.above.contains(path) {
            return Ok(false);
        }
        let below = Seen::beneath(lower, path)?;
        if seen.kind() == SFlag::S_IFREG {
            return Ok(is_place && seen.status.st_size == 0 && below.is_none());
        }
        // One that the image has as well was copied for what was made in it.
        let unchanged = below.is_none_or(|below| seen.has_the_rights_of(&below));
        if !seen.is_directory() || !unchanged || seen.xattr(marks.opaque())?.is_some() {
            return Ok(false);
        }
        let mut dir = seen.open_directory()?;
        self.are_all(path, &mut dir, lower, marks)
    }

    fn are_all(
        &self,
        path: &[u8],
        dir: &mut Dir,
        lower: BorrowedFd<'_>,
        marks: XattrNamespace,
    ) -> io::Result<bool> {
        for name in names(dir)? {
            let Some(seen) = Seen::at(dir.as_fd(), &name)? else {
                continue;
            };
            if !self.is_one(&join(path, &name), &seen, lower, marks)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
