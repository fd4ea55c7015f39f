//! What an upper directory stands on, and whether overlayfs can keep changes there.
//!
//! overlayfs mounts on some file systems that lack what it needs, writes a line to the kernel's log, and fails later: when a
//! directory is deleted and made anew, say. So it is asked before the mount what there is, and said in words. What is
//! asked is the effect, what follows from it ([`Ground::verdict`]) is pure.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statfs::{self, FsType};
use nix::sys::statvfs::FsFlags;
use nix::unistd::UnlinkatFlags;

use crate::calls;
use crate::error::{Error, Result};
use crate::layer::XattrNamespace;
use crate::whiteout;

/// How much a file system of a kind is known to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// All, unless its maker left extended attributes out.
    All,
    /// All, unless it was made without types in its directories.
    ButTypes,
    /// Nothing is known: it has to be tried.
    Nothing,
}

/// File systems by their magic numbers; those that [`statfs`] has no name for by `linux/magic.h` and their sources.
const KINDS: &[(i64, &str, Known)] = &[
    (magic(statfs::EXT4_SUPER_MAGIC), "ext4", Known::ButTypes),
    (magic(statfs::XFS_SUPER_MAGIC), "xfs", Known::ButTypes),
    (magic(statfs::BTRFS_SUPER_MAGIC), "btrfs", Known::All),
    (magic(statfs::TMPFS_MAGIC), "tmpfs", Known::All),
    (
        magic(statfs::OVERLAYFS_SUPER_MAGIC),
        "overlayfs",
        Known::Nothing,
    ),
    (magic(statfs::NFS_SUPER_MAGIC), "NFS", Known::Nothing),
    (magic(statfs::FUSE_SUPER_MAGIC), "FUSE", Known::Nothing),
    (magic(statfs::MSDOS_SUPER_MAGIC), "vfat", Known::Nothing),
    (magic(statfs::F2FS_SUPER_MAGIC), "f2fs", Known::Nothing),
    (0x8584_58f6, "ramfs", Known::Nothing),
    (0xff53_4d42, "CIFS", Known::Nothing),
    (0xfe53_4d42, "SMB", Known::Nothing),
    (0x0102_1997, "9p", Known::Nothing),
    (0x00c3_6400, "Ceph", Known::Nothing),
    (0x2fc1_2fc1, "ZFS", Known::Nothing),
    (0x2011_bab0, "exFAT", Known::Nothing),
];

#[allow(
    clippy::unnecessary_cast,
    reason = "the number has another type on other architectures"
)]
const fn magic(kind: FsType) -> i64 {
    kind.0 as i64
}

/// The file system of an upper directory, and what it can do of what overlayfs needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ground {
    /// What it is called; "a file system of another kind" where that is not known.
    pub filesystem: &'static str,
    /// Whether it is an overlay, on which no other one can have its upper directory.
    pub is_overlay: bool,
    /// Whether nothing can be written there.
    pub read_only: bool,
    /// Whether upper and work directory are on one mount, between the directories of which files can be renamed.
    pub together: bool,
    /// Whether a directory's list says what type each entry is of.
    #[doc(alias = "d_type")]
    #[doc(alias = "ftype")]
    pub entry_types: bool,
    /// Whether directories can have the attributes with which overlayfs marks them.
    pub xattrs: bool,
    /// Whether a file can be renamed and leave a whiteout, in one.
    #[doc(alias = "RENAME_WHITEOUT")]
    pub whiteouts: bool,
}

impl Ground {
    /// Asks the kernel. On a file system of which it is known that it can do all, nothing is made for that; on others it is
    /// tried with a file in `work`, which is removed again.
    pub(crate) fn of(upper: &Path, work: &Path, xattrs: XattrNamespace) -> Result<Self> {
        let failed = |operation, path: &Path, errno: Errno| Error::Store {
            operation,
            path: path.into(),
            source: errno.into(),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = |path: &Path| {
            let why = "so that what stands under overlayfs can be asked what it can do; one that is missing is named";
            calls::open(path, flags, why).map_err(|errno| failed("open", path, errno))
        };
        let (upper_dir, work_dir) = (open(upper)?, open(work)?);
        let why = "so that an upper directory on a file system that overlayfs cannot use is refused in plain words";
        let found = calls::fstatfs(upper_dir.as_fd(), why)
            .map_err(|errno| failed("fstatfs", upper, errno))?;
        let kind = found.filesystem_type();
        let (filesystem, known) = kind_of(magic(kind));
        let why = "so that it is known whether upper and work directory are on one mount";
        let place = |dir: &OwnedFd, path| {
            calls::location(dir.as_fd(), why).map_err(|errno| failed("statx", path, errno))
        };
        let (upper_place, work_place) = (place(&upper_dir, upper)?, place(&work_dir, work)?);
        let mut ground = Self {
            filesystem,
            is_overlay: kind == statfs::OVERLAYFS_SUPER_MAGIC,
            read_only: found.flags().contains(FsFlags::ST_RDONLY),
            together: upper_place == work_place,
            entry_types: true,
            xattrs: has_xattrs(upper_dir.as_fd(), xattrs),
            whiteouts: true,
        };
        if ground.read_only || ground.is_overlay || !ground.together {
            // What else there is does not matter, and cannot be tried.
            return Ok(ground);
        }
        let types = match known {
            Known::All => Some(true),
            Known::ButTypes => lists_types(upper_dir.as_fd(), upper_place),
            Known::Nothing => None,
        };
        match types {
            Some(types) => ground.entry_types = types,
            None => {
                let tried = tried(work_dir.as_fd(), xattrs);
                let tried = tried.map_err(|errno| failed("try to write in", work, errno))?;
                (ground.entry_types, ground.whiteouts) = (tried.types, tried.whiteouts);
                ground.xattrs &= tried.xattrs;
            }
        }
        Ok(ground)
    }

    /// Whether an overlay can have its upper directory here, and else why not and what helps.
    pub(crate) fn verdict(&self, upper: &Path, work: &Path, xattrs: XattrNamespace) -> Result<()> {
        let (upper, filesystem) = (upper.to_owned(), self.filesystem);
        if self.is_overlay {
            return Err(Error::UpperOnOverlay { upper });
        }
        if self.read_only {
            return Err(Error::UpperReadOnly { upper });
        }
        if !self.together {
            let work = work.to_owned();
            return Err(Error::UpperAndWorkApart { upper, work });
        }
        if !self.whiteouts {
            return Err(Error::NoWhiteouts { upper, filesystem });
        }
        if !self.entry_types {
            return Err(Error::NoEntryTypes { upper, filesystem });
        }
        if !self.xattrs {
            let namespace = xattrs.name();
            return Err(Error::NoXattrs {
                upper,
                filesystem,
                namespace,
            });
        }
        Ok(())
    }
}

/// As in `ext4: types in directories, attributes, whiteouts`.
impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_overlay {
            // The rest was not asked for.
            return f.write_str(self.filesystem);
        }
        let all = [
            (self.entry_types, "types in directories"),
            (self.xattrs, "attributes"),
            (self.whiteouts, "whiteouts"),
            (self.together, "one mount"),
        ];
        let has = |wanted: bool| {
            let some = all.iter().filter(move |one| one.0 == wanted);
            some.map(|one| one.1).collect::<Vec<_>>().join(", ")
        };
        write!(f, "{}: {}", self.filesystem, has(true))?;
        if all.iter().any(|one| !one.0) {
            write!(f, "; without {}", has(false))?;
        }
        f.write_str(if self.read_only { "; read-only" } else { "" })
    }
}

/// What a file system is called, and how much is known of it.
fn kind_of(magic: i64) -> (&'static str, Known) {
    // 32 bits, which some architectures extend by their sign.
    let known = KINDS.iter().find(|kind| kind.0 as u32 == magic as u32);
    known.map_or(
        ("a file system of another kind", Known::Nothing),
        |(_, name, known)| (name, *known),
    )
}

/// Whether marks can be set: one that is not there is not the same as one that cannot be.
fn has_xattrs(dir: BorrowedFd<'_>, namespace: XattrNamespace) -> bool {
    let why = "so that it is known whether a directory can be marked here";
    let asked = calls::fgetxattr(dir, namespace.opaque(), &mut [0; 8], why);
    !matches!(asked, Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)))
}

/// Whether the directory around lists what its entries are; none where that is on another file system.
fn lists_types(upper: BorrowedFd<'_>, place: calls::Location) -> Option<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let why = "so that an entry that is there shows whether directories say what type it is of";
    let mut around = calls::open_dir(upper, b"..", flags, why).ok()?;
    if calls::location(around.as_fd(), why).ok()? != place {
        return None;
    }
    first_has_type(&mut around, |name| name != b"." && name != b"..")
}

/// Whether the type of the first entry that `wanted` picks is told; none if there is no such entry.
fn first_has_type(dir: &mut Dir, wanted: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let entry = dir
        .iter()
        .filter_map(std::result::Result::ok)
        .find(|entry| wanted(entry.file_name().to_bytes()))?;
    Some(entry.file_type().is_some())
}

/// What a file that was made for it has shown.
struct Tried {
    types: bool,
    whiteouts: bool,
    xattrs: bool,
}

/// Makes a file, marks it, renames it so that a whiteout is left, looks at the list, and takes all away again.
fn tried(work: BorrowedFd<'_>, xattrs: XattrNamespace) -> nix::Result<Tried> {
    let mine = format!(".rocker-probe-{}", std::process::id());
    let (from, to) = (format!("{mine}-a"), format!("{mine}-b"));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    let why =
        "so that there is something that can be marked and renamed, to see whether that works here";
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = calls::openat(work, from.as_bytes(), flags, mode, why)?;
    let why = "so that it is known whether overlayfs can mark what it changes";
    let marked = calls::fsetxattr(file.as_fd(), xattrs.opaque(), b"y", why);
    drop(file);
    let why = "so that it is known whether overlayfs can hide what it moves: it deletes and renames this way";
    let renamed = calls::rename_whiteout(work, &from, &to, why);
    // A file system of a program may say yes, and keep the whiteout for itself.
    let why = "so that the whiteout is seen";
    let whiteouts = renamed.is_ok()
        && calls::status_at(work, from.as_bytes(), why)
            .is_ok_and(|left| whiteout::is_one(work, from.as_bytes(), &left, xattrs));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let why = "so that the file shows whether directories say what type their entries are of";
    let types = calls::open_dir(work, b".", flags, why)
        .map(|mut dir| first_has_type(&mut dir, |name| name.starts_with(mine.as_bytes())));
    let why = "so that nothing is left of what was tried";
    for name in [&from, &to] {
        match calls::unlinkat(work, name.as_bytes(), UnlinkatFlags::NoRemoveDir, why) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(Tried {
        types: types?.unwrap_or(false),
        whiteouts,
        xattrs: marked.is_ok(),
    })
}

/// Whether a layer's root is marked so that it hides all below. What is wrong with the directory is said by who opens it.
pub(crate) fn is_opaque(dir: &Path, xattrs: XattrNamespace) -> bool {
    let why = "so that layers below one that hides them all are left out of the overlay";
    let mut value = [0; 1];
    CString::new(dir.as_os_str().as_bytes())
        .is_ok_and(|dir| calls::getxattr(&dir, xattrs.opaque(), &mut value, why).is_ok())
        && value == *b"y"
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Ground = Ground {
        filesystem: "ext4",
        is_overlay: false,
        read_only: false,
        together: true,
        entry_types: true,
        xattrs: true,
        whiteouts: true,
    };

    fn said(ground: &Ground) -> String {
        let (upper, work) = (Path::new("/c/upper"), Path::new("/c/work"));
        match ground.verdict(upper, work, XattrNamespace::Trusted) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_missing_is_said_with_what_helps() {
        assert_eq!(said(&FIT), "");
        let nfs = Ground {
            filesystem: kind_of(0x6969).0,
            whiteouts: false,
            ..FIT
        };
        let vfat = Ground {
            filesystem: kind_of(0x4d44).0,
            whiteouts: false,
            xattrs: false,
            ..FIT
        };
        let table = [
            (
                Ground {
                    is_overlay: true,
                    ..FIT
                },
                "on overlayfs",
            ),
            (
                Ground {
                    read_only: true,
                    ..FIT
                },
                "read-only",
            ),
            (
                Ground {
                    together: false,
                    ..FIT
                },
                "/c/work",
            ),
            (nfs, "NFS"),
            (vfat, "vfat"),
            (
                Ground {
                    entry_types: false,
                    ..FIT
                },
                "ftype=1",
            ),
            (
                Ground {
                    xattrs: false,
                    ..FIT
                },
                "trusted.*",
            ),
        ];
        for (ground, word) in table {
            let said = said(&ground);
            assert!(said.contains(word) && said.contains("/c/upper"), "{said}");
        }
    }

    #[test]
    fn kinds_are_told_by_their_numbers_whatever_the_sign() {
        assert_eq!(kind_of(0xff53_4d42).0, "CIFS");
        assert_eq!(kind_of(i64::from(0xff53_4d42_u32 as i32)).0, "CIFS");
        assert_eq!(kind_of(0x1234).0, "a file system of another kind");
    }

    #[test]
    fn a_ground_shows_what_it_has_and_what_not() {
        assert_eq!(
            FIT.to_string(),
            "ext4: types in directories, attributes, whiteouts, one mount"
        );
        let without = Ground {
            xattrs: false,
            read_only: true,
            ..FIT
        };
        assert_eq!(
            without.to_string(),
            "ext4: types in directories, whiteouts, one mount; without attributes; read-only"
        );
    }
}
