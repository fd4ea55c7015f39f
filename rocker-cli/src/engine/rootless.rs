//! An ordinary user's rocker: it becomes root of a user namespace first, and does everything as that.

use std::fs;
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use rocker_ns::{Process, SubordinateIds};

use crate::engine::roots::{self, Roots};
use crate::engine::{disk, lock};
use crate::{Error, Result};

/// Sees to it that this process is root: where it is an ordinary user's, it becomes root of a user namespace and starts over. To be
/// called first thing, while it has one thread.
///
/// The directories are settled before, and handed on in the environment: inside, the user is known as root.
///
/// # Errors
/// [`Error::Ns`] where the machine lets nobody make user namespaces.
pub(crate) fn become_root() -> Result<()> {
    let user = roots::own_user();
    if user == 0 {
        return Ok(());
    }
    let roots = Roots::from_env();
    for dir in [roots.run(), roots.data()] {
        own_directory(dir, user)?;
    }
    enter(&roots)?;
    let directories = [
        (roots::DATA, roots.data().as_os_str()),
        (roots::RUN, roots.run().as_os_str()),
    ];
    Err(rocker_ns::start_over(directories).into())
}

/// Whether this process is root of a user namespace alone, as an ordinary user's rocker is. Asked of the kernel once: who [becomes
/// root](become_root) starts over.
///
/// # Errors
/// [`Error::Ns`] where /proc does not say.
pub(crate) fn in_user_namespace() -> Result<bool> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let found = rocker_ns::in_user_namespace()?;
    Ok(*KNOWN.get_or_init(|| found))
}

/// Becomes root in the one user namespace of all processes that are at work on these containers: from another one they could not
/// reach each other's. The first of them makes it, and it lasts for as long as one of them does.
fn enter(roots: &Roots) -> Result<()> {
    let list = roots.run().join(INSIDE);
    // Who looks and finds nobody is one at a time, and on the list when the next one looks.
    let _entering = lock::wait(&roots.run().join(".entering"))?;
    let why = "so that one knows in which user namespace this user's containers are";
    let text = match disk::read(&list, why) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.map_err(disk::failed("read", &list))?,
    };
    let text = String::from_utf8_lossy(&text);
    let others: Vec<_> = text.lines().filter_map(inside).collect();
    let mut joined = false;
    for process in &others {
        match rocker_ns::become_root_beside(process) {
            // It has ended this moment.
            Err(_) if !process.is_alive() => {}
            other => {
                other?;
                joined = true;
                break;
            }
        }
    }
    if !joined {
        rocker_ns::become_root(&SubordinateIds::of_caller())?;
    }
    let mut lines = String::new();
    for process in others.iter().chain([&Process::current()?]) {
        if let Ok(start) = process.start_time() {
            lines.push_str(&format!("{} {start}\n", process.id()));
        }
    }
    let why = "so that those who come later find this process";
    let file = disk::open_lock(&list, why).map_err(disk::failed("open", &list))?;
    disk::overwrite(&file, &lines, why).map_err(disk::failed("write", &list))
}

/// The processes that are in the user namespace, one a line: its id, and when it started.
const INSIDE: &str = "inside";

/// The process of a line, if it has not ended.
fn inside(line: &str) -> Option<Process> {
    let (pid, start) = line.split_once(' ')?;
    let process = Process::open(pid.parse().ok()?, start.parse().ok()?);
    process.ok().flatten().filter(Process::is_alive)
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
    let mut found = fs::symlink_metadata(dir).map_err(failed)?;
    // A link of one's own leads where one wants it to.
    if found.is_symlink() && found.uid() == user {
        found = fs::metadata(dir).map_err(failed)?;
    }
    if found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = "it is not a directory that this user alone can write to";
    Err(failed(IoError::new(ErrorKind::PermissionDenied, why)))
}
