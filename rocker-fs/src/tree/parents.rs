//! The way to an entry: directories that are opened beneath the root, and made where the archive never mentions them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use super::{Tree, failed};
use crate::calls;
use crate::error::{Error, Result};
use crate::id_range::outside;
use crate::made;
use crate::metadata;
use crate::resolve;
use crate::whiteout;

impl Tree<'_> {
    /// The directory `path`, made where it is missing.
    pub(super) fn parent(&mut self, path: &[u8], entry: &Path) -> Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root);
        }
        if self.parent.as_ref().is_none_or(|(known, _)| known != path) {
            let why = "so that files are made in a directory inside of the layer, reached by no symbolic link";
            let dir = match resolve::open_directory_beneath(self.root, path, OFlag::O_PATH, why) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_parents(path, entry)?,
                opened => opened.map_err(|errno| unreachable_directory(entry, errno))?,
            };
            self.parent = Some((path.to_vec(), dir));
        }
        Ok(self
            .parent
            .as_ref()
            .map_or(self.root, |(_, dir)| dir.as_fd()))
    }

    /// Makes the directories of `path` that the archive never mentioned: they belong to root and are open to all.
    fn make_parents(&self, path: &[u8], entry: &Path) -> Result<OwnedFd> {
        let mut dir: Option<OwnedFd> = None;
        for name in path.split(|byte| *byte == b'/') {
            let above = dir.as_ref().map_or(self.root, |dir| dir.as_fd());
            let why = "so that a directory which the layer uses and does not mention is there";
            let mut made = match calls::mkdirat(above, name, Mode::S_IRWXU, why) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(failed("mkdirat", entry, errno)),
            };
            // A directory over a whiteout of the same layer hides what the layers below have there.
            let why = "so that it is seen whether a whiteout stands where a directory must be";
            let hides = self.options.whiteouts
                && !made
                && calls::status_at(above, name, why).is_ok_and(|found| {
                    whiteout::is_one(above, name, &found, self.options.xattr_namespace)
                });
            if hides {
                let why = "so that a directory can take the whiteout's place";
                calls::unlinkat(above, name, UnlinkatFlags::NoRemoveDir, why)
                    .map_err(|errno| failed("unlinkat", entry, errno))?;
                let why = "so that there is a directory where the whiteout was";
                calls::mkdirat(above, name, Mode::S_IRWXU, why)
                    .map_err(|errno| failed("mkdirat", entry, errno))?;
                made = true;
            }
            let maker = self.maker.filter(|_| made);
            let (below, is_new) = made::directory(above, name, maker)
                .map_err(|errno| unreachable_directory(entry, errno))?;
            if hides {
                self.mark_opaque(below.as_fd(), entry)?;
            }
            if made && is_new {
                let (root, roots) = (
                    outside(&self.options.uids, 0),
                    outside(&self.options.gids, 0),
                );
                let given = self.owners.give(root, roots, 0o755, true);
                metadata::set_owner_and_mode(below.as_fd(), given, 0o755)
                    .map_err(|(operation, errno)| failed(operation, entry, errno))?;
            }
            dir = Some(below);
        }
        // `path` is not empty, so it has a name.
        dir.ok_or(Errno::ENOENT)
            .map_err(|errno| failed("openat", entry, errno))
    }

    pub(super) fn open_directory(
        &self,
        path: &[u8],
        flags: OFlag,
        entry: &Path,
        why: &'static str,
    ) -> Result<OwnedFd> {
        resolve::open_directory_beneath(self.root, path, flags, why)
            .map_err(|errno| unreachable_directory(entry, errno))
    }
}

/// Why a directory on the way to an entry could not be entered.
pub(super) fn unreachable_directory(entry: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ELOOP | Errno::EXDEV => Error::Escapes {
            entry: entry.into(),
            why: "a symbolic link stands in its way",
        },
        // openat(2) with O_NOFOLLOW and O_DIRECTORY calls a symbolic link no directory.
        Errno::ENOTDIR => Error::Escapes {
            entry: entry.into(),
            why: "something that is no directory stands in its way",
        },
        _ => failed("openat2", entry, errno),
    }
}
