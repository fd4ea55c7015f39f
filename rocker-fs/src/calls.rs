//! The system calls on files that this crate makes, each reported with what it is for.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::sys::stat::{self, FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::statfs::Statfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{self, Gid, Uid, UnlinkatFlags};

pub(crate) use crate::location::{Location, fstatfs, location, statfs};
use crate::spelling::{hex, moment, octal, open_flags, resolve_flags, shown};
use crate::trace::{Outcome, traced};
pub(crate) use crate::xattr::{fgetxattr, fsetxattr, getxattr, listxattr, lsetxattr, setxattr};

macro_rules! nothing_but_success {
    ($($kind:ty),*) => {
        $(impl Outcome for $kind {
            fn value(&self) -> i64 {
                0
            }
        })*
    };
}

nothing_but_success!(FileStat, Statfs);

impl Outcome for i64 {
    fn value(&self) -> i64 {
        *self
    }
}

pub(crate) fn call<T: Outcome>(
    name: &'static str,
    why: &'static str,
    args: impl FnOnce() -> String,
    run: impl FnOnce() -> nix::Result<T>,
) -> nix::Result<T> {
    // Each error here began as an errno.
    traced(name, why, args, || Ok(run()?))
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// open(2), which is openat(2) of a path that needs no directory.
pub(crate) fn open(path: &Path, flags: OFlag, why: &'static str) -> nix::Result<OwnedFd> {
    let args = || format!("AT_FDCWD, {path:?}, {}", open_flags(flags));
    call("openat", why, args, || {
        fcntl::open(path, flags, Mode::empty())
    })
}

pub(crate) fn openat(
    dir: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlag,
    mode: Mode,
    why: &'static str,
) -> nix::Result<OwnedFd> {
    let args = || {
        let mut text = format!("{}, {}, {}", number(dir), shown(name), open_flags(flags));
        if flags.contains(OFlag::O_CREAT) {
            let _ = write!(text, ", {}", octal(mode.bits()));
        }
        text
    };
    call("openat", why, args, || {
        fcntl::openat(dir, name, flags, mode)
    })
}

pub(crate) fn openat2(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    resolve: ResolveFlag,
    why: &'static str,
) -> nix::Result<OwnedFd> {
    let args = || {
        format!(
            "{}, {}, {{flags={}, resolve={}}}, 24",
            number(dir),
            shown(path),
            open_flags(flags),
            resolve_flags(resolve)
        )
    };
    let how = OpenHow::new().flags(flags).resolve(resolve);
    call("openat2", why, args, || fcntl::openat2(dir, path, how))
}

/// Opens a directory to list it.
pub(crate) fn open_dir(
    dir: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlag,
    why: &'static str,
) -> nix::Result<Dir> {
    Dir::from_fd(openat(dir, name, flags, Mode::empty(), why)?)
}

pub(crate) fn mkdir(path: &Path, mode: Mode, why: &'static str) -> nix::Result<()> {
    let args = || format!("{path:?}, {}", octal(mode.bits()));
    call("mkdir", why, args, || unistd::mkdir(path, mode))
}

pub(crate) fn mkdirat(
    dir: BorrowedFd<'_>,
    name: &[u8],
    mode: Mode,
    why: &'static str,
) -> nix::Result<()> {
    let args = || format!("{}, {}, {}", number(dir), shown(name), octal(mode.bits()));
    call("mkdirat", why, args, || stat::mkdirat(dir, name, mode))
}

/// mknodat(2) of a fifo or socket, or of a device with this major and minor number.
pub(crate) fn mknodat(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: SFlag,
    mode: Mode,
    device: (u32, u32),
    why: &'static str,
) -> nix::Result<()> {
    let (major, minor) = device;
    let args = || {
        let mode = octal(mode.bits());
        let (kind, device) = match kind {
            SFlag::S_IFIFO => ("S_IFIFO", String::new()),
            SFlag::S_IFCHR => (
                "S_IFCHR",
                format!(", makedev({}, {})", hex(major), hex(minor)),
            ),
            SFlag::S_IFSOCK => ("S_IFSOCK", String::new()),
            _ => (
                "S_IFBLK",
                format!(", makedev({}, {})", hex(major), hex(minor)),
            ),
        };
        format!("{}, {}, {kind}|{mode}{device}", number(dir), shown(name))
    };
    let device = stat::makedev(u64::from(major), u64::from(minor));
    call("mknodat", why, args, || {
        stat::mknodat(dir, name, kind, mode, device)
    })
}

pub(crate) fn symlinkat(
    target: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
    why: &'static str,
) -> nix::Result<()> {
    let args = || format!("{}, {}, {}", shown(target), number(dir), shown(name));
    call("symlinkat", why, args, || {
        unistd::symlinkat(target, dir, name)
    })
}

/// readlinkat(2) of what is open as a place.
pub(crate) fn readlink(link: BorrowedFd<'_>, why: &'static str) -> nix::Result<OsString> {
    let args = || format!("{}, \"\"", number(link));
    call("readlinkat", why, args, || fcntl::readlinkat(link, ""))
}

/// readlinkat(2) of a name.
pub(crate) fn readlink_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    why: &'static str,
) -> nix::Result<OsString> {
    let args = || format!("{}, {}", number(dir), shown(name));
    call("readlinkat", why, args, || fcntl::readlinkat(dir, name))
}

pub(crate) fn linkat(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let (from, to) = ((number(from.0), shown(from.1)), (number(to.0), shown(to.1)));
        format!("{}, {}, {}, {}, 0", from.0, from.1, to.0, to.1)
    };
    call("linkat", why, args, || {
        unistd::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
    })
}

/// renameat2(2) within one directory, which replaces nothing.
pub(crate) fn rename(
    dir: BorrowedFd<'_>,
    from: &str,
    to: &str,
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let dir = number(dir);
        format!("{dir}, {from:?}, {dir}, {to:?}, RENAME_NOREPLACE")
    };
    call("renameat2", why, args, || {
        fcntl::renameat2(dir, from, dir, to, RenameFlags::RENAME_NOREPLACE)
    })
}

/// renameat2(2) within one directory, which leaves a whiteout where the file was.
pub(crate) fn rename_whiteout(
    dir: BorrowedFd<'_>,
    from: &str,
    to: &str,
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let dir = number(dir);
        format!("{dir}, {from:?}, {dir}, {to:?}, RENAME_WHITEOUT")
    };
    call("renameat2", why, args, || {
        fcntl::renameat2(dir, from, dir, to, RenameFlags::RENAME_WHITEOUT)
    })
}

/// renameat2(2) from one directory to another, which replaces nothing.
pub(crate) fn rename_between(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let (from, to) = ((number(from.0), shown(from.1)), (number(to.0), shown(to.1)));
        format!(
            "{}, {}, {}, {}, RENAME_NOREPLACE",
            from.0, from.1, to.0, to.1
        )
    };
    call("renameat2", why, args, || {
        fcntl::renameat2(from.0, from.1, to.0, to.1, RenameFlags::RENAME_NOREPLACE)
    })
}

pub(crate) fn unlinkat(
    dir: BorrowedFd<'_>,
    name: &[u8],
    what: UnlinkatFlags,
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let flags = match what {
            UnlinkatFlags::RemoveDir => "AT_REMOVEDIR",
            UnlinkatFlags::NoRemoveDir => "0",
        };
        format!("{}, {}, {flags}", number(dir), shown(name))
    };
    call("unlinkat", why, args, || unistd::unlinkat(dir, name, what))
}

/// fstatat(2) of a name, not of what a symbolic link of that name leads to.
pub(crate) fn status_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    why: &'static str,
) -> nix::Result<FileStat> {
    let args = || format!("{}, {}, AT_SYMLINK_NOFOLLOW", number(dir), shown(name));
    call("newfstatat", why, args, || {
        stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    })
}

/// stat(2), of what a symbolic link leads to.
pub(crate) fn status(path: &Path, why: &'static str) -> nix::Result<FileStat> {
    let args = || format!("AT_FDCWD, {path:?}, 0");
    call("newfstatat", why, args, || stat::stat(path))
}

pub(crate) fn fstat(file: BorrowedFd<'_>, why: &'static str) -> nix::Result<FileStat> {
    call(
        "fstat",
        why,
        || number(file).to_string(),
        || stat::fstat(file),
    )
}

pub(crate) fn fchown(
    file: BorrowedFd<'_>,
    uid: u32,
    gid: u32,
    why: &'static str,
) -> nix::Result<()> {
    let args = || format!("{}, {uid}, {gid}", number(file));
    call("fchown", why, args, || {
        unistd::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    })
}

/// fchownat(2) of what is open as a place, be it a symbolic link.
pub(crate) fn chown_place(
    place: BorrowedFd<'_>,
    uid: u32,
    gid: u32,
    why: &'static str,
) -> nix::Result<()> {
    let args = || format!("{}, \"\", {uid}, {gid}, AT_EMPTY_PATH", number(place));
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    call("fchownat", why, args, || {
        unistd::fchownat(place, "", uid, gid, AtFlags::AT_EMPTY_PATH)
    })
}

pub(crate) fn fchmod(file: BorrowedFd<'_>, mode: Mode, why: &'static str) -> nix::Result<()> {
    let args = || format!("{}, {}", number(file), octal(mode.bits()));
    call("fchmod", why, args, || stat::fchmod(file, mode))
}

/// fchmodat(2) of a name that is no symbolic link.
pub(crate) fn chmod_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    mode: Mode,
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let (dir, name) = (number(dir), shown(name));
        format!("{dir}, {name}, {}, AT_SYMLINK_NOFOLLOW", octal(mode.bits()))
    };
    call("fchmodat", why, args, || {
        stat::fchmodat(dir, name, mode, FchmodatFlags::NoFollowSymlink)
    })
}

/// fchmodat(2) of what is open as a place, and is no symbolic link.
pub(crate) fn chmod_place(place: BorrowedFd<'_>, mode: Mode, why: &'static str) -> nix::Result<()> {
    let path = path_of(place);
    let args = || format!("AT_FDCWD, {path:?}, {}, 0", octal(mode.bits()));
    call("fchmodat", why, args, || {
        stat::fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
    })
}

/// futimens(3), which is utimensat(2) without a name.
pub(crate) fn set_times(
    file: BorrowedFd<'_>,
    time: TimeSpec,
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        format!(
            "{}, NULL, [{}, {}], 0",
            number(file),
            moment(time),
            moment(time)
        )
    };
    call("utimensat", why, args, || {
        stat::futimens(file, &time, &time)
    })
}

/// futimens(3) with the times of access and of modification.
pub(crate) fn set_both_times(
    file: BorrowedFd<'_>,
    accessed: TimeSpec,
    modified: TimeSpec,
    why: &'static str,
) -> nix::Result<()> {
    let args = || {
        let (accessed, modified) = (moment(accessed), moment(modified));
        format!("{}, NULL, [{accessed}, {modified}], 0", number(file))
    };
    call("utimensat", why, args, || {
        stat::futimens(file, &accessed, &modified)
    })
}

/// utimensat(2) of what is open as a place, be it a symbolic link, with the times of access and of modification.
pub(crate) fn set_times_of_place(
    place: BorrowedFd<'_>,
    accessed: TimeSpec,
    modified: TimeSpec,
    why: &'static str,
) -> nix::Result<()> {
    let path = path_of(place);
    let args = || {
        let (accessed, modified) = (moment(accessed), moment(modified));
        format!("AT_FDCWD, {path:?}, [{accessed}, {modified}], 0")
    };
    call("utimensat", why, args, || {
        let follow = UtimensatFlags::FollowSymlink;
        stat::utimensat(AT_FDCWD, path.as_str(), &accessed, &modified, follow)
    })
}

pub(crate) fn syncfs(dir: BorrowedFd<'_>, why: &'static str) -> nix::Result<()> {
    call(
        "syncfs",
        why,
        || number(dir).to_string(),
        || unistd::syncfs(dir),
    )
}

pub(crate) fn fsync(file: BorrowedFd<'_>, why: &'static str) -> nix::Result<()> {
    call(
        "fsync",
        why,
        || number(file).to_string(),
        || unistd::fsync(file),
    )
}

pub(crate) fn ftruncate(file: BorrowedFd<'_>, length: u64, why: &'static str) -> nix::Result<()> {
    let args = || format!("{}, {length}", number(file));
    let bytes = i64::try_from(length).map_err(|_| Errno::EFBIG)?;
    call("ftruncate", why, args, || unistd::ftruncate(file, bytes))
}

pub(crate) fn fchdir(dir: BorrowedFd<'_>, why: &'static str) -> nix::Result<()> {
    call(
        "fchdir",
        why,
        || number(dir).to_string(),
        || unistd::fchdir(dir),
    )
}

/// A path that leads to an open file; also to a symbolic link that is open as a place, which is not followed.
fn path_of(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", number(file))
}

pub(crate) fn number(file: BorrowedFd<'_>) -> RawFd {
    file.as_raw_fd()
}
