//! One mounted tree of cgroups: the single one of v2, or one of the many of v1.

use std::path::{Component, Path, PathBuf};

use crate::Controller;
use crate::delegation::Access;
use crate::mountinfo::{Membership, Mount};

/// Which tree it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A tree of cgroup v1: some controllers, or a name, or both.
    V1 {
        controllers: Vec<Controller>,
        name: Option<String>,
    },
    /// The tree of cgroup v2.
    V2 {
        /// The controllers that can be enabled below the place where containers may live,
        controllers: Vec<Controller>,
        /// and those at the root of the mount.
        at_root: Vec<Controller>,
    },
}

impl Kind {
    pub(crate) fn is_v2(&self) -> bool {
        matches!(self, Kind::V2 { .. })
    }

    /// The controllers that limit something in this tree.
    pub(crate) fn controllers(&self) -> &[Controller] {
        match self {
            Kind::V1 { controllers, .. } | Kind::V2 { controllers, .. } => controllers,
        }
    }

    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.controllers().contains(&controller) || (self.is_v2() && controller.is_built_into_v2())
    }

    /// Whether both are the same tree, mounted twice.
    fn is_same_as(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::V2 { .. }, Kind::V2 { .. }) => true,
            (Kind::V1 { .. }, Kind::V1 { .. }) => self == other,
            _ => false,
        }
    }
}

/// One tree, and where in it this process may work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) kind: Kind,
    /// Which cgroup of it is mounted.
    pub(crate) root: PathBuf,
    pub(crate) mount_point: PathBuf,
    /// The directory of this process's own cgroup, if it can be seen through the mount.
    pub(crate) own: Option<PathBuf>,
    /// The directory below which containers may live.
    pub(crate) base: PathBuf,
    /// What may be done there.
    pub(crate) access: Access,
}

impl Tree {
    fn new(mount: Mount, memberships: &[Membership]) -> Tree {
        let mut tree = Tree {
            kind: mount.kind,
            root: mount.root,
            base: mount.mount_point.clone(),
            mount_point: mount.mount_point,
            own: None,
            access: Access::Granted,
        };
        tree.own = tree.place_of(memberships);
        tree
    }

    /// The directory of the cgroup in which a process is, if it can be seen through the mount.
    pub(crate) fn place_of(&self, memberships: &[Membership]) -> Option<PathBuf> {
        let member = memberships.iter().find(|member| member.is_of(&self.kind))?;
        let path = member.path.strip_prefix(&self.root).ok()?;
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        path.components()
            .all(is_plain)
            .then(|| self.mount_point.join(path))
    }

    /// The trees behind these mounts, each once: of several mounts of a tree, the one that shows the most of it around
    /// this process.
    pub(crate) fn all(mounts: Vec<Mount>, memberships: &[Membership]) -> Vec<Tree> {
        let mut trees: Vec<Tree> = Vec::new();
        for mount in mounts {
            if mount.kind
                == (Kind::V1 {
                    controllers: Vec::new(),
                    name: None,
                })
            {
                continue; // a controller that this crate does not know
            }
            let tree = Tree::new(mount, memberships);
            match trees
                .iter_mut()
                .find(|known| known.kind.is_same_as(&tree.kind))
            {
                Some(known) if tree.depth() > known.depth() => *known = tree,
                Some(_) => {}
                None => trees.push(tree),
            }
        }
        trees
    }

    /// How far below the mount's root this process is: the more, the higher the mount starts. 0 when it cannot be seen.
    fn depth(&self) -> usize {
        let below =
            |own: &PathBuf| own.components().count() - self.mount_point.components().count();
        self.own.as_ref().map_or(0, |own| 1 + below(own))
    }

    /// Lets containers live in the highest cgroup, from the mount's root down to this process's own, to which `access` is
    /// granted: the root for root, the delegated subtree for others. With none of them it stays the root, so that
    /// the error that follows speaks of it.
    pub(crate) fn choose_base(&mut self, access: impl Fn(&Path) -> Access) {
        let own = self.own.as_deref().unwrap_or(&self.mount_point);
        let above: Vec<&Path> = own
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.mount_point))
            .collect();
        let mut found = above.iter().rev().map(|dir| (dir, access(dir)));
        match found.find(|(_, access)| *access == Access::Granted) {
            Some((highest, _)) => self.base = highest.to_path_buf(),
            None => self.access = access(own),
        }
    }
}
