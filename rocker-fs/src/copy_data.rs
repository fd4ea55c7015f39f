//! Copying the data of one file to another, in the cheapest way that both file systems know, with its holes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::Whence;

use crate::calls;
use crate::sys;
use crate::trace::traced;

/// How much is copied at once through this process's memory, in bytes.
const CHUNK: usize = 128 << 10;
/// The most that the kernel is asked to copy at once, in bytes, so that a signal is not kept waiting.
const STRETCH: u64 = 64 << 20;

/// The call that failed, and why.
type Failure = (&'static str, io::Error);

/// What was learned from the files before: which ways the file systems do not know.
#[derive(Debug, Default)]
pub(crate) struct Data {
    no_clone: bool,
    no_range: bool,
    buffer: Vec<u8>,
    /// How many files have their data in common with their originals.
    pub(crate) shared: u64,
}

impl Data {
    /// Copies the first `size` bytes of `from` to the empty file `to`. What a file that has become shorter meanwhile lacks of that is zeros.
    pub(crate) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
    ) -> Result<(), Failure> {
        if size == 0 {
            return Ok(());
        }
        if !self.no_clone {
            let why = "so that both files share their data until one is changed";
            match clone_file(from, to, why) {
                Ok(()) => {
                    self.shared += 1;
                    return Ok(());
                }
                // Not on one file system, or on one that cannot; of a swap file and the like it says EINVAL, which is no reason to give up.
                Err(error) if is_one_of(&error, &[libc::EOPNOTSUPP, libc::EXDEV, libc::ENOTTY]) => {
                    self.no_clone = true;
                }
                Err(error) if is_one_of(&error, &[libc::EINVAL, libc::EPERM, libc::ETXTBSY]) => {}
                Err(error) => return Err(("ioctl", error)),
            }
        }
        let mut at = 0;
        while at < size {
            let Some((start, end)) = next_data(from, at, size)? else {
                break;
            };
            if !self.stretch(from, to, start, end)? {
                break;
            }
            at = end;
        }
        // A hole at the end, or a file that has become shorter, which is then one with zeros at its end.
        let why = "so that the file has its full length, with a hole at its end if there was one";
        calls::ftruncate(to, size, why).map_err(|errno| ("ftruncate", errno.into()))
    }

    /// Copies a stretch without holes; returns whether it was there to its end.
    fn stretch(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        start: u64,
        end: u64,
    ) -> Result<bool, Failure> {
        let mut at = start;
        while at < end && !self.no_range {
            let why = "so that the data are copied without a way through this process";
            match copy_file_range(from, to, at, (end - at).min(STRETCH), why) {
                // The end of the file; or of one of those of the kernel's own, whose size says nothing.
                Ok(0) => break,
                Ok(count) => at += count as u64,
                Err(Errno::EINTR) => {}
                Err(
                    Errno::ENOSYS
                    | Errno::EXDEV
                    | Errno::EOPNOTSUPP
                    | Errno::EINVAL
                    | Errno::EPERM
                    | Errno::EIO,
                ) => self.no_range = true,
                Err(errno) => return Err(("copy_file_range", errno.into())),
            }
        }
        if at < end {
            at = self.through_memory(from, to, at, end)?;
        }
        Ok(at == end)
    }

    fn through_memory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        start: u64,
        end: u64,
    ) -> Result<u64, Failure> {
        let duplicate = |file: BorrowedFd<'_>| {
            let owned = file.as_fd().try_clone_to_owned();
            owned.map(File::from).map_err(|error| ("fcntl", error))
        };
        let (from, to) = (duplicate(from)?, duplicate(to)?);
        self.buffer.resize(CHUNK, 0);
        let mut at = start;
        while at < end {
            let room = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let count = match from.read_at(&mut self.buffer[..room], at) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(("read", error)),
            };
            to.write_all_at(&self.buffer[..count], at)
                .map_err(|error| ("write", error))?;
            at += count as u64;
        }
        Ok(at)
    }
}

/// Where the next data from `at` on begin and end; none if there is but a hole up to `size`.
fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Failure> {
    let seek = |offset, whence, why| lseek(file, offset, whence, why);
    let why = "so that a hole is left a hole";
    let start = match seek(at, Whence::SeekData, why) {
        Ok(start) => start,
        Err(Errno::ENXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some((at, size))),
        Err(errno) => return Err(("lseek", errno.into())),
    };
    if start >= size {
        return Ok(None);
    }
    let end = match seek(start, Whence::SeekHole, why) {
        Ok(end) => end.min(size),
        Err(Errno::ENXIO) => return Ok(None),
        Err(errno) => return Err(("lseek", errno.into())),
    };
    Ok(Some((start, end)))
}

fn is_one_of(error: &io::Error, errnos: &[i32]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|errno| errnos.contains(&errno))
}

/// ioctl(2) FICLONE: `to` gets the data of `from`, and shares them.
fn clone_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, why: &'static str) -> io::Result<()> {
    let args = || format!("{}, FICLONE, {}", to.as_raw_fd(), from.as_raw_fd());
    traced("ioctl", why, args, || sys::clone_file(from, to))
}

/// copy_file_range(2) from an offset to the same offset, which returns how many bytes were copied.
fn copy_file_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    offset: u64,
    length: u64,
    why: &'static str,
) -> nix::Result<usize> {
    let args = || {
        let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
        format!("{from}, [{offset}], {to}, [{offset}], {length}, 0")
    };
    let at = i64::try_from(offset).map_err(|_| Errno::EFBIG)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    calls::call("copy_file_range", why, args, || {
        let (mut from_at, mut to_at) = (at, at);
        nix::fcntl::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), length)
    })
}

/// lseek(2), which returns the new offset.
fn lseek(file: BorrowedFd<'_>, offset: u64, whence: Whence, why: &'static str) -> nix::Result<u64> {
    let args = || {
        let name = match whence {
            Whence::SeekData => "SEEK_DATA",
            _ => "SEEK_HOLE",
        };
        format!("{}, {offset}, {name}", file.as_raw_fd())
    };
    let bytes = i64::try_from(offset).map_err(|_| Errno::EFBIG)?;
    let found = calls::call("lseek", why, args, || {
        nix::unistd::lseek(file, bytes, whence)
    })?;
    u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
}
