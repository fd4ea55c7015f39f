//! One cgroup in one tree: a directory, and the kernel's files in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::name::Name;
use crate::trace::traced;
use crate::tree::Tree;
use crate::{Error, Result, file};

/// A container's cgroup in one tree.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) tree: Tree,
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Where the cgroup `name` lies in `tree`, whether it exists or not.
    pub(crate) fn new(tree: &Tree, name: &Name) -> Directory {
        Directory {
            tree: tree.clone(),
            path: name.below(&tree.base),
        }
    }

    /// Whether it is on cgroup v2.
    pub(crate) fn is_v2(&self) -> bool {
        self.tree.kind.is_v2()
    }

    /// The text of one of its files.
    pub(crate) fn read(&self, file: &str, why: &'static str) -> Result<String> {
        file::read(&self.path.join(file), why)
    }

    /// Writes one of its files that is no limit.
    pub(crate) fn write(&self, file: &str, value: &str, why: &'static str) -> Result<()> {
        let path = self.path.join(file);
        file::write(&path, value, why).map_err(|source| {
            Error::at("write", &path, source, |path, source| Error::Write {
                path,
                value: value.to_owned(),
                source,
            })
        })
    }

    /// Itself and every cgroup below it, each one before those below it. What vanishes meanwhile is left out.
    pub(crate) fn subtree(&self) -> Result<Vec<PathBuf>> {
        let mut found = vec![self.path.clone()];
        let mut next = 0;
        while next < found.len() {
            if !is_childless(&found[next]) {
                let below = children(&found[next])?;
                found.extend(below);
            }
            next += 1;
        }
        Ok(found)
    }

    /// The processes in it and below it. A process that this PID namespace cannot see counts as 0.
    pub(crate) fn procs(&self) -> Result<BTreeSet<u32>> {
        let why = "so that it is known which processes are inside";
        let mut pids = BTreeSet::new();
        for dir in self.subtree()? {
            match file::read(&dir.join("cgroup.procs"), why) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                // A threaded cgroup of v2; its processes are listed in the domain above it.
                Err(Error::Read { source, .. })
                    if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                Err(error) if error.is_vanished() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pids)
    }
}

/// The processes in all of these cgroups and below them.
pub(crate) fn procs(directories: &[Directory]) -> Result<BTreeSet<u32>> {
    let mut pids = BTreeSet::new();
    for dir in directories {
        pids.extend(dir.procs()?);
    }
    Ok(pids)
}

/// Whether there is a cgroup without others below it, as far as can be told without listing it: that takes longer than all the
/// rest, since the kernel lists the files of its controllers too.
fn is_childless(path: &Path) -> bool {
    let why = "so that a cgroup is listed only if there are others below it";
    file::is_childless(path, why) == Some(true)
}

/// The cgroups directly below `path`; none when it does not exist.
pub(crate) fn children(path: &Path) -> Result<Vec<PathBuf>> {
    let why = "so that the cgroups below this one can be listed: they are its directories";
    entries(path, why, |kind| kind == Some(Type::Directory))
}

/// The files of a cgroup.
pub(crate) fn files(path: &Path, why: &'static str) -> Result<Vec<PathBuf>> {
    entries(path, why, |kind| kind == Some(Type::File))
}

fn entries(
    path: &Path,
    why: &'static str,
    keep: impl Fn(Option<Type>) -> bool,
) -> Result<Vec<PathBuf>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC|O_DIRECTORY");
        let dir = traced("openat", why, args, || {
            Ok(open(path, flags, Mode::empty())?)
        })?;
        for entry in Dir::from_fd(dir)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if keep(entry.file_type()) && !matches!(name, b"." | b"..") {
                found.push(path.join(OsStr::from_bytes(name)));
            }
        }
        Ok(found)
    };
    list().or_else(|source| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV) => Ok(Vec::new()),
        _ => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    })
}

/// Makes a cgroup: in its file system that is all that mkdir(2) does.
pub(crate) fn mkdir(path: &Path, why: &'static str) -> io::Result<()> {
    traced(
        "mkdir",
        why,
        || format!("{path:?}, 0755"),
        || DirBuilder::new().mode(0o755).create(path),
    )
}

/// Removes a cgroup that has neither processes nor cgroups below it.
pub(crate) fn rmdir(path: &Path, why: &'static str) -> io::Result<()> {
    traced(
        "rmdir",
        why,
        || format!("{path:?}"),
        || fs::remove_dir(path),
    )
}
