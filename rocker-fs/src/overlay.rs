//! A stack of directories as one: overlayfs.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::OVERLAYFS_SUPER_MAGIC;

use crate::attached::AttachedOverlay;
use crate::calls;
use crate::encode;
use crate::error::{Error, Result};
use crate::layer::XattrNamespace;
use crate::stack;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// The most layers that the kernel stacks.
const MAX_LAYERS: usize = 500;

/// The description of an overlay: which directories lie over which.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// The topmost first, as the kernel wants them.
    lower: Vec<PathBuf>,
    upper: Option<(PathBuf, PathBuf)>,
    read_only: bool,
    xattrs: XattrNamespace,
    way: Way,
}

/// How an overlay is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By fsopen(2), and where the kernel does not know how, by mount(2).
    Best,
    /// By mount(2).
    Mount,
}

impl Overlay {
    /// An overlay of these directories, the **bottommost first**, as an image lists its layers. What lies below one
    /// whose root is marked as opaque is left out when it is mounted: overlayfs itself heeds that mark only further down.
    pub fn new(lower: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let mut lower: Vec<PathBuf> = lower.into_iter().map(Into::into).collect();
        lower.reverse();
        Self {
            lower,
            upper: None,
            read_only: false,
            xattrs: XattrNamespace::Trusted,
            way: Way::Best,
        }
    }

    /// Lets changes go to `upper`. `work` is an empty directory on the same file system, for the kernel's own use.
    /// Without an upper directory the overlay is read-only.
    #[doc(alias = "upperdir")]
    #[doc(alias = "workdir")]
    pub fn upper(mut self, upper: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        self.upper = Some((upper.into(), work.into()));
        self
    }

    /// Makes the mount read-only, whether or not there is an upper directory.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Where overlayfs keeps its marks: [`XattrNamespace::User`] in a user namespace.
    #[doc(alias = "userxattr")]
    pub fn xattr_namespace(mut self, namespace: XattrNamespace) -> Self {
        self.xattrs = namespace;
        self
    }

    /// Mounts by mount(2) from a thread in a mount namespace of its own, as on kernels before 6.5. For tests.
    #[doc(hidden)]
    pub fn by_mount(mut self) -> Self {
        self.way = Way::Mount;
        self
    }

    /// Mounts the overlay, attached to nothing: it is in no mount table, and is gone when its descriptor is closed.
    ///
    /// A single lower directory without an upper one needs no overlay: it is bind-mounted, read-only.
    ///
    /// # Errors
    /// [`Error::NoLayers`] and [`Error::TooManyLayers`]; [`Error::UpperOnOverlay`]; [`Error::NotPermitted`] without
    /// CAP_SYS_ADMIN; [`Error::Unsupported`] where the kernel has no overlayfs; [`Error::Store`] naming a directory
    /// that cannot be opened; [`Error::Overlay`] for what else the kernel refuses, with what it said.
    ///
    /// See [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html) and
    /// [overlayfs](https://docs.kernel.org/filesystems/overlayfs.html). Linux 6.5 for the direct way; before that,
    /// a thread of its own does mount(2) in a mount namespace of its own, and hands the mount over.
    #[doc(alias = "fsmount")]
    pub fn mount(&self) -> Result<OverlayMount> {
        let mut visible = self.clone();
        let opaque = self.lower.iter().position(|dir| self.is_opaque(dir));
        visible
            .lower
            .truncate(opaque.map_or(usize::MAX, |at| at + 1));
        visible.mount_all()
    }

    fn mount_all(&self) -> Result<OverlayMount> {
        self.check()?;
        if let ([only], None) = (self.lower.as_slice(), &self.upper) {
            return clone_read_only(only);
        }
        let direct = match self.way {
            Way::Mount => return self.mount_in_thread(),
            Way::Best => self.mount_by_context(),
        };
        // Before 6.5 overlayfs knows no `lowerdir+`, and says EINVAL when the mount is made; before 5.2 there is no fsopen(2).
        match direct {
            Err(Failure {
                errno: Errno::EINVAL | Errno::ENOSYS,
                said,
                ..
            }) if !said.contains("overlay:") => self.mount_in_thread(),
            Err(failure) => Err(self.refused(failure)),
            Ok(mount) => Ok(mount),
        }
    }

    /// Whether a layer's root is marked so. What is wrong with the directory is said by who opens it.
    fn is_opaque(&self, dir: &Path) -> bool {
        let why = "so that layers below one that hides them all are left out of the overlay";
        let mut value = [0; 1];
        CString::new(dir.as_os_str().as_bytes())
            .is_ok_and(|dir| calls::getxattr(&dir, self.xattrs.opaque(), &mut value, why).is_ok())
            && value == *b"y"
    }

    /// Looks for what the kernel would refuse with an EINVAL or ENOENT that says nothing.
    fn check(&self) -> Result<()> {
        match self.lower.len() {
            0 => return Err(Error::NoLayers),
            1..=MAX_LAYERS => {}
            count => {
                return Err(Error::TooManyLayers {
                    count,
                    limit: MAX_LAYERS,
                });
            }
        }
        let upper = self.upper.iter().flat_map(|(upper, work)| [upper, work]);
        let why = "so that a missing directory is named; the kernel would not say which it is";
        for dir in self.lower.iter().chain(upper) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            calls::open(dir, flags, why).map_err(|errno| unusable("open", dir, errno))?;
        }
        if let Some((upper, _)) = &self.upper {
            let why =
                "so that an upper directory that is on an overlay itself is refused in plain words";
            let found =
                calls::statfs(upper, why).map_err(|errno| unusable("statfs", upper, errno))?;
            if found.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
                return Err(Error::UpperOnOverlay {
                    upper: upper.clone(),
                });
            }
        }
        Ok(())
    }

    fn mount_by_context(&self) -> std::result::Result<OverlayMount, Failure> {
        let context = traced(
            "fsopen",
            "so that an overlay can be described piece by piece",
            || "\"overlay\", FSOPEN_CLOEXEC".to_owned(),
            || sys::fsopen(c"overlay"),
        )
        .map_err(|error| Failure::new("fsopen", &error, None))?;
        // Directories whose paths do not fit are named by descriptor, so they stay open until the mount is made.
        let mut held = Vec::new();
        for dir in &self.lower {
            set_dir(
                &context,
                c"lowerdir+",
                dir,
                "so that this layer lies under those before it",
                &mut held,
            )?;
        }
        if let Some((upper, work)) = &self.upper {
            set_dir(
                &context,
                c"upperdir",
                upper,
                "so that changes go to this directory",
                &mut held,
            )?;
            set_dir(
                &context,
                c"workdir",
                work,
                "so that overlayfs can prepare its changes here",
                &mut held,
            )?;
        }
        if self.xattrs == XattrNamespace::User {
            config(
                &context,
                uapi::FSCONFIG_SET_FLAG,
                Some(c"userxattr"),
                None,
                "so that marks are user.overlay.*",
            )?;
        }
        config(
            &context,
            uapi::FSCONFIG_CMD_CREATE,
            None,
            None,
            "so that the overlay comes to be",
        )?;
        let (attributes, names) = match self.is_read_only() {
            true => (uapi::MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"),
            false => (0, "0"),
        };
        let mount = traced(
            "fsmount",
            "so that the overlay can be attached somewhere",
            || format!("{}, FSMOUNT_CLOEXEC, {names}", context.as_raw_fd()),
            || sys::fsmount(context.as_fd(), attributes),
        )
        .map_err(|error| Failure::new("fsmount", &error, Some(&context)))?;
        Ok(OverlayMount(mount))
    }

    fn mount_in_thread(&self) -> Result<OverlayMount> {
        let options = stack::Options {
            lower: &self.lower,
            upper: self
                .upper
                .as_ref()
                .map(|(upper, work)| (upper.as_path(), work.as_path())),
            read_only: self.is_read_only(),
            user_xattrs: self.xattrs == XattrNamespace::User,
        };
        match options.mount() {
            Ok(mount) => Ok(OverlayMount(mount)),
            Err(stack::Failure::TooLong { room }) => Err(Error::TooManyLayers {
                count: self.lower.len(),
                limit: room,
            }),
            Err(stack::Failure::Call { call, source }) => {
                Err(self.refused(Failure::new(call, &source, None)))
            }
        }
    }

    fn is_read_only(&self) -> bool {
        self.read_only || self.upper.is_none()
    }

    fn refused(&self, failure: Failure) -> Error {
        let source = io::Error::from(failure.errno);
        match (failure.call, failure.errno) {
            (operation, Errno::EPERM) => Error::NotPermitted { operation, source },
            (_, Errno::ENODEV) => Error::Unsupported {
                what: "overlayfs",
                needs: "CONFIG_OVERLAY_FS",
                source,
            },
            (what, Errno::ENOSYS) => Error::Unsupported {
                what,
                needs: "Linux 5.2",
                source,
            },
            (call, _) => Error::Overlay {
                layers: self.lower.len(),
                call,
                said: failure.said,
                source,
            },
        }
    }
}

/// A failed system call, with what the kernel wrote about it.
struct Failure {
    call: &'static str,
    errno: Errno,
    said: String,
}

impl Failure {
    fn new(call: &'static str, error: &io::Error, context: Option<&OwnedFd>) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Self {
            call,
            errno,
            said: context.map(messages).unwrap_or_default(),
        }
    }
}

/// Reads the kernel's messages from a file system context, one a read.
fn messages(context: &OwnedFd) -> String {
    let Ok(context) = context.try_clone() else {
        return String::new();
    };
    let mut log = File::from(context);
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    let number = log.as_raw_fd();
    let mut read = |buffer: &mut [u8]| {
        let why = "so that the kernel's own words on what is wrong are known";
        let room = buffer.len();
        let args = || format!("{number}, {room}");
        traced("read", why, args, || log.read(buffer))
    };
    while let Ok(count @ 1..) = read(&mut buffer) {
        // Each begins with its severity: `e `, `w ` or `i `.
        let text = String::from_utf8_lossy(&buffer[..count]);
        said.push(text.get(2..).unwrap_or(&text).trim().to_owned());
    }
    said.join("; ")
}

fn config(
    context: &OwnedFd,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
    why: &'static str,
) -> std::result::Result<(), Failure> {
    let args = || {
        let name = match command {
            uapi::FSCONFIG_SET_FLAG => "FSCONFIG_SET_FLAG",
            uapi::FSCONFIG_SET_STRING => "FSCONFIG_SET_STRING",
            _ => "FSCONFIG_CMD_CREATE",
        };
        let text = |text: Option<&CStr>| text.map_or("NULL".to_owned(), |text| format!("{text:?}"));
        format!(
            "{}, {name}, {}, {}, 0",
            context.as_raw_fd(),
            text(key),
            text(value)
        )
    };
    traced("fsconfig", why, args, || {
        sys::fsconfig(context.as_fd(), command, key, value)
    })
    .map_err(|error| Failure::new("fsconfig", &error, Some(context)))
}

/// Gives the context one directory.
fn set_dir(
    context: &OwnedFd,
    key: &CStr,
    dir: &Path,
    why: &'static str,
    held: &mut Vec<OwnedFd>,
) -> std::result::Result<(), Failure> {
    // A value has at most 255 bytes, and overlayfs takes `:`, `,` and `\` of some for its own.
    let plain = dir.as_os_str().len() < 256
        && !dir
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|byte| b":,\\".contains(byte));
    let value = if plain {
        CString::new(dir.as_os_str().as_bytes()).map_err(io::Error::from)
    } else {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let why = "so that its descriptor can stand for a path that fsconfig would not take";
        calls::open(dir, flags, why)
            .map_err(io::Error::from)
            .and_then(|dir| {
                let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
                held.push(dir);
                CString::new(path).map_err(io::Error::from)
            })
    };
    let value = value.map_err(|error| Failure::new("open", &error, None))?;
    config(
        context,
        uapi::FSCONFIG_SET_STRING,
        Some(key),
        Some(&value),
        why,
    )
}

fn clone_read_only(dir: &Path) -> Result<OverlayMount> {
    let unusable = |call, source: io::Error| match source.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted {
            operation: call,
            source,
        },
        Some(libc::ENOSYS) => Error::Unsupported {
            what: call,
            needs: "Linux 5.12",
            source,
        },
        _ => Error::Store {
            operation: call,
            path: dir.into(),
            source,
        },
    };
    let path = CString::new(dir.as_os_str().as_bytes())
        .map_err(|error| unusable("open_tree", error.into()))?;
    let mount = traced(
        "open_tree",
        "so that the only layer can be mounted elsewhere",
        || format!("AT_FDCWD, {path:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"),
        || sys::open_tree(None, &path, uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC),
    )
    .map_err(|source| unusable("open_tree", source))?;
    traced(
        "mount_setattr",
        "so that the layer is not changed",
        || {
            format!(
                "{}, \"\", AT_EMPTY_PATH, {{attr_set=MOUNT_ATTR_RDONLY}}, 32",
                mount.as_raw_fd()
            )
        },
        || {
            sys::mount_setattr(
                mount.as_fd(),
                &encode::mount_attr(uapi::MOUNT_ATTR_RDONLY, 0, 0),
            )
        },
    )
    .map_err(|source| unusable("mount_setattr", source))?;
    Ok(OverlayMount(mount))
}

fn unusable(operation: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Store {
        operation,
        path: path.into(),
        source: errno.into(),
    }
}

/// A mounted overlay that is attached to nothing. Dropping it unmounts it.
#[must_use = "dropping this unmounts the overlay at once"]
#[derive(Debug)]
pub struct OverlayMount(OwnedFd);

impl OverlayMount {
    /// Attaches the overlay at the directory `target`, where everybody in this mount namespace sees it.
    ///
    /// # Errors
    /// [`Error::Mount`] with the target.
    ///
    /// See [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html). Linux 5.2.
    #[doc(alias = "move_mount")]
    pub fn attach(self, target: impl AsRef<Path>) -> Result<AttachedOverlay> {
        let path = target.as_ref();
        let failed = |source| Error::Mount {
            operation: "move_mount",
            target: path.into(),
            source,
        };
        // The guard must find it again, wherever the process goes.
        let target = std::path::absolute(path).map_err(failed)?;
        let text =
            CString::new(target.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
        traced(
            "move_mount",
            "so that the overlay can be seen here",
            || {
                format!(
                    "{}, \"\", AT_FDCWD, {text:?}, MOVE_MOUNT_F_EMPTY_PATH",
                    self.0.as_raw_fd()
                )
            },
            || sys::move_mount(self.0.as_fd(), &text),
        )
        .map_err(failed)?;
        Ok(AttachedOverlay::new(target))
    }
}

impl AsFd for OverlayMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OverlayMount> for OwnedFd {
    fn from(mount: OverlayMount) -> Self {
        mount.0
    }
}
