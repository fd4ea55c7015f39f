//! An ordinary user's rocker: it becomes root of a user namespace first, and does everything as that.

use std::fs;
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rocker_ns::{Process, SubordinateIds};

use super::container::ids;
use super::roots::{self, Roots};
use super::{disk, lock};
use crate::{Error, Result};

/// Sees to it that this process is root: where it is an ordinary user's, it becomes root of a user namespace and starts over. To be
/// called first thing, while it has one thread.
///
/// The directories are settled before, and handed on in the environment: inside, the user is known as root.
///
/// # Errors
/// [`Error::Ns`] where the machine lets nobody make user namespaces.
pub(crate) fn become_root() -> Result<()> {
    let user = own_user();
    if user == 0 {
        return Ok(());
    }
    let roots = Roots::from_env();
    own_directory(roots.run(), user)?;
    let why = "so that one knows which containers this user has";
    disk::make_dir(&roots.running(), why)?;
    match somebody_inside(&roots)? {
        // All that are at work on the same containers are in one namespace, or they could not reach each other's.
        Some(process) => rocker_ns::become_root_beside(&process)?,
        None => rocker_ns::become_root(&SubordinateIds::of_caller())?,
    }
    let directories = [
        (roots::DATA, roots.data().as_os_str()),
        (roots::RUN, roots.run().as_os_str()),
    ];
    Err(rocker_ns::start_over(directories).into())
}

/// The user that this process is, as it is known where it is.
pub(crate) fn own_user() -> u32 {
    fs::metadata("/proc/self").map_or(0, |own| own.uid())
}

/// A process that looks after one of the containers.
fn somebody_inside(roots: &Roots) -> Result<Option<Process>> {
    for id in ids(&roots.running())? {
        if let Some(process) = lock::supervisor(&roots.running().join(id)) {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// Makes a directory that nobody else has a say in, which may lie where everybody can make one.
fn own_directory(dir: &Path, user: u32) -> Result<()> {
    let failed = |source| Error::State {
        operation: "use",
        path: dir.to_owned(),
        source,
    };
    match fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir)
    {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(dir).map_err(failed)?;
    if found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = "it is not a directory that this user alone can write to";
    Err(failed(IoError::new(ErrorKind::PermissionDenied, why)))
}
