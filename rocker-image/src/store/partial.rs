//! [`Partial`]: a download that another process can continue.

use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::ingest::{self, failed};
use super::lock::Lock;
use crate::trace::traced;
use crate::{Descriptor, Digest, Result, file};

/// Who downloads a blob.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Whoever asks.
    Ours(Partial),
    /// Somebody else, who has so many bytes of it.
    Theirs(u64),
}

/// What has come of a blob: a file in the store's `ingest` directory, named after the blob's digest and locked by the one
/// who downloads it.
///
/// It goes when it is dropped, unless [`commit`](Self::commit) gave it its name or [`keep`](Self::keep) was called: then,
/// and when the process is killed, the next download of the blob goes on from it. Nothing vouches for what it holds
/// before all of it is hashed again.
#[derive(Debug)]
pub(crate) struct Partial {
    lock: Lock,
    path: PathBuf,
    kept: u64,
    size: u64,
    is_to_stay: bool,
}

impl Partial {
    /// Takes up or begins the download of a blob, unless somebody else is at it.
    pub(crate) fn claim(dir: &Path, blob: &Descriptor) -> Result<Claim> {
        let path = dir.join(name(&blob.digest));
        loop {
            let why =
                "so that what came of the blob before, in whatever process, is not fetched again";
            let file = file::open_partial(&path, why).map_err(failed("open", &path))?;
            let why = "so that it is known how much of the blob is there";
            let before = file::status_of(&file, &path, why).map_err(failed("stat", &path))?;
            let why = "so that of several processes one downloads the blob; the others find it in the store";
            let Some(lock) = Lock::try_on(file, &path, why)? else {
                return Ok(Claim::Theirs(before.len()));
            };
            // Who had the lock until now may have finished: then it is the lock of a file that has another name.
            let file = lock.file().map_err(failed("open", &path))?;
            let why = "so that what was written until the lock was ours is known, too";
            let ours = file::status_of(file, &path, why).map_err(failed("stat", &path))?;
            let why = "so that it is certain that the file which is locked still has this name";
            match file::own_status(&path, why) {
                Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed("stat", &path)(source)),
            }
            let kept = ours.len();
            let mut partial = Self {
                lock,
                path,
                kept,
                size: kept,
                is_to_stay: false,
            };
            if kept > blob.size {
                partial.restart()?;
            }
            return Ok(Claim::Ours(partial));
        }
    }

    /// How many bytes were there already.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// Reads from what was there already.
    pub(crate) fn read_kept(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = self.kept.saturating_sub(at);
        let length = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.lock.file()?.read_at(&mut buffer[..length], at)
    }

    /// Forgets what was there.
    pub(crate) fn restart(&mut self) -> Result<()> {
        if self.size > 0 {
            let why = "so that what can be no part of the blob is not taken for one";
            let emptied = self
                .lock
                .file()
                .and_then(|file| file::empty(file, &self.path, why));
            emptied.map_err(failed("truncate", &self.path))?;
        }
        (self.kept, self.size) = (0, 0);
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.lock.file().and_then(|mut file| file.write_all(bytes));
        written.map_err(failed("write", &self.path))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Leaves what is there to the next who downloads the blob.
    pub(crate) fn keep(&mut self) {
        self.is_to_stay = self.size > 0;
    }

    /// Leaves nothing.
    pub(crate) fn forget(&mut self) {
        self.is_to_stay = false;
    }

    /// Gives the file its name, in place of what had it before. When this returns, a power cut takes nothing back.
    pub(crate) fn commit(mut self, to: &Path) -> Result<()> {
        let file = self.lock.file().map_err(failed("open", &self.path))?;
        ingest::settle(file, &self.path, to, || self.is_to_stay = true)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A forked child has the file, but the download is its parent's.
        if self.is_to_stay || !self.lock.is_ours() {
            return;
        }
        let why = "so that nothing is left of content that is not what it should be";
        let path = &self.path;
        let _ = traced(
            "unlink",
            why,
            || format!("{path:?}"),
            || std::fs::remove_file(path),
        );
    }
}

/// The end of the names of downloads.
const SUFFIX: &str = "partial";

/// The name of a blob's file.
fn name(blob: &Digest) -> String {
    format!("{}-{}.{SUFFIX}", blob.algorithm().name(), blob.hex())
}

/// Whether the file is a download.
pub(super) fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == SUFFIX)
}
