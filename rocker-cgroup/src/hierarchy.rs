//! Where the host's controllers are, and where containers may live.

use std::path::Path;

use crate::delegation::Access;
use crate::tree::Tree;
use crate::view::{self, CgroupMountView};
use crate::{Controller, Error, Result, file, mountinfo};

/// How the host mounts its cgroups, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// Trees of v1 only.
    V1,
    /// The tree of v2 only.
    V2,
    /// Both: each controller is in one of them.
    Hybrid,
}

/// The cgroup trees that this process can see: each controller wherever it is mounted.
///
/// It is found out once and then shared: cheap to clone, `Send` and `Sync`. The host's mounts are read, not assumed:
/// a v1 host with `cpu,cpuacct` in one tree, a hybrid one, a container that sees its own sub-tree as the root, and a
/// user to whom a sub-tree is delegated all come out right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    trees: Vec<Tree>,
}

impl Hierarchy {
    /// Looks at this process's mounts and memberships: [`Hierarchy::detect_in`] of `/proc`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] without `/proc`, [`Error::NoHierarchy`] where no cgroup file system is mounted.
    #[doc(alias = "/sys/fs/cgroup")]
    pub fn detect() -> Result<Hierarchy> {
        Hierarchy::detect_in("/proc")
    }

    /// Reads `self/mountinfo` and `self/cgroup` below `proc`, then looks at the mounts that they name: at
    /// `cgroup.controllers` of v2, and at which cgroups this user may write.
    ///
    /// # Errors
    ///
    /// As [`Hierarchy::detect`].
    pub fn detect_in(proc: impl AsRef<Path>) -> Result<Hierarchy> {
        let read = |name: &str, why| {
            let path = proc.as_ref().join("self").join(name);
            file::read_bytes(&path, why)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|source| Error::Read { path, source })
        };
        let mut hierarchy = Hierarchy::parse(
            &read(
                "mountinfo",
                "so that the mounted cgroup trees are found, v1 and v2",
            )?,
            &read(
                "cgroup",
                "so that this process's own place in each tree is known",
            )?,
        )?;
        for tree in &mut hierarchy.trees {
            let kind = tree.kind.clone();
            tree.choose_base(|dir| Access::of(&kind, dir));
            tree.read_controllers()?;
        }
        Ok(hierarchy)
    }

    /// Makes it from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` alone, without looking at the mounts.
    ///
    /// The controllers of v2 are in neither text, so that v2 counts as having none but those built in.
    ///
    /// # Errors
    ///
    /// [`Error::NoHierarchy`] when no cgroup file system is among the mounts.
    pub fn parse(mountinfo: &str, cgroup: &str) -> Result<Hierarchy> {
        let trees = Tree::all(
            mountinfo::mounts(mountinfo),
            &mountinfo::memberships(cgroup),
        );
        if trees.is_empty() {
            Err(Error::NoHierarchy)
        } else {
            Ok(Hierarchy { trees })
        }
    }

    /// The layout in one word.
    pub fn version(&self) -> Version {
        let v2 = self.trees.iter().filter(|tree| tree.kind.is_v2()).count();
        match v2 {
            0 => Version::V1,
            _ if v2 == self.trees.len() => Version::V2,
            _ => Version::Hybrid,
        }
    }

    /// The controllers that can be used, of both versions, each once, sorted.
    pub fn controllers(&self) -> Vec<Controller> {
        let mut all: Vec<_> = self
            .trees
            .iter()
            .flat_map(|tree| tree.kind.controllers())
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether `controller` is in the v2 tree; None when the host does not have it.
    pub fn is_v2(&self, controller: Controller) -> Option<bool> {
        self.tree_of(controller).map(|tree| tree.kind.is_v2())
    }

    /// What to mount below `/sys/fs/cgroup` in a container that has a cgroup namespace of its own, so that it sees its
    /// own limits: one mount for each tree of the host, read-only unless the container may make cgroups.
    ///
    /// In a user namespace, too: its root may mount every tree that the host has mounted, of v1 as of v2, if the cgroup namespace
    /// belongs to it. A container without a cgroup of its own sees that of its maker, whose limits do hold for it.
    pub fn mounts_for_container(&self) -> Vec<CgroupMountView> {
        self.trees
            .iter()
            .map(|tree| view::of(tree, self.version()))
            .collect()
    }

    pub(crate) fn trees(&self) -> &[Tree] {
        &self.trees
    }

    pub(crate) fn trees_mut(&mut self) -> &mut [Tree] {
        &mut self.trees
    }

    /// The trees in which this process can have cgroups. In one that is mounted read-only it could, if it were not: that is
    /// an error when it tries.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Tree> {
        self.trees
            .iter()
            .filter(|tree| tree.access != Access::Denied)
    }

    /// The tree that has the controller; v1 comes first, as a controller that is mounted there is not in v2.
    pub(crate) fn tree_of(&self, controller: Controller) -> Option<&Tree> {
        let v1 = self.trees.iter().filter(|tree| !tree.kind.is_v2());
        let v2 = self.trees.iter().filter(|tree| tree.kind.is_v2());
        v1.chain(v2).find(|tree| tree.kind.has(controller))
    }
}

#[cfg(test)]
mod tests;
