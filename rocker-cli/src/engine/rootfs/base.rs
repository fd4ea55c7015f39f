//! What a container's root file system is made of: an image, or a directory of the host.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;
use rocker_fs::{Overlay, XattrNamespace, detached_directory};
use rocker_image::Image;

use crate::engine::container::record::Record;
use crate::engine::options::{RootDirectory, RunOptions};
use crate::engine::{Engine, disk, rootless};
use crate::{Error, Result};

/// What lies beneath all that a container writes.
#[derive(Debug)]
pub(crate) enum Base {
    Image(Box<Image>),
    /// What an image says of how it is run, nobody says of a directory.
    Directory(RootDirectory, Box<ImageConfiguration>),
}

impl Base {
    /// What it says of how it is run.
    pub(crate) fn config(&self) -> &ImageConfiguration {
        match self {
            Self::Image(image) => image.config(),
            Self::Directory(_, nothing) => nothing,
        }
    }

    pub(crate) fn image(&self) -> Option<&Image> {
        match self {
            Self::Image(image) => Some(image),
            Self::Directory(..) => None,
        }
    }

    fn directory(root: &RootDirectory) -> Self {
        Self::Directory(root.clone(), Box::default())
    }
}

impl Engine {
    /// What a new container is to be made of.
    pub(crate) fn base(&self, options: &RunOptions<'_>) -> Result<Base> {
        match &options.root_directory {
            None => Ok(Base::Image(Box::new(self.image(options)?))),
            Some(root) if !root.overlay && options.storage.driver.is_some() => {
                Err(Error::bad_value(
                    "--storage-opt",
                    "driver".to_owned(),
                    "none beside --rootfs DIR, whose changes go to DIR itself; with DIR:O they are kept apart",
                ))
            }
            Some(root) => {
                let why =
                    "so that a directory that is not there is told before there is a container";
                match disk::open(&root.path, why).and_then(|dir| dir.metadata()) {
                    Ok(found) if found.is_dir() => Ok(Base::directory(root)),
                    Ok(_) => Err(Error::NoRoot {
                        path: root.path.clone(),
                        source: std::io::ErrorKind::NotADirectory.into(),
                    }),
                    Err(source) => Err(Error::NoRoot {
                        path: root.path.clone(),
                        source,
                    }),
                }
            }
        }
    }

    /// What a container was made of.
    pub(crate) fn base_of(&self, record: &Record) -> Result<Base> {
        if let Some(root) = &record.options.root_directory {
            return Ok(Base::directory(root));
        }
        let damaged = || Error::NoImage {
            name: record.options.image.clone(),
        };
        let digest = record.manifest.parse()?;
        let image = self.store()?.by_manifest(&digest)?;
        image
            .map(|image| Base::Image(Box::new(image)))
            .ok_or_else(damaged)
    }

    /// The directories that lie beneath, the bottom one first.
    pub(crate) fn beneath(&self, base: &Base) -> Result<Vec<PathBuf>> {
        match base {
            Base::Image(image) => self.lower_dirs(image),
            Base::Directory(root, _) => Ok(vec![root.path.clone()]),
        }
    }

    /// The base as it is, which nobody can change: to look at what is in it.
    pub(crate) fn view_of(&self, base: &Base) -> Result<OwnedFd> {
        if let Base::Directory(root, _) = base {
            return Ok(detached_directory(&root.path, None)?);
        }
        Ok(self.overlay_of(base, None)?.mount()?.into())
    }

    /// An overlay of the base that nobody can change, with a directory over it.
    pub(crate) fn overlay_of(&self, base: &Base, above: Option<PathBuf>) -> Result<Overlay> {
        let layers = self.beneath(base)?.into_iter().chain(above);
        Ok(Overlay::new(layers).xattr_namespace(marks()?))
    }
}

/// Where overlays of this process have their marks.
pub(crate) fn marks() -> Result<XattrNamespace> {
    Ok(match rootless::in_user_namespace()? {
        true => XattrNamespace::User,
        false => XattrNamespace::Trusted,
    })
}
