//! A container's cgroup: one object over however many directories the host's layout makes of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::directory::{self, Directory};
use crate::name::Name;
use crate::remove;
use crate::{Controller, Error, Hierarchy, Result, file};

/// A cgroup, in every tree of the host that has one: see
/// [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html).
///
/// [`Cgroup::create`] makes a guard: dropping it kills what is left inside and removes it, unless it was
/// [kept](Cgroup::keep). [`Cgroup::open`] makes a mere reference. Parent and name are all that another process needs.
#[derive(Debug)]
#[must_use = "dropping a created cgroup kills its processes and removes it"]
pub struct Cgroup {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) name: Name,
    pub(crate) directories: Vec<Directory>,
    /// The directory on v2, open.
    pub(crate) fd: Option<OwnedFd>,
    /// The process whose guard this is.
    pub(crate) guarded_by: Option<u32>,
}

impl Cgroup {
    /// Takes up a cgroup that exists, whoever made it; dropping the result leaves it as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when it is in no tree, [`Error::InvalidName`].
    pub fn open(hierarchy: &Hierarchy, parent: &str, name: &str) -> Result<Cgroup> {
        let name = Name::new(parent, name)?;
        let directories = existing(hierarchy, &name);
        if directories.is_empty() {
            return Err(Error::NotFound { path: name.path() });
        }
        let mut cgroup = Cgroup {
            hierarchy: hierarchy.clone(),
            name,
            directories,
            fd: None,
            guarded_by: None,
        };
        cgroup.open_fd()?;
        Ok(cgroup)
    }

    /// The names of the cgroups below `parent`, in any tree, sorted: what a crash may have left behind.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::InvalidName`]. A parent that does not exist has none.
    pub fn names(hierarchy: &Hierarchy, parent: &str) -> Result<Vec<String>> {
        let parent = Name::parent(parent)?.join("/");
        let mut names = Vec::new();
        for tree in hierarchy.usable() {
            let paths = directory::children(&tree.base.join(&parent))?;
            names.extend(
                paths
                    .iter()
                    .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
            );
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The `tasks` files of v1, open for writing, in the order of
    /// [`Hierarchy::mounts_for_container`]: a process with one thread that writes `0` to each of them is in this cgroup.
    ///
    /// That is faster than [`add`](Self::add). To move a process by its id the kernel keeps all processes from starting
    /// and ending for a moment, and waits until that holds everywhere, which may take 10 ms; a process that moves itself
    /// spares it that. The kernel asks for the rights of whoever opened the files.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when one cannot be opened.
    pub fn tasks(&self) -> Result<Vec<OwnedFd>> {
        let why = "so that a process can move itself into this cgroup";
        let on_v1 = self.directories.iter().filter(|dir| !dir.is_v2());
        let open = |dir: &Directory| {
            let path = dir.path.join("tasks");
            let file = file::open_to_write(&path, why);
            file.map(OwnedFd::from)
                .map_err(|source| Error::Read { path, source })
        };
        on_v1.map(open).collect()
    }

    /// Moves a process, with all of its threads, into this cgroup in every tree. Its children are born there.
    ///
    /// On v2 a process can be born here instead: see [`Cgroup::as_fd`].
    ///
    /// # Errors
    ///
    /// [`Error::Add`], with ESRCH when the process is gone, and on v2 with EBUSY when those inside have made cgroups with
    /// controllers of their own; [`Error::PermissionDenied`]. On v1 it may then be in some
    /// trees only: kill it.
    #[doc(alias = "cgroup.procs")]
    pub fn add(&self, pid: u32) -> Result<()> {
        let value = pid.to_string();
        for dir in &self.directories {
            let path = dir.path.join("cgroup.procs");
            file::write(
                &path,
                &value,
                "so that the process is held to the limits of this cgroup",
            )
            .map_err(|source| {
                Error::at("write", &path, source, |path, source| Error::Add {
                    pid,
                    path,
                    source,
                })
            })?;
        }
        Ok(())
    }

    /// The cgroup's directory, for `CLONE_INTO_CGROUP` of
    /// [clone3(2)](https://man7.org/linux/man-pages/man2/clone.2.html) (Linux 5.7): the child is limited from its
    /// first instruction on. On a host with trees of v1 it covers the one of v2; for the others see [`Cgroup::tasks`].
    #[doc(alias = "CLONE_INTO_CGROUP")]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    /// The directories of this cgroup, one a tree.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.directories
            .iter()
            .map(|dir| dir.path.clone())
            .collect()
    }

    /// The processes in this cgroup and below it, sorted. One outside of the caller's PID namespace shows as 0.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn procs(&self) -> Result<Vec<u32>> {
        Ok(directory::procs(&self.directories)?.into_iter().collect())
    }

    /// The directory in the tree that has the controller.
    pub(crate) fn directory_of(&self, controller: Controller) -> Option<&Directory> {
        let tree = self.hierarchy.tree_of(controller)?;
        self.directories.iter().find(|dir| dir.tree == *tree)
    }

    /// Opens the directory if the host is all v2.
    pub(crate) fn open_fd(&mut self) -> Result<()> {
        if let Some(dir) = self.directories.iter().find(|dir| dir.is_v2()) {
            let why = "so that clone3 can let a process be born in this cgroup, by its descriptor";
            let file = file::open(&dir.path, why).map_err(|source| Error::Read {
                path: dir.path.clone(),
                source,
            })?;
            self.fd = Some(file.into());
        }
        Ok(())
    }

    /// Gives up the guard: the cgroup stays when the result is dropped, until somebody removes it by name.
    pub fn keep(mut self) -> Cgroup {
        self.guarded_by = None;
        self
    }

    /// Lets go of the cgroup and leaves it in place; [`Cgroup::open`] takes it up again, in any process.
    pub fn detach(self) {
        drop(self.keep());
    }
}

/// The directories of `name` that exist.
pub(crate) fn existing(hierarchy: &Hierarchy, name: &Name) -> Vec<Directory> {
    let all = hierarchy.usable().map(|tree| Directory::new(tree, name));
    let why = "so that only trees that have this cgroup are looked at";
    all.filter(|dir| file::is_dir(&dir.path, why)).collect()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A copy of the guard in a forked child must not take away what the parent still uses.
        if self.guarded_by == Some(std::process::id())
            && let Err(error) = remove::remove(&self.directories, &self.name)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a cgroup was left behind"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Applied, Compat, Limits, SkipReason};

    /// A host with the pids controller of v1 alone, in a directory that behaves like it: rmdir works, no file is there.
    fn fake_host() -> (tempfile::TempDir, Hierarchy) {
        let dir = tempfile::tempdir().unwrap();
        let mountinfo = format!(
            "1 0 0:1 / {} rw - cgroup cgroup rw,pids\n",
            dir.path().display()
        );
        let hierarchy = Hierarchy::parse(&mountinfo, "1:pids:/\n").unwrap();
        (dir, hierarchy)
    }

    fn create(hierarchy: &Hierarchy, compat: Compat, limits: &Limits) -> Result<(Cgroup, Applied)> {
        Cgroup::create(hierarchy, "rocker", "one", limits, compat)
    }

    #[test]
    fn a_guard_that_another_process_made_does_nothing_when_dropped() {
        let (dir, hierarchy) = fake_host();
        let (mut guard, _) = create(&hierarchy, Compat::Require, &Limits::default()).unwrap();
        guard.guarded_by = Some(std::process::id() + 1);
        drop(guard);
        assert!(dir.path().join("rocker/one").is_dir());
        Cgroup::remove_by_name(&hierarchy, "rocker", "one").unwrap();
        assert!(!dir.path().join("rocker").exists());
    }

    #[test]
    fn what_the_host_cannot_enforce_is_an_error_or_a_report_and_never_forgotten() {
        let (dir, hierarchy) = fake_host();
        let limits = Limits::default().memory_bytes(1_u64 << 20).pids(5_u64);
        let error = create(&hierarchy, Compat::Require, &limits).unwrap_err();
        assert!(matches!(
            error,
            Error::MissingController { controller: Controller::Memory, file } if file == "memory.max"
        ));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "an error left something behind"
        );

        let (guard, applied) = create(&hierarchy, Compat::BestEffort, &limits).unwrap();
        assert!(applied.in_force.is_empty());
        let reasons: Vec<SkipReason> = applied
            .skipped
            .iter()
            .map(|skipped| skipped.reason)
            .collect();
        assert_eq!(
            reasons,
            [SkipReason::MissingController, SkipReason::MissingFile]
        );
        assert_eq!(
            applied.skipped[0].to_string(),
            "memory.max = 1048576: this host has no memory controller"
        );
        guard.remove().unwrap();
    }

    #[test]
    fn an_empty_parent_that_a_crash_left_is_removed_by_name() {
        let (dir, hierarchy) = fake_host();
        fs::create_dir_all(dir.path().join("rocker")).unwrap();
        Cgroup::remove_by_name(&hierarchy, "rocker", "never-made").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
