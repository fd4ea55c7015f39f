//! Where on the host the files of a container's volumes are, when it is about to run.

use std::path::{Path, PathBuf};

use rocker_ns::IdMap;

use super::record::VolumeRecord;
use crate::engine::options::{MountIds, Volume, VolumeSource};
use crate::engine::spec::surroundings::Maps;
use crate::engine::{Engine, disk, rootless};
use crate::{Error, Result};

/// Stands for the directory of a volume that is made when the container is.
pub(crate) const UNMADE: &str = "<volumes>";

/// Where the files of a volume are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Place {
    /// A path of the host; nothing for a stack of directories.
    pub(crate) source: PathBuf,
    /// What is meant of it, see [`Volume::subpath`].
    pub(crate) subpath: Option<PathBuf>,
    /// The directories of a stack, the topmost first, and where changes go, if there may be any.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) upper: Option<[PathBuf; 2]>,
    /// Whether nothing may be written, whatever the container's owner says.
    pub(crate) read_only: bool,
    /// Whose the files are, where that is not whose they are on the host.
    pub(crate) maps: Option<Maps>,
}

impl Engine {
    /// Where the files of `volumes` are, one by one, for a container whose users are `users` outside. What a container changes of an image's files goes to `scratch`; without that, nothing is made, and
    /// what is not there yet has a placeholder.
    pub(crate) fn places(
        &self,
        volumes: &[Volume],
        users: Option<&Maps>,
        scratch: Option<&Path>,
    ) -> Result<Vec<Place>> {
        let rootless = rootless::in_user_namespace()?;
        // What rocker keeps has the container's own ids; an ordinary user's are those of its user namespace.
        let own = users.filter(|_| !rootless);
        let place = |(index, volume): (usize, &Volume)| {
            let mut place = Place {
                subpath: volume.subpath.clone(),
                ..Place::default()
            };
            match &volume.source {
                VolumeSource::Bind(path) => place.source.clone_from(path),
                VolumeSource::Named(name) | VolumeSource::Anonymous(name) => {
                    let record = self.known(name, volume, scratch.is_some())?;
                    place.maps = own.cloned().filter(|_| record.device().is_none());
                    place.read_only = record.is_read_only();
                    place.source = match record.device() {
                        Some(device) => device,
                        None => {
                            if scratch.is_some() && self.volume_store()?.finish(name)? {
                                tracing::debug!(
                                    "a filling of volume {name} that was killed is finished"
                                );
                            }
                            self.data_of(name, scratch.is_some())?
                        }
                    };
                }
                VolumeSource::Image { name, manifest } => {
                    place.maps = own.cloned();
                    place.layers = self.layers_of(name, manifest)?;
                    if let (Some(scratch), false) = (scratch, volume.read_only) {
                        place.upper = Some(make_scratch(&scratch.join(index.to_string()))?);
                    }
                }
            }
            if let Some(ids) = &volume.id_map {
                let shown = volume.mode.clone();
                place.maps = Some(maps(ids, users, rootless, &shown)?);
            }
            Ok(place)
        };
        volumes.iter().enumerate().map(place).collect()
    }

    /// What is remembered of a volume, or will be.
    fn known(&self, name: &str, volume: &Volume, must: bool) -> Result<VolumeRecord> {
        let unmade = || VolumeRecord::new(name, &volume.labels, &volume.options, false);
        if !must {
            let there = self.roots().volumes().join(name).exists();
            let known = there.then(|| self.volume_record(&self.volume_store()?, name));
            return match known.transpose()?.flatten() {
                Some(record) => Ok(record),
                None => unmade(),
            };
        }
        let found = self.volume_record(&self.volume_store()?, name)?;
        found.ok_or_else(|| Error::NoVolume {
            name: name.to_owned(),
        })
    }

    /// The directory of a volume; where it need not be there, a placeholder.
    fn data_of(&self, name: &str, must: bool) -> Result<PathBuf> {
        let path = self.roots().volumes().join(name).join("_data");
        match must || path.exists() {
            true => Ok(self.roots().volumes().join(name).join("_data")),
            false => Ok(Path::new(UNMADE).join(name)),
        }
    }

    /// The directories of an image, the topmost first.
    fn layers_of(&self, name: &str, manifest: &str) -> Result<Vec<PathBuf>> {
        let image = match manifest.is_empty() {
            true => Some(self.find_image(name)?),
            false => self.store()?.by_manifest(&manifest.parse()?)?,
        };
        let image = image.ok_or_else(|| Error::NotPulled {
            name: name.to_owned(),
        })?;
        let mut layers = self.lower_dirs(&image)?;
        layers.reverse();
        Ok(layers)
    }
}

/// Makes two empty directories in `dir`, for what is changed and for overlayfs.
fn make_scratch(dir: &Path) -> Result<[PathBuf; 2]> {
    disk::remove_dir(dir, "so that nothing of an earlier run is seen")?;
    let made = [dir.join("upper"), dir.join("work")];
    for dir in &made {
        disk::make_dir(
            dir,
            "so that what is changed of the image's files has a place",
        )?;
    }
    let why = "so that every user of the container can enter it";
    disk::chmod(&made[0], 0o755, why).map_err(disk::failed("change the mode of", &made[0]))?;
    Ok(made)
}

/// Whose the files of a bind mount are.
fn maps(ids: &MountIds, users: Option<&Maps>, rootless: bool, shown: &str) -> Result<Maps> {
    let bad = |expected: &str| Err(Error::bad_value("--volume", shown, expected));
    if rootless {
        return bad(
            "no idmap for an ordinary user: the kernel lets only the machine's root say whose the files of a mount are",
        );
    }
    match (ids, users) {
        (MountIds::Containers, Some(users)) => Ok(users.clone()),
        (MountIds::Containers, None) => bad(
            "idmap=uids=OWNER-USER-COUNT;gids=…, since this container's users are the host's; or --userns auto",
        ),
        (MountIds::Maps { uids, gids, inside }, users) => {
            let seen = |runs: &[IdMap], inside: bool, users: Option<&[IdMap]>| {
                let outside = |run: &IdMap| match (inside, users) {
                    (true, Some(users)) => of_container(run, users),
                    _ => Some(*run),
                };
                runs.iter().map(outside).collect::<Option<Vec<_>>>()
            };
            let uids = seen(uids, inside[0], users.map(|users| &users.uids[..]));
            let gids = seen(gids, inside[1], users.map(|users| &users.gids[..]));
            match (uids, gids) {
                (Some(uids), Some(gids)) => Ok(Maps { uids, gids }),
                _ => bad("behind `@` ids that the container has"),
            }
        }
    }
}

/// A run of ids whose second number is one of the container's, with what that is outside.
fn of_container(run: &IdMap, users: &[IdMap]) -> Option<IdMap> {
    let holds = |own: &&IdMap| {
        run.outside >= own.inside
            && u64::from(run.outside) + u64::from(run.count)
                <= u64::from(own.inside) + u64::from(own.count)
    };
    let own = users.iter().find(holds)?;
    Some(IdMap {
        outside: own.outside_of(run.outside)?,
        ..*run
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_behind_an_at_are_those_of_the_container() {
        let map = |inside, outside, count| IdMap {
            inside,
            outside,
            count,
        };
        let users = Maps {
            uids: vec![map(0, 600_000, 65_536)],
            gids: vec![map(0, 600_000, 65_536)],
        };
        let ids = |outside, inside| MountIds::Maps {
            uids: vec![map(1000, outside, 1)],
            gids: vec![map(1000, outside, 1)],
            inside: [inside; 2],
        };
        let seen = |ids, users| maps(&ids, users, false, "").map(|maps| maps.uids[0].outside);
        assert_eq!(seen(ids(5, true), Some(&users)).unwrap(), 600_005);
        assert_eq!(seen(ids(600_005, false), Some(&users)).unwrap(), 600_005);
        assert_eq!(seen(ids(5, true), None).unwrap(), 5);
        assert!(seen(ids(70_000, true), Some(&users)).is_err());
        assert_eq!(seen(MountIds::Containers, Some(&users)).unwrap(), 600_000);
        assert!(seen(MountIds::Containers, None).is_err());
        assert!(maps(&ids(5, false), None, true, "").is_err());
    }
}
