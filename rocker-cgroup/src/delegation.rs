//! How much of the cgroups a process may use that is not root over all of them.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::create::JOINED;
use crate::tree::{Kind, Tree};
use crate::{Controller, Error, Hierarchy, Limits, Result, Write, file};

/// What may be done in a directory of a tree, as the kernel says when it is asked. Who asks does not matter: root of a user
/// namespace may not write what belongs to the host's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Cgroups can be made.
    Granted,
    /// It belongs to somebody else.
    Denied,
    /// It is mounted read-only.
    ReadOnly,
}

impl Access {
    /// What is said of a directory of a tree of this kind, and of those of its files that whoever it is delegated to
    /// has been given too.
    pub(crate) fn of(kind: &Kind, dir: &Path) -> Access {
        let files: &[&str] = match kind {
            Kind::V1 { .. } => &[],
            // Needed to bring processes in from elsewhere in it, and to hand controllers on.
            Kind::V2 { .. } => &["cgroup.procs", "cgroup.subtree_control"],
        };
        let all = std::iter::once(dir.to_owned()).chain(files.iter().map(|file| dir.join(file)));
        for path in all {
            match file::may_write(&path).map_err(|error| error.kind()) {
                Err(io::ErrorKind::PermissionDenied) => return Access::Denied,
                Err(io::ErrorKind::ReadOnlyFilesystem) => return Access::ReadOnly,
                _ => {}
            }
        }
        Access::Granted
    }
}

/// Why a process may not use a controller that its host has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undelegated {
    /// It is one of cgroup v1, which is root's: v1 has no safe way to give a part of it away, and no system does.
    Version1,
    /// None of the cgroups from the root of v2 down to this process's own has been delegated to this user.
    Nothing {
        /// The process's own, as the kernel names it, where it can be seen.
        own: Option<PathBuf>,
    },
    /// A cgroup has been delegated, and this controller was not handed down to it.
    Controller {
        /// The delegated cgroup.
        base: PathBuf,
    },
}

impl fmt::Display for Undelegated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undelegated::Version1 => f.write_str(
                "this host has it on cgroup v1, where limits are for root alone; run this as root, or boot with \
                 cgroup v2 (systemd.unified_cgroup_hierarchy=1)",
            ),
            Undelegated::Nothing { own } => {
                f.write_str("no cgroup is delegated to this user where this process is")?;
                if let Some(own) = own {
                    write!(f, " ({})", own.display())?;
                }
                f.write_str(
                    "; start it in one that is: systemd-run --user --scope -p Delegate=yes COMMAND",
                )
            }
            Undelegated::Controller { base } => write!(
                f,
                "it is not handed down to {}, which is delegated to this user; with systemd: systemctl edit \
                 user@.service, and there [Service] Delegate=cpu cpuset io memory pids",
                base.display()
            ),
        }
    }
}

impl Hierarchy {
    /// The controllers by which this process can limit others, sorted: all that the host has for root, those of the
    /// delegated cgroup for others, and none without one.
    pub fn delegated(&self) -> Vec<Controller> {
        let mut all = self.controllers();
        all.retain(|one| self.undelegated(*one).is_none());
        all
    }

    /// Whether this process can have cgroups of its own at all. Where it cannot, a container without limits does without
    /// one: [`Cgroup::create_if_delegated`](crate::Cgroup::create_if_delegated).
    pub fn is_delegated(&self) -> bool {
        let is_of_use = |tree: &&Tree| {
            let joined = |one: &Controller| JOINED.contains(one);
            tree.kind.is_v2() || tree.kind.controllers().iter().any(joined)
        };
        self.usable().any(|tree| is_of_use(&tree))
    }

    /// Why this process may not use a controller that the host has; `None` where it may, or the host has none.
    pub fn undelegated(&self, controller: Controller) -> Option<Undelegated> {
        if let Some(tree) = self.tree_of(controller) {
            return (tree.access == Access::Denied).then(|| tree.undelegated());
        }
        let hands_down = |tree: &&Tree| match &tree.kind {
            Kind::V2 { at_root, .. } => at_root.contains(&controller),
            Kind::V1 { .. } => false,
        };
        let tree = self.trees().iter().find(hands_down)?;
        Some(Undelegated::Controller {
            base: tree.base.clone(),
        })
    }

    /// Why there is no cgroup for this process to make.
    pub(crate) fn nothing_delegated(&self) -> Undelegated {
        let v2 = self.trees().iter().find(|tree| tree.kind.is_v2());
        v2.map_or(Undelegated::Version1, Tree::undelegated)
    }

    /// The first of the limits whose controller was not delegated, as an error.
    pub(crate) fn refuse(&self, limits: &Limits) -> Result<()> {
        let refused =
            |write: &Write| Some((write.file.clone(), self.undelegated(write.controller)?));
        match limits.render(self).iter().find_map(refused) {
            Some((file, reason)) => Err(Error::NotDelegated { what: file, reason }),
            None => Ok(()),
        }
    }

    /// The error for a limit whose controller this process cannot use.
    pub(crate) fn unavailable(
        &self,
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
    ) -> Error {
        let file = file.into();
        match self.undelegated(controller) {
            Some(reason) => Error::NotDelegated { what: file, reason },
            None => Error::MissingController { controller, file },
        }
    }
}

impl Tree {
    /// Finds out which controllers there are on v2, by asking the kernel.
    pub(crate) fn read_controllers(&mut self) -> Result<()> {
        let why = "so that it is known what can be limited on v2";
        let Kind::V2 {
            controllers,
            at_root,
        } = &mut self.kind
        else {
            return Ok(());
        };
        let read = |dir: &Path| {
            let text = file::read(&dir.join("cgroup.controllers"), why)?;
            let known = text
                .split_whitespace()
                .filter_map(Controller::from_name)
                .collect::<Vec<_>>();
            Ok(known)
        };
        *controllers = read(&self.base)?;
        *at_root = match self.base == self.mount_point {
            true => controllers.clone(),
            false => read(&self.mount_point)?,
        };
        Ok(())
    }

    fn undelegated(&self) -> Undelegated {
        if !self.kind.is_v2() {
            return Undelegated::Version1;
        }
        let own = self.own.as_deref();
        let below = own.and_then(|own| own.strip_prefix(&self.mount_point).ok());
        Undelegated::Nothing {
            own: below.map(|below| Path::new("/").join(below)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cgroup, Compat, SkipReason};

    const V1: &str = "1 0 0:1 / /c/memory rw - cgroup cgroup rw,memory\n\
                      2 0 0:2 / /c/systemd rw - cgroup cgroup rw,name=systemd\n";
    const V2: &str = "1 0 0:1 / /c rw - cgroup2 cgroup2 rw\n";
    const SESSION: &str = "1:memory:/\n0::/user.slice/user-1000.slice/session-3.scope\n";

    /// A host as an ordinary user finds it, with these controllers at the root of v2, and those in what is delegated.
    fn host(mountinfo: &str, root: &[Controller], delegated: Option<&[Controller]>) -> Hierarchy {
        let mut hierarchy = Hierarchy::parse(mountinfo, SESSION).unwrap();
        for tree in hierarchy.trees_mut() {
            tree.access = Access::Denied;
            if let Kind::V2 {
                controllers,
                at_root,
            } = &mut tree.kind
            {
                *at_root = root.to_vec();
                *controllers = delegated.unwrap_or(root).to_vec();
                if delegated.is_some() {
                    tree.access = Access::Granted;
                    tree.base = "/c/user.slice/user-1000.slice/user@1000.service".into();
                }
            }
        }
        hierarchy
    }

    fn limits() -> Limits {
        Limits::default().memory_bytes(1_u64 << 20).pids(5_u64)
    }

    #[track_caller]
    fn refusal(hierarchy: &Hierarchy, limits: &Limits) -> String {
        let made = Cgroup::create(hierarchy, "rocker", "one", limits, Compat::Require);
        let error = made.unwrap_err();
        assert!(matches!(error, Error::NotDelegated { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn without_delegation_the_error_names_the_limit_the_place_and_the_remedy() {
        let v2 = host(V2, &[Controller::Memory, Controller::Pids], None);
        assert!(!v2.is_delegated());
        assert_eq!(v2.delegated(), []);
        assert_eq!(
            refusal(&v2, &limits()),
            "memory.max: no cgroup is delegated to this user where this process is \
             (/user.slice/user-1000.slice/session-3.scope); start it in one that is: \
             systemd-run --user --scope -p Delegate=yes COMMAND"
        );
        let text = refusal(&v2, &Limits::default());
        assert!(
            text.starts_with("a cgroup: no cgroup is delegated"),
            "{text}"
        );

        let v1 = host(V1, &[], None);
        let text = refusal(&v1, &limits());
        assert!(text.starts_with("memory.limit_in_bytes: "), "{text}");
        assert!(text.contains("for root alone"), "{text}");
    }

    #[test]
    fn a_controller_that_was_not_handed_down_is_told_from_one_that_the_host_does_not_have() {
        let all = [Controller::Memory, Controller::Pids];
        let v2 = host(V2, &all, Some(&[Controller::Pids]));
        assert!(v2.is_delegated());
        assert_eq!(v2.delegated(), [Controller::Pids]);
        let text = refusal(&v2, &limits());
        assert!(
            text.contains("memory.max: it is not handed down to /c/user.slice/user-1000.slice/user@1000.service")
                && text.contains("Delegate="),
            "{text}"
        );
        assert_eq!(v2.undelegated(Controller::Cpu), None);
        let missing = v2.unavailable(Controller::Cpu, "cpu.max");
        assert!(matches!(missing, Error::MissingController { .. }));
    }

    #[test]
    fn a_container_without_limits_does_without_a_cgroup_and_best_effort_reports_what_it_lacks() {
        let v2 = host(V2, &[Controller::Memory], None);
        let make = |limits: &Limits, compat| {
            Cgroup::create_if_delegated(&v2, "rocker", "one", limits, compat)
        };
        let (cgroup, applied) = make(&Limits::default(), Compat::Require).unwrap();
        assert!(cgroup.is_none() && applied.skipped.is_empty());
        let error = make(&limits(), Compat::Require).unwrap_err();
        assert!(matches!(error, Error::NotDelegated { what, .. } if what == "memory.max"));
        let (cgroup, applied) = make(&limits(), Compat::BestEffort).unwrap();
        assert!(cgroup.is_none());
        let skipped: Vec<_> = applied.skipped.iter().map(|one| one.reason).collect();
        assert_eq!(
            skipped,
            [SkipReason::NotDelegated, SkipReason::MissingController]
        );
        assert_eq!(
            applied.skipped[0].to_string(),
            "memory.max = 1048576: the memory controller is not delegated to this user"
        );
    }

    #[test]
    fn systemds_own_tree_of_v1_is_not_worth_a_cgroup_and_v2_without_controllers_is() {
        let mut v1 = host(V1, &[], None);
        v1.trees_mut()[1].access = Access::Granted;
        assert!(!v1.is_delegated());
        let unified = "3 0 0:3 / /c/unified rw - cgroup2 cgroup2 rw\n";
        let hybrid = host(&format!("{V1}{unified}"), &[], Some(&[]));
        assert!(hybrid.is_delegated());
        assert_eq!(hybrid.delegated(), []);
        let reason = hybrid.undelegated(Controller::Memory);
        assert_eq!(reason, Some(Undelegated::Version1));
    }
}
