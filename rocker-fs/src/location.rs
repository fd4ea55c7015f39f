//! Which file system and which mount a file is on.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{self, Statfs};

use crate::calls::{call, number};
use crate::sys;

pub(crate) fn statfs(path: &Path, why: &'static str) -> nix::Result<Statfs> {
    call(
        "statfs",
        why,
        || format!("{path:?}"),
        || statfs::statfs(path),
    )
}

pub(crate) fn fstatfs(file: BorrowedFd<'_>, why: &'static str) -> nix::Result<Statfs> {
    call(
        "fstatfs",
        why,
        || number(file).to_string(),
        || statfs::fstatfs(file),
    )
}

/// Which file system and which mount a file is on. Before Linux 5.8 the kernel does not tell the mount.
pub(crate) type Location = (u32, u32, Option<u64>);

/// statx(2) of an open file: its [`Location`].
pub(crate) fn location(file: BorrowedFd<'_>, why: &'static str) -> nix::Result<Location> {
    let args = || {
        let flags = "AT_STATX_SYNC_AS_STAT|AT_EMPTY_PATH, STATX_MNT_ID";
        format!("{}, \"\", {flags}", number(file))
    };
    let mut found = (0, 0, None);
    call("statx", why, args, || {
        found = sys::location(file).map_err(errno_of)?;
        Ok(())
    })?;
    Ok(found)
}

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
