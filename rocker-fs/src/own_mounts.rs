//! The file systems that a list of steps has made and mounted itself, by which the way to what lies on them is short.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::mount::{Mount, MountKind};
use crate::plan::Resolution;
use crate::resolve::{begin_with, components};
use crate::step::Arg;

/// File systems that are mounted and still open. Nothing of the image's is on them, so that a way that begins there cannot be led astray by it.
#[derive(Debug, Default)]
pub(crate) struct OwnMounts {
    mounts: Vec<OwnMount>,
}

#[derive(Debug)]
struct OwnMount {
    /// The names that lead there from the root.
    place: Vec<PathBuf>,
    mount: Arg,
    /// Whether nothing is on it but what these steps make.
    is_empty: bool,
    /// Whether it may not be what is seen at its place any more.
    is_hidden: bool,
}

/// The way to a place beneath the root.
#[derive(Debug)]
pub(crate) struct Way<'path> {
    /// Where it begins: at the root, or at a file system of the list's own.
    pub(crate) base: Arg,
    /// The names that lead on from there.
    pub(crate) names: Vec<&'path Path>,
    /// Whether nothing lies there but what these steps have made: no symbolic link, for one.
    pub(crate) is_empty: bool,
}

impl OwnMounts {
    /// The shortest way to `path`.
    pub(crate) fn way<'path>(&self, root: &Arg, path: &'path Path) -> Result<Way<'path>> {
        let mut names = components(path)?;
        let above = self.mounts.iter().filter(|own| {
            !own.is_hidden && own.place.len() < names.len() && begin_with(&names, &own.place)
        });
        Ok(match above.max_by_key(|own| own.place.len()) {
            Some(own) => Way {
                base: own.mount.clone(),
                names: names.split_off(own.place.len()),
                is_empty: own.is_empty,
            },
            None => Way {
                base: root.clone(),
                names,
                is_empty: false,
            },
        })
    }

    /// Takes note of what is mounted at `path` now: it lies over what is there and beneath, or over anything, if links of the image's may
    /// have led elsewhere.
    pub(crate) fn cover(&mut self, path: &Path) -> Result<()> {
        let place = components(path)?;
        let is_anywhere = Resolution::of(path) == Resolution::InRoot;
        for own in &mut self.mounts {
            own.is_hidden |= is_anywhere || begin_with(&own.place, &place);
        }
        Ok(())
    }

    /// Takes note of a mount. Returns whether it stays open.
    pub(crate) fn note(&mut self, mount: &Mount, mounted: &Arg) -> Result<bool> {
        self.cover(&mount.destination)?;
        let MountKind::Filesystem { fstype, .. } = &mount.kind else {
            return Ok(false);
        };
        let place = components(&mount.destination)?;
        let is_anywhere = Resolution::of(&mount.destination) == Resolution::InRoot;
        self.mounts.push(OwnMount {
            place: place.into_iter().map(Into::into).collect(),
            mount: mounted.clone(),
            is_empty: fstype == "tmpfs",
            is_hidden: is_anywhere || !OF_THE_KERNEL.contains(&fstype.as_str()),
        });
        Ok(true)
    }

    /// Whether nothing is on this one but what these steps have made.
    pub(crate) fn is_empty(&self, mount: &Arg) -> bool {
        let is_it = |own: &&OwnMount| matches!((&own.mount, mount), (Arg::Result(one), Arg::Result(other)) if one == other);
        self.mounts
            .iter()
            .find(is_it)
            .is_some_and(|own| own.is_empty)
    }

    /// All of them, to be closed.
    pub(crate) fn into_all(self) -> impl Iterator<Item = Arg> {
        self.mounts.into_iter().map(|own| own.mount)
    }
}

/// The file systems that are empty at first, or hold what the kernel makes up.
const OF_THE_KERNEL: &[&str] = &[
    "cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The base of the way to `path`, and the names from there, behind mounts whose results are numbered in their order.
    fn way(mounts: &[Mount], path: &str) -> (String, String, bool) {
        let mut own = OwnMounts::default();
        for (index, mount) in mounts.iter().enumerate() {
            own.note(mount, &Arg::Result(index)).unwrap();
        }
        let way = own.way(&Arg::Cwd, Path::new(path)).unwrap();
        let names: PathBuf = way.names.iter().collect();
        (
            way.base.to_string(),
            names.display().to_string(),
            way.is_empty,
        )
    }

    fn found(base: &str, names: &str, is_empty: bool) -> (String, String, bool) {
        (base.to_owned(), names.to_owned(), is_empty)
    }

    #[test]
    fn the_way_begins_at_the_nearest_mount_of_the_lists_own() {
        let mounts = [
            Mount::filesystem("sysfs", "/sys"),
            Mount::filesystem("tmpfs", "/sys/fs/cgroup"),
        ];
        assert_eq!(
            way(&mounts, "/sys/fs/cgroup/cpu"),
            found("<1>", "cpu", true)
        );
        assert_eq!(
            way(&mounts, "/sys/fs/cgroup"),
            found("<0>", "fs/cgroup", false)
        );
        assert_eq!(way(&mounts, "/sys"), found("AT_FDCWD", "sys", false));
        assert_eq!(way(&mounts, "/system"), found("AT_FDCWD", "system", false));
    }

    #[test]
    fn what_something_else_may_lie_over_is_no_way() {
        let sys = || {
            vec![
                Mount::filesystem("sysfs", "/sys"),
                Mount::filesystem("tmpfs", "/sys/fs/cgroup"),
            ]
        };
        let behind = |mount| way(&[sys(), vec![mount]].concat(), "/sys/fs/cgroup/cpu");
        let over_above = behind(Mount::bind("/x", "/sys/fs"));
        assert_eq!(over_above, found("<0>", "fs/cgroup/cpu", false));
        let over_it = behind(Mount::bind("/x", "/sys/fs/cgroup"));
        assert_eq!(over_it, found("<0>", "fs/cgroup/cpu", false));
        let on_it = behind(Mount::bind("/x", "/sys/fs/cgroup/memory"));
        assert_eq!(on_it, found("<1>", "cpu", true));
        // The image may have a link there.
        let anywhere = behind(Mount::bind("/x", "/data"));
        assert_eq!(anywhere, found("AT_FDCWD", "sys/fs/cgroup/cpu", false));
    }

    #[test]
    fn a_file_system_that_somebody_has_filled_is_no_way() {
        let mounts = [
            Mount::filesystem("ext4", "/dev"),
            Mount::filesystem("tmpfs", "/data"),
        ];
        assert_eq!(
            way(&mounts, "/dev/shm"),
            found("AT_FDCWD", "dev/shm", false)
        );
        assert_eq!(way(&mounts, "/data/x"), found("AT_FDCWD", "data/x", false));
    }
}
