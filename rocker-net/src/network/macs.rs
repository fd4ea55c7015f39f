//! MAC addresses that owners have asked for, in place of those that follow from their addresses.
//!
//! A lease is an empty file, whose name says all. So they are kept beside, in a directory that is there as long as there is one in it.

use std::collections::BTreeMap;
use std::io;

use super::Network;
use crate::{Error, Result, file};

/// Below a network's directory: a file for each owner with a MAC address of its own, with its six bytes.
const MACS: &str = "macs";

impl Network {
    /// Writes down the MAC address that `owner` has asked for; without one, that it has none of its own. Under the lock.
    pub(super) fn note_mac(&self, owner: &str, mac: Option<[u8; 6]>) -> Result<()> {
        let dir = self.dir.join(MACS);
        let path = dir.join(owner);
        let failed = |error| Error::file("write", &path, error);
        let Some(mac) = mac else {
            let why = "so that nothing is taken back where nobody has a MAC address of its own";
            if !file::exists(&dir, why) {
                return Ok(());
            }
            let why =
                "so that the next one of this name has no MAC address but the one that it asks for";
            return match file::unlink(&path, why) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => {
                    // It stays as long as others have one.
                    let _ = file::remove_empty(&dir, "so that nobody looks here without need");
                    Ok(())
                }
            };
        };
        let why = "so that it is known which MAC address the container has";
        file::make_directory(&dir, why).map_err(failed)?;
        let made = file::create(&path, why).map_err(failed)?;
        file::write(&made, &path, &mac, why).map_err(failed)
    }

    /// Writes down that `owner` has no MAC address of its own, while nobody else makes or removes the directory. Without the lock.
    pub(super) fn forget_mac(&self, owner: &str) -> Result<()> {
        let why = "so that nobody waits for the lock where nobody has a MAC address of its own";
        if !file::exists(&self.dir.join(MACS), why) {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.note_mac(owner, None)
    }

    /// The MAC address that `owner` has of its own, if it has one.
    pub(super) fn own_mac(&self, owner: &str) -> Result<Option<[u8; 6]>> {
        let path = self.dir.join(MACS).join(owner);
        let why =
            "so that it is known whether the container has a MAC address of its own, and which";
        match file::read_small(&path, why) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => {
                let bytes = bytes.map_err(|error| Error::file("read", &path, error))?;
                Ok(bytes.try_into().ok())
            }
        }
    }

    /// The MAC addresses of those who have one of their own.
    pub(super) fn macs(&self) -> Result<BTreeMap<String, [u8; 6]>> {
        let dir = self.dir.join(MACS);
        let why = "so that it is known who has a MAC address of its own, and which";
        let names = match file::names(&dir, why) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            names => names.map_err(|error| Error::file("read", &dir, error))?,
        };
        let mut macs = BTreeMap::new();
        for name in names.into_iter().filter_map(|name| name.into_string().ok()) {
            // One that is gone meanwhile, or was being written when the machine stopped, is none.
            let bytes = file::read(&dir.join(&name), why).unwrap_or_default();
            if let Ok(mac) = <[u8; 6]>::try_from(bytes) {
                macs.insert(name, mac);
            }
        }
        Ok(macs)
    }
}
