//! Mounting an overlay by mount(2), for kernels before 6.8.
//!
//! mount(2) needs a place to mount at and takes one page of options. So a thread of its own leaves the process's
//! mount namespace and working directory for copies, in which it mounts where nobody sees it. Its working directory
//! is /proc/self/fd, where every layer has a name of a few digits, so that hundreds fit into the page and no
//! character of a path needs escaping. The mount outlives thread and namespace as a detached copy.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::FsFlags;

use crate::calls;
use crate::error::Error;
use crate::mounted;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// What fits into the page that mount(2) copies its options into, behind which stands a NUL.
const PAGE: usize = 4095;

/// What is to be mounted.
pub(crate) struct Options<'a> {
    /// The topmost first.
    pub(crate) lower: &'a [PathBuf],
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
    pub(crate) read_only: bool,
    pub(crate) user_xattrs: bool,
    /// A directory of the host, to mount at where nobody sees it.
    pub(crate) place: &'a Path,
    /// What all the directories are in, where that is mounts attached to nothing.
    pub(crate) loose: Vec<BorrowedFd<'a>>,
}

/// Why it could not be mounted.
pub(crate) enum Failure {
    /// The options do not fit; about `room` layers would.
    TooLong { room: usize },
    Call {
        call: &'static str,
        source: io::Error,
    },
}

impl Failure {
    pub(crate) fn of<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Call {
            call,
            source: source.into(),
        }
    }
}

impl Failure {
    /// The same as an error about a directory.
    pub(crate) fn on(self, dir: &Path) -> Error {
        match self {
            Self::Call { call, source } => mounted::refused(call, dir, source),
            Self::TooLong { room } => Error::TooManyLayers {
                count: room + 1,
                limit: room,
            },
        }
    }
}

/// Does `work` in a thread of its own that is gone when this returns.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    // What the thread does is reported to whoever listens to its caller.
    let subscriber = tracing::dispatcher::get_default(Clone::clone);
    thread::scope(|scope| {
        let work = || tracing::dispatcher::with_default(&subscriber, work);
        let thread = thread::Builder::new()
            .name("rocker-overlay".into())
            .spawn_scoped(scope, work)?;
        let joined = thread.join();
        joined.map_err(|_| io::Error::other("the mounting thread panicked"))
    })
}

impl Options<'_> {
    /// Mounts in this thread, whose mount namespace and working directory are spoilt afterwards.
    pub(crate) fn mount_here(&self) -> Result<OwnedFd, Failure> {
        let top = std::path::absolute(self.place).map_err(Failure::of("getcwd"))?;
        let place = CString::new(top.as_os_str().as_bytes()).map_err(Failure::of("mount"))?;
        leave_namespace()?;
        // Only now: the kernel takes layers from the mount namespace it mounts in. And before anything lies over them.
        let (held, options) = self.describe()?;
        for mount in &self.loose {
            let why = "so that layers are in this mount namespace: before 6.15 it takes no others";
            let number = mount.as_raw_fd();
            let names = "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_SYMLINKS";
            let args = || format!("{number}, \"\", AT_FDCWD, {place:?}, {names}");
            let flags = uapi::MOVE_MOUNT_T_SYMLINKS;
            traced("move_mount", why, args, || {
                sys::move_mount(*mount, &place, flags)
            })
            .map_err(Failure::of("move_mount"))?;
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let why =
            "so that this directory, where each open layer is a number, can become the current one";
        let descriptors = calls::open(Path::new("/proc/self/fd"), flags, why)
            .map_err(Failure::of("open /proc/self/fd"))?;
        let why =
            "so that the layers can be named by these numbers: a page of options holds hundreds";
        calls::fchdir(descriptors.as_fd(), why).map_err(Failure::of("fchdir"))?;
        let flags = if self.read_only {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        traced(
            "mount",
            "so that the layers become one tree, as kernels before 6.8 do it",
            || {
                format!(
                    "\"overlay\", {place:?}, \"overlay\", {}, {options:?}",
                    if self.read_only { "MS_RDONLY" } else { "0" }
                )
            },
            || {
                Ok(mount(
                    Some("overlay"),
                    place.as_c_str(),
                    Some("overlay"),
                    flags,
                    Some(options.as_str()),
                )?)
            },
        )
        .map_err(Failure::of("mount"))?;
        drop(held);
        take_out(&place)
    }

    /// Opens all directories, and names them by their descriptors in the options of mount(2).
    fn describe(&self) -> Result<(Vec<OwnedFd>, String), Failure> {
        let mut held = Vec::new();
        let why = "so that this directory has a number that can stand for it in the options";
        let mut name = |dir: &Path| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let fd = calls::open(dir, flags, why).map_err(Failure::of("open"))?;
            let name = fd.as_raw_fd().to_string();
            held.push(fd);
            Ok::<_, Failure>(name)
        };
        let names = self
            .lower
            .iter()
            .map(|dir| name(dir))
            .collect::<Result<Vec<_>, _>>()?;
        let mut options = format!("lowerdir={}", names.join(":"));
        if let Some((upper, work)) = self.upper {
            options.push_str(&format!(
                ",upperdir={},workdir={}",
                name(upper)?,
                name(work)?
            ));
        }
        if self.user_xattrs {
            options.push_str(",userxattr");
        } else if self.upper.is_some() {
            // As `context` has it.
            options.push_str(",redirect_dir=nofollow,metacopy=off");
        }
        if options.len() > PAGE {
            return Err(Failure::TooLong {
                room: self.lower.len() * PAGE / options.len(),
            });
        }
        Ok((held, options))
    }
}

/// Leaves the process's mount namespace and working directory for copies of this thread's, from which nothing spreads.
pub(crate) fn leave_namespace() -> Result<(), Failure> {
    traced(
        "unshare",
        "so that this thread can mount where nobody sees it",
        || "CLONE_FS|CLONE_NEWNS".to_owned(),
        || Ok(unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?),
    )
    .map_err(Failure::of("unshare"))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let why = "so that nothing mounted here spreads to the host";
    old_mount(None, c"/", flags, "MS_REC|MS_PRIVATE", why)
}

/// A detached copy of the mount at `place`.
fn take_out(place: &CStr) -> Result<OwnedFd, Failure> {
    let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC;
    traced(
        "open_tree",
        "so that the mount outlives this thread's mount namespace",
        || format!("AT_FDCWD, {place:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"),
        || sys::open_tree(None, place, flags),
    )
    .map_err(Failure::of("open_tree"))
}

/// mount(2) without a type and options.
fn old_mount(
    source: Option<&CStr>,
    target: &CStr,
    flags: MsFlags,
    names: &str,
    why: &'static str,
) -> Result<(), Failure> {
    let args = || {
        let source = source.map_or("NULL".to_owned(), |source| format!("{source:?}"));
        format!("{source}, {target:?}, NULL, {names}, NULL")
    };
    let none = None::<&CStr>;
    traced("mount", why, args, || {
        Ok(mount(source, target, none, flags, none)?)
    })
    .map_err(Failure::of("mount"))
}

/// A read-only mount of a directory, attached to nothing, as kernels before 5.12 make it. In this thread, whose mount namespace
/// and working directory are spoilt afterwards.
pub(crate) fn bind_read_only(dir: &Path) -> Result<OwnedFd, Failure> {
    let dir = std::path::absolute(dir).map_err(Failure::of("getcwd"))?;
    let place = CString::new(dir.as_os_str().as_bytes()).map_err(Failure::of("mount"))?;
    leave_namespace()?;
    let why = "so that there is a mount of the only layer, which can be made read-only";
    old_mount(Some(&place), &place, MsFlags::MS_BIND, "MS_BIND", why)?;
    let why = "so that what the mount forbids already stays so: in a user namespace nobody may take it away";
    let found = calls::statfs(&dir, why)
        .map_err(Failure::of("statfs"))?
        .flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID, "|MS_NOSUID"),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV, "|MS_NODEV"),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC, "|MS_NOEXEC"),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME, "|MS_NOATIME"),
        (
            FsFlags::ST_NODIRATIME,
            MsFlags::MS_NODIRATIME,
            "|MS_NODIRATIME",
        ),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME, "|MS_RELATIME"),
    ];
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let mut names = "MS_RDONLY|MS_REMOUNT|MS_BIND".to_owned();
    for (_, flag, name) in kept.iter().filter(|kept| found.contains(kept.0)) {
        flags |= *flag;
        names.push_str(name);
    }
    let why = "so that the layer is not changed";
    old_mount(None, &place, flags, &names, why)?;
    take_out(&place)
}
