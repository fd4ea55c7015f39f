//! What is remembered of a volume.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rocker_fs::Volumes;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, time};
use crate::{Error, Result};

/// The one kind of volume that there is.
pub(crate) const DRIVER: &str = "local";

/// What a record has in it if the volume is a directory of the host's.
const DEVICE: &[u8] = b"\"device\"";

/// What a volume was made with. It is written once, with the volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) name: String,
    #[serde(with = "time::as_text")]
    pub(crate) created: SystemTime,
    pub(crate) driver: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// Whether it was made for one container, which nobody named it for.
    pub(crate) anonymous: bool,
}

impl VolumeRecord {
    /// The record of a volume that is made now.
    ///
    /// # Errors
    /// [`Error::BadValue`] for options that no volume here has.
    pub(crate) fn new(
        name: &str,
        labels: &BTreeMap<String, String>,
        options: &BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<Self> {
        check_options(options)?;
        Ok(Self {
            name: name.to_owned(),
            created: SystemTime::now(),
            driver: DRIVER.to_owned(),
            labels: labels.clone(),
            options: options.clone(),
            anonymous,
        })
    }

    /// The directory of the host that the volume is, where it is not one of rocker's.
    pub(crate) fn device(&self) -> Option<PathBuf> {
        self.options.get("device").map(PathBuf::from)
    }

    /// Whether its options say that nothing can be written to it.
    pub(crate) fn is_read_only(&self) -> bool {
        let list = self
            .options
            .get("o")
            .map(String::as_str)
            .unwrap_or_default();
        list.split(',').any(|one| one == "ro")
    }
}

/// Whether the options of a volume are those of a directory of the host, `type=none,o=bind,device=DIR`, the only ones of Docker's that make
/// sense here: a volume is mounted in its containers, and nowhere else.
fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    let shown = |name: &str, value: &str| format!("{name}={value}");
    let bad = |name: &str, value: &str, expected: &str| {
        Err(Error::bad_value("--opt", shown(name, value), expected))
    };
    for (name, value) in options {
        match (name.as_str(), value.as_str()) {
            ("type", "none" | "bind") | ("o", _) => {}
            ("type", "tmpfs") => {
                let expected = "type=none: what is in memory would be gone with the last container that has it; `--tmpfs DIR` gives a container such a place";
                return bad(name, value, expected);
            }
            ("type", _) => {
                let expected = "type=none with o=bind and device=DIR: mount other file systems on the host, and give their directory";
                return bad(name, value, expected);
            }
            ("device", _) if !Path::new(value).is_absolute() => {
                return bad(name, value, "an absolute path of the host");
            }
            ("device", _) => {}
            _ => return bad(name, value, "type=none, o=bind[,ro] and device=DIR"),
        }
    }
    let known = ["bind", "rbind", "ro", "rw"];
    let list = options.get("o").map(String::as_str).unwrap_or_default();
    if let Some(other) = list
        .split(',')
        .find(|one| !known.contains(one) && !one.is_empty())
    {
        return bad("o", other, "bind, rbind, ro or rw");
    }
    let is_bind = list.split(',').any(|one| matches!(one, "bind" | "rbind"));
    match (options.contains_key("device"), is_bind) {
        (true, true) | (false, false) if options.contains_key("device") || options.is_empty() => {
            Ok(())
        }
        (true, _) => bad("o", list, "o=bind with a device"),
        (false, _) => bad("device", "", "device=DIR with type and o"),
    }
}

impl Engine {
    /// The store of volumes, which is made where there is none.
    pub(crate) fn volume_store(&self) -> Result<Volumes> {
        Ok(Volumes::open(self.roots().volumes())?)
    }

    /// What is remembered of a volume; none where there is no such volume. One whose record is damaged is a volume without labels and options, with a warning.
    ///
    /// # Errors
    /// [`Error::DamagedVolume`] where a damaged record may be that of a directory of the host's.
    pub(crate) fn volume_record(
        &self,
        store: &Volumes,
        name: &str,
    ) -> Result<Option<VolumeRecord>> {
        let Some(text) = store.record(name)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&text) {
            Ok(record) => Ok(Some(record)),
            // What is in the volume must not be taken for what is in a directory of the host's.
            Err(source) if text.windows(DEVICE.len()).any(|part| part == DEVICE) => {
                Err(Error::DamagedVolume {
                    name: name.to_owned(),
                    source,
                })
            }
            Err(source) => {
                tracing::warn!(
                    "the record of volume {name} is damaged ({source}): what is in it is whole, its labels are lost"
                );
                let made = std::fs::metadata(store.path(name)).and_then(|data| data.modified());
                Ok(Some(VolumeRecord {
                    name: name.to_owned(),
                    created: made.unwrap_or(SystemTime::UNIX_EPOCH),
                    driver: DRIVER.to_owned(),
                    labels: BTreeMap::new(),
                    options: BTreeMap::new(),
                    anonymous: false,
                }))
            }
        }
    }

    /// Makes a volume; false where there is one of that name.
    pub(crate) fn make_volume(&self, store: &Volumes, record: &VolumeRecord) -> Result<bool> {
        let text = serde_json::to_vec_pretty(record).unwrap_or_default();
        let made = store.create(&record.name, &text)?;
        if made {
            self.tell_of_volume(&record.name, "create");
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_volume_are_those_of_a_directory_of_the_host_or_none() {
        let check = |texts: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            check_options(&texts.iter().map(own).collect())
        };
        check(&[]).unwrap();
        check(&[("type", "none"), ("o", "bind"), ("device", "/srv")]).unwrap();
        check(&[("o", "bind,ro"), ("device", "/srv")]).unwrap();
        for bad in [
            &[("type", "tmpfs"), ("device", "tmpfs")][..],
            &[("type", "nfs"), ("o", "addr=x"), ("device", ":/x")],
            &[("type", "none"), ("device", "/srv")],
            &[("type", "none"), ("o", "bind"), ("device", "srv")],
            &[("type", "none"), ("o", "bind")],
            &[("o", "bind,suid"), ("device", "/srv")],
            &[("size", "10G")],
            &[("type", "none")],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
