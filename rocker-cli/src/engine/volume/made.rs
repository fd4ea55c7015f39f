//! The volumes of a container that is being made: which they are, and what is in them at first.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rocker_fs::{Access, Volumes, open_beneath, resolve_beneath};

use super::record::VolumeRecord;
use crate::engine::Engine;
use crate::engine::container::{Container, name};
use crate::engine::image::the_one;
use crate::engine::options::{RunOptions, Volume, VolumeSource};
use crate::engine::rootfs::base::Base;
use crate::{Error, Result};

/// Where no image gets a volume: they are the kernel's, or rocker's, and what is protected there would not be.
const OURS: [&str; 3] = ["proc", "sys", "dev"];

impl Engine {
    /// All volumes of a new container: those that are asked for, those of the containers whose volumes it is to have, and those that the image wants; each with its name.
    pub(crate) fn settled_volumes(
        &self,
        options: &RunOptions<'_>,
        base: &Base,
    ) -> Result<Vec<Volume>> {
        let tmpfs: Vec<_> = options
            .tmpfs
            .iter()
            .map(|one| cleaned(&one.destination))
            .collect();
        let mut all: Vec<Volume> = Vec::new();
        for volume in &options.volumes {
            let mut volume = volume.clone();
            volume.destination = cleaned(&volume.destination);
            let is_same = |other: &Path| other == volume.destination;
            if all.iter().any(|other| is_same(&other.destination))
                || tmpfs.iter().any(|one| is_same(one))
            {
                return Err(Error::DuplicateMountPoint {
                    path: volume.destination,
                });
            }
            if let VolumeSource::Image { name, manifest } = &mut volume.source {
                *manifest = the_one(self.store()?, name)?.manifest_digest().to_string();
            }
            all.push(volume);
        }
        let is_taken = |all: &[Volume], place: &Path| {
            all.iter().any(|other| other.destination == place)
                || tmpfs.iter().any(|one| one == place)
        };
        for from in &options.volumes_from {
            let found = self.lookup(&from.container)?;
            let record = self.record(&found.id)?.ok_or_else(|| Error::NoContainer {
                name: from.container.clone(),
            })?;
            for mut volume in record.options.volumes {
                if !is_taken(&all, &volume.destination) {
                    volume.read_only |= from.read_only;
                    volume.no_copy = true;
                    all.push(volume);
                }
            }
        }
        let places = all.iter().map(|volume| volume.destination.clone());
        let taken: Vec<_> = places.chain(tmpfs.iter().cloned()).collect();
        for place in self.places_of_image(base, &taken)? {
            all.push(Volume::new(VolumeSource::Anonymous(String::new()), place));
        }
        for volume in &mut all {
            if let VolumeSource::Anonymous(name) = &mut volume.source
                && name.is_empty()
            {
                *name = name::new_id()?;
            }
        }
        Ok(all)
    }

    /// Where an image wants volumes: inside of its own tree, wherever its symbolic links point, nowhere that is not the image's, and not where the caller has something.
    fn places_of_image(&self, base: &Base, taken: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let config = base.config().config().as_ref();
        let wanted = config.and_then(|config| config.volumes().clone());
        let wanted: Vec<_> = wanted.unwrap_or_default();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.view_of(base)?;
        let taken = taken
            .iter()
            .map(|place| resolve_beneath(view.as_fd(), place));
        let taken = taken.collect::<rocker_fs::Result<Vec<_>>>()?;
        let mut places: Vec<PathBuf> = Vec::new();
        for wanted in &wanted {
            let place = resolve_beneath(view.as_fd(), cleaned(Path::new(wanted)))?;
            let mut names = place.iter().skip(1);
            match names.next() {
                Some(first) if OURS.iter().any(|own| first == *own) => {
                    tracing::warn!(
                        "the image wants a volume at {wanted:?}, where none can be: it gets none"
                    );
                }
                Some(_) if !places.contains(&place) && !taken.contains(&place) => {
                    places.push(place)
                }
                _ => {}
            }
        }
        places.sort();
        Ok(places)
    }

    /// Makes the volumes of a container that are not there yet, and fills those that are empty with what the image has in their places.
    ///
    /// To be called when the container's record is written: from then on nobody removes them.
    pub(crate) fn furnish_volumes(&self, container: &Container, base: &Base) -> Result<()> {
        let volumes = &container.options().volumes;
        if volumes.iter().all(|volume| volume.name().is_none()) {
            return Ok(());
        }
        let store = self.volume_store()?;
        let mut view: Option<OwnedFd> = None;
        for volume in volumes {
            let Some(name) = volume.name() else { continue };
            let anonymous = matches!(volume.source, VolumeSource::Anonymous(_));
            let record = VolumeRecord::new(name, &volume.labels, &volume.options, anonymous)?;
            self.make_volume(&store, &record)?;
            let record = self.volume_record(&store, name)?;
            let is_own = record.is_some_and(|record| record.device().is_none());
            if volume.no_copy || volume.subpath.is_some() || !is_own {
                continue;
            }
            let view = match &view {
                Some(view) => view,
                None => view.insert(self.view_of(base)?),
            };
            fill(&store, name, view.as_fd(), &volume.destination)?;
        }
        Ok(())
    }

    /// Checks that the images whose files a container has are still there, now that its record keeps others from removing them.
    pub(crate) fn check_image_volumes(&self, container: &Container) -> Result<()> {
        for volume in &container.options().volumes {
            let VolumeSource::Image { name, manifest } = &volume.source else {
                continue;
            };
            let found = self.store()?.by_manifest(&manifest.parse()?)?;
            if !found.is_some_and(|image| self.is_unpacked(&image).unwrap_or(false)) {
                return Err(Error::NotPulled { name: name.clone() });
            }
        }
        Ok(())
    }
}

/// Fills a volume with what is at its place in the image, if there is a directory.
fn fill(store: &Volumes, name: &str, view: BorrowedFd<'_>, place: &Path) -> Result<()> {
    let from = match open_beneath(view, place, Access::Directory) {
        Ok(from) => from,
        Err(rocker_fs::Error::Resolve { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    store.fill(name, from.as_fd())?;
    Ok(())
}

/// A path without `.` and `..`, as it is meant from the root on.
pub(crate) fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_meant_from_the_root_on() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a/../../etc", "/etc"),
            ("/../../etc/", "/etc"),
            ("a/./b//c", "/a/b/c"),
            ("..", "/"),
        ] {
            assert_eq!(cleaned(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
