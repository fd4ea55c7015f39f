//! What a container has changed of its image.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rocker_fs::{Change, Overlay, PackOptions, XattrNamespace, changes};
use rocker_image::Image;

use super::record::Record;
use super::{Engine, container, disk};
use crate::{Error, Result};

/// A container's own layer, and the image below it. The container may run meanwhile.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) record: Record,
    pub(crate) image: Image,
    pub(crate) upper: File,
    /// The image, as one tree.
    lower: OwnedFd,
    /// Where things were mounted in it, for which rocker has made files.
    mount_points: Vec<PathBuf>,
    data: PathBuf,
}

impl Engine {
    /// What a container has changed of its image's files, sorted by path, as `docker diff` shows it. It may run or not.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Fs`].
    pub fn diff(&self, name: &str) -> Result<Vec<Change>> {
        let changed = self.changed(name)?;
        let mut all = Vec::new();
        let (upper, lower) = (changed.upper.as_fd(), changed.lower.as_fd());
        changes(upper, lower, &changed.as_layer(), |change| {
            all.push(change);
            Ok::<_, Error>(())
        })?;
        changed.check()?;
        Ok(all)
    }

    /// A container's own layer, to be read.
    pub(crate) fn changed(&self, name: &str) -> Result<Changed> {
        let found = self.container(name)?;
        let no_container = || Error::NoContainer {
            name: name.to_owned(),
        };
        let record = self.record(&found.id)?.ok_or_else(no_container)?;
        let image = self.image_of_record(&record)?;
        let data = self.roots().containers().join(&found.id);
        let upper = data.join(container::UPPER);
        let why = "so that what the container has changed can be read, wherever its directory goes";
        let upper = disk::open(&upper, why).map_err(disk::failed("open", &upper))?;
        let lower = self.overlay(&image, [])?.mount()?.into();
        let spec = self.spec_of(&found.id)?;
        Ok(Changed {
            record,
            image,
            upper,
            lower,
            mount_points: spec.as_ref().map(mount_points).unwrap_or_default(),
            data,
        })
    }

    /// An image as one tree that cannot be written to, with these directories over it.
    pub(crate) fn overlay(
        &self,
        image: &Image,
        above: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Overlay> {
        let layers = self.lower_dirs(image)?;
        Ok(Overlay::new(layers.into_iter().chain(above)).xattr_namespace(marks()))
    }

    /// The image that a container was made of.
    pub(crate) fn image_of_record(&self, record: &Record) -> Result<Image> {
        let damaged = || Error::NoImage {
            name: record.options.image.clone(),
        };
        let digest = record.manifest.parse()?;
        self.store()?.by_manifest(&digest)?.ok_or_else(damaged)
    }
}

impl Changed {
    /// How it becomes a layer.
    pub(crate) fn as_layer(&self) -> PackOptions<'_> {
        let points = self.mount_points.iter();
        PackOptions::layer(marks()).mount_points(self.lower.as_fd(), points)
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

/// Where overlays of this process have their marks.
pub(crate) fn marks() -> XattrNamespace {
    match rocker_ns::in_user_namespace() {
        Ok(true) => XattrNamespace::User,
        _ => XattrNamespace::Trusted,
    }
}

/// Where something is mounted over a container's root file system.
fn mount_points(spec: &Spec) -> Vec<PathBuf> {
    let mounts = spec.mounts().iter().flatten();
    mounts
        .map(|mount| Path::new("/").join(mount.destination()))
        .collect()
}
