//! Filling an empty volume: a copy beside it, and then a rename for each name in it.
//!
//! Two directories say how far it has come. `.copy` is being copied, and whoever finds it makes it anew. It becomes `.whole` by a rename when all is in it and on the disk, and whoever finds
//! that moves the rest of it into the volume.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;

use crate::calls;
use crate::copy::{copy_own, copy_tree, names_in};
use crate::error::{Error, Result};
use crate::remove;
use crate::volumes::{DATA, DIRECTORY, remove_any};

/// The copy on its way.
const COPY: &str = ".copy";
/// The copy that is whole.
const WHOLE: &str = ".whole";

/// Fills the volume in the locked directory `volume`, if it is empty; returns whether it was.
pub(crate) fn fill(
    volume: BorrowedFd<'_>,
    from: BorrowedFd<'_>,
    failed: &dyn Fn(&'static str, Errno) -> Error,
) -> Result<bool> {
    if finish(volume, failed)? {
        return Ok(true);
    }
    let data = data_of(volume, failed)?;
    match remove::tree_at(volume, COPY.as_bytes()) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(failed("remove", errno)),
    }
    let why = "so that a volume that somebody has put something into is left as it is";
    let names =
        names_in(data.as_fd(), why).map_err(|(operation, errno)| failed(operation, errno))?;
    if !names.is_empty() {
        return Ok(false);
    }
    let why = "so that the copy grows where nobody sees it";
    calls::mkdirat(volume, COPY.as_bytes(), Mode::S_IRWXU, why)
        .map_err(|errno| failed("mkdir", errno))?;
    let copied = copy(volume, from, failed);
    if copied.is_err() {
        let _ = remove::tree_at(volume, COPY.as_bytes());
    }
    let whole = copied?;
    move_in(volume, &whole, data.as_fd(), failed)?;
    Ok(true)
}

/// Whether somebody died who had copied everything.
pub(crate) fn is_unfinished(volume: BorrowedFd<'_>) -> nix::Result<bool> {
    let why = "so that it is known whether somebody died who was filling the volume";
    match calls::status_at(volume, WHOLE.as_bytes(), why) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Moves what somebody has copied who died into its place; returns whether there was something.
pub(crate) fn finish(
    volume: BorrowedFd<'_>,
    failed: &dyn Fn(&'static str, Errno) -> Error,
) -> Result<bool> {
    let why = "so that what somebody has copied who died comes to its place";
    let Some(whole) = open(volume, WHOLE, why).map_err(|errno| failed("open", errno))? else {
        return Ok(false);
    };
    let data = data_of(volume, failed)?;
    move_in(volume, &whole, data.as_fd(), failed)?;
    Ok(true)
}

fn data_of(
    volume: BorrowedFd<'_>,
    failed: &dyn Fn(&'static str, Errno) -> Error,
) -> Result<OwnedFd> {
    let why = "so that the volume is filled, and nothing that a link leads to";
    calls::openat(volume, DATA, DIRECTORY, Mode::empty(), why)
        .map_err(|errno| failed("open", errno))
}

/// Copies everything, and calls the copy whole.
fn copy(
    volume: BorrowedFd<'_>,
    from: BorrowedFd<'_>,
    failed: &dyn Fn(&'static str, Errno) -> Error,
) -> Result<OwnedFd> {
    let why = "so that everything is copied into this very directory";
    let copy = calls::openat(volume, COPY.as_bytes(), DIRECTORY, Mode::empty(), why)
        .map_err(|errno| failed("open", errno))?;
    copy_tree(from, copy.as_fd())?;
    let why = "so that all is on the disk before it counts as whole";
    calls::syncfs(copy.as_fd(), why).map_err(|errno| failed("syncfs", errno))?;
    let why =
        "so that from here on whoever comes after this process goes on, and does not begin anew";
    calls::rename(volume, COPY, WHOLE, why).map_err(|errno| failed("rename", errno))?;
    Ok(copy)
}

/// Moves all names of a whole copy into the volume, and makes the volume's own directory as that of the copy is.
fn move_in(
    volume: BorrowedFd<'_>,
    whole: &OwnedFd,
    data: BorrowedFd<'_>,
    failed: &dyn Fn(&'static str, Errno) -> Error,
) -> Result<()> {
    // Of one that is finished for somebody who was killed, the time is that of his last rename.
    let why = "so that the directory has, in the end, the times that its original has";
    let found = calls::fstat(whole.as_fd(), why).map_err(|errno| failed("fstat", errno))?;
    let why = "so that everything of the copy is moved";
    let names =
        names_in(whole.as_fd(), why).map_err(|(operation, errno)| failed(operation, errno))?;
    for name in names {
        let why = "so that the file or directory is in the volume at once and whole";
        let name = name.to_bytes();
        match calls::rename_between((whole.as_fd(), name), (data, name), why) {
            Ok(()) => {}
            // Somebody who has the volume mounted was first.
            Err(Errno::EEXIST) => {
                let why = "so that what a user of the volume has made meanwhile stays";
                remove_any(whole.as_fd(), name, why).map_err(|errno| failed("remove", errno))?;
            }
            Err(errno) => return Err(failed("rename", errno)),
        }
    }
    copy_own(whole.as_fd(), data)?;
    let why = "so that the volume is as old as the directory that it was filled from";
    let accessed = TimeSpec::new(found.st_atime, found.st_atime_nsec);
    let modified = TimeSpec::new(found.st_mtime, found.st_mtime_nsec);
    calls::set_both_times(data, accessed, modified, why)
        .map_err(|errno| failed("utimensat", errno))?;
    // Last: as long as it is there, the volume is not done.
    remove::tree_at(volume, WHOLE.as_bytes()).map_err(|errno| failed("remove", errno))
}

/// Opens a directory in that of a volume; none where it is not there.
fn open(volume: BorrowedFd<'_>, name: &str, why: &'static str) -> nix::Result<Option<OwnedFd>> {
    match calls::openat(volume, name.as_bytes(), DIRECTORY, Mode::empty(), why) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
