//! Containers and images whose files can be looked at on the host.
//!
//! Each is mounted in the run directory at a place that is named after its id, so that there is nothing to be written down: what is
//! mounted is in the mount table, and a reboot empties both. Of a container's own layer there is one overlay at most: whoever needs a
//! second mount takes a copy of the first one.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rocker_fs::{AttachedOverlay, Error as FsError, OverlayMount};
use rocker_ns::Namespace;

use super::base::Base;
use super::storage::Storage;
use crate::engine::container::Container;
use crate::engine::container::record::State;
use crate::engine::host::HostMount;
use crate::engine::options::StorageDriver;
use crate::engine::spec::parts;
use crate::engine::spec::surroundings::Maps;
use crate::engine::{Engine, disk, rootless};
use crate::{Error, Result};

/// The kernel's number for something that is in use; the same on every Linux that rocker runs on.
const EBUSY: i32 = 16;
/// The same for a place where nothing is mounted.
const EINVAL: i32 = 22;

/// A container or an image that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mounted {
    /// The ID of the container, or the digits of the image's.
    pub id: String,
    /// Where.
    pub path: PathBuf,
}

impl Engine {
    /// Mounts a container or, if there is none of that name, an image, and returns where. A container can be written to, also
    /// while it runs; an image cannot. What is mounted already stays as it is. What lies over the container's root, such as its volumes, is
    /// not part of it.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::MountsUnseen`] for an ordinary user, [`Error::Fs`].
    pub fn mount(&self, name: &str) -> Result<Mounted> {
        if rootless::in_user_namespace()? {
            return Err(Error::MountsUnseen);
        }
        let (id, is_container) = self.mountable(name)?;
        // There is one overlay of it at most, also one that somebody copies files by.
        let idle = match is_container && !self.is_mounted(&id)? {
            true => Container::for_its_files(self, &id, name)?,
            false => None,
        };
        if let Some(idle) = &idle {
            self.copy_ahead(idle, &self.base_of(&idle.record)?)?;
        }
        // Nobody else mounts, starts or removes anything meanwhile.
        let _making = self.making()?;
        let path = self.roots().mounts().join(&id);
        if self.is_mounted(&id)? {
            return Ok(Mounted { id, path });
        }
        disk::make_dir(
            &self.roots().mounts(),
            "so that there is a place for mounts, open to nobody else",
        )?;
        disk::make_dir(&path, "so that there is something to mount on")?;
        let mounted = match is_container {
            true => self.container_mount(&id, idle.as_ref()),
            false => self.image_mount(&id),
        };
        match mounted.and_then(|mount| Ok(mount.attach(&path)?)) {
            Ok(attached) => {
                attached.detach();
                Ok(Mounted { id, path })
            }
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// What is mounted, sorted.
    ///
    /// # Errors
    /// [`Error::State`] when the kernel's list cannot be read.
    pub fn mounts(&self) -> Result<Vec<Mounted>> {
        let table = Path::new("/proc/self/mountinfo");
        let why = "so that it is known what is mounted";
        let text = disk::read(table, why).map_err(disk::failed("read", table))?;
        // The kernel knows no symbolic links.
        let place = self.roots().mounts();
        let Ok(place) = fs::canonicalize(&place) else {
            return Ok(Vec::new());
        };
        let all = HostMount::all(&String::from_utf8_lossy(&text));
        let mut mounts: Vec<_> = all
            .into_iter()
            .filter(|mount| mount.point.parent() == Some(&place))
            .filter_map(|mount| {
                let id = mount.point.file_name()?.to_str()?.to_owned();
                let path = self.roots().mounts().join(&id);
                Some(Mounted { id, path })
            })
            .collect();
        mounts.sort();
        mounts.dedup();
        Ok(mounts)
    }

    /// Takes a container or an image out of the mount table; with `force` also if somebody is in there: it is gone when he is.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NotMounted`], [`Error::InUse`].
    pub fn unmount(&self, name: &str, force: bool) -> Result<String> {
        // Also one of which nothing else is known any more.
        let id = match self.is_mounted(name)? {
            true => name.to_owned(),
            false => self.mountable(name)?.0,
        };
        if !self.is_mounted(&id)? {
            return Err(Error::NotMounted {
                name: name.to_owned(),
            });
        }
        match force {
            true => self.unmount_at_last(&id),
            false => self.unmount_unused(&id, name)?,
        }
        Ok(id)
    }

    /// Unmounts what may be mounted, unless somebody is in there.
    pub(crate) fn unmount_unused(&self, id: &str, name: &str) -> Result<()> {
        let path = self.roots().mounts().join(id);
        if !self.is_mounted(id)? {
            return Ok(());
        }
        match AttachedOverlay::open(&path).unmount() {
            Ok(()) => {}
            Err((attached, error)) => {
                attached.detach();
                let errno = match &error {
                    FsError::Mount { source, .. } => source.raw_os_error(),
                    _ => None,
                };
                match errno {
                    Some(EBUSY) => {
                        let name = name.to_owned();
                        return Err(Error::InUse { name, path });
                    }
                    Some(EINVAL) => {}
                    _ => return Err(error.into()),
                }
            }
        }
        let _ = fs::remove_dir(&path);
        Ok(())
    }

    /// Unmounts what may be mounted, whoever is in there: for him it stays until he leaves.
    pub(crate) fn unmount_at_last(&self, id: &str) {
        let path = self.roots().mounts().join(id);
        let why = "so that nothing is unmounted that was never mounted";
        if !disk::exists(&path, why) {
            return;
        }
        // Several times, if somebody mounted it by hand.
        while matches!(self.is_mounted(id), Ok(true)) {
            drop(AttachedOverlay::open(&path));
        }
        let _ = fs::remove_dir(&path);
    }

    /// A second mount of the overlay that a container is mounted by on the host; none where it is not.
    pub(crate) fn mounted_root(&self, id: &str) -> Result<Option<OverlayMount>> {
        let path = self.roots().mounts().join(id);
        let why = "so that a container which is mounted on the host has the same overlay";
        if !disk::exists(&path, why) || !self.is_mounted(id)? {
            return Ok(None);
        }
        let attached = AttachedOverlay::open(&path);
        let copy = attached.copy();
        attached.detach();
        Ok(Some(copy?))
    }

    /// Unmounts a container that is mounted on the host and about to be started, if its files would have other owners there than the
    /// users `maps` that it is to have: what is mounted has those of its last run.
    ///
    /// # Errors
    /// [`Error::InUse`] when somebody is in there; [`Error::MountedInMemory`] where what is mounted is all that there is.
    pub(crate) fn unmount_of_others(
        &self,
        container: &Container,
        maps: Option<&Maps>,
    ) -> Result<()> {
        let id = container.id();
        let path = self.roots().mounts().join(id);
        let why = "so that a container which is mounted on the host has the same overlay";
        if !disk::exists(&path, why) || self.last_users(id)?.as_ref() == maps {
            return Ok(());
        }
        let driver = Storage::of(container.data(), container.options())?.driver;
        let name = container.record.name.clone();
        if driver == StorageDriver::Tmpfs && self.is_mounted(id)? {
            return Err(Error::MountedInMemory { name });
        }
        self.unmount_unused(id, &name)
    }

    /// Who a container's users were in its last run; none where they were the host's, or it never ran.
    fn last_users(&self, id: &str) -> Result<Option<Maps>> {
        let spec = self.spec_of(id)?;
        let [uids, gids] = spec.as_ref().map(parts::id_maps).unwrap_or_default();
        // An ordinary user's are in the same user namespace as this process.
        Ok(Some(Maps { uids, gids }).filter(|maps| !maps.uids.is_empty()))
    }

    fn is_mounted(&self, id: &str) -> Result<bool> {
        Ok(self.mounts()?.iter().any(|mounted| mounted.id == id))
    }

    /// The id of a container of that name, or else of an image, and whether it is one of a container.
    fn mountable(&self, name: &str) -> Result<(String, bool)> {
        match self.container(name) {
            Ok(found) => Ok((found.id, true)),
            Err(Error::NoContainer { .. }) => match self.find_image(name) {
                Ok(image) => Ok((image.config_digest().hex().to_owned(), false)),
                Err(Error::NoImage { name }) => Err(Error::Unknown { name }),
                Err(other) => Err(other),
            },
            Err(other) => Err(other),
        }
    }

    /// A mount of a container's root file system: of the overlay that it has, if it runs and is not `idle`.
    fn container_mount(&self, id: &str, idle: Option<&Container>) -> Result<OverlayMount> {
        if let Some(idle) = idle {
            return self.idle_root(idle);
        }
        let root = self.running_root(id)?;
        // It has just ended, or been begun to be started.
        root.ok_or_else(|| Error::ComingUp {
            name: id.get(..12).unwrap_or(id).to_owned(),
        })
    }

    /// A copy of the root file system that a container has, without what is mounted over it; none where it does not run.
    pub(crate) fn running_root(&self, id: &str) -> Result<Option<OverlayMount>> {
        if let Ok(Some(State::Running(_))) = self.state(id)
            && let Ok(process) = self.process_of(id)
        {
            let namespace = Namespace::Mount.of(process.id())?;
            if process.is_alive() {
                return Ok(Some(AttachedOverlay::copy_of_root(namespace.as_fd())?));
            }
        }
        Ok(None)
    }

    /// The root file system of a container that does not run, as it is when it does.
    ///
    /// # Errors
    /// [`Error::InMemory`] for one that has what it changes in memory, [`Error::Fs`].
    pub(crate) fn idle_root(&self, container: &Container) -> Result<OverlayMount> {
        let maps = self.last_users(container.id())?;
        let driver = Storage::of(container.data(), container.options())?.driver;
        let is_mounted = || self.is_mounted(container.id());
        if driver == StorageDriver::Tmpfs && !is_mounted()? {
            return Err(Error::InMemory {
                name: container.record.name.clone(),
            });
        }
        let base = self.base_of(&container.record)?;
        Ok(self.mount_root(container, &base, maps.as_ref())?.0)
    }

    fn image_mount(&self, id: &str) -> Result<OverlayMount> {
        let image = Base::Image(Box::new(self.find_image(id)?));
        Ok(self.overlay_of(&image, None)?.mount()?)
    }
}
