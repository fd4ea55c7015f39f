//! The place in v2 below which containers have their cgroups.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::delegation::Access;
use crate::name::Name;
use crate::{Error, Hierarchy, Result, directory, file, mountinfo};

impl Hierarchy {
    /// Makes room for containers on v2: if processes live in the very cgroup below which containers are to have theirs, the
    /// kernel hands no controllers down from it. So those whose ids are in `own`, which are best this process and the
    /// others of the same program, move into the cgroup `leaf` beside the containers. Returns whether any did.
    ///
    /// The leaf stays when they end: nobody can remove the cgroup that it is in. It is used again by the next, and
    /// goes with the delegated cgroup, which systemd removes as a whole.
    ///
    /// # Errors
    ///
    /// [`Error::Occupied`] if others live there too: nobody is moved then. [`Error::InvalidName`], [`Error::Create`],
    /// [`Error::Add`], [`Error::PermissionDenied`].
    pub fn make_way(&self, leaf: &str, own: &[u32]) -> Result<bool> {
        let leaf = Name::parent(leaf)?.join("/");
        let mut v2 = self.usable().filter(|tree| tree.kind.is_v2());
        let Some(base) = v2.next().map(|tree| tree.base.as_path()) else {
            return Ok(false);
        };
        let why = "so that the machine's root is recognised, which alone has no such file";
        if !file::exists(&base.join("cgroup.type"), why) {
            return Ok(false);
        }
        let why = "so that it is seen who would have to move before controllers can be handed down";
        let inside = file::read(&base.join("cgroup.procs"), why)?;
        // One that this PID namespace does not show is listed as 0, and is nobody of ours.
        let inside: BTreeSet<u32> = inside
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect();
        let others: Vec<u32> = inside
            .iter()
            .copied()
            .filter(|pid| !own.contains(pid))
            .collect();
        if !others.is_empty() {
            return Err(Error::Occupied {
                path: base.to_owned(),
                pids: others,
            });
        }
        if inside.is_empty() {
            return Ok(false);
        }
        let leaf = base.join(leaf);
        let why = "so that this process has a cgroup that is none of the containers' above";
        match directory::mkdir(&leaf, why) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::at("create cgroup", &leaf, source, |path, source| {
                    Error::Create { path, source }
                }));
            }
            _ => {}
        }
        let path = leaf.join("cgroup.procs");
        for pid in inside {
            let why = "so that no process stands in the way of the controllers";
            match file::write(&path, &pid.to_string(), why) {
                Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(Error::at("write", &path, source, |path, source| {
                        Error::Add { pid, path, source }
                    }));
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// The directory of v2 below which containers live, to be noted by whoever makes one: another process of the same
    /// user may be in another place, from where it finds another one, or none. See [`Hierarchy::with_base`].
    pub fn base(&self) -> Option<&Path> {
        let v2 = self.trees().iter().find(|tree| tree.kind.is_v2());
        v2.map(|tree| tree.base.as_path())
    }

    /// The same trees, but for v2 with `base` for the directory below which containers live: whoever took that down finds
    /// them again, to look at, kill and remove them. It is for those who may write there.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when it is gone.
    pub fn with_base(mut self, base: impl AsRef<Path>) -> Result<Hierarchy> {
        let base = base.as_ref();
        for tree in self.trees_mut() {
            if tree.kind.is_v2() && base.starts_with(&tree.mount_point) {
                tree.access = Access::of(&tree.kind, base);
                tree.base = base.to_owned();
                tree.read_controllers()?;
            }
        }
        Ok(self)
    }

    /// The same for whoever has noted nothing: with the base from which somebody made the cgroup `parent/name`, in which a process lives whose
    /// `/proc/PID/cgroup` is `cgroup`. Unchanged where it lives elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::Read`] when it is gone.
    pub fn with_base_of(self, cgroup: &str, parent: &str, name: &str) -> Result<Hierarchy> {
        let below = Name::new(parent, name)?.path();
        let memberships = mountinfo::memberships(cgroup);
        let v2 = self.trees().iter().find(|tree| tree.kind.is_v2());
        let place = v2.and_then(|tree| tree.place_of(&memberships));
        let base = place.and_then(|place| {
            // It may have gone on to make cgroups of its own, and live in one of them.
            let is_it = |dir: &&Path| dir.ends_with(&below);
            let own = place.ancestors().find(is_it)?;
            let levels = below.components().count();
            own.ancestors().nth(levels).map(Path::to_owned)
        });
        match base {
            Some(base) => self.with_base(base),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Cgroup, Controller};

    /// A cgroup of v2 in a directory, in which these processes live, and whose leaf is there already.
    fn inhabited(procs: &str) -> (tempfile::TempDir, Hierarchy) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("leaf")).unwrap();
        fs::write(dir.path().join("leaf/cgroup.procs"), "").unwrap();
        fs::write(dir.path().join("cgroup.type"), "domain\n").unwrap();
        fs::write(dir.path().join("cgroup.procs"), procs).unwrap();
        let mountinfo = format!("1 0 0:1 / {} rw - cgroup2 c rw\n", dir.path().display());
        let hierarchy = Hierarchy::parse(&mountinfo, "0::/\n").unwrap();
        (dir, hierarchy)
    }

    #[test]
    fn own_processes_make_way_and_others_are_named_and_left_where_they_are() {
        let moved = |dir: &tempfile::TempDir| {
            fs::read_to_string(dir.path().join("leaf/cgroup.procs")).unwrap()
        };
        let (dir, hierarchy) = inhabited("7\n");
        assert!(hierarchy.make_way("leaf", &[7, 8]).unwrap());
        assert_eq!(moved(&dir), "7");

        let (dir, hierarchy) = inhabited("");
        assert!(!hierarchy.make_way("leaf", &[7]).unwrap());
        assert_eq!(moved(&dir), "");

        let (dir, hierarchy) = inhabited("0\n7\n12\n");
        let error = hierarchy.make_way("leaf", &[7]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("PIDs 0, 12;") && text.contains("systemd-run --user --scope"),
            "{text}"
        );
        assert_eq!(moved(&dir), "");
        assert!(hierarchy.make_way("../leaf", &[7]).is_err());
    }

    #[test]
    fn in_the_machines_root_and_on_v1_nobody_has_to_move() {
        let (dir, hierarchy) = inhabited("7\n");
        fs::remove_file(dir.path().join("cgroup.type")).unwrap();
        assert!(!hierarchy.make_way("leaf", &[]).unwrap());
        let v1 = Hierarchy::parse("1 0 0:1 / /c rw - cgroup c rw,pids\n", "").unwrap();
        assert!(!v1.make_way("leaf", &[]).unwrap());
    }

    #[test]
    fn whoever_notes_the_base_finds_it_again_from_another_place() {
        let (dir, hierarchy) = inhabited("");
        let base = dir.path().join("leaf");
        fs::create_dir_all(base.join("rocker/one")).unwrap();
        for (dir, names) in [(dir.path(), "memory pids"), (&*base, "pids")] {
            fs::write(dir.join("cgroup.controllers"), names).unwrap();
        }
        assert_eq!(hierarchy.base(), Some(dir.path()));
        let found = hierarchy.clone().with_base(&base).unwrap();
        assert_eq!(found.base(), Some(&*base));
        assert_eq!(Cgroup::names(&found, "rocker").unwrap(), ["one"]);
        assert_eq!(found.delegated(), [Controller::Pids]);
        let of = |text: &str| {
            hierarchy
                .clone()
                .with_base_of(text, "rocker", "one")
                .unwrap()
        };
        assert_eq!(of("0::/leaf/rocker/one/its/own\n").base(), Some(&*base));
        assert_eq!(of("0::/leaf/rocker/two\n"), hierarchy);
        let elsewhere = hierarchy.clone().with_base("/elsewhere").unwrap();
        assert_eq!(elsewhere, hierarchy);
    }
}
