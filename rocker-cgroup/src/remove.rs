//! Taking a cgroup away, with all that lives in it.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::directory::{self, Directory};
use crate::kill;
use crate::name::Name;
use crate::tree::Tree;
use crate::{Cgroup, Error, Hierarchy, Result, file};

/// How long the kernel may take to let go of the processes.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Kills what is left in the cgroup, removes it with the cgroups that were made below it, in every tree, and then
    /// the parent if that became empty. Returns when nothing is left.
    ///
    /// # Errors
    ///
    /// [`Error::Remove`] with EBUSY when processes are still inside after 10 s, [`Error::CallerInside`],
    /// [`Error::PermissionDenied`]. Every tree is tried before the first error is returned;
    /// [`Cgroup::remove_by_name`] tries again.
    pub fn remove(mut self) -> Result<()> {
        self.guarded_by = None;
        remove(&self.directories, &self.name)
    }

    /// [`Cgroup::remove`] for whoever has the name only: after a crash, or in another process. Fine to call when there
    /// is no such cgroup, or only in some of the trees.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::remove`], and [`Error::InvalidName`].
    pub fn remove_by_name(hierarchy: &Hierarchy, parent: &str, name: &str) -> Result<()> {
        let name = Name::new(parent, name)?;
        let all = hierarchy.usable().map(|tree| Directory::new(tree, &name));
        // Also where the cgroup itself was never made: a crash may have left its parent behind.
        remove(&all.collect::<Vec<_>>(), &name)
    }
}

/// Removes the cgroup's directories, and its parents where they became empty.
pub(crate) fn remove(directories: &[Directory], name: &Name) -> Result<()> {
    let mut left = directories.to_vec();
    let mut failure: Option<Error> = None;
    let mut fail = |error: Error| match &failure {
        None => failure = Some(error),
        Some(_) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "another cgroup could not be removed"
        ),
    };
    let mut backoff = Backoff::new(PATIENCE);
    while !left.is_empty() {
        let mut busy = Vec::new();
        for dir in left {
            match remove_tree(&dir) {
                Ok(()) => parents(&dir.tree, name),
                Err(Error::Remove { source, .. }) if is_busy(&source) => busy.push(dir),
                Err(error) => fail(error),
            }
        }
        left = busy;
        if left.is_empty() {
            break;
        }
        if let Err(error) = kill::kill_once(&left)
            && !error.is_vanished()
        {
            fail(error);
            break;
        }
        if !backoff.pause() {
            let path = left[0].path.clone();
            fail(Error::Remove {
                path,
                source: io::Error::from_raw_os_error(libc::EBUSY),
            });
            break;
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Removes a directory, those below it first where there are any.
fn remove_tree(dir: &Directory) -> Result<()> {
    match remove_one(&dir.path) {
        Err(Error::Remove { source, .. }) if is_busy(&source) => {
            let all = dir.subtree()?;
            all.iter().rev().try_for_each(|path| remove_one(path))
        }
        removed => removed,
    }
}

/// Removes a directory that no other cgroup is below; fine where there is none.
fn remove_one(path: &Path) -> Result<()> {
    match directory::rmdir(path, "so that nothing of the container is left") {
        Err(source) if !is_gone(&source) => {
            Err(Error::at("remove cgroup", path, source, |path, source| {
                Error::Remove { path, source }
            }))
        }
        _ => Ok(()),
    }
}

/// Removes the parents that are empty, the innermost first: rmdir(2) fails while anything else is in them.
pub(crate) fn parents(tree: &Tree, name: &Name) {
    for parent in name.parents_to_remove(&tree.base).iter().rev() {
        if !is_childless(parent)
            || directory::rmdir(
                parent,
                "so that nothing is left when the last container is gone: the parent too goes",
            )
            .is_err()
        {
            return;
        }
    }
}

/// Whether it is worth trying; a cgroup that is made meanwhile makes rmdir(2) fail.
fn is_childless(path: &Path) -> bool {
    let why =
        "so that the parent is removed only if it is there, and nobody else's cgroup is in it";
    // With hundreds of containers to list them would take longer than all the rest.
    let by_links = file::is_childless(path, why);
    by_links.unwrap_or_else(|| {
        file::is_dir(path, why)
            && directory::children(path).is_ok_and(|children| children.is_empty())
    })
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
