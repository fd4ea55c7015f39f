//! Which ids of a user namespace are which outside.

use std::fmt;
use std::str::FromStr;
use std::{fs, io};

use crate::trace::traced;
use crate::{Error, Result};

/// A run of ids in a user namespace and what they are outside, see
/// [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html).
///
/// It is shown as a line of `/proc/PID/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many ids follow each other.
    pub count: u32,
}

impl IdMap {
    /// The runs in the text of `/proc/PID/uid_map` or `gid_map`.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        let line = |line: &str| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
            Some(Self {
                inside: numbers.next()??,
                outside: numbers.next()??,
                count: numbers.next()??,
            })
        };
        text.lines().filter_map(line).collect()
    }

    /// What an id of the user namespace is outside, if it is one of this run.
    #[must_use]
    pub fn outside_of(&self, inside: u32) -> Option<u32> {
        let offset = inside.checked_sub(self.inside)?;
        (offset < self.count).then(|| self.outside.checked_add(offset))?
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// Three numbers with white space between them, as it is shown.
impl FromStr for IdMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |word: &str| {
            // Not "+1", which the kernel would not take.
            let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
            word.parse().ok().filter(|_| is_number)
        };
        let numbers: Option<Vec<u32>> = text.split_whitespace().map(number).collect();
        match numbers.as_deref() {
            Some(&[inside, outside, count]) => Ok(Self {
                inside,
                outside,
                count,
            }),
            _ => Err(Error::BadIdMap {
                text: text.to_owned(),
            }),
        }
    }
}

/// Writes the maps of the user namespace that process `pid` is new in.
pub(crate) fn write(pid: u32, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{}/{file}", pid);
        traced(
            "write",
            "so that the ids of the user namespace mean something outside",
            || format!("{path}, {text:?}"),
            || fs::write(&path, text),
        )
        .map_err(|source| Error::Proc {
            operation: "write",
            path: path.clone(),
            source,
        })
    };
    let lines = |maps: &[IdMap]| -> String { maps.iter().map(|map| format!("{map}\n")).collect() };
    if !uids.is_empty() {
        write("uid_map", &lines(uids))?;
    }
    if !gids.is_empty() {
        // Without CAP_SETGID outside, setgroups(2) must be given up first, see user_namespaces(7).
        match write("gid_map", &lines(gids)) {
            Err(Error::Proc { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                write("setgroups", "deny")?;
                write("gid_map", &lines(gids))?;
            }
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_translated_through_the_map() {
        let map = IdMap::parse_all("         0     100000      65536\n      65536  1000 1\nx\n");
        let outside = |id| map.iter().find_map(|run| run.outside_of(id));
        assert_eq!(outside(0), Some(100_000));
        assert_eq!(outside(65535), Some(165_535));
        assert_eq!(outside(65536), Some(1000));
        assert_eq!(outside(65537), None);
        assert_eq!(map[1].to_string(), "65536 1000 1");
    }

    #[test]
    fn a_run_is_read_as_it_is_shown_and_nothing_else_is() {
        let run = IdMap {
            inside: 0,
            outside: u32::MAX,
            count: 65536,
        };
        assert_eq!(run.to_string().parse::<IdMap>().unwrap(), run);
        assert_eq!("  0 4294967295\t65536\n".parse::<IdMap>().unwrap(), run);
        for wrong in [
            "",
            "0 1",
            "0 1 2 3",
            "0 1 x",
            "0 -1 1",
            "0 +1 1",
            "0 4294967296 1",
        ] {
            let error = wrong.parse::<IdMap>().unwrap_err();
            assert!(matches!(error, Error::BadIdMap { .. }), "{wrong:?}");
        }
    }
}
