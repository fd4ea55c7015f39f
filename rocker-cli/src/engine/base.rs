//! What a container's root file system is made of: an image, or a directory of the host.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;
use rocker_fs::{Overlay, XattrNamespace, detached_directory};
use rocker_image::Image;

use super::container::Container;
use super::options::{RootDirectory, RunOptions};
use super::surroundings::Maps;
use super::{Engine, disk};
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
    pub(crate) fn base_of(&self, container: &Container) -> Result<Base> {
        let record = &container.record;
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

    /// The base under a layer of the container's own, or the directory itself: mounted, but nowhere to be seen. Closing it undoes it.
    pub(crate) fn mount_root(
        &self,
        container: &Container,
        base: &Base,
        maps: Option<&Maps>,
    ) -> Result<OwnedFd> {
        let rootless = rocker_ns::in_user_namespace()?;
        let users = match maps {
            Some(maps) if !rootless => {
                let maps = maps.clone();
                Some(rocker_ns::id_map_namespace(maps.uids, maps.gids)?)
            }
            _ => None,
        };
        if let Base::Directory(root, _) = base
            && !root.overlay
        {
            let users = users.as_ref().map(std::os::fd::AsFd::as_fd);
            return Ok(detached_directory(&root.path, users)?);
        }
        let mut overlay =
            Overlay::new(self.beneath(base)?).upper(container.upper(), container.work());
        if rootless {
            overlay = overlay.xattr_namespace(XattrNamespace::User);
        } else if let Some(users) = users {
            overlay = overlay.id_map(users);
        }
        Ok(overlay.mount()?.into())
    }

    /// The base as it is, which nobody can change: to look at what is in it.
    pub(crate) fn view_of(&self, base: &Base) -> Result<OwnedFd> {
        if let Base::Directory(root, _) = base {
            return Ok(detached_directory(&root.path, None)?);
        }
        let mut overlay = Overlay::new(self.beneath(base)?);
        if rocker_ns::in_user_namespace()? {
            overlay = overlay.xattr_namespace(XattrNamespace::User);
        }
        Ok(overlay.mount()?.into())
    }
}
