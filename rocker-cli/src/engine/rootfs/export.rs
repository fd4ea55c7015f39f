//! All files of a container in one archive.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rocker_fs::{PackOptions, detached_directory, pack};

use super::base::Base;
use super::diff::range;
use super::storage::Storage;
use crate::engine::container::record::Record;
use crate::engine::options::StorageDriver;
use crate::engine::spec::parts;
use crate::engine::{Engine, disk};
use crate::{Error, Result};

impl Engine {
    /// Writes all files of a container's root file system as one tar archive, as the container sees them without what is mounted over
    /// them. It may run or not.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; [`Error::InMemory`] for one whose files are gone; [`Error::Fs`].
    pub fn export(&self, name: &str, out: impl Write) -> Result<()> {
        let found = self.container(name)?;
        let no_container = || Error::NoContainer {
            name: name.to_owned(),
        };
        let record = self.record(&found.id)?.ok_or_else(no_container)?;
        let (root, packing) = self.whole_root(&record)?;
        pack(root.as_fd(), out, &packing)?;
        let data = self.roots().containers().join(&found.id);
        let why = "so that half of what somebody was removing is not taken for all of it";
        match disk::exists(&data, why) {
            true => Ok(()),
            false => Err(no_container()),
        }
    }

    /// The root file system of a container, which may run, to be read; and how.
    fn whole_root(&self, record: &Record) -> Result<(OwnedFd, PackOptions<'static>)> {
        let packing = PackOptions::files();
        let base = self.base_of(record)?;
        if let Base::Directory(root, _) = &base
            && !root.overlay
        {
            return Ok((detached_directory(&root.path, None)?, packing));
        }
        let data = self.roots().containers().join(&record.id);
        let storage = Storage::of(&data, &record.options)?;
        match (storage.written(&data), storage.driver) {
            (Some(upper), StorageDriver::Overlay) => {
                // Its own layer as one of the image's: of two overlays with one upper directory the kernel would have its doubts.
                let root = self.overlay_of(&base, Some(upper))?.mount()?;
                Ok((root.into(), packing))
            }
            (Some(copy), _) => {
                let why = "so that one knows whether the container was ever started: until then there is no copy";
                let root = match disk::exists(&copy, why) {
                    true => detached_directory(&copy, None)?,
                    false => self.view_of(&base)?,
                };
                Ok((root, packing))
            }
            (None, _) => {
                let in_memory = || Error::InMemory {
                    name: record.name.clone(),
                };
                let root = self.running_root(&record.id)?.ok_or_else(in_memory)?;
                let spec = self.spec_of(&record.id)?;
                let ids = spec.as_ref().map(parts::id_maps).unwrap_or_default();
                let [uids, gids] = ids.map(|maps| maps.iter().map(range).collect());
                Ok((root.into(), packing.id_maps(uids, gids)))
            }
        }
    }
}
