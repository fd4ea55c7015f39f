//! Mounting an overlay by fsopen(2), directory by directory: Linux 6.8.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::calls;
use crate::stack::Options;
use crate::sys::{self, uapi};
use crate::trace::traced;

/// Mounts what `options` describe, attached to nothing.
pub(crate) fn mount(options: &Options<'_>) -> Result<OwnedFd, Failure> {
    let why = "so that an overlay can be described piece by piece";
    let context = open(c"overlay", why)?;
    // Directories whose paths do not fit are named by descriptor, so they stay open until the mount is made.
    let mut held = Vec::new();
    for dir in options.lower {
        set_dir(
            &context,
            c"lowerdir+",
            dir,
            "so that this layer lies under those before it",
            &mut held,
        )?;
    }
    if let Some((upper, work)) = options.upper {
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
    if options.user_xattrs {
        config(
            &context,
            uapi::FSCONFIG_SET_FLAG,
            Some(c"userxattr"),
            None,
            "so that marks are user.overlay.*",
        )?;
    }
    // With marks of users the kernel makes neither of these.
    if options.upper.is_some() && !options.user_xattrs {
        for (key, value, why) in [
            (
                c"redirect_dir",
                c"nofollow",
                "so that the upper directory says in itself what was renamed, as a layer must",
            ),
            (
                c"metacopy",
                c"off",
                "so that a file in the upper directory is whole, as in a layer it must be",
            ),
        ] {
            let command = uapi::FSCONFIG_SET_STRING;
            config(&context, command, Some(key), Some(value), why)?;
        }
    }
    let (attributes, names) = match options.read_only {
        true => (uapi::MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"),
        false => (0, "0"),
    };
    let why = [
        "so that the overlay comes to be",
        "so that the overlay can be attached somewhere",
    ];
    finish(&context, attributes, names, why)
}

/// A description of a new file system of this type.
pub(crate) fn open(fstype: &CStr, why: &'static str) -> Result<OwnedFd, Failure> {
    let args = || format!("{fstype:?}, FSOPEN_CLOEXEC");
    traced("fsopen", why, args, || sys::fsopen(fstype))
        .map_err(|error| Failure::new("fsopen", &error, None))
}

/// Makes the file system that was described, and a mount of it.
pub(crate) fn finish(
    context: &OwnedFd,
    attributes: u64,
    names: &'static str,
    why: [&'static str; 2],
) -> Result<OwnedFd, Failure> {
    config(context, uapi::FSCONFIG_CMD_CREATE, None, None, why[0])?;
    traced(
        "fsmount",
        why[1],
        || format!("{}, FSMOUNT_CLOEXEC, {names}", context.as_raw_fd()),
        || sys::fsmount(context.as_fd(), attributes),
    )
    .map_err(|error| Failure::new("fsmount", &error, Some(context)))
}

/// A failed system call, with what the kernel wrote about it.
pub(crate) struct Failure {
    pub(crate) call: &'static str,
    pub(crate) errno: Errno,
    pub(crate) said: String,
}

impl Failure {
    pub(crate) fn new(call: &'static str, error: &io::Error, context: Option<&OwnedFd>) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Self {
            call,
            errno,
            said: context.map(messages).unwrap_or_default(),
        }
    }

    /// Whether mount(2) may do what this way could not. There is no fsopen(2) before 5.2, and with it overlayfs knows no
    /// `lowerdir+` before 6.8: until 6.4 any text is taken, and it is EINVAL without a word when the mount is made, as before 6.15
    /// of a layer in no mount namespace; from 6.5 on it is an unknown parameter.
    pub(crate) fn is_of_an_old_kernel(&self) -> bool {
        let old = matches!(self.errno, Errno::EINVAL | Errno::ENOSYS);
        old && (!self.said.contains("overlay:") || self.said.contains("Unknown parameter"))
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

pub(crate) fn config(
    context: &OwnedFd,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
    why: &'static str,
) -> Result<(), Failure> {
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
) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_know_the_parameter_is_told_from_one_that_refuses_the_overlay() {
        let failure = |errno, said: &str| Failure {
            call: "fsconfig",
            errno,
            said: said.to_owned(),
        };
        let unknown = "overlay: Unknown parameter 'lowerdir+'";
        for old in [
            failure(Errno::ENOSYS, ""),
            failure(Errno::EINVAL, ""),
            failure(Errno::EINVAL, unknown),
        ] {
            assert!(old.is_of_an_old_kernel(), "{}", old.said);
        }
        let refused = "overlay: workdir and upperdir must be separate subtrees";
        for new in [
            failure(Errno::EINVAL, refused),
            failure(Errno::EPERM, ""),
            failure(Errno::ENODEV, ""),
        ] {
            assert!(!new.is_of_an_old_kernel(), "{}", new.said);
        }
    }
}
