//! Files of the state directory and of /proc: each call on them, reported with what it is for.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::trace::traced;

/// How much is asked for at once: more than any of these files has.
const CHUNK: usize = 4096;
/// The same of files of names.
const LARGE_CHUNK: usize = 64 << 10;

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
    let args = || format!("AT_FDCWD, {path:?}, O_WRONLY|{flags}");
    traced("openat", why, args, || how.open(path))
}

/// Makes a file, or empties the one that is there.
pub(crate) fn create(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.write(true).create(true).truncate(true);
    open_as(path, &how, "O_CREAT|O_TRUNC|O_CLOEXEC, 0666", why)
}

/// Makes a file that must not be there.
pub(crate) fn create_new(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.write(true).create_new(true);
    open_as(path, &how, "O_CREAT|O_EXCL|O_CLOEXEC, 0666", why)
}

/// Opens a file to lock it; it is made if it is not there.
pub(crate) fn open_lock(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.write(true).create(true).truncate(false);
    open_as(path, &how, "O_CREAT|O_CLOEXEC, 0666", why)
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

/// Opens a file that is there, to read and to change it. A symbolic link is not followed, and whoever has a lease on the file
/// (`F_SETLEASE`, fcntl(2)) is not waited for: that is EWOULDBLOCK.
pub(crate) fn open_to_change(path: &Path, why: &'static str) -> io::Result<File> {
    let mut how = File::options();
    how.read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let args = || format!("AT_FDCWD, {path:?}, O_RDWR|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC");
    traced("openat", why, args, || how.open(path))
}

/// Reads an open file to its end, or up to `most` bytes.
pub(crate) fn read_open(
    file: &File,
    path: &Path,
    most: usize,
    why: &'static str,
) -> io::Result<Vec<u8>> {
    let number = file.as_raw_fd();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; LARGE_CHUNK];
    while bytes.len() < most {
        let args = || format!("{number}<{}>, {LARGE_CHUNK}", path.display());
        match traced("read", why, args, || (&*file).read(&mut chunk)) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Writes over what a file begins with, by one call where the kernel takes all at once.
pub(crate) fn write_at_start(
    file: &File,
    path: &Path,
    content: &[u8],
    why: &'static str,
) -> io::Result<()> {
    let mut done = 0;
    while done < content.len() {
        let rest = &content[done..];
        let args = || {
            let (number, path) = (file.as_raw_fd(), path.display());
            format!("{number}<{path}>, …, {}, {done}", rest.len())
        };
        match traced("pwrite64", why, args, || file.write_at(rest, done as u64)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Cuts a file off behind so many bytes.
pub(crate) fn truncate(file: &File, path: &Path, bytes: u64, why: &'static str) -> io::Result<()> {
    let args = || format!("{}<{}>, {bytes}", file.as_raw_fd(), path.display());
    traced("ftruncate", why, args, || file.set_len(bytes))
}

/// Fills `bytes` from the beginning of a file that has as much, such as `/dev/urandom`.
pub(crate) fn read_exact(path: &Path, bytes: &mut [u8], why: &'static str) -> io::Result<()> {
    let mut file = open(path, why)?;
    let args = (file.as_raw_fd(), bytes.len());
    let args = || format!("{}<{}>, {}", args.0, path.display(), args.1);
    traced("read", why, args, || {
        file.read_exact(bytes).map(|()| bytes.len())
    })?;
    Ok(())
}

/// Reads a small file of the state directory, or a setting of the kernel: of both a read that is not full has come to the end, and it need not be
/// asked for once more.
pub(crate) fn read_small(path: &Path, why: &'static str) -> io::Result<Vec<u8>> {
    let file = open(path, why)?;
    let number = file.as_raw_fd();
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let args = || format!("{number}<{}>, {CHUNK}", path.display());
        match traced("read", "so that its text comes over", args, || {
            (&file).read(&mut chunk)
        }) {
            Ok(count) => {
                bytes.extend_from_slice(&chunk[..count]);
                if count < CHUNK {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// As [`read_small`], as text.
pub(crate) fn read_text(path: &Path, why: &'static str) -> io::Result<String> {
    String::from_utf8(read_small(path, why)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes all of `content` to an open file that has this path.
pub(crate) fn write(
    mut file: &File,
    path: &Path,
    mut content: &[u8],
    why: &'static str,
) -> io::Result<()> {
    let number = file.as_raw_fd();
    while !content.is_empty() {
        let args = || {
            let (path, text) = (path.display(), content.escape_ascii());
            format!("{number}<{path}>, \"{text}\", {}", content.len())
        };
        match traced("write", why, args, || file.write(content)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => content = &content[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Changes a setting of the kernel.
pub(crate) fn set(path: &Path, value: &str, why: &'static str) -> io::Result<()> {
    let mut how = File::options();
    how.write(true).truncate(true);
    let opening = "so that this setting of the kernel can be changed";
    let file = open_as(path, &how, "O_TRUNC|O_CLOEXEC", opening)?;
    write(&file, path, value.as_bytes(), why)
}

/// Waits until the content of a file is on the disk.
pub(crate) fn sync(file: &File, path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("{}<{}>", file.as_raw_fd(), path.display());
    traced("fsync", why, args, || file.sync_all())
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

/// Removes a directory that is empty.
pub(crate) fn remove_empty(path: &Path, why: &'static str) -> io::Result<()> {
    traced(
        "rmdir",
        why,
        || format!("{path:?}"),
        || fs::remove_dir(path),
    )
}

/// Removes a directory and all that is in it: a call for each, which are reported as the last of them.
pub(crate) fn remove_tree(path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("AT_FDCWD, {path:?} /* and all beneath it */, AT_REMOVEDIR");
    traced("unlinkat", why, args, || fs::remove_dir_all(path))
}

/// Makes a directory, and those above it that are missing. One that is there, or that another process makes meanwhile, is
/// fine.
pub(crate) fn make_directory(path: &Path, why: &'static str) -> io::Result<()> {
    let make = || {
        let made = traced(
            "mkdir",
            why,
            || format!("{path:?}, 0777"),
            || fs::create_dir(path),
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

/// Removes a directory that is empty.
pub(crate) fn remove_directory(path: &Path, why: &'static str) -> io::Result<()> {
    let args = || format!("{path:?}");
    traced("rmdir", why, args, || fs::remove_dir(path))
}

/// The names in a directory.
pub(crate) fn names(path: &Path, why: &'static str) -> io::Result<Vec<OsString>> {
    let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC|O_DIRECTORY");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
    let dir = traced("openat", why, args, || {
        Ok(nix::fcntl::open(path, flags, Mode::empty())?)
    })?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Whether there is anything of this name.
pub(crate) fn exists(path: &Path, why: &'static str) -> bool {
    status(path, why).is_ok()
}

/// Whether `path` leads to this file.
pub(crate) fn is_at(file: &File, path: &Path, why: &'static str) -> bool {
    let own = || {
        let number = file.as_raw_fd();
        format!(
            "{number}<{}>, \"\", AT_STATX_SYNC_AS_STAT|AT_EMPTY_PATH, STATX_ALL",
            path.display()
        )
    };
    let found = || format!("AT_FDCWD, {path:?}, AT_STATX_SYNC_AS_STAT, STATX_ALL");
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let mut places = [None; 2];
    let looked = traced("statx", why, own, || {
        places[0] = Some(identity(file.metadata()?));
        Ok(())
    })
    .and_then(|()| {
        traced("statx", why, found, || {
            places[1] = Some(identity(fs::metadata(path)?));
            Ok(())
        })
    });
    looked.is_ok() && places[0] == places[1]
}

/// Whether there is a directory of this name.
pub(crate) fn is_dir(path: &Path, why: &'static str) -> bool {
    status(path, why).is_ok_and(|status| status.directory)
}

/// When a file was changed last, or a name in a directory; none if there is none.
pub(crate) fn modified(path: &Path, why: &'static str) -> Option<SystemTime> {
    status(path, why).ok()?.modified
}

#[derive(Default)]
struct Status {
    directory: bool,
    modified: Option<SystemTime>,
}

fn status(path: &Path, why: &'static str) -> io::Result<Status> {
    let args = || format!("AT_FDCWD, {path:?}, AT_STATX_SYNC_AS_STAT, STATX_ALL");
    let mut status = Status::default();
    traced("statx", why, args, || {
        let found = fs::metadata(path)?;
        status.directory = found.is_dir();
        status.modified = found.modified().ok();
        Ok(())
    })?;
    Ok(status)
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
