//! Writing a list of steps: which structure goes where, and what its flags are called.

use std::borrow::Cow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::encode;
use crate::error::{Error, Result};
use crate::mount::{MountAttributes, Propagation};
use crate::step::{Arg, Step};
use crate::sys::uapi;

/// Errnos of an attempt on something that need not be there.
pub(crate) const MAY_BE_ABSENT: &[i32] = &[libc::ENOENT, libc::ENOTDIR, libc::EBADF];
/// The errno of a call on what an earlier attempt did not find.
pub(crate) const MAY_BE_UNOPENED: &[i32] = &[libc::EBADF];
const MAY_EXIST: &[i32] = &[libc::EEXIST];
/// No errno: the call must do what it is there for.
pub(crate) const MUST: &[i32] = &[];

/// How many steps there are for a container that asks for nothing, and some more.
const USUAL: usize = 400;

/// How a path inside of the root file system is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Symbolic links are followed, with the root file system's root for `/`.
    InRoot,
    /// A symbolic link on the way is an error: for /proc, /sys and /dev, which must be what they are called.
    NoSymlinks,
    /// As before, and neither may the path cross into another mount.
    NoSymlinksNorMounts,
}

impl Resolution {
    /// What befits `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let mut names = path
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)));
        let first = names.next().map(|name| name.as_os_str().as_bytes());
        match first {
            Some(b"proc" | b"sys" | b"dev") => Self::NoSymlinks,
            _ => Self::InRoot,
        }
    }

    pub(crate) fn encode(self) -> (u64, &'static str) {
        let in_root = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        match self {
            Self::InRoot => (in_root, "RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS"),
            Self::NoSymlinks => (
                in_root | libc::RESOLVE_NO_SYMLINKS,
                "RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS",
            ),
            Self::NoSymlinksNorMounts => (
                in_root | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV,
                "RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS|RESOLVE_NO_XDEV",
            ),
        }
    }
}

/// A list of steps that is being written.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The step that those added from now on need.
    needed: Option<usize>,
    /// Whether the child can have openat2(2); where it cannot, it walks paths name by name.
    pub(crate) has_openat2: bool,
    /// The directory of the host's tree that the root file system lies over from here on.
    pub(crate) covered: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn new(has_openat2: bool) -> Self {
        Self {
            steps: Vec::with_capacity(USUAL),
            needed: None,
            has_openat2,
            covered: None,
        }
    }

    /// Adds one step, and returns what it will return.
    pub(crate) fn add(
        &mut self,
        call: &'static str,
        args: Vec<Arg>,
        tolerates: &'static [i32],
        why: impl Into<Cow<'static, str>>,
    ) -> Arg {
        self.steps.push(Step {
            call,
            args,
            tolerates,
            needs: self.needed,
            why: why.into(),
        });
        Arg::Result(self.steps.len() - 1)
    }

    /// Adds steps that are made only if `place` could be opened. A copied mount that is then attached nowhere is not just
    /// for nothing: to close it, the kernel waits for an expedited RCU grace period.
    pub(crate) fn only_with(&mut self, place: &Arg, add: impl FnOnce(&mut Self)) {
        if let Arg::Result(index) = place {
            self.needed = Some(*index);
        }
        add(self);
        self.needed = None;
    }

    pub(crate) fn make_dir(
        &mut self,
        dir: &Arg,
        name: &Path,
        why: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        let args = vec![dir.clone(), text(name)?, constant(0o755, "0755")];
        self.add("mkdirat", args, MAY_EXIST, why);
        Ok(())
    }

    /// Makes a device, a fifo or an empty file.
    pub(crate) fn make_node(
        &mut self,
        dir: &Arg,
        name: &Path,
        (kind, kind_name): (u32, &'static str),
        permissions: u32,
        (major, minor): (u32, u32),
        why: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        let full = Arg::Flags {
            value: u64::from(kind | permissions),
            names: format!("{kind_name}|0{permissions:o}").into(),
        };
        let device = Arg::Flags {
            value: nix::sys::stat::makedev(u64::from(major), u64::from(minor)),
            names: format!("makedev({major:#x}, {minor:#x})").into(),
        };
        self.add(
            "mknodat",
            vec![dir.clone(), text(name)?, full, device],
            MAY_EXIST,
            why,
        );
        Ok(())
    }

    pub(crate) fn make_symlink(&mut self, dir: &Arg, name: &Path, target: &Path) -> Result<()> {
        let why = format!("so that /dev/{} exists", name.display());
        self.add(
            "symlinkat",
            vec![text(target)?, dir.clone(), text(name)?],
            MAY_EXIST,
            why,
        );
        Ok(())
    }

    /// Makes a mount of a new file system; the context is closed again.
    pub(crate) fn new_mount(
        &mut self,
        fstype: &str,
        options: &[(String, Option<String>)],
        attributes: MountAttributes,
        why: &str,
    ) -> Result<Arg> {
        let close_on_exec = |name| constant(u64::from(uapi::FSOPEN_CLOEXEC), name);
        let args = vec![string(fstype)?, close_on_exec("FSOPEN_CLOEXEC")];
        let context = self.add("fsopen", args, MUST, why.to_owned());
        for (key, value) in options {
            let (command, value) = match value {
                Some(value) => (
                    constant(u64::from(uapi::FSCONFIG_SET_STRING), "FSCONFIG_SET_STRING"),
                    string(value)?,
                ),
                None => (
                    constant(u64::from(uapi::FSCONFIG_SET_FLAG), "FSCONFIG_SET_FLAG"),
                    Arg::Null,
                ),
            };
            let args = vec![context.clone(), command, string(key)?, value, Arg::Int(0)];
            self.add(
                "fsconfig",
                args,
                MUST,
                format!("so that {fstype} has this option"),
            );
        }
        let create = constant(u64::from(uapi::FSCONFIG_CMD_CREATE), "FSCONFIG_CMD_CREATE");
        let args = vec![context.clone(), create, Arg::Null, Arg::Null, Arg::Int(0)];
        self.add(
            "fsconfig",
            args,
            MUST,
            format!("so that the {fstype} file system comes to be"),
        );
        let attributes = constant(attributes.bits(), attributes.to_string());
        let args = vec![
            context.clone(),
            close_on_exec("FSMOUNT_CLOEXEC"),
            attributes,
        ];
        let mount = self.add(
            "fsmount",
            args,
            MUST,
            format!("so that {fstype} is a mount, attached to nothing yet"),
        );
        self.close(&context, MUST);
        Ok(mount)
    }

    /// Copies the mount at `place`, or what is mounted beneath as well.
    pub(crate) fn clone_mount(
        &mut self,
        place: &Arg,
        recursive: bool,
        tolerates: &'static [i32],
        why: impl Into<Cow<'static, str>>,
    ) -> Arg {
        let mut flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | uapi::AT_EMPTY_PATH;
        let mut names = "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH".to_owned();
        if recursive {
            flags |= uapi::AT_RECURSIVE;
            names.push_str("|AT_RECURSIVE");
        }
        let args = vec![
            place.clone(),
            Arg::Str(c"".into()),
            constant(u64::from(flags), names),
        ];
        self.add("open_tree", args, tolerates, why)
    }

    /// Copies the mount at a name in an open directory. A symbolic link by that name is not followed.
    pub(crate) fn clone_mount_in(
        &mut self,
        dir: &Arg,
        name: &Path,
        why: impl Into<Cow<'static, str>>,
    ) -> Result<Arg> {
        let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | uapi::AT_SYMLINK_NOFOLLOW;
        let names = "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_SYMLINK_NOFOLLOW";
        let args = vec![dir.clone(), text(name)?, constant(u64::from(flags), names)];
        Ok(self.add("open_tree", args, MUST, why))
    }

    /// Sets attributes and propagation of a mount, or of those beneath as well.
    pub(crate) fn set_attributes(
        &mut self,
        mount: &Arg,
        recursive: bool,
        attributes: MountAttributes,
        propagation: Option<Propagation>,
        tolerates: &'static [i32],
        why: impl Into<Cow<'static, str>>,
    ) {
        // Of the three ways to keep access times only one is set, so a new one needs the old one cleared.
        let clear = if attributes.intersects(MountAttributes::ATIME) {
            MountAttributes::ATIME.bits()
        } else {
            0
        };
        let (flag, name) = propagation.map_or((0, ""), Propagation::encode);
        let attr = encode::mount_attr(attributes.bits(), clear, flag);
        let mut shown = vec![format!("attr_set={attributes}")];
        if clear != 0 {
            shown.push("attr_clr=MOUNT_ATTR__ATIME".to_owned());
        }
        if flag != 0 {
            shown.push(format!("propagation={name}"));
        }
        let (flags, names) = match recursive {
            true => (
                uapi::AT_EMPTY_PATH | uapi::AT_RECURSIVE,
                "AT_EMPTY_PATH|AT_RECURSIVE",
            ),
            false => (uapi::AT_EMPTY_PATH, "AT_EMPTY_PATH"),
        };
        let shown = format!("{{{}}}", shown.join(", "));
        let size = Arg::Int(attr.len() as i64);
        let flags = constant(u64::from(flags), names);
        let args = vec![
            mount.clone(),
            Arg::Str(c"".into()),
            flags,
            structure(&attr, shown),
            size,
        ];
        self.add("mount_setattr", args, tolerates, why);
    }

    /// Attaches a mount at an open place: no path is looked up.
    pub(crate) fn attach(
        &mut self,
        mount: &Arg,
        place: &Arg,
        tolerates: &'static [i32],
        why: impl Into<Cow<'static, str>>,
    ) {
        let flags = u64::from(uapi::MOVE_MOUNT_F_EMPTY_PATH | uapi::MOVE_MOUNT_T_EMPTY_PATH);
        let flags = constant(flags, "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH");
        let nothing = Arg::Str(c"".into());
        self.add(
            "move_mount",
            vec![
                mount.clone(),
                nothing.clone(),
                place.clone(),
                nothing,
                flags,
            ],
            tolerates,
            why,
        );
    }

    /// Attaches a mount at a name in an open directory, or another path from there. A symbolic link at its end is not followed.
    pub(crate) fn attach_in(
        &mut self,
        mount: &Arg,
        dir: &Arg,
        name: &Path,
        why: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        let flags = u64::from(uapi::MOVE_MOUNT_F_EMPTY_PATH);
        let flags = constant(flags, "MOVE_MOUNT_F_EMPTY_PATH");
        let nothing = Arg::Str(c"".into());
        let args = vec![mount.clone(), nothing, dir.clone(), text(name)?, flags];
        self.add("move_mount", args, MUST, why);
        Ok(())
    }

    /// Attaches a mount at a path of the host.
    pub(crate) fn attach_at(&mut self, mount: &Arg, path: &Path, why: &'static str) -> Result<()> {
        self.attach_in(mount, &Arg::Cwd, path, why)
    }

    pub(crate) fn close(&mut self, fd: &Arg, tolerates: &'static [i32]) {
        self.add(
            "close",
            vec![fd.clone()],
            tolerates,
            "so that the next steps have room for descriptors",
        );
    }
}

pub(crate) fn constant(value: u64, names: impl Into<Cow<'static, str>>) -> Arg {
    Arg::Flags {
        value,
        names: names.into(),
    }
}

/// A path for a sentence; no control character of it reaches a terminal.
pub(crate) fn shown(path: &Path) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    match path.to_str() {
        Some(text) if text.as_bytes().iter().all(plain) => text.to_owned(),
        _ => path.to_string_lossy().escape_debug().to_string(),
    }
}

pub(crate) fn text(path: &Path) -> Result<Arg> {
    CString::new(path.as_os_str().as_bytes())
        .map(|text| Arg::Str(text.into()))
        .map_err(|_| Error::Destination {
            path: path.into(),
            why: "a NUL byte in it",
        })
}

pub(crate) fn string(text: &str) -> Result<Arg> {
    CString::new(text)
        .map(|text| Arg::Str(text.into()))
        .map_err(|_| Error::Nul {
            text: text.to_owned(),
        })
}

pub(crate) fn structure(bytes: &[u8], shown: String) -> Arg {
    Arg::Bytes {
        bytes: bytes.into(),
        shown: shown.into(),
    }
}
