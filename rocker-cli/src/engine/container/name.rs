//! Identities: ids that nobody else has, and names that people can say.
//!
//! Which names are taken stands in `.names`: a link from each name to the id that has it. It saves reading every record, and is
//! not the truth: a link whose container is gone, or has another name, is that of somebody who died, and free to be taken.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use crate::engine::{Engine, disk};
use crate::{Error, Result};

const ADJECTIVES: [&str; 32] = [
    "able", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "crisp", "eager", "fair",
    "fleet", "fond", "gentle", "glad", "happy", "keen", "kind", "light", "lively", "merry", "neat",
    "nimble", "patient", "proud", "quick", "quiet", "sunny", "swift", "tidy", "warm", "wise",
];
const NOUNS: [&str; 32] = [
    "anchor", "badger", "beacon", "birch", "bridge", "canoe", "cedar", "comet", "coral", "crane",
    "delta", "falcon", "fern", "harbor", "heron", "island", "kettle", "lantern", "maple", "meadow",
    "otter", "pebble", "pier", "raven", "reef", "river", "sail", "sparrow", "summit", "tide",
    "walrus", "willow",
];

/// A container's identity: 64 hexadecimal digits, drawn by lot.
pub(crate) fn new_id() -> Result<String> {
    Ok(random::<32>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// A name such as `brave_otter`, drawn by lot; with `again`, one that is less likely to be taken.
pub(crate) fn new_name(again: bool) -> Result<String> {
    let [adjective, noun, number] = random::<3>()?;
    let name = format!(
        "{}_{}",
        ADJECTIVES[adjective as usize % 32],
        NOUNS[noun as usize % 32]
    );
    Ok(if again {
        format!("{name}{number}")
    } else {
        name
    })
}

/// Whether a person may give a container this name.
pub(crate) fn check(name: &str) -> Result<()> {
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && name.len() <= 128 {
        Ok(())
    } else {
        Err(Error::BadName {
            name: name.to_owned(),
        })
    }
}

impl Engine {
    fn names(&self) -> PathBuf {
        self.roots().containers().join(".names")
    }

    /// The names that are taken, as far as one may look.
    pub(crate) fn names_taken(&self) -> Vec<String> {
        let why = "so that a shell can complete them";
        disk::names(&self.names(), why).unwrap_or_default()
    }

    /// Whose name it is; none if it is free.
    pub(crate) fn owner_of(&self, name: &str) -> Result<Option<String>> {
        if check(name).is_err() {
            return Ok(None);
        }
        let link = self.names().join(name);
        let why = "so that it is known which container has this name";
        let id = match disk::read_link(&link, why) {
            Ok(id) => id,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
                return Ok(None);
            }
            Err(error) => return Err(disk::failed("read", &link)(error)),
        };
        match self.record(&id) {
            Ok(Some(record)) if record.name == name => Ok(Some(id)),
            // It may well have the name.
            Err(Error::Damaged { .. }) => Ok(Some(id)),
            record => record.map(|_| None),
        }
    }

    /// Takes a name for a container, or makes one up. To be called while nobody else makes one.
    pub(crate) fn take_name(&self, wanted: Option<&str>, id: &str) -> Result<String> {
        if let Some(name) = wanted {
            check(name)?;
            return match self.owner_of(name)? {
                Some(owner) if owner != id => Err(Error::NameTaken {
                    name: name.to_owned(),
                    id: owner.get(..12).unwrap_or(&owner).to_owned(),
                }),
                _ => self.link(name, id).map(|()| name.to_owned()),
            };
        }
        let mut name = new_name(false)?;
        while self.owner_of(&name)?.is_some() {
            name = new_name(true)?;
        }
        self.link(&name, id)?;
        Ok(name)
    }

    fn link(&self, name: &str, id: &str) -> Result<()> {
        let link = self.names().join(name);
        let failed = disk::failed("make the link", &link);
        let why = "so that nobody else takes this name";
        let mut made = disk::symlink(id, &link, why);
        if let Err(error) = &made {
            match error.kind() {
                ErrorKind::NotFound => {
                    let why = "so that there is a place for the names that are taken";
                    disk::make_dir(&self.names(), why)?;
                }
                // Of somebody who is gone.
                ErrorKind::AlreadyExists => {
                    let why = "so that a name whose container is gone can be taken";
                    disk::remove_file(&link, why).map_err(&failed)?;
                }
                _ => {}
            }
            made = disk::symlink(id, &link, why);
        }
        made.map_err(failed)
    }

    /// Gives back the name of a container that is gone, or has another one; where its record could not be read, whatever name it
    /// had.
    pub(crate) fn free_name(&self, name: &str, id: &str) -> Result<()> {
        let names = match name {
            "" => disk::names(&self.names(), "so that the name is found that it had")
                .unwrap_or_default(),
            name => vec![name.to_owned()],
        };
        for name in names {
            let link = self.names().join(name);
            let why = "so that only the container's own name is given back";
            if disk::read_link(&link, why).is_ok_and(|owner| owner == id) {
                let why = "so that the name can be taken again";
                match disk::remove_file(&link, why) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(disk::failed("remove", &link)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let path = "/dev/urandom";
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| Error::State {
            operation: "read",
            path: path.into(),
            source,
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["a", "web-1", "0.x_y"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", "a\n", "../x"] {
            assert!(matches!(check(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
        assert!(check(&new_name(true).unwrap()).is_ok());
    }

    #[test]
    fn ids_are_64_hexadecimal_digits_and_never_the_same() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
