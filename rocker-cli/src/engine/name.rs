//! Identities: ids that nobody else has, and names that people can say.

use std::fs::File;
use std::io::Read;

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
