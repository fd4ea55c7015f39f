//! Mounting an overlay by fsopen(2), directory by directory: Linux 6.5.

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
    let context = traced(
        "fsopen",
        "so that an overlay can be described piece by piece",
        || "\"overlay\", FSOPEN_CLOEXEC".to_owned(),
        || sys::fsopen(c"overlay"),
    )
    .map_err(|error| Failure::new("fsopen", &error, None))?;
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
    config(
        &context,
        uapi::FSCONFIG_CMD_CREATE,
        None,
        None,
        "so that the overlay comes to be",
    )?;
    let (attributes, names) = match options.read_only {
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
    Ok(mount)
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
