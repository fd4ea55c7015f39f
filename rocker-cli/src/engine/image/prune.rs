//! Images that nobody needs, removed: those without a name, all without a container, or the least recently used.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rocker_fs::Layers;
use rocker_image::{Digest, Image};

use super::untag::Listed;
use crate::Result;
use crate::engine::Engine;
use crate::engine::usage::bytes_of;

/// Which images [`Engine::prune_images`] removes. In no case one of which there is a container.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImagePrune {
    /// Also those with a name, and downloads that broke off less than a day ago.
    pub all: bool,
    /// Only as many as it takes for the images to fit into so many bytes, the least recently used first, with a name or without.
    pub keep_bytes: Option<u64>,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Engine {
    /// Removes the images that no container is made of and that `wanted` is true of. Tells what was done, line by line, as soon as it
    /// is, and returns how many bytes that has freed.
    ///
    /// # Errors
    /// As [`Engine::remove_image`].
    pub fn prune_images(
        &self,
        prune: &ImagePrune,
        wanted: impl Fn(&Image) -> bool,
        mut tell: impl FnMut(&str),
    ) -> Result<u64> {
        self.reconcile()?;
        let store = self.store()?;
        // Nobody makes a container from here on: who is not in the records yet looks again for its layers.
        let _making = self.making()?;
        let used = self.used_manifests()?;
        let images = store.images()?;
        let room = Room::of(&images, &self.layers()?);
        let before = room.taken(&images, &[]);
        let is_candidate = |image: &&Image| {
            let named = prune.all || prune.keep_bytes.is_some() || image.references().is_empty();
            named && !used.contains(&image.manifest_digest().to_string()) && wanted(image)
        };
        let mut candidates: Vec<&Image> = images.iter().filter(is_candidate).collect();
        candidates
            .sort_by_cached_key(|image| store.last_used(image).unwrap_or(SystemTime::UNIX_EPOCH));
        let mut chosen: Vec<Digest> = Vec::new();
        for image in candidates {
            if prune
                .keep_bytes
                .is_some_and(|most| room.taken(&images, &chosen) <= most)
            {
                break;
            }
            if prune.dry_run {
                for name in image.references() {
                    tell(&format!("Untagged: {}", name.familiar()));
                }
                tell(&format!("Deleted: {}", image.config_digest()));
            } else if !self.remove_whole(store, &Listed::from(image), &mut tell)? {
                // Somebody has given it a name meanwhile, and so wants it.
                continue;
            }
            chosen.push(image.manifest_digest().clone());
        }
        if !prune.dry_run {
            // Also what a crash left, though there be no image to remove.
            self.remove_unused_layers(store, tell)?;
            if prune.all {
                store.remove_downloads()?;
            }
        }
        Ok(before.saturating_sub(room.taken(&images, &chosen)))
    }
}

/// How many bytes each part of some images takes on disk.
struct Room(BTreeMap<String, u64>);

impl Room {
    fn of(images: &[Image], layers: &Layers) -> Self {
        let mut parts = BTreeMap::new();
        for image in images {
            let blobs: u64 = image.layers().iter().map(|layer| layer.size).sum();
            let own = image.size().saturating_sub(blobs);
            parts.insert(image.manifest_digest().to_string(), own);
            for layer in image.layers() {
                parts.insert(layer.blob.to_string(), layer.size);
                let unpacked = || bytes_of(&layers.path(&layer.diff_id.to_string()));
                parts
                    .entry(unpacked_part(&layer.diff_id))
                    .or_insert_with(unpacked);
            }
        }
        Self(parts)
    }

    /// The bytes that all images but some take. What several of them share counts once.
    fn taken(&self, images: &[Image], without: &[Digest]) -> u64 {
        let mut parts = BTreeMap::new();
        let mut add = |part: String| {
            let size = self.0.get(&part).copied().unwrap_or(0);
            parts.insert(part, size);
        };
        for image in images
            .iter()
            .filter(|image| !without.contains(image.manifest_digest()))
        {
            add(image.manifest_digest().to_string());
            for layer in image.layers() {
                add(layer.blob.to_string());
                add(unpacked_part(&layer.diff_id));
            }
        }
        parts.values().sum()
    }
}

fn unpacked_part(diff_id: &Digest) -> String {
    format!("unpacked {diff_id}")
}
