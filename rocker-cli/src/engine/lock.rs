//! Who looks after a container: the one who holds its lock, and the lock is the kernel's to let go of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rocker_ns::Process;

use crate::{Error, Result};

/// The lock of a container, in its run directory.
const LOCK: &str = "lock";

/// Takes the lock of a container that is being made.
pub(crate) fn take(run: &Path) -> Result<File> {
    let mut lock = wait(&run.join(LOCK))?;
    sign(&mut lock, run)?;
    Ok(lock)
}

/// Takes the lock of a container, if nobody holds it.
pub(crate) fn try_take(run: &Path) -> Result<Option<File>> {
    let path = run.join(LOCK);
    let mut lock = open(&path)?;
    match lock.try_lock() {
        Ok(()) => {
            sign(&mut lock, run)?;
            Ok(Some(lock))
        }
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(source)) => Err(Error::State {
            operation: "lock",
            path,
            source,
        }),
    }
}

/// Waits for the lock in `path`, and holds it for as long as the file is open.
pub(crate) fn wait(path: &Path) -> Result<File> {
    let file = open(path)?;
    file.lock().map_err(|source| Error::State {
        operation: "lock",
        path: path.to_owned(),
        source,
    })?;
    Ok(file)
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let opened = options
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|source| Error::State {
        operation: "open",
        path: path.to_owned(),
        source,
    })
}

/// Whether somebody looks after the container with this run directory.
///
/// A child that the one who did has made, and that was not told to run its program yet, holds the lock a moment longer
/// than its parent lives: that moment is waited for.
pub(crate) fn is_held(run: &Path) -> Result<bool> {
    let path = run.join(LOCK);
    let mut file = match OpenOptions::new().read(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(Error::State {
                operation: "open",
                path,
                source,
            });
        }
    };
    let limit = Instant::now() + ORPHANS_MOMENT;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(false),
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(source)) => {
                return Err(Error::State {
                    operation: "lock",
                    path,
                    source,
                });
            }
        }
        if supervisor_lives(&mut file) || Instant::now() > limit {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long a child may take to notice that its parent is gone.
const ORPHANS_MOMENT: Duration = Duration::from_secs(2);

/// Whether the process that a lock file names is alive; a file that names none speaks of somebody who is about to
/// write.
fn supervisor_lives(lock: &mut File) -> bool {
    named(lock).is_none_or(|(pid, start)| {
        Process::open(pid, start)
            .is_ok_and(|process| process.is_some_and(|process| process.is_alive()))
    })
}

/// Lets the one who looks after a container go on, if somebody has stopped it (Ctrl-Z).
pub(crate) fn wake_supervisor(run: &Path) {
    if let Ok(mut lock) = File::open(run.join(LOCK))
        && let Some((pid, start)) = named(&mut lock)
        && let Ok(Some(process)) = Process::open(pid, start)
        && let Err(error) = process.signal(SIGCONT)
    {
        tracing::warn!(%error, "the one who looks after the container cannot be woken");
    }
}

/// The same number on every Linux that rocker runs on.
const SIGCONT: i32 = 18;

/// The process that a lock file names: its id, and when it started.
fn named(lock: &mut File) -> Option<(u32, u64)> {
    let mut text = String::new();
    lock.rewind()
        .and_then(|()| lock.read_to_string(&mut text))
        .ok()?;
    let (pid, start) = text.split_once(' ')?;
    Some((pid.parse().ok()?, start.trim().parse().ok()?))
}

/// Writes into a lock file who holds it.
fn sign(lock: &mut File, run: &Path) -> Result<()> {
    let own = Process::current()?;
    let text = format!("{} {}\n", own.id(), own.start_time()?);
    let written = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(text.as_bytes()));
    written.map_err(|source| Error::State {
        operation: "write",
        path: run.join(LOCK),
        source,
    })
}
