//! [`Store::remove_unreferenced`]: the blobs that nothing leads to.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::path::Path;

use oci_spec::image::ImageConfiguration;

use super::index::Index;
use super::lock::Lock;
use super::{Store, ingest};
use crate::document::{Document, MAX_SIZE};
use crate::{Descriptor, Digest, Error, Result, image};

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
    _lock: Option<Lock>,
}

/// Everything that the index leads to.
#[derive(Debug, Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    diff_ids: BTreeSet<Digest>,
}

impl Store {
    /// Removes the blobs that no image uses, and what dead processes left. Does not wait: where somebody is putting an
    /// image into the store, the answer says that the work is [deferred](Removed::deferred).
    ///
    /// # Errors
    ///
    /// [`Error::Store`], and [`Error::InvalidDocument`] if an image is damaged in such a way that it cannot be said
    /// what it uses. Nothing is removed then.
    pub fn remove_unreferenced(&self) -> Result<Removed> {
        let Some(lock) = Lock::try_exclusive(&self.collect_lock())? else {
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
            ingest::remove(&digest.blob_path(&self.root))?;
            removed.blobs += 1;
            removed.bytes += size;
        }
        removed.diff_ids = dead.difference(&live.diff_ids).cloned().collect();
        self.remove_abandoned()?;
        Ok(removed)
    }

    /// The diff-ids of all layers of all images: the unpacked layers that are in use as far as the store knows.
    ///
    /// # Errors
    ///
    /// As [`remove_unreferenced`](Self::remove_unreferenced).
    pub fn diff_ids(&self) -> Result<BTreeSet<Digest>> {
        self.live().map(|live| live.diff_ids)
    }

    fn live(&self) -> Result<Live> {
        let mut live = Live::default();
        let mut todo: Vec<Descriptor> = Index::read(&self.index_path())?
            .manifests
            .iter()
            .map(super::index::Entry::descriptor)
            .collect();
        while let Some(descriptor) = todo.pop() {
            if !live.blobs.insert(descriptor.digest.clone()) {
                continue;
            }
            let bytes = match self.read_document(&descriptor.digest) {
                Ok(bytes) => bytes,
                // An index that another tool wrote may name images that it did not copy.
                Err(Error::NoSuchBlob { .. }) => continue,
                Err(error) => return Err(error),
            };
            match Document::parse(
                &format!("manifest {}", descriptor.digest),
                &bytes,
                &descriptor.media_type,
            )? {
                Document::Index(manifests) => todo.extend(manifests),
                Document::Manifest(manifest) => {
                    match self.read_document(&manifest.config.digest) {
                        Ok(config) => live.diff_ids.extend(config_diff_ids(&config)),
                        Err(Error::NoSuchBlob { .. }) => {}
                        Err(error) => return Err(error),
                    }
                    live.blobs.insert(manifest.config.digest);
                    live.blobs
                        .extend(manifest.layers.into_iter().map(|layer| layer.digest));
                }
            }
        }
        Ok(live)
    }

    /// All blobs, with their sizes. Files whose names are not digests are not ours, and are left alone.
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for algorithm in entries(&self.root.join("blobs"))? {
            for entry in entries(&algorithm.path())? {
                let name = format!(
                    "{}:{}",
                    algorithm.file_name().display(),
                    entry.file_name().display()
                );
                let metadata = entry.metadata().map_err(|source| Error::Store {
                    operation: "stat",
                    path: entry.path(),
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

    /// Removes temporary files. To be called while nobody pins the store, so that those of dead processes are the only
    /// ones besides those that `index.json` is being written to.
    fn remove_abandoned(&self) -> Result<()> {
        let _lock = Lock::exclusive(&self.index_lock())?;
        entries(&self.ingest_dir())?
            .iter()
            .try_for_each(|entry| ingest::remove(&entry.path()))
    }
}

/// The layers that a blob names, if it is an image's configuration.
fn config_diff_ids(bytes: &[u8]) -> Vec<Digest> {
    let config: Option<ImageConfiguration> = serde_json::from_slice(bytes).ok();
    config
        .and_then(|config| image::diff_ids(&config).ok())
        .unwrap_or_default()
}

fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect);
    entries.map_err(|source| Error::Store {
        operation: "list",
        path: dir.to_owned(),
        source,
    })
}
