//! The system calls on extended attributes, each reported with what it is for.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use crate::calls::number;
use crate::sys;
use crate::trace::traced;

pub(crate) fn fsetxattr(
    file: BorrowedFd<'_>,
    name: &CStr,
    value: &[u8],
    why: &'static str,
) -> std::io::Result<()> {
    let args = || {
        let (file, text) = (number(file), value.escape_ascii());
        format!("{file}, {name:?}, \"{text}\", {}, 0", value.len())
    };
    traced("fsetxattr", why, args, || sys::fsetxattr(file, name, value))
}

/// The arguments of setxattr(2) and lsetxattr(2).
fn set_args(path: &CStr, name: &CStr, value: &[u8]) -> String {
    let text = value.escape_ascii();
    format!("{path:?}, {name:?}, \"{text}\", {}, 0", value.len())
}

pub(crate) fn lsetxattr(
    path: &CStr,
    name: &CStr,
    value: &[u8],
    why: &'static str,
) -> std::io::Result<()> {
    let args = || set_args(path, name, value);
    traced("lsetxattr", why, args, || sys::lsetxattr(path, name, value))
}

pub(crate) fn setxattr(
    path: &CStr,
    name: &CStr,
    value: &[u8],
    why: &'static str,
) -> std::io::Result<()> {
    let args = || set_args(path, name, value);
    traced("setxattr", why, args, || sys::setxattr(path, name, value))
}

/// fgetxattr(2), which returns how many bytes of `value` it has filled.
pub(crate) fn fgetxattr(
    file: BorrowedFd<'_>,
    name: &CStr,
    value: &mut [u8],
    why: &'static str,
) -> std::io::Result<usize> {
    let room = value.len();
    let args = || format!("{}, {name:?}, {room}", number(file));
    traced("fgetxattr", why, args, || sys::fgetxattr(file, name, value))
}

/// getxattr(2), which returns how many bytes of `value` it has filled.
pub(crate) fn getxattr(
    path: &CStr,
    name: &CStr,
    value: &mut [u8],
    why: &'static str,
) -> std::io::Result<usize> {
    let room = value.len();
    let args = || format!("{path:?}, {name:?}, {room}");
    traced("getxattr", why, args, || sys::getxattr(path, name, value))
}

/// listxattr(2), which returns how many bytes of `list` it has filled.
pub(crate) fn listxattr(path: &CStr, list: &mut [u8], why: &'static str) -> std::io::Result<usize> {
    let room = list.len();
    let args = || format!("{path:?}, {room}");
    traced("listxattr", why, args, || sys::listxattr(path, list))
}
