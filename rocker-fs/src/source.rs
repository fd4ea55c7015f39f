//! Where a bind mount comes from, looked at in the parent.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{FileStat, SFlag};

use crate::calls;
use crate::error::{Error, Result};
use crate::idmap;
use crate::mount::BindSource;
use crate::mounted::refused;
use crate::plan::{MUST, Plan, constant, shown, text};
use crate::propagation::make_private;
use crate::stack;
use crate::step::Arg;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// A copy of the mount at the directory `dir`, attached to nothing: a root for [`Rootfs::new`](crate::Rootfs::new) that is the directory itself, so that what a
/// container changes is changed there. What is mounted beneath does not come along, and what is mounted on it later is not mounted on the directory. With `id_map`, the files belong to whom the map of that user namespace makes of
/// their owners, as with [`Overlay::id_map`](crate::Overlay::id_map).
///
/// # Errors
/// [`Error::BindSource`] for what cannot be opened, or is no directory; [`Error::NotPermitted`] without CAP_SYS_ADMIN; [`Error::NoIdMap`].
///
/// See [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html) and
/// [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html). Linux 5.12.
#[doc(alias = "OPEN_TREE_CLONE")]
pub fn detached_directory(
    dir: impl AsRef<Path>,
    id_map: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd> {
    let source = Source::open(&BindSource::Path(dir.as_ref().into()), false)?;
    if !source.is_directory() {
        return Err(Error::BindSource {
            path: source.path,
            source: io::ErrorKind::NotADirectory.into(),
        });
    }
    if let Some(userns) = id_map {
        source.map_ids(userns, false)?;
    }
    let mount = source.mount.ok_or_else(|| Error::NotPermitted {
        operation: "open_tree",
        source: io::Error::from_raw_os_error(libc::EPERM),
    })?;
    // With a map it is so already.
    if id_map.is_none() {
        make_private(mount.as_fd(), false, false)
            .map_err(|error| refused("mount_setattr", dir.as_ref(), error))?;
    }
    Ok(mount)
}

/// A bind mount's source, looked at in the parent.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) status: FileStat,
    /// A detached copy, unless this process may not make one.
    pub(crate) mount: Option<OwnedFd>,
    /// What the caller has open, by which the child finds it without a path.
    given: Option<Arc<OwnedFd>>,
    /// Where it is when all links in its path are followed, for one that the child has to find by its path.
    real: Option<PathBuf>,
}

impl Source {
    pub(crate) fn open(source: &BindSource, recursive: bool) -> Result<Self> {
        let why = "so that what is to be mounted is held as it is now, read or not";
        let (path, opened) = match source {
            BindSource::Path(path) => {
                let path = std::path::absolute(path).map_err(|source| Error::BindSource {
                    path: path.clone(),
                    source,
                })?;
                let opened = calls::open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, why);
                (path, opened.map(Arc::new))
            }
            BindSource::In { namespace, path } => {
                return Self::open_in(namespace.as_fd(), path, recursive);
            }
            BindSource::Detached(mount) => return Self::detached(mount),
            BindSource::Fd(fd) => (
                PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
                Ok(Arc::clone(fd)),
            ),
        };
        let failed = |source: io::Error| Error::BindSource {
            path: path.clone(),
            source,
        };
        let opened = opened.map_err(|errno| failed(errno.into()))?;
        let found = look_at(opened.as_fd(), &path, recursive);
        let (status, mount) = found.map_err(&failed)?;
        let given = match source {
            BindSource::Fd(fd) => Some(Arc::clone(fd)),
            _ => None,
        };
        let real = match (&mount, &given) {
            (None, None) => Some(real_path(opened.as_fd()).map_err(failed)?),
            _ => None,
        };
        Ok(Self {
            path,
            status,
            mount,
            given,
            real,
        })
    }

    /// A mount as it is.
    fn detached(mount: &OwnedFd) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        let why = "so that a directory is mounted on a directory, and a file on a file";
        let looked = calls::fstat(mount.as_fd(), why).map_err(io::Error::from);
        match looked.and_then(|status| Ok((status, mount.try_clone()?))) {
            Ok((status, mount)) => Ok(Self {
                path,
                status,
                mount: Some(mount),
                given: None,
                real: None,
            }),
            Err(source) => Err(Error::BindSource { path, source }),
        }
    }

    /// The same of a path in another mount namespace, which a thread enters for that: a mount can be copied where it is alone.
    fn open_in(namespace: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<Self> {
        let failed = |source: io::Error| Error::BindSource {
            path: path.into(),
            source,
        };
        let looked = stack::in_thread(|| {
            let why = "so that this thread can go where the mount is, and nobody with it";
            let leave = || Ok(unshare(CloneFlags::CLONE_FS)?);
            traced("unshare", why, || "CLONE_FS".to_owned(), leave)?;
            let why = "so that what others have mounted can be copied";
            let args = || format!("{}, CLONE_NEWNS", namespace.as_raw_fd());
            traced("setns", why, args, || {
                Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?)
            })?;
            let why = "so that what is to be mounted is held as it is now, read or not";
            let opened = calls::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, why)?;
            look_at(opened.as_fd(), path, recursive)
        });
        let (status, mount) = looked.and_then(|found| found).map_err(failed)?;
        let copied = mount.ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EPERM)))?;
        Ok(Self {
            path: path.into(),
            status,
            mount: Some(copied),
            given: None,
            real: None,
        })
    }

    pub(crate) fn is_directory(&self) -> bool {
        SFlag::from_bits_truncate(self.status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
    }

    /// Lays the map of a user namespace over the copy.
    pub(crate) fn map_ids(&self, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
        match &self.mount {
            Some(copy) => idmap::lay_over(copy.as_fd(), &self.path, userns, 0, recursive),
            None => Err(Error::NotPermitted {
                operation: "open_tree",
                source: io::Error::from_raw_os_error(libc::EPERM),
            }),
        }
    }

    /// The detached copy; where there is none, a step makes it.
    pub(crate) fn copy(self, plan: &mut Plan, recursive: bool) -> Result<Arg> {
        let shown = shown(&self.path);
        match (self.mount, self.given) {
            (Some(copy), _) => Ok(Arg::Fd(Arc::new(copy))),
            (None, Some(given)) => {
                let why = format!("so that {shown} can be mounted elsewhere");
                Ok(plan.clone_mount(&Arg::Fd(given), recursive, MUST, why))
            }
            (None, None) => add_bind_by_path(plan, &self.path, self.real.as_deref(), recursive),
        }
    }
}

/// What is open, and a detached copy of its mount; none where this process may not make one.
fn look_at(
    opened: BorrowedFd<'_>,
    path: &Path,
    recursive: bool,
) -> io::Result<(FileStat, Option<OwnedFd>)> {
    let why = "so that a directory is mounted on a directory, and a file on a file";
    let status = calls::fstat(opened, why)?;
    let recurse = if recursive { uapi::AT_RECURSIVE } else { 0 };
    let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | uapi::AT_EMPTY_PATH | recurse;
    let copied = traced(
        "open_tree",
        "so that this very file or directory is mounted, whatever happens to its path",
        || {
            let recurse = if recursive { "|AT_RECURSIVE" } else { "" };
            format!(
                "{}<{}>, \"\", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH{recurse}",
                opened.as_raw_fd(),
                path.display()
            )
        },
        || sys::open_tree(Some(opened), c"", flags),
    );
    match copied {
        Ok(mount) => Ok((status, Some(mount))),
        // An ordinary user's child has the privilege only in its user namespace.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok((status, None)),
        Err(error) => Err(error),
    }
}

/// Where an open file is in the host's tree.
fn real_path(opened: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let why = "so that it is known whether the root file system will lie over it";
    Ok(calls::readlink_at(opened, link.as_bytes(), why)?.into())
}

/// Copies a bind mount's source by its path in the host's tree, which leads to `real`. What the root file system lies over by then is refused:
/// the path would be looked up in the image.
fn add_bind_by_path(
    plan: &mut Plan,
    source: &Path,
    real: Option<&Path>,
    recursive: bool,
) -> Result<Arg> {
    if let Some(covered) = &plan.covered {
        for path in [Some(source), real].into_iter().flatten() {
            if lies_at_or_beneath(path, covered) {
                return Err(Error::SourceBeneathTarget {
                    path: source.into(),
                    target: covered.clone(),
                });
            }
        }
    }
    let mut flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC;
    let mut names = "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC".to_owned();
    if recursive {
        flags |= uapi::AT_RECURSIVE;
        names.push_str("|AT_RECURSIVE");
    }
    let args = vec![Arg::Cwd, text(source)?, constant(u64::from(flags), names)];
    Ok(plan.add(
        "open_tree",
        args,
        MUST,
        format!("so that {} can be mounted elsewhere", shown(source)),
    ))
}

/// Whether a path is, or leads through, the directory `target`, which `/` is not: what is mounted on the root is not seen by a way that begins there.
fn lies_at_or_beneath(path: &Path, target: &Path) -> bool {
    target != Path::new("/") && path.starts_with(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_root_will_lie_over_is_not_left_to_the_child() {
        let copied = |source: &str, real: &str, target: &str| {
            let mut plan = Plan::new(true);
            plan.covered = Some(target.into());
            let (source, real) = (Path::new(source), Path::new(real));
            match add_bind_by_path(&mut plan, source, Some(real), true) {
                Ok(_) => Ok(plan.steps[0].call),
                Err(error) => Err(error.to_string()),
            }
        };
        let refused = "bind mount of /proc/version: this process may not copy it before the root file system is attached at /proc, over it; \
                       have the root attached elsewhere";
        assert_eq!(
            copied("/proc/version", "/proc/version", "/proc"),
            Err(refused.to_owned())
        );
        assert!(copied("/proc", "/proc", "/proc").is_err());
        // By a link, into it or out of it.
        assert!(copied("/x", "/proc/bus", "/proc/").is_err());
        assert!(copied("/proc/self/root/etc", "/etc", "/proc").is_err());
        for (source, target) in [
            ("/process", "/proc"),
            ("/proc/version", "/"),
            ("/x", "/x/y"),
        ] {
            assert_eq!(copied(source, source, target), Ok("open_tree"), "{source}");
        }
    }
}
