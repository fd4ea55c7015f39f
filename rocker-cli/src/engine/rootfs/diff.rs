//! What a container has changed of its image.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rocker_fs::{Change, IdRange, PackOptions, changes};
use rocker_ns::IdMap;

use super::base::{Base, marks};
use super::storage::Storage;
use crate::engine::container::record::Record;
use crate::engine::options::StorageDriver;
use crate::engine::spec::parts;
use crate::engine::{Engine, disk, rootless};
use crate::{Error, Result};

/// What a container has changed, and what lies below that. The container may run meanwhile.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) record: Record,
    pub(crate) base: Base,
    pub(crate) tree: OwnedFd,
    /// Whether the tree is all that the container has, and not its own layer alone: where no overlay has it, or one in memory.
    whole: bool,
    /// The base, as one tree.
    lower: OwnedFd,
    /// Where things were mounted in it, for which rocker has made files.
    mount_points: Vec<PathBuf>,
    /// What the owners of the tree's files are for the container, where those are other ones.
    ids: [Vec<IdRange>; 2],
    data: PathBuf,
}

impl Engine {
    /// What a container has changed of its image's files, sorted by path, as `docker diff` shows it. It may run or not.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; [`Error::InMemory`], [`Error::NothingBelow`] where it cannot be told; [`Error::Fs`].
    pub fn diff(&self, name: &str) -> Result<Vec<Change>> {
        let changed = self.changed(name)?;
        let mut all = Vec::new();
        let (tree, lower) = (changed.tree.as_fd(), changed.lower.as_fd());
        changes(tree, lower, &changed.as_layer()?, |change| {
            all.push(change);
            Ok::<_, Error>(())
        })?;
        changed.check()?;
        Ok(all)
    }

    /// What a container has changed, to be read.
    pub(crate) fn changed(&self, name: &str) -> Result<Changed> {
        let found = self.container(name)?;
        let no_container = || Error::NoContainer {
            name: name.to_owned(),
        };
        let record = self.record(&found.id)?.ok_or_else(no_container)?;
        let base = self.base_of(&record)?;
        if let Base::Directory(root, _) = &base
            && !root.overlay
        {
            let (name, path) = (record.name, root.path.clone());
            return Err(Error::NothingBelow { name, path });
        }
        let data = self.roots().containers().join(&found.id);
        let spec = self.spec_of(&found.id)?;
        let storage = Storage::of(&data, &record.options)?;
        let mut ids = Default::default();
        let (tree, lower) = match storage.written(&data) {
            Some(dir) => {
                let lower = self.view_of(&base)?;
                let why = "so that what the container has changed can be read, wherever its directory goes";
                let tree = match disk::open(&dir, why) {
                    // Copied when it is first started; until then there are no changes.
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound
                            && storage.driver == StorageDriver::Vfs =>
                    {
                        lower.try_clone().map_err(disk::failed("open", &dir))?
                    }
                    tree => tree.map_err(disk::failed("open", &dir))?.into(),
                };
                (tree, lower)
            }
            None => {
                let in_memory = || Error::InMemory {
                    name: record.name.clone(),
                };
                let tree = self.running_root(&found.id)?.ok_or_else(in_memory)?;
                let [uids, gids] = spec.as_ref().map(parts::id_maps).unwrap_or_default();
                let mut lower = self.overlay_of(&base, None)?;
                if !uids.is_empty() && !rootless::in_user_namespace()? {
                    // The image's files belong to the same as the container's then.
                    ids = [&uids, &gids].map(|maps| maps.iter().map(range).collect());
                    lower = lower.id_map(rocker_ns::id_map_namespace(uids, gids)?);
                }
                (tree.into(), lower.mount()?.into())
            }
        };
        let mut mount_points = spec.as_ref().map(mount_points).unwrap_or_default();
        let volumes = record.options.volumes.iter();
        mount_points.extend(volumes.map(|volume| volume.destination.clone()));
        Ok(Changed {
            record,
            base,
            tree,
            whole: storage.driver != StorageDriver::Overlay,
            lower,
            mount_points,
            ids,
            data,
        })
    }
}

impl Changed {
    /// How it becomes a layer.
    pub(crate) fn as_layer(&self) -> Result<PackOptions<'_>> {
        let points = self.mount_points.iter();
        let [uids, gids] = self.ids.clone();
        let layer = PackOptions::layer(marks()?)
            .mount_points(self.lower.as_fd(), points)
            .id_maps(uids, gids);
        Ok(match self.whole {
            true => layer.whole(self.lower.as_fd()),
            false => layer,
        })
    }

    /// Whether it has been all that there was: who removes a container first gives its directory another name.
    pub(crate) fn check(&self) -> Result<()> {
        let why = "so that half of a layer which somebody was removing is not taken for all of it";
        match disk::exists(&self.data, why) {
            true => Ok(()),
            false => Err(Error::NoContainer {
                name: self.record.name.clone(),
            }),
        }
    }
}

/// A run of a container's IDs, as rocker-fs has it.
pub(crate) fn range(map: &IdMap) -> IdRange {
    IdRange {
        inside: map.inside,
        outside: map.outside,
        count: map.count,
    }
}

/// Where something is mounted over a container's root file system.
fn mount_points(spec: &Spec) -> Vec<PathBuf> {
    let mounts = spec.mounts().iter().flatten();
    mounts
        .map(|mount| Path::new("/").join(mount.destination()))
        .collect()
}
