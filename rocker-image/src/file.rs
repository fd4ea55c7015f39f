//! Files of the store: each call on them, reported with what it is for.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::trace::{Outcome, traced};

impl Outcome for Metadata {
    fn value(&self) -> i64 {
        0
    }
}

/// How much is asked for at once: more than any of these files has.
const CHUNK: usize = 4096;

/// Opens a file to read it.
pub(crate) fn open(path: &Path, why: &'static str) -> io::Result<File> {
    let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC");
    traced("openat", why, args, || File::open(path))
}

/// Opens a file to write to it, in one of the ways that the following functions name.
fn open_as(
    path: &Path,
    how: &OpenOptions,
    flags: &'static str,
    why: &'static str,
) -> io::Result<File> {
    let args = || format!("AT_FDCWD, {path:?}, {flags}");
    traced("openat", why, args, || how.open(path))
}

/// Makes a file that must not be there.
pub(crate) fn create_new(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.read(true).write(true).create_new(true).mode(0o600);
    open_as(path, &how, "O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600", why)
}

/// Opens a file to lock it; it is made if it is not there.
pub(crate) fn open_lock(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.write(true).create(true).truncate(false).mode(0o600);
    open_as(path, &how, "O_WRONLY|O_CREAT|O_CLOEXEC, 0600", why)
}

/// Opens a file to go on writing at its end, and to read what it has; it is made if it is not there.
pub(crate) fn open_partial(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.read(true).append(true).create(true).mode(0o600);
    open_as(path, &how, "O_RDWR|O_CREAT|O_APPEND|O_CLOEXEC, 0600", why)
}

/// Takes all content out of a file.
pub(crate) fn empty(file: &File, path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("{}<{}>, 0", file.as_raw_fd(), path.display());
    traced("ftruncate", why, args, || file.set_len(0))
}

/// Reads a file to its end.
pub(crate) fn read(path: &Path, why: &'static str) -> io::Result<Vec<u8>> {
    let mut file = open(path, why)?;
    let number = file.as_raw_fd();
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let args = || format!("{number}<{}>, {CHUNK}", path.display());
        let why = "so that its text comes over; an answer of 0 bytes is its end";
        match traced("read", why, args, || file.read(&mut chunk)) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the content of a file is on the disk.
pub(crate) fn sync(file: &File, path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("{}<{}>", file.as_raw_fd(), path.display());
    traced("fsync", why, args, || file.sync_all())
}

/// Has a file changed now.
pub(crate) fn touch(path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("AT_FDCWD, {path:?}, [UTIME_OMIT, UTIME_NOW], 0");
    traced("utimensat", why, args, || {
        let (now, omit) = (TimeSpec::UTIME_NOW, TimeSpec::UTIME_OMIT);
        let follow = UtimensatFlags::FollowSymlink;
        Ok(utimensat(AT_FDCWD, path, &omit, &now, follow)?)
    })
}

/// Gives a file another name, in place of what has that name.
pub(crate) fn rename(from: &Path, to: &Path, why: &'static str) -> io::Result<()> {
    traced(
        "rename",
        why,
        || format!("{from:?}, {to:?}"),
        || fs::rename(from, to),
    )
}

/// Removes a file.
pub(crate) fn unlink(path: &Path, why: &'static str) -> io::Result<()> {
    traced(
        "unlink",
        why,
        || format!("{path:?}"),
        || fs::remove_file(path),
    )
}

/// Makes a directory, and those above it that are missing. One that is there, or that another process makes meanwhile, is
/// fine.
pub(crate) fn make_directory(path: &Path, why: &'static str) -> io::Result<()> {
    let make = || {
        let made = traced(
            "mkdir",
            why,
            || format!("{path:?}, 0700"),
            || DirBuilder::new().mode(0o700).create(path),
        );
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    };
    match (make(), path.parent()) {
        (Err(error), Some(above)) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(above, why)?;
            make()
        }
        (made, _) => made,
    }
}

/// The names in a directory.
pub(crate) fn names(path: &Path, why: &'static str) -> io::Result<Vec<OsString>> {
    let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC|O_DIRECTORY");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
    let dir = traced("openat", why, args, || {
        Ok(nix::fcntl::open(path, flags, Mode::empty())?)
    })?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(dir)?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// What there is of this name.
pub(crate) fn status(path: &Path, why: &'static str) -> io::Result<Metadata> {
    let args = || format!("AT_FDCWD, {path:?}, AT_STATX_SYNC_AS_STAT, STATX_ALL");
    traced("statx", why, args, || fs::metadata(path))
}

/// What there is of this name itself, not of what a symbolic link of that name leads to.
pub(crate) fn own_status(path: &Path, why: &'static str) -> io::Result<Metadata> {
    let args =
        || format!("AT_FDCWD, {path:?}, AT_STATX_SYNC_AS_STAT|AT_SYMLINK_NOFOLLOW, STATX_ALL");
    traced("statx", why, args, || fs::symlink_metadata(path))
}

/// What the open file is, whatever it is called by now.
pub(crate) fn status_of(file: &File, path: &Path, why: &'static str) -> io::Result<Metadata> {
    let args = || {
        let number = file.as_raw_fd();
        let path = path.display();
        format!("{number}<{path}>, \"\", AT_STATX_SYNC_AS_STAT|AT_EMPTY_PATH, STATX_ALL")
    };
    traced("statx", why, args, || file.metadata())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn several_may_make_the_same_directories_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..100 {
            let path = dir.path().join(format!("{round}/of/many"));
            let start = Barrier::new(4);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        make_directory(&path, "so that it is there").unwrap();
                    });
                }
            });
            assert!(path.is_dir());
        }
    }
}
