//! A file system in memory for an overlay's changes, attached to nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::stat::Mode;

use crate::calls;
use crate::context::{self, Failure};
use crate::sys::uapi;

/// An upper and a work directory in memory. They are gone when the last mount of them is.
pub(crate) struct Memory {
    pub(crate) mount: OwnedFd,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
}

impl Memory {
    /// One that holds `size_bytes` at most; without, half of the memory, as tmpfs has it.
    pub(crate) fn new(size_bytes: Option<u64>) -> Result<Self, Failure> {
        let why = "so that what the container changes can be kept in memory";
        let context = context::open(c"tmpfs", why)?;
        let mut options = vec![
            (
                c"source",
                "rocker-upper".to_owned(),
                "so that the mount table says whose it is",
            ),
            (
                c"mode",
                "0755".to_owned(),
                "so that the container's users can enter what lies beneath",
            ),
        ];
        if let Some(bytes) = size_bytes {
            let why = "so that what the container changes takes no more memory than it may";
            options.push((c"size", bytes.to_string(), why));
        }
        for (key, value, why) in options {
            let value = CString::new(value).map_err(io::Error::from);
            let value = value.map_err(|error| Failure::new("fsconfig", &error, None))?;
            let set = uapi::FSCONFIG_SET_STRING;
            context::config(&context, set, Some(key), Some(&value), why)?;
        }
        let why = [
            "so that the memory file system comes to be",
            "so that directories can be made in it",
        ];
        let mount = context::finish(&context, 0, "0", why)?;
        let why = "so that overlayfs has a place for changes, and one to prepare them";
        for name in ["upper", "work"] {
            let mode = Mode::from_bits_truncate(0o755);
            calls::mkdirat(mount.as_fd(), name.as_bytes(), mode, why)
                .and_then(|()| calls::chmod_at(mount.as_fd(), name.as_bytes(), mode, why))
                .map_err(|errno| Failure::new("mkdirat", &errno.into(), None))?;
        }
        let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Self {
            upper: root.join("upper"),
            work: root.join("work"),
            mount,
        })
    }
}
