//! Directories as they look through the ID map of a user namespace.
//!
//! A copy of a mount gets the map, and whoever goes through it sees every file with the owner that the map gives it; on the
//! disk nothing changes. The copy is of a directory's parent, so that all layers of one store are seen through one
//! copy, and an upper and a work directory are on one mount, as overlayfs wants them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statfs::{self, FsType};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::calls;
use crate::encode;
use crate::error::{Error, Result};
use crate::sys::{self, uapi};
use crate::trace::traced;

/// Since when file systems take part, by their own magic numbers.
const SINCE: &[(FsType, &str, &str)] = &[
    (statfs::EXT4_SUPER_MAGIC, "ext4", "Linux 5.12"),
    (statfs::XFS_SUPER_MAGIC, "xfs", "Linux 5.12"),
    (statfs::MSDOS_SUPER_MAGIC, "vfat", "Linux 5.12"),
    (statfs::BTRFS_SUPER_MAGIC, "btrfs", "Linux 5.15"),
    (statfs::F2FS_SUPER_MAGIC, "f2fs", "Linux 5.18"),
    (statfs::TMPFS_MAGIC, "tmpfs", "Linux 6.3"),
    (
        statfs::FUSE_SUPER_MAGIC,
        "fuse",
        "Linux 6.12 and a server that allows it",
    ),
    (statfs::NFS_SUPER_MAGIC, "nfs", "another file system"),
    (
        statfs::OVERLAYFS_SUPER_MAGIC,
        "overlay",
        "another file system",
    ),
];

/// Directories that are seen through a user namespace, as long as this lives.
pub(crate) struct Mapped<'a> {
    userns: BorrowedFd<'a>,
    /// Copies of mounts by the directory that they show, attached to nothing.
    copies: Vec<(PathBuf, OwnedFd)>,
    held: Vec<OwnedFd>,
}

impl<'a> Mapped<'a> {
    pub(crate) fn new(userns: BorrowedFd<'a>) -> Self {
        Self {
            userns,
            copies: Vec::new(),
            held: Vec::new(),
        }
    }

    /// A path of this process's that leads to `dir` through the map.
    pub(crate) fn dir(&mut self, dir: &Path) -> Result<PathBuf> {
        let opened = match self.through_parent(dir)? {
            Some(opened) => opened,
            None => {
                let copy = copy(dir, self.userns, 0)?;
                let again = copy.try_clone();
                let again = again.map_err(|source| unusable("fcntl", dir, source))?;
                self.copies.push((dir.into(), copy));
                again
            }
        };
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        self.held.push(opened);
        Ok(path.into())
    }

    /// The copies that all the directories are in.
    pub(crate) fn copies(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.copies.iter().map(|(_, copy)| copy.as_fd())
    }

    /// Opens `dir` in the copy of its parent; none where what is found there is another directory than the path means:
    /// the path is a symbolic link, or a mount lies at its end.
    fn through_parent(&mut self, dir: &Path) -> Result<Option<OwnedFd>> {
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Ok(None);
        };
        let parent = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        };
        let known = self.copies.iter().position(|(known, _)| known == parent);
        let at = match known {
            Some(at) => at,
            None => {
                self.copies
                    .push((parent.into(), copy(parent, self.userns, 0)?));
                self.copies.len() - 1
            }
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let why = "so that the directory is seen through the map that its parent's copy has";
        let copy = self.copies[at].1.as_fd();
        let Ok(opened) = calls::openat(copy, name.as_bytes(), flags, Mode::empty(), why) else {
            return Ok(None);
        };
        let why = "so that it is known that this is the directory that the path means";
        let failed = |errno: Errno| unusable("stat", dir, errno.into());
        let meant = calls::status(dir, why).map_err(failed)?;
        let found = calls::fstat(opened.as_fd(), why).map_err(failed)?;
        let same = (meant.st_dev, meant.st_ino) == (found.st_dev, found.st_ino);
        Ok(same.then_some(opened))
    }
}

/// A copy of the mount at `dir`, with the map of `userns` and these attributes.
pub(crate) fn copy(dir: &Path, userns: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    let path = CString::new(dir.as_os_str().as_bytes());
    let path = path.map_err(|error| unusable("open_tree", dir, error.into()))?;
    let copy = traced(
        "open_tree",
        "so that there is a mount of its own, which can show other owners",
        || format!("AT_FDCWD, {path:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"),
        || sys::open_tree(None, &path, uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC),
    )
    .map_err(|source| unusable("open_tree", dir, source))?;
    lay_over(copy.as_fd(), dir, userns, attributes, false)?;
    Ok(copy)
}

/// Lays the map of `userns` over a mount that is attached to nothing, or over those beneath as well; it shows `path`.
pub(crate) fn lay_over(
    copy: BorrowedFd<'_>,
    path: &Path,
    userns: BorrowedFd<'_>,
    attributes: u64,
    recursive: bool,
) -> Result<()> {
    let (flags, names) = match recursive {
        true => (uapi::AT_RECURSIVE, "AT_EMPTY_PATH|AT_RECURSIVE"),
        false => (0, "AT_EMPTY_PATH"),
    };
    traced(
        "mount_setattr",
        "so that files belong to the container's users here, and on the disk to whom they did before",
        || {
            let read_only = match attributes {
                uapi::MOUNT_ATTR_RDONLY => "MOUNT_ATTR_RDONLY|",
                _ => "",
            };
            let (copy, userns) = (copy.as_raw_fd(), userns.as_raw_fd());
            format!("{copy}, \"\", {names}, {{attr_set={read_only}MOUNT_ATTR_IDMAP, propagation=MS_PRIVATE, userns_fd={userns}}}, 32")
        },
        || {
            let set = attributes | uapi::MOUNT_ATTR_IDMAP;
            let userns = u64::try_from(userns.as_raw_fd()).unwrap_or(u64::MAX);
            sys::mount_setattr(copy, flags, &encode::id_mapped(set, userns))
        },
    )
    .map_err(|source| match source.raw_os_error() {
        Some(libc::EINVAL) => without_maps(copy, path, recursive, source),
        Some(libc::ENOSYS) => Error::Unsupported {
            what: "mount_setattr",
            needs: "Linux 5.12",
            source,
        },
        _ => unusable("mount_setattr", path, source),
    })
}

/// Lets this thread make files as the owner of `work`, with all its capabilities; its process is as it was.
///
/// overlayfs makes files as who mounted it, and the host's root, which is nobody in the container, could make none
/// through the map.
pub(crate) fn become_owner(work: &Path) -> Result<()> {
    let why = "so that it is known who may make files here, as seen through the map";
    let owner = calls::status(work, why).map_err(|errno| unusable("stat", work, errno.into()))?;
    let why = "so that overlayfs makes its files as somebody whom the map knows";
    become_user(owner.st_uid, owner.st_gid, why)
        .map_err(|source| unusable("prctl for", work, source))
}

/// Lets this thread make files as another user, with all its capabilities; its process is as it was.
pub(crate) fn become_user(uid: u32, gid: u32, as_whom: &'static str) -> io::Result<()> {
    let why = "so that it can be restored: the kernel takes it away with the next calls";
    let dumpable = prctl("PR_GET_DUMPABLE", libc::PR_GET_DUMPABLE, None, why)?;
    let why = "so that another user for files means no other capabilities";
    let keep = Some((uapi::SECBIT_NO_SETUID_FIXUP, "SECBIT_NO_SETUID_FIXUP"));
    prctl("PR_SET_SECUREBITS", libc::PR_SET_SECUREBITS, keep, why)?;
    let as_group = || Ok(setfsgid(Gid::from_raw(gid)).as_raw() as usize);
    traced("setfsgid", as_whom, || gid.to_string(), as_group)?;
    let as_user = || Ok(setfsuid(Uid::from_raw(uid)).as_raw() as usize);
    traced("setfsuid", as_whom, || uid.to_string(), as_user)?;
    if dumpable == 1 {
        let why = "so that the rest of this process is as before";
        let yes = Some((1, "SUID_DUMP_USER"));
        prctl("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, yes, why)?;
    }
    Ok(())
}

fn prctl(
    name: &'static str,
    option: i32,
    value: Option<(u64, &'static str)>,
    why: &'static str,
) -> io::Result<usize> {
    let args = || match value {
        Some((_, value)) => format!("{name}, {value}"),
        None => name.to_owned(),
    };
    let value = value.map_or(0, |(value, _)| value);
    traced("prctl", why, args, || sys::prctl(option, value))
}

/// Whether this kernel, whose release is `release`, stacks directories that are seen through a map.
pub(crate) fn can_be_stacked(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next());
    version >= (Some(5), Some(19))
}

fn without_maps(mount: BorrowedFd<'_>, path: &Path, recursive: bool, source: io::Error) -> Error {
    let why = "so that the file system that shows no other owners can be named";
    let kind = calls::fstatfs(mount, why).map(|found| found.filesystem_type());
    let known = SINCE.iter().find(|(known, ..)| kind == Ok(*known));
    let (filesystem, needs) = match known {
        // Of several the kernel does not say which it is.
        _ if recursive => ("or over one mounted beneath", "another file system"),
        Some((_, name, since)) => (*name, *since),
        None => ("of another kind", "another file system"),
    };
    Error::NoIdMap {
        path: path.into(),
        filesystem,
        needs,
        source,
    }
}

fn unusable(operation: &'static str, path: &Path, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted { operation, source },
        _ => Error::Store {
            operation,
            path: path.into(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_19_are_known_by_their_release() {
        for old in ["5.15.0-91-generic", "5.18.19", "4.19.0"] {
            assert!(!can_be_stacked(old), "{old}");
        }
        for new in [
            "5.19.0",
            "5.19-rc1",
            "6.1.0-18-cloud-amd64",
            "6.18.44-fc-v595",
            "10.0",
        ] {
            assert!(can_be_stacked(new), "{new}");
        }
    }
}
