//! An ordinary user's rocker: it becomes root of a user namespace first, and does everything as that.

use std::fs::{self, File};
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rocker_ns::{Process, SubordinateIds};

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
    own_directory(roots.data(), user)?;
    own_directory(roots.run(), user)?;
    let register = roots.run().join(INSIDE);
    let lock = lock::wait(&register)?;
    let mut inside = registered(&register)?;
    match inside.first() {
        // All that are at work on the same containers are in one namespace, or they could not reach each other's.
        Some(process) => rocker_ns::become_root_beside(process)?,
        None => rocker_ns::become_root(&SubordinateIds::of_caller())?,
    }
    // It stays this process when it has started over.
    inside.push(Process::current()?);
    register_all(&lock, &inside, &register)?;
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

/// The file that names the processes which are inside. It is locked while somebody gets there, so that two of them at once do not
/// make two namespaces.
const INSIDE: &str = "inside";

/// The processes that are inside and alive.
fn registered(path: &Path) -> Result<Vec<Process>> {
    let why = "so that one knows whether another rocker of this user is at work";
    let text = disk::read(path, why).map_err(disk::failed("read", path))?;
    let process = |line: &str| {
        let (pid, start) = line.split_once(' ')?;
        let process = Process::open(pid.parse().ok()?, start.parse().ok()?);
        process.ok().flatten().filter(Process::is_alive)
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(process).collect())
}

fn register_all(lock: &File, inside: &[Process], path: &Path) -> Result<()> {
    let line =
        |process: &Process| Some(format!("{} {}\n", process.id(), process.start_time().ok()?));
    let text: String = inside.iter().filter_map(line).collect();
    let why = "so that the next rocker of this user joins this one";
    disk::overwrite(lock, &text, why).map_err(disk::failed("write", path))
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
