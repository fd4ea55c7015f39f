//! How strace(1) spells arguments of system calls.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::time::TimeSpec;

/// A name, quoted.
pub(crate) fn shown(name: &[u8]) -> String {
    format!("{:?}", OsStr::from_bytes(name))
}

/// As strace(1) writes modes: three digits or more, the first of them 0.
pub(crate) fn octal(mode: u32) -> String {
    format!("0{mode:02o}")
}

pub(crate) fn hex(number: u32) -> String {
    match number {
        0 => "0".to_owned(),
        _ => format!("{number:#x}"),
    }
}

pub(crate) fn moment(time: TimeSpec) -> String {
    format!("{{tv_sec={}, tv_nsec={}}}", time.tv_sec(), time.tv_nsec())
}

/// In the order of strace(1), as the next table.
const RESOLVE_FLAGS: [(u64, &str); 4] = [
    (libc::RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"),
    (libc::RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"),
    (libc::RESOLVE_BENEATH, "RESOLVE_BENEATH"),
    (libc::RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"),
];

const OPEN_FLAGS: [(u64, &str); 8] = [
    (libc::O_CREAT as u64, "O_CREAT"),
    (libc::O_EXCL as u64, "O_EXCL"),
    (libc::O_NOCTTY as u64, "O_NOCTTY"),
    (libc::O_NONBLOCK as u64, "O_NONBLOCK"),
    (libc::O_NOFOLLOW as u64, "O_NOFOLLOW"),
    (libc::O_CLOEXEC as u64, "O_CLOEXEC"),
    (libc::O_PATH as u64, "O_PATH"),
    (libc::O_DIRECTORY as u64, "O_DIRECTORY"),
];

pub(crate) fn open_flags(flags: OFlag) -> String {
    let access = match flags & OFlag::O_ACCMODE {
        OFlag::O_WRONLY => "O_WRONLY",
        OFlag::O_RDWR => "O_RDWR",
        _ => "O_RDONLY",
    };
    let others = names(flags.bits() as u64, &OPEN_FLAGS);
    format!("{access}|{others}")
}

pub(crate) fn resolve_flags(flags: ResolveFlag) -> String {
    names(flags.bits(), &RESOLVE_FLAGS)
}

fn names(bits: u64, table: &[(u64, &'static str)]) -> String {
    let set = table.iter().filter(|(bit, _)| bits & bit == *bit);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join("|")
}
