//! rocker's own files: each function makes one system call, or a few that it names, and reports them to `--explain`.
//!
//! Locks are let go of when their file is closed, which is not reported: often it is the end of the process that does it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use rocker_fs::remove_tree;
use tracing::dispatcher::{self, Dispatch};

use crate::trace::{STATE, traced};
use crate::{Error, Result};

/// A text of which a report does not repeat more.
const LONG: usize = 255;
/// How much is read at once.
const CHUNK: usize = 4 << 10;

/// What is known of a failed operation on `path`.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::State {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// [openat(2)](https://man7.org/linux/man-pages/man2/openat.2.html) to read.
pub(crate) fn open(path: &Path, why: &'static str) -> io::Result<File> {
    open_for(
        STATE,
        path,
        OpenOptions::new().read(true),
        "O_RDONLY|O_CLOEXEC",
        why,
    )
}

/// The same with options, which `shown` names, as a part of `primitive`.
pub(crate) fn open_for(
    primitive: &'static str,
    path: &Path,
    options: &OpenOptions,
    shown: &'static str,
    why: &'static str,
) -> io::Result<File> {
    traced(
        primitive,
        "openat",
        why,
        || format!("AT_FDCWD, {}, {shown}", quoted(path)),
        || options.open(path),
    )
}

/// Opens a file that whoever locks it leaves as it is, and makes it where there is none.
pub(crate) fn open_lock(path: &Path, why: &'static str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    open_for(
        STATE,
        path,
        &options,
        "O_WRONLY|O_CREAT|O_CLOEXEC, 0600",
        why,
    )
}

/// Reads all of a file: one openat(2), a read(2) for each 4 KiB and one that finds the end, and close(2).
pub(crate) fn read(path: &Path, why: &'static str) -> io::Result<Vec<u8>> {
    let mut file = open(path, why)?;
    let fd = file.as_raw_fd();
    let content = "so that what is in it is known; a 0 says that this was all";
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let args = || format!("{fd}, …, {CHUNK}");
        match traced(STATE, "read", content, args, || file.read(&mut chunk)) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    close(file)?;
    Ok(bytes)
}

/// Writes `text` into a file, which is made where there is none, and otherwise keeps its inode: openat(2), write(2),
/// close(2). A long text is not repeated in the report: it is there to be read in the file.
pub(crate) fn write(path: &Path, text: &[u8], why: &'static str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    let shown = "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666";
    let opened = "so that there is a file to write, and it is empty";
    let mut file = open_for(STATE, path, &options, shown, opened)?;
    let fd = file.as_raw_fd();
    let mut rest = text;
    while !rest.is_empty() {
        let args = || format!("{fd}, {}", contents(rest));
        match traced(STATE, "write", why, args, || file.write(rest)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    close(file)
}

/// The same for a file that must not be there yet.
pub(crate) fn create_new(path: &Path, text: &[u8], why: &'static str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    let shown = "O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0666";
    let mut file = open_for(STATE, path, &options, shown, why)?;
    let args = || format!("{}, {}", file.as_raw_fd(), contents(text));
    traced(STATE, "write", why, args, || (&file).write_all(text))?;
    file.flush()?;
    close(file)
}

fn close(file: File) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let why = "so that the file's descriptor is free again";
    let args = || fd.to_string();
    traced(STATE, "close", why, args, || {
        drop(file);
        Ok(())
    })
}

/// Replaces all that a small file holds: ftruncate(2), pwrite(2).
pub(crate) fn overwrite(file: &File, text: &str, why: &'static str) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let emptied = "so that nothing of an older, longer text stays";
    let empty = || file.set_len(0);
    traced(STATE, "ftruncate", emptied, || format!("{fd}, 0"), empty)?;
    let args = || format!("{fd}, {}, 0", contents(text.as_bytes()));
    let written = traced(STATE, "pwrite64", why, args, || {
        file.write_at(text.as_bytes(), 0)
    })?;
    if written < text.len() {
        return Err(ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Reads the beginning of a file, up to 64 bytes: pread(2).
pub(crate) fn peek(file: &File, why: &'static str) -> io::Result<Vec<u8>> {
    let mut text = [0; 64];
    let args = || format!("{}, …, 64, 0", file.as_raw_fd());
    let count = traced(STATE, "pread64", why, args, || file.read_at(&mut text, 0))?;
    Ok(text[..count].to_vec())
}

/// Whether there is such a file.
pub(crate) fn exists(path: &Path, why: &'static str) -> bool {
    size(path, why).is_ok()
}

/// Whether there is such a file, and something in it.
pub(crate) fn is_filled(path: &Path, why: &'static str) -> bool {
    size(path, why).is_ok_and(|size| size > 0)
}

/// The size of a file in bytes.
fn size(path: &Path, why: &'static str) -> io::Result<u64> {
    status(path, why).map(|found| found.len())
}

/// The time since a file was changed last; none if it is not there, or the clock was set back since.
pub(crate) fn age(path: &Path, why: &'static str) -> Option<Duration> {
    let changed = status(path, why).and_then(|found| found.modified()).ok()?;
    SystemTime::now().duration_since(changed).ok()
}

/// [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html).
fn status(path: &Path, why: &'static str) -> io::Result<fs::Metadata> {
    let args = || {
        let path = quoted(path);
        format!("AT_FDCWD, {path}, AT_STATX_SYNC_AS_STAT, STATX_ALL, …")
    };
    let mut found = None;
    traced(STATE, "statx", why, args, || {
        found = Some(fs::metadata(path)?);
        Ok(())
    })?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Makes a file that must not be there, for its owner alone.
pub(crate) fn create_private(path: &Path, why: &'static str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    let shown = "O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600";
    open_for(STATE, path, &options, shown, why)
}

/// [fsync(2)](https://man7.org/linux/man-pages/man2/fsync.2.html).
pub(crate) fn sync(file: &File, why: &'static str) -> io::Result<()> {
    traced(
        STATE,
        "fsync",
        why,
        || file.as_raw_fd().to_string(),
        || file.sync_all(),
    )
}

/// The same of the whole file system that a directory is on: [syncfs(2)](https://man7.org/linux/man-pages/man2/sync.2.html).
pub(crate) fn sync_file_system(dir: &File, why: &'static str) -> io::Result<()> {
    traced(
        STATE,
        "syncfs",
        why,
        || dir.as_raw_fd().to_string(),
        || Ok(nix::unistd::syncfs(dir)?),
    )
}

/// Has a file changed now: [utimensat(2)](https://man7.org/linux/man-pages/man2/utimensat.2.html).
pub(crate) fn touch(path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("AT_FDCWD, {}, NULL, 0", quoted(path));
    traced(STATE, "utimensat", why, args, || {
        let now = TimeSpec::UTIME_NOW;
        Ok(utimensat(
            AT_FDCWD,
            path,
            &now,
            &now,
            UtimensatFlags::FollowSymlink,
        )?)
    })
}

/// [rename(2)](https://man7.org/linux/man-pages/man2/rename.2.html).
pub(crate) fn rename(from: &Path, to: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("{}, {}", quoted(from), quoted(to));
    traced(STATE, "rename", why, args, || fs::rename(from, to))
}

/// [symlink(2)](https://man7.org/linux/man-pages/man2/symlink.2.html).
pub(crate) fn symlink(target: &str, link: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("\"{}\", {}", target.escape_default(), quoted(link));
    traced(STATE, "symlink", why, args, || {
        std::os::unix::fs::symlink(target, link)
    })
}

/// [readlink(2)](https://man7.org/linux/man-pages/man2/readlink.2.html).
pub(crate) fn read_link(link: &Path, why: &'static str) -> io::Result<String> {
    let args = || format!("{}, …, 256", quoted(link));
    let mut target = String::new();
    traced(STATE, "readlink", why, args, || {
        target = fs::read_link(link)?.to_string_lossy().into_owned();
        Ok(target.len())
    })?;
    Ok(target)
}

/// [unlink(2)](https://man7.org/linux/man-pages/man2/unlink.2.html).
pub(crate) fn remove_file(path: &Path, why: &'static str) -> io::Result<()> {
    let args = || quoted(path);
    traced(STATE, "unlink", why, args, || fs::remove_file(path))
}

/// Adds a text to the end of a file, which is made where there is none: openat(2), write(2), close(2). Others may add theirs at the
/// same time: it comes whole, before theirs or behind.
pub(crate) fn append(path: &Path, text: &[u8], why: &'static str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let shown = "O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC, 0600";
    let opened = "so that something can be added to it";
    let mut file = open_for(STATE, path, &options, shown, opened)?;
    let args = || format!("{}, {}", file.as_raw_fd(), contents(text));
    let written = traced(STATE, "write", why, args, || (&file).write(text))?;
    if written < text.len() {
        file.write_all(&text[written..])?;
    }
    close(file)
}

/// [chmod(2)](https://man7.org/linux/man-pages/man2/chmod.2.html).
pub(crate) fn chmod(path: &Path, mode: u32, why: &'static str) -> io::Result<()> {
    let args = || format!("{}, {mode:04o}", quoted(path));
    traced(STATE, "chmod", why, args, || {
        fs::set_permissions(path, Permissions::from_mode(mode))
    })
}

/// Makes a directory that nobody else may look into, and those above it, where they are missing: a mkdir(2) for each that
/// is tried. One that another process makes meanwhile is fine, and what else is in its place shows when it is used.
pub(crate) fn make_dir(path: &Path, why: &'static str) -> Result<()> {
    make_dirs(path, why).map_err(failed("make the directory", path))
}

fn make_dirs(path: &Path, why: &'static str) -> io::Result<()> {
    let make = || {
        let args = || format!("{}, 0700", quoted(path));
        let made = traced(STATE, "mkdir", why, args, || {
            DirBuilder::new().mode(0o700).create(path)
        });
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    };
    match (make(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
            make_dirs(parent, "so that there is a place for rocker's directories")?;
            make()
        }
        (made, _) => made,
    }
}

/// Removes a directory and all in it, if there is one. How many calls that takes is what a container has written; they
/// are reported as one, which says so.
pub(crate) fn remove_dir(dir: &Path, why: &'static str) -> Result<()> {
    let all = "/* and all beneath it, each by a call of its own */";
    let args = || format!("AT_FDCWD, {}, AT_REMOVEDIR {all}", quoted(dir));
    let remove = || match dispatcher::with_default(&Dispatch::none(), || remove_tree(dir)) {
        Ok(_) => Ok(()),
        Err(rocker_fs::Error::Store { source, .. }) => Err(source),
        Err(error) => Err(io::Error::other(error)),
    };
    traced(STATE, "unlinkat", why, args, remove).map_err(failed("remove", dir))
}

/// The names in a directory. How many calls that takes is how many names there are; they are reported as the one that is
/// the last of its kind, which says so.
pub(crate) fn names(dir: &Path, why: &'static str) -> io::Result<Vec<String>> {
    let all = "/* until it returns 0, between openat, fstat and close */";
    let mut names = Vec::new();
    let args = || format!("<{}>, …, 32768 {all}", dir.display());
    traced(STATE, "getdents64", why, args, || {
        for entry in fs::read_dir(dir)? {
            // A name that is no UTF-8 is none that rocker gave.
            names.extend(entry?.file_name().into_string());
        }
        Ok(())
    })?;
    Ok(names)
}

/// [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html), waiting for it.
pub(crate) fn lock(file: &File, why: &'static str) -> io::Result<()> {
    flock(file, "LOCK_EX", why, || file.lock())
}

/// The same without waiting; whether it is held now.
pub(crate) fn try_lock(file: &File, why: &'static str) -> io::Result<bool> {
    let operation = "LOCK_EX|LOCK_NB";
    held(flock(file, operation, why, || at_once(file.try_lock())))
}

/// The same for a lock that several may hold; whether it is held now.
pub(crate) fn try_lock_shared(file: &File, why: &'static str) -> io::Result<bool> {
    let operation = "LOCK_SH|LOCK_NB";
    held(flock(file, operation, why, || {
        at_once(file.try_lock_shared())
    }))
}

fn flock(
    file: &File,
    operation: &'static str,
    why: &'static str,
    run: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let args = || format!("{}, {operation}", file.as_raw_fd());
    traced(STATE, "flock", why, args, run)
}

fn at_once(tried: std::result::Result<(), TryLockError>) -> io::Result<()> {
    tried.map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::from_raw_os_error(EWOULDBLOCK),
        TryLockError::Error(error) => error,
    })
}

/// That somebody else holds a lock; the same number on every Linux that rocker runs on.
const EWOULDBLOCK: i32 = 11;

fn held(tried: io::Result<()>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.as_os_str().as_encoded_bytes().escape_ascii())
}

/// A text and its length, as write(2) takes them.
fn contents(text: &[u8]) -> String {
    match text.len() {
        count @ ..=LONG => format!("\"{}\", {count}", text.escape_ascii()),
        count => format!("…, {count}"),
    }
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
                        make_dirs(&path, "so that it is there").unwrap();
                    });
                }
            });
            assert!(path.is_dir());
        }
    }
}
