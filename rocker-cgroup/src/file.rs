//! The kernel's files in a cgroup and in /proc: looked for, read whole, and written value by value.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::trace::traced;
use crate::{Error, Result};

/// How much is asked for at once: most of these files fit, and the kernel gives a page of the others.
const CHUNK: usize = 4096;

/// Opens a file or a directory to read it.
pub(crate) fn open(path: &Path, why: &'static str) -> io::Result<File> {
    let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC");
    traced("openat", why, args, || File::open(path))
}

/// Opens a file to write to it.
pub(crate) fn open_to_write(path: &Path, why: &'static str) -> io::Result<File> {
    let args = || format!("AT_FDCWD, {path:?}, O_WRONLY|O_CLOEXEC");
    traced("openat", why, args, || {
        OpenOptions::new().write(true).open(path)
    })
}

/// Reads a file of the kernel to its end.
pub(crate) fn read_bytes(path: &Path, why: &'static str) -> io::Result<Vec<u8>> {
    let mut file = open(path, "so that this file of the kernel can be read")?;
    let number = file.as_raw_fd();
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let args = || format!("{number}<{}>, {CHUNK}", path.display());
        match traced("read", why, args, || file.read(&mut chunk)) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a file of the kernel as text.
pub(crate) fn read(path: &Path, why: &'static str) -> Result<String> {
    let text = read_bytes(path, why).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file of the kernel: an existing one, with one write(2), since the kernel takes each write as a whole value.
pub(crate) fn write(path: &Path, value: &str, why: &'static str) -> io::Result<()> {
    Writer::default().write(path, value, why)
}

/// Writes files of the kernel one after the other, and opens one that is written several times in a row once.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    last: Option<(PathBuf, File)>,
}

impl Writer {
    /// One write(2), since the kernel takes each write as a whole value, to a file that exists.
    pub(crate) fn write(&mut self, path: &Path, value: &str, why: &'static str) -> io::Result<()> {
        let file = match self.last.take() {
            Some((last, file)) if last == path => file,
            _ => open_to_write(
                path,
                "so that a value can be written to this file, which the kernel made with the cgroup",
            )?,
        };
        let (_, file) = self.last.insert((path.to_owned(), file));
        let number = file.as_raw_fd();
        let args = || format!("{number}<{}>, {value:?}, {}", path.display(), value.len());
        traced("write", why, args, || file.write(value.as_bytes())).map(drop)
    }
}

/// Whether there is anything of this name.
pub(crate) fn exists(path: &Path, why: &'static str) -> bool {
    status(path, why).is_ok()
}

/// Whether there is a directory of this name.
pub(crate) fn is_dir(path: &Path, why: &'static str) -> bool {
    status(path, why).is_ok_and(|status| status.directory)
}

/// Whether there is a directory of this name without directories in it, by the number of its links: `..` of each child is one.
/// None where the file system does not count them, or there is no such directory.
pub(crate) fn is_childless(path: &Path, why: &'static str) -> Option<bool> {
    let status = status(path, why).ok().filter(|status| status.directory)?;
    (status.links >= 2).then_some(status.links == 2)
}

/// Whether this process may write to the file, or make cgroups in the directory, and why not.
pub(crate) fn may_write(path: &Path) -> io::Result<()> {
    let why = "so that containers get the highest cgroup that this user may write to";
    let args = || format!("AT_FDCWD, {path:?}, W_OK, AT_EACCESS");
    traced("faccessat2", why, args, || {
        Ok(faccessat(
            AT_FDCWD,
            path,
            AccessFlags::W_OK,
            AtFlags::AT_EACCESS,
        )?)
    })
}

#[derive(Default)]
struct Status {
    directory: bool,
    links: u64,
}

fn status(path: &Path, why: &'static str) -> io::Result<Status> {
    let args = || format!("AT_FDCWD, {path:?}, AT_STATX_SYNC_AS_STAT, STATX_ALL");
    let mut status = Status::default();
    traced("statx", why, args, || {
        let found = fs::metadata(path)?;
        (status.directory, status.links) = (found.is_dir(), found.nlink());
        Ok(())
    })?;
    Ok(status)
}
