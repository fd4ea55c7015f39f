//! [`Store::remove_unreferenced`]: the blobs that nothing leads to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::image::ImageConfiguration;

use super::index::Index;
use super::lock::Lock;
use super::{Store, ingest, partial};
use crate::document::{Document, MAX_SIZE};
use crate::{Descriptor, Digest, Error, Result, file, image};

/// For so long a download that broke off is left to whoever may go on with it.
const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);

/// What a collection removed.
///
/// While this value lives, no pull and no import begins in the store, in any process: unpacked layers that
/// [`diff_ids`](Self::diff_ids) names can be dropped without one of them being wanted again in the meantime. Drop it
/// before the same thread pulls.
#[derive(Debug, Default)]
#[non_exhaustive]
#[must_use = "the unpacked layers that it names have no image any more"]
pub struct Removed {
    /// How many blobs were removed.
    pub blobs: u64,
    /// How many bytes they had in all.
    pub bytes: u64,
    /// The layers that only removed images had.
    pub diff_ids: Vec<Digest>,
    /// Somebody is putting an image into the store just now, so nothing was removed. The next collection will.
    pub deferred: bool,
    /// Images that are damaged in such a way that it cannot be said what they use, by their manifests or what else cannot be
    /// read. If there are any, nothing was removed but what dead processes left. It will be when each of them has been pulled again
    /// or [removed](Store::unreadable).
    pub unreadable: Vec<Digest>,
    _lock: Option<Lock>,
}

/// Everything that the index leads to.
#[derive(Debug, Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    diff_ids: BTreeSet<Digest>,
    /// What cannot be read, and why: what it leads to is not among the others.
    unreadable: Vec<(Digest, Error)>,
}

impl Store {
    /// Removes the blobs that no image uses, and what dead processes left, but for downloads that broke off less than a day ago, with
    /// which somebody may go on ([`remove_downloads`](Self::remove_downloads) removes these). Does not wait: where somebody is putting
    /// an image into the store, the answer says that the work is [deferred](Removed::deferred).
    ///
    /// # Errors
    ///
    /// [`Error::Store`], and [`Error::InvalidDocument`] if the index cannot be read. An image that is damaged is no error: nothing
    /// that it might need is removed, which can be anything, and the answer [says so](Removed::unreadable).
    pub fn remove_unreferenced(&self) -> Result<Removed> {
        let why = "so that nothing is removed while somebody puts content there that no image leads to yet";
        let Some(lock) = Lock::try_exclusive(&self.collect_lock(), why)? else {
            return Ok(Removed {
                deferred: true,
                ..Removed::default()
            });
        };
        let live = self.live()?;
        let mut removed = Removed {
            _lock: Some(lock),
            ..Removed::default()
        };
        if !live.unreadable.is_empty() {
            self.remove_abandoned(YOUNG)?;
            removed.unreadable = live.unreadable.into_iter().map(|(blob, _)| blob).collect();
            return Ok(removed);
        }
        let mut dead = BTreeSet::new();
        for (digest, size) in self.blobs()? {
            if live.blobs.contains(&digest) {
                continue;
            }
            if size <= MAX_SIZE {
                // A damaged blob leads to nothing.
                dead.extend(config_diff_ids(
                    &self.read_document(&digest).unwrap_or_default(),
                ));
            }
            let why = "so that content which no image leads to takes no room";
            ingest::remove(&digest.blob_path(&self.root), why)?;
            removed.blobs += 1;
            removed.bytes += size;
        }
        removed.diff_ids = dead.difference(&live.diff_ids).cloned().collect();
        self.remove_abandoned(YOUNG)?;
        Ok(removed)
    }

    /// Removes the downloads that broke off, however young they are. Returns whether that was possible: not while somebody is putting
    /// an image into the store.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn remove_downloads(&self) -> Result<bool> {
        let why = "so that no download is removed that somebody is at";
        let Some(_lock) = Lock::try_exclusive(&self.collect_lock(), why)? else {
            return Ok(false);
        };
        self.remove_abandoned(Duration::ZERO).map(|()| true)
    }

    /// The diff-ids of all layers of all images: the unpacked layers that are in use as far as the store knows.
    ///
    /// # Errors
    ///
    /// As [`remove_unreferenced`](Self::remove_unreferenced), and what is wrong with an image that is damaged in such a way that its
    /// layers are not known.
    pub fn diff_ids(&self) -> Result<BTreeSet<Digest>> {
        let live = self.live()?;
        match live.unreadable.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(live.diff_ids),
        }
    }

    fn live(&self) -> Result<Live> {
        let mut live = Live::default();
        let index = Index::read(&self.index_path())?;
        let mut todo: Vec<(Descriptor, bool)> = index
            .manifests
            .iter()
            .map(|entry| (entry.descriptor(), true))
            .collect();
        while let Some((descriptor, is_listed)) = todo.pop() {
            if !live.blobs.insert(descriptor.digest.clone()) {
                continue;
            }
            let object = format!("manifest {}", descriptor.digest);
            let document = self
                .read_document(&descriptor.digest)
                .and_then(|bytes| Document::parse(&object, &bytes, &descriptor.media_type));
            match document {
                Ok(Document::Index(manifests)) => {
                    todo.extend(manifests.into_iter().map(|manifest| (manifest, false)));
                }
                Ok(Document::Manifest(manifest)) => {
                    let config = manifest.config.digest;
                    match self.read_document(&config) {
                        Ok(bytes) => live.diff_ids.extend(config_diff_ids(&bytes)),
                        Err(error) => live.unreadable.push((config.clone(), error)),
                    }
                    live.blobs.insert(config);
                    live.blobs
                        .extend(manifest.layers.into_iter().map(|layer| layer.digest));
                }
                // An index that another tool wrote may name images that it did not copy.
                Err(Error::NoSuchBlob { .. }) if !is_listed => {}
                Err(error) => live.unreadable.push((descriptor.digest, error)),
            }
        }
        Ok(live)
    }

    /// All blobs, with their sizes. Files whose names are not digests are not ours, and are left alone.
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        let why = "so that it is known by which kinds of digest blobs are named";
        let listing = "so that all blobs are known, also those that no image leads to";
        let sizing = "so that it is known how much room the blob takes";
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        for algorithm in entries(&self.root.join("blobs"), why)? {
            for path in entries(&algorithm, listing)? {
                let name = format!("{}:{}", name(&algorithm), name(&path));
                let status = file::own_status(&path, sizing);
                let metadata = status.map_err(|source| Error::Store {
                    operation: "stat",
                    path,
                    source,
                })?;
                blobs.extend(
                    name.parse()
                        .ok()
                        .filter(|_| metadata.is_file())
                        .map(|digest| (digest, metadata.len())),
                );
            }
        }
        Ok(blobs)
    }

    /// Removes temporary files, but for downloads that somebody was at within the time `young`. To be called while nobody pins the
    /// store, so that those of dead processes are the only ones besides those that `index.json` is being written to.
    fn remove_abandoned(&self, young: Duration) -> Result<()> {
        let why = "so that nobody is writing the index meanwhile";
        let _lock = Lock::exclusive(&self.index_lock(), why)?;
        let listing = "so that what dead processes were writing is found";
        let why = "so that what a dead process was writing takes no room";
        entries(&self.ingest_dir(), listing)?
            .iter()
            .filter(|path| !is_young(path, young))
            .try_for_each(|path| ingest::remove(path, why))
    }
}

/// Whether it is a download that somebody was at within this time. What is of the future is as old as can be.
fn is_young(path: &Path, young: Duration) -> bool {
    let why = "so that a download with which somebody may go on stays";
    let changed = || file::own_status(path, why).and_then(|status| status.modified());
    partial::is_one(path)
        && changed().is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < young))
}

/// The layers that a blob names, if it is an image's configuration.
fn config_diff_ids(bytes: &[u8]) -> Vec<Digest> {
    let config: Option<ImageConfiguration> = serde_json::from_slice(bytes).ok();
    config
        .and_then(|config| image::diff_ids(&config).ok())
        .unwrap_or_default()
}

/// The paths of what is in the directory.
fn entries(dir: &Path, why: &'static str) -> Result<Vec<PathBuf>> {
    let names = file::names(dir, why);
    let paths = names.map(|names| names.into_iter().map(|name| dir.join(name)).collect());
    paths.map_err(|source| Error::Store {
        operation: "list",
        path: dir.to_owned(),
        source,
    })
}
