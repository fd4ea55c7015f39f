//! How much room things take, and what can be given up.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Result;
use crate::engine::container::ids;
use crate::engine::options::StorageDriver;
use crate::engine::rootfs::storage::Storage;
use crate::engine::{ContainerSummary, Engine, Status};

/// The room that one kind of things takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// The bytes that they take on disk.
    pub bytes: u64,
    /// The bytes that would be free without those that are not in use.
    pub reclaimable: u64,
}

impl Engine {
    /// The room that images take: their unpacked layers and what was pulled. What several images share counts once.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image), [`Error::State`](crate::Error::State) when they cannot be read.
    pub fn image_usage(&self) -> Result<Usage> {
        let used = self.used_manifests()?;
        let layers = self.layers()?;
        let images = self.images()?;
        let (mut usage, mut needed) = (Usage::default(), BTreeSet::new());
        for image in &images {
            usage.total += 1;
            if used.contains(&image.manifest_digest().to_string()) {
                usage.active += 1;
                needed.extend(image.diff_ids().map(ToString::to_string));
            }
        }
        let mut seen = BTreeSet::new();
        for image in &images {
            let is_used = used.contains(&image.manifest_digest().to_string());
            let blobs: u64 = image.size();
            usage.bytes += blobs;
            usage.reclaimable += if is_used { 0 } else { blobs };
            for diff_id in image.diff_ids().map(ToString::to_string) {
                if !seen.insert(diff_id.clone()) {
                    continue;
                }
                let bytes = bytes_of(&layers.path(&diff_id));
                usage.bytes += bytes;
                usage.reclaimable += if needed.contains(&diff_id) { 0 } else { bytes };
            }
        }
        Ok(usage)
    }

    /// The room that containers take: what they have written, and their logs.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) when they cannot be read.
    pub fn container_usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for container in self.containers()? {
            let bytes = bytes_of(&self.roots().containers().join(&container.id));
            usage.total += 1;
            usage.bytes += bytes;
            match container.status.is_up() {
                true => usage.active += 1,
                false => usage.reclaimable += bytes,
            }
        }
        Ok(usage)
    }

    /// How many bytes a container has written into its root file system, and how many there are in all with those of its image. Of
    /// one that has a copy of its image both are those of the copy; of what is in memory nothing is counted.
    #[must_use]
    pub fn size_of(&self, container: &ContainerSummary) -> (u64, u64) {
        let data = self.roots().containers().join(&container.id);
        let options = self.record(&container.id).ok().flatten();
        let storage = options.and_then(|record| Storage::of(&data, &record.options).ok());
        let dir = match &storage {
            Some(storage) => storage.written(&data),
            None => Some(data.join("upper")),
        };
        let own = dir.map_or(0, |dir| bytes_of(&dir));
        if storage.is_some_and(|storage| storage.driver == StorageDriver::Vfs) {
            return (own, own);
        }
        let of_image = || {
            let record = self.record(&container.id).ok()??;
            let image = self
                .store()
                .ok()?
                .by_manifest(&record.manifest.parse().ok()?)
                .ok()??;
            let layers = self.lower_dirs(&image).ok()?;
            Some(layers.iter().map(|layer| bytes_of(layer)).sum::<u64>())
        };
        (own, own + of_image().unwrap_or(0))
    }

    /// Removes the containers that do not run and that `wanted` is true of. Returns their IDs, and how many bytes that has freed.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State), [`Error::Teardown`](crate::Error::Teardown).
    pub fn prune_containers(
        &self,
        wanted: impl Fn(&ContainerSummary) -> bool,
    ) -> Result<(Vec<String>, u64)> {
        let (mut removed, mut freed) = (Vec::new(), 0);
        for container in self.containers()? {
            if !matches!(container.status, Status::Created | Status::Exited { .. })
                || !wanted(&container)
            {
                continue;
            }
            let bytes = bytes_of(&self.roots().containers().join(&container.id));
            match self.remove(&container.id, false) {
                Ok(id) => {
                    removed.push(id);
                    freed += bytes;
                }
                // Somebody has started or removed it meanwhile.
                Err(crate::Error::StillRunning { .. } | crate::Error::NoContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((removed, freed))
    }

    pub(crate) fn used_manifests(&self) -> Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for id in ids(&self.roots().containers())? {
            // One that cannot be read uses what nobody knows.
            let Some(record) = self.record(&id).ok().flatten() else {
                continue;
            };
            used.extend(record.manifests().map(str::to_owned));
        }
        Ok(used)
    }
}

/// The bytes that a directory and all in it take on disk; a file with several names counts once. What cannot be read, or is
/// gone meanwhile, counts as nothing.
pub(crate) fn bytes_of(dir: &Path) -> u64 {
    let (mut bytes, mut seen) = (0, BTreeSet::new());
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_dir() {
                dirs.push(entry.path());
            }
            if found.nlink() == 1 || seen.insert((found.dev(), found.ino())) {
                bytes += found.blocks() * 512;
            }
        }
    }
    bytes
}
