//! Volumes: made, listed, removed.

pub(super) mod made;
pub(super) mod places;
pub(super) mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rocker_fs::Volumes;
use serde_json::{Value, json};

use self::record::{DRIVER, VolumeRecord};
use crate::engine::container::record::Record;
use crate::engine::container::{ids, name};
use crate::engine::time::text;
use crate::engine::usage::bytes_of;
use crate::engine::{Engine, Usage, VolumeSource, disk};
use crate::{Error, Result};

/// A volume that is to be made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VolumeOptions {
    /// Its name; one is made up without, and the volume is an anonymous one.
    pub name: Option<String>,
    /// What it is found by.
    pub labels: BTreeMap<String, String>,
    /// None, or `type=none`, `o=bind` and `device=DIR` for one that is a directory of the host.
    pub options: BTreeMap<String, String>,
}

/// What there is to know about a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeSummary {
    /// Its name.
    pub name: String,
    /// Where on the host what is in it is.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: SystemTime,
    /// What it is found by.
    pub labels: BTreeMap<String, String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Whether nobody gave it a name.
    pub anonymous: bool,
    /// The containers that have it: their IDs.
    pub users: Vec<String>,
}

impl Engine {
    /// Makes a volume, and returns its name. One that there is already stays as it is, as with Docker.
    ///
    /// # Errors
    /// [`Error::Fs`] for a name that can be none; [`Error::BadValue`] for other options.
    pub fn create_volume(&self, options: &VolumeOptions) -> Result<String> {
        let store = self.volume_store()?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => name::new_id()?,
        };
        let anonymous = options.name.is_none();
        let record = VolumeRecord::new(&name, &options.labels, &options.options, anonymous)?;
        self.make_volume(&store, &record)?;
        Ok(name)
    }

    /// All volumes, by their names.
    ///
    /// # Errors
    /// [`Error::Fs`] when they cannot be read; one that is damaged is a warning.
    pub fn volumes(&self) -> Result<Vec<VolumeSummary>> {
        let store = self.volume_store()?;
        if let Err(error) = store.sweep() {
            tracing::warn!(%error, "what an interrupted command left of volumes could not be removed");
        }
        let users = self.volume_users(false)?;
        let mut all = Vec::new();
        for name in store.names()? {
            match self.volume_record(&store, &name) {
                Ok(Some(record)) => all.push(summary(&store, record, &users)),
                // Somebody has just removed it.
                Ok(None) => {}
                Err(error) => tracing::warn!("{}", error.chain()),
            }
        }
        Ok(all)
    }

    /// Removes what somebody left of a volume who was killed while he made or removed it. Where others make or remove some right now, that
    /// is left to the next command: it may take them long. What cannot be removed is a warning.
    pub(crate) fn sweep_volumes(&self) -> Result<()> {
        let dir = self.roots().volumes();
        let why =
            "so that nothing stays of a volume that somebody was making or removing when he died";
        let names = match disk::names(&dir, why) {
            // There was none yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(disk::failed("read", &dir))?,
        };
        if names.iter().all(|name| Volumes::is_name(name)) {
            return Ok(());
        }
        let lock = disk::open(&dir, why).map_err(disk::failed("open", &dir))?;
        let is_free = disk::try_lock(&lock, why).map_err(disk::failed("lock", &dir))?;
        drop(lock);
        if is_free && let Err(error) = self.volume_store()?.sweep() {
            tracing::warn!(%error, "what an interrupted command left of volumes could not be removed");
        }
        Ok(())
    }

    /// The names of all volumes; none where one may not look. Nothing is made by asking.
    pub(crate) fn volume_names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.roots().volumes())
            .into_iter()
            .flatten();
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| Volumes::is_name(name)).collect()
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// [`Error::NoVolume`], [`Error::DamagedVolume`].
    pub fn volume(&self, name: &str) -> Result<VolumeSummary> {
        let no_volume = || Error::NoVolume {
            name: name.to_owned(),
        };
        if !Volumes::is_name(name) {
            return Err(no_volume());
        }
        let store = self.volume_store()?;
        let record = self.volume_record(&store, name)?.ok_or_else(no_volume)?;
        Ok(summary(&store, record, &self.volume_users(false)?))
    }

    /// A volume as JSON, in Docker's words.
    ///
    /// # Errors
    /// As [`Engine::volume`].
    pub fn inspect_volume(&self, name: &str) -> Result<Value> {
        let found = self.volume(name)?;
        let options = match found.options.is_empty() {
            true => Value::Null,
            false => json!(found.options),
        };
        Ok(json!({
            "CreatedAt": text(found.created),
            "Driver": DRIVER,
            "Labels": found.labels,
            "Mountpoint": found.mountpoint,
            "Name": found.name,
            "Options": options,
            "Scope": DRIVER,
        }))
    }

    /// Removes a volume that no container has. With `force`, one that is not there, or whose record cannot be read, is fine.
    ///
    /// # Errors
    /// [`Error::NoVolume`], [`Error::VolumeInUse`]; [`Error::Damaged`] while there is a container of which nobody knows what it has.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let gone = || match force {
            true => Ok(()),
            false => Err(Error::NoVolume {
                name: name.to_owned(),
            }),
        };
        if !Volumes::is_name(name) {
            return gone();
        }
        let store = self.volume_store()?;
        let taken = {
            // Nobody makes a container that wants it meanwhile: such a one makes the volume anew.
            let _making = self.making()?;
            if let Some(users) = self.volume_users(true)?.remove(name) {
                return Err(Error::VolumeInUse {
                    name: name.to_owned(),
                    users: users.join(", "),
                });
            }
            store.take_out(name)?
        };
        let Some(taken) = taken else {
            return gone();
        };
        self.tell_of_volume(name, "destroy");
        Ok(taken.remove()?)
    }

    /// Removes the volumes that no container has and that `wanted` is true of. Returns their names, and how many bytes that has freed.
    ///
    /// # Errors
    /// As [`Engine::remove_volume`].
    pub fn prune_volumes(
        &self,
        wanted: impl Fn(&VolumeSummary) -> bool,
    ) -> Result<(Vec<String>, u64)> {
        let (mut removed, mut freed) = (Vec::new(), 0);
        for volume in self.volumes()? {
            if !volume.users.is_empty() || !wanted(&volume) {
                continue;
            }
            let bytes = bytes_of(&self.volume_store()?.path(&volume.name));
            match self.remove_volume(&volume.name, true) {
                Ok(()) => {
                    removed.push(volume.name);
                    freed += bytes;
                }
                // Somebody has made a container that has it meanwhile.
                Err(Error::VolumeInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((removed, freed))
    }

    /// The room that volumes take; not that of directories of the host, which would not be free without them.
    ///
    /// # Errors
    /// [`Error::Fs`] when they cannot be read.
    pub fn volume_usage(&self) -> Result<Usage> {
        let store = self.volume_store()?;
        let mut usage = Usage::default();
        for volume in self.volumes()? {
            let bytes = bytes_of(&store.path(&volume.name));
            usage.total += 1;
            usage.bytes += bytes;
            match volume.users.is_empty() {
                true => usage.reclaimable += bytes,
                false => usage.active += 1,
            }
        }
        Ok(usage)
    }

    /// How many bytes a volume takes on disk.
    #[must_use]
    pub fn size_of_volume(&self, volume: &VolumeSummary) -> u64 {
        let store = self.volume_store();
        store.map_or(0, |store| bytes_of(&store.path(&volume.name)))
    }

    /// Removes the volumes that were made for a container and nobody named, unless another container has them. To be called when the
    /// container is not known any more, by who sees to it that a crash does not keep them: [`Container::forget_with_volumes`](crate::engine::container::Container::forget_with_volumes). What cannot be removed is a warning: it is found by `volume ls -f dangling=1`.
    pub(crate) fn remove_anonymous(&self, record: &Record) {
        let volumes = record.options.volumes.iter();
        let own: Vec<_> = volumes
            .filter_map(|volume| match &volume.source {
                VolumeSource::Anonymous(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if own.is_empty() {
            return;
        }
        if let Err(error) = self.remove_all_unused(&own, &record.id) {
            tracing::warn!("a volume without a name stays: {}", error.chain());
        }
    }

    fn remove_all_unused(&self, names: &[&str], user: &str) -> Result<()> {
        let store = self.volume_store()?;
        let mut taken = Vec::new();
        let mut first = Ok(());
        {
            let _making = self.making()?;
            let users = self.volume_users(true)?;
            for name in names {
                let others = users.get(*name).into_iter().flatten();
                if others.filter(|other| *other != user).count() > 0 {
                    continue;
                }
                match store.take_out(name) {
                    Ok(volume) => taken.extend(volume.map(|volume| (name, volume))),
                    Err(error) => first = first.and(Err(error)),
                }
            }
        }
        // With nothing locked: there may be much in them.
        for (name, taken) in taken {
            self.tell_of_volume(name, "destroy");
            first = first.and(taken.remove());
        }
        Ok(first?)
    }

    /// Which containers have which volumes. Where it must be `sure`, a container whose record cannot be read is an error.
    fn volume_users(&self, sure: bool) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in ids(&self.roots().containers())? {
            let record = match self.record(&id) {
                Err(Error::Damaged { .. }) if !sure => None,
                record => record?,
            };
            for volume in record.iter().flat_map(|record| &record.options.volumes) {
                let Some(name) = volume.name() else { continue };
                let list = users.entry(name.to_owned()).or_default();
                if !list.contains(&id) {
                    list.push(id.clone());
                }
            }
        }
        Ok(users)
    }
}

fn summary(
    store: &Volumes,
    record: VolumeRecord,
    users: &BTreeMap<String, Vec<String>>,
) -> VolumeSummary {
    VolumeSummary {
        mountpoint: store.path(&record.name),
        users: users.get(&record.name).cloned().unwrap_or_default(),
        name: record.name,
        created: record.created,
        labels: record.labels,
        options: record.options,
        anonymous: record.anonymous,
    }
}
