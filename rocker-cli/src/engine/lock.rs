//! Who looks after a container: the one who holds its lock, and the lock is the kernel's to let go of.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rocker_ns::Process;

use crate::engine::container::signal::SIGCONT;
use crate::engine::disk;
use crate::{Error, Result};

/// The lock of a container, in its run directory.
const LOCK: &str = "lock";

/// Takes the lock of a container that is being made.
pub(crate) fn take(run: &Path) -> Result<File> {
    let lock = wait(&run.join(LOCK))?;
    sign(&lock, run)?;
    Ok(lock)
}

/// Takes the lock of a container, if nobody holds it.
pub(crate) fn try_take(run: &Path) -> Result<Option<File>> {
    let path = run.join(LOCK);
    let lock = open(&path)?;
    let held = disk::try_lock(
        &lock,
        "so that nobody else takes this container down as well",
    )
    .map_err(disk::failed("lock", &path))?;
    if !held {
        return Ok(None);
    }
    match sign(&lock, run) {
        // It says nothing then, which holds up nobody: on a full disk containers can be taken down.
        Err(Error::State { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {}
        signed => signed?,
    }
    Ok(Some(lock))
}

/// Whether a lock that was taken is still the one that others find in this run directory.
pub(crate) fn is_that_of(lock: &File, run: &Path) -> bool {
    is_the_file(lock, &run.join(LOCK))
}

/// Whether it is the file that is at `path`.
fn is_the_file(file: &File, path: &Path) -> bool {
    let number = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(own), Ok(found)) => number(own) == number(found),
        _ => false,
    }
}

/// Waits for the lock in `path`, and holds it for as long as the file is open.
pub(crate) fn wait(path: &Path) -> Result<File> {
    let file = open(path)?;
    disk::lock(
        &file,
        "so that two rockers do not change the same thing at the same time",
    )
    .map_err(disk::failed("lock", path))?;
    Ok(file)
}

/// How long somebody waits for another command without being told.
const UNNOTICED: Duration = Duration::from_millis(200);

/// Waits until nobody works on the files of a container that does not run, and keeps others from it for as long as the file is open:
/// the container's directory, `data`. None where that is not there any more. It says nothing about who looks after the container.
pub(crate) fn files(data: &Path) -> Result<Option<File>> {
    let why = "so that nobody starts, removes or mounts a container while its files are copied";
    let Some(dir) = open_files(data, why)? else {
        return Ok(None);
    };
    let failed = disk::failed("lock", data);
    let limit = Instant::now() + UNNOTICED;
    while !disk::try_lock(&dir, why).map_err(&failed)? {
        if Instant::now() > limit {
            tracing::warn!("files of the container are being copied: waiting until that is done");
            disk::lock(&dir, why).map_err(&failed)?;
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    // Who removes it gives it another name first.
    Ok(is_the_file(&dir, data).then_some(dir))
}

/// Whether somebody works on the files of a container that does not run, see [`files`].
pub(crate) fn are_in_use(data: &Path) -> Result<bool> {
    let why = "so that a container is left alone whose files are being copied";
    match open_files(data, why)? {
        Some(dir) => {
            let free = disk::try_lock_shared(&dir, why).map_err(disk::failed("lock", data))?;
            Ok(!free)
        }
        None => Ok(false),
    }
}

fn open_files(data: &Path, why: &'static str) -> Result<Option<File>> {
    match disk::open(data, why) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        dir => dir.map(Some).map_err(disk::failed("open", data)),
    }
}

fn open(path: &Path) -> Result<File> {
    disk::open_lock(path, "so that there is a file to lock").map_err(disk::failed("open", path))
}

/// Whether nobody looks after the container with this run directory, as far as can be told at a glance: somebody who died a
/// moment ago may still seem to be there, see [`is_held`].
pub(crate) fn is_free(run: &Path) -> Result<bool> {
    let path = run.join(LOCK);
    let file = match disk::open(&path, "so that one can see whether somebody holds the lock") {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(disk::failed("open", &path)(error)),
    };
    let why = "so that one knows: it is free where nobody looks after the container";
    disk::try_lock_shared(&file, why).map_err(disk::failed("lock", &path))
}

/// Whether somebody looks after the container with this run directory.
///
/// A child that the one who did has made, and that was not told to run its program yet, holds the lock a moment longer
/// than its parent lives: that moment is waited for.
pub(crate) fn is_held(run: &Path) -> Result<bool> {
    let path = run.join(LOCK);
    let file = match disk::open(&path, "so that one can see whether somebody holds the lock") {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(disk::failed("open", &path)(error)),
    };
    let limit = Instant::now() + ORPHANS_MOMENT;
    let why = "so that one knows: it is free where nobody looks after the container";
    loop {
        if disk::try_lock_shared(&file, why).map_err(disk::failed("lock", &path))? {
            return Ok(false);
        }
        if supervisor_lives(&file) || Instant::now() > limit {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long a child may take to notice that its parent is gone.
const ORPHANS_MOMENT: Duration = Duration::from_secs(2);

/// Whether the process that a lock file names is alive; a file that names none speaks of somebody who is about to
/// write.
fn supervisor_lives(lock: &File) -> bool {
    named(lock).is_none_or(|(pid, start)| Process::lives(pid, start))
}

/// The process that looks after the container with this run directory, if it is alive.
pub(crate) fn supervisor(run: &Path) -> Option<Process> {
    let why = "so that one knows who looks after the container";
    let (pid, start) = named(&disk::open(&run.join(LOCK), why).ok()?)?;
    let process = Process::open(pid, start).ok().flatten();
    process.filter(Process::is_alive)
}

/// Lets the one who looks after a container go on, if somebody has stopped it (Ctrl-Z).
pub(crate) fn wake_supervisor(run: &Path) {
    if let Some(process) = supervisor(run)
        && process.is_stopped()
        && let Err(error) = process.signal(SIGCONT)
    {
        tracing::warn!(%error, "the one who looks after the container cannot be woken");
    }
}

/// The process that a lock file names: its id, and when it started.
fn named(lock: &File) -> Option<(u32, u64)> {
    let why = "so that one knows which process looks after the container";
    let text = String::from_utf8(disk::peek(lock, why).ok()?).ok()?;
    let (pid, start) = text.split_once(' ')?;
    Some((pid.parse().ok()?, start.trim().parse().ok()?))
}

/// Writes into a lock file who holds it.
fn sign(lock: &File, run: &Path) -> Result<()> {
    let own = Process::current()?;
    let text = format!("{} {}\n", own.id(), own.start_time()?);
    disk::overwrite(
        lock,
        &text,
        "so that the others know which process holds the lock",
    )
    .map_err(disk::failed("write", &run.join(LOCK)))
}
