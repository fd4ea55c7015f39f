//! A container's root file system: an overlay, or what there is in its place where no overlay can be.
//!
//! Which of them it is, is decided when the container is first started, and written down: what it has changed lies in
//! `upper/` or in `root/`, and a later start must find it there, be the machine as it may by then. Nothing is written down of an overlay.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocker_fs::{Overlay, OverlayMount, XattrNamespace};
use serde::{Deserialize, Serialize};

use super::base::{Base, marks};
use crate::engine::container::{Container, record};
use crate::engine::options::{RunOptions, StorageDriver};
use crate::engine::spec::surroundings::Maps;
use crate::engine::{Engine, disk, rootless};
use crate::{Error, Result};

/// The file of a container's directory that says in what other way than by an overlay its files are kept.
const STORAGE: &str = "storage.json";
/// The directory in it that a copy of the layers is in.
pub(crate) const ROOT: &str = "root";
/// The same while it is not complete.
const UNFINISHED: &str = ".root";

/// How a container's files are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Storage {
    pub(crate) driver: StorageDriver,
    /// Why it is no overlay, where nobody has asked for that.
    pub(crate) why: Option<String>,
}

impl Storage {
    /// That of a container, whose directory is `data`.
    pub(crate) fn of(data: &Path, options: &RunOptions<'_>) -> Result<Self> {
        let as_asked = |driver| Self { driver, why: None };
        if let Some(driver) = options.storage.driver {
            return Ok(as_asked(driver));
        }
        let known = record::read(&data.join(STORAGE))?;
        Ok(known.unwrap_or_else(|| as_asked(StorageDriver::Overlay)))
    }

    /// What Docker's `inspect` calls the driver's data, for a container whose directory is `data`.
    pub(crate) fn data(&self, data: &Path, layers: &[PathBuf]) -> Vec<(&'static str, String)> {
        let path = |name: &str| data.join(name).display().to_string();
        let lower = || {
            let lower = layers.iter().rev().map(|dir| dir.display().to_string());
            lower.collect::<Vec<_>>().join(":")
        };
        match self.driver {
            StorageDriver::Overlay => vec![
                ("LowerDir", lower()),
                ("UpperDir", path("upper")),
                ("WorkDir", path("work")),
            ],
            StorageDriver::Tmpfs => vec![("LowerDir", lower())],
            StorageDriver::Vfs => vec![("RootDir", path(ROOT))],
        }
    }

    /// The directory that holds what the container has written, for a container whose directory is `data`; none where it is in
    /// memory. With a copy of the layers that directory holds these, too.
    pub(crate) fn written(&self, data: &Path) -> Option<PathBuf> {
        match self.driver {
            StorageDriver::Overlay => Some(data.join("upper")),
            StorageDriver::Tmpfs => None,
            StorageDriver::Vfs => Some(data.join(ROOT)),
        }
    }
}

impl Engine {
    /// The base with what the container changes of it: mounted, but nowhere to be seen. Closing it undoes it. And whether it is a copy
    /// of the container's own.
    pub(crate) fn mount_root(
        &self,
        container: &Container,
        base: &Base,
        maps: Option<&Maps>,
    ) -> Result<(OverlayMount, bool)> {
        if let Some(root) = self.mounted_root(container.id())? {
            let storage = Storage::of(container.data(), container.options())?;
            return Ok((root, storage.driver == StorageDriver::Vfs));
        }
        let in_user_namespace = rootless::in_user_namespace()?;
        let userns = match maps {
            Some(maps) if !in_user_namespace => {
                let maps = maps.clone();
                Some(Arc::new(rocker_ns::id_map_namespace(maps.uids, maps.gids)?))
            }
            _ => None,
        };
        if let Base::Directory(root, _) = base
            && !root.overlay
        {
            let users = userns.as_ref().map(|userns| userns.as_fd());
            return Ok((OverlayMount::of_directory(&root.path, users)?, false));
        }
        let place = Place {
            container,
            layers: self.beneath(base)?,
            xattrs: marks()?,
            userns,
        };
        let options = container.options();
        let storage = Storage::of(container.data(), options)?;
        let mount = match place.mount(storage.driver) {
            Err(Error::Fs(error)) if options.storage.driver.is_none() && error.is_unfit() => {
                let why = error.to_string();
                tracing::warn!(
                    "the image is copied for this container, as no overlay can be had: {why}"
                );
                place.copy()?;
                let driver = StorageDriver::Vfs;
                let why = Some(why);
                record::write(&container.data().join(STORAGE), &Storage { driver, why })?;
                return Ok((place.mount(driver)?, true));
            }
            mounted => mounted?,
        };
        Ok((mount, storage.driver == StorageDriver::Vfs))
    }

    /// Copies the layers where [`Engine::mount_root`] would, which then finds them: for those who mount under a lock that others wait for.
    pub(crate) fn copy_ahead(&self, container: &Container, base: &Base) -> Result<()> {
        if let Base::Directory(root, _) = base
            && !root.overlay
        {
            return Ok(());
        }
        let place = Place {
            container,
            layers: self.beneath(base)?,
            xattrs: marks()?,
            userns: None,
        };
        let options = container.options();
        let is_copied = match Storage::of(container.data(), options)?.driver {
            StorageDriver::Vfs => true,
            StorageDriver::Overlay if options.storage.driver.is_none() => {
                let overlay = Overlay::new(&place.layers).xattr_namespace(place.xattrs);
                let overlay = overlay.upper(container.upper(), container.work());
                let verdict = overlay.probe()?.verdict();
                verdict.is_err_and(|error| error.is_unfit())
            }
            StorageDriver::Overlay | StorageDriver::Tmpfs => false,
        };
        match is_copied {
            true => place.copy(),
            false => Ok(()),
        }
    }

    /// By what the files of a container are kept that asks for nothing else, and why not by an overlay. Nothing is mounted.
    ///
    /// # Errors
    /// [`Error::Fs`] where the file system does not answer.
    pub fn storage_driver(&self) -> Result<(StorageDriver, Option<String>)> {
        let data = self.roots().data();
        let is_there = |dir: &&Path| dir.is_dir();
        let dir = data.ancestors().find(is_there).unwrap_or(Path::new("/"));
        let mut overlay = Overlay::new([dir]).upper(dir, dir);
        if rootless::in_user_namespace()? {
            overlay = overlay.xattr_namespace(XattrNamespace::User);
        }
        Ok(match overlay.probe()?.verdict() {
            Err(error) if error.is_unfit() => (StorageDriver::Vfs, Some(error.to_string())),
            _ => (StorageDriver::Overlay, None),
        })
    }
}

/// What a root file system is made of.
struct Place<'a> {
    container: &'a Container,
    layers: Vec<PathBuf>,
    xattrs: XattrNamespace,
    userns: Option<Arc<OwnedFd>>,
}

impl Place<'_> {
    fn mount(&self, driver: StorageDriver) -> Result<OverlayMount> {
        let overlay = || {
            let overlay = Overlay::new(&self.layers).xattr_namespace(self.xattrs);
            match &self.userns {
                Some(userns) => overlay.id_map(Arc::clone(userns)),
                None => overlay,
            }
        };
        let container = self.container;
        Ok(match driver {
            StorageDriver::Overlay => overlay()
                .upper(container.upper(), container.work())
                .mount()?,
            StorageDriver::Tmpfs => overlay()
                .upper_in_memory(container.options().storage.size_bytes)
                .mount()?,
            StorageDriver::Vfs => {
                self.copy()?;
                let userns = self.userns.as_ref().map(|userns| userns.as_fd());
                OverlayMount::of_directory(container.data().join(ROOT), userns)?
            }
        })
    }

    /// Copies the layers, unless that was done: the copy has its name only when it is complete.
    fn copy(&self) -> Result<()> {
        let data = self.container.data();
        let (root, unfinished) = (data.join(ROOT), data.join(UNFINISHED));
        let why = "so that what the container has changed of its copy is found again";
        if disk::exists(&root, why) {
            return Ok(());
        }
        let why = "so that nothing is left of a copy that somebody was making when he died";
        disk::remove_dir(&unfinished, why)?;
        let copied = self.copy_to(&unfinished);
        if copied.is_err() {
            let why = "so that half a copy takes no room on a disk that is full";
            let _ = disk::remove_dir(&unfinished, why);
        }
        copied?;
        let why = "so that a copy that has its name is complete";
        disk::rename(&unfinished, &root, why).map_err(disk::failed("rename", &unfinished))
    }

    fn copy_to(&self, to: &Path) -> Result<()> {
        let why = "so that the layers can be copied, where no overlay can show them";
        disk::make_dir(to, why)?;
        let dir = disk::open(to, why).map_err(disk::failed("open", to))?;
        rocker_fs::merge(&self.layers, dir.as_fd(), self.xattrs)?;
        let why = "so that every user of the container can enter its root directory";
        disk::chmod(to, 0o755, why).map_err(disk::failed("change the mode of", to))?;
        let why = "so that all of the copy is on the disk before it counts as complete";
        disk::sync_file_system(&dir, why).map_err(disk::failed("write", to))
    }
}
