//! Who the files of a layer belong to.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::{getegid, geteuid};

use crate::calls;
use crate::error::{Error, Result};

/// Who the files of a layer belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Ownership {
    /// To whom the layer says. Default.
    #[default]
    Layer,
    /// To whom the layer says where this process's user namespace has such an ID, and otherwise to the caller.
    ///
    /// A program does not keep its set-user-ID or set-group-ID bit for an owner that it was not meant to run as.
    Mapped,
    /// To the caller.
    ///
    /// A program of another user's does not keep its set-user-ID bit and its capabilities, nor one of another group's its set-group-ID bit.
    Caller,
}

/// What becomes of the owners that a layer names, in this process.
pub(crate) enum Owners {
    Layer,
    Mapped {
        uids: Ids,
        gids: Ids,
        /// User and group of this process.
        caller: (u32, u32),
    },
    Caller,
}

/// Owner, group and mode as a file gets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// Whether these are not the layer's.
    pub(crate) replaced: bool,
}

impl Owners {
    pub(crate) fn of_this_process(ownership: Ownership) -> Result<Self> {
        let read = |path: &str| {
            let failed = |operation, source| Error::Store {
                operation,
                path: path.into(),
                source,
            };
            let why = "so that it is known which owners there can be in this user namespace";
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let file = calls::open(Path::new(path), flags, why)
                .map_err(|errno| failed("open", errno.into()))?;
            let text = io::read_to_string(File::from(file));
            let text = text.map_err(|source| failed("read", source))?;
            Ids::parse(&text).ok_or_else(|| failed("read", io::ErrorKind::InvalidData.into()))
        };
        Ok(match ownership {
            Ownership::Layer => Self::Layer,
            Ownership::Caller => Self::Caller,
            Ownership::Mapped => Self::Mapped {
                uids: read("/proc/self/uid_map")?,
                gids: read("/proc/self/gid_map")?,
                caller: (geteuid().as_raw(), getegid().as_raw()),
            },
        })
    }

    /// What a file gets for what the layer says; none where it stays with whoever makes it.
    pub(crate) fn give(&self, uid: u32, gid: u32, mode: u32, directory: bool) -> Option<Given> {
        let mut given = Given {
            uid,
            gid,
            mode,
            replaced: false,
        };
        match self {
            Self::Layer => {}
            Self::Caller => return None,
            Self::Mapped { uids, gids, caller } => {
                let mut taken = 0;
                if !uids.has(uid) {
                    (given.uid, taken) = (caller.0, libc::S_ISUID);
                }
                if !gids.has(gid) {
                    (given.gid, taken) = (caller.1, taken | libc::S_ISGID);
                }
                given.replaced = taken != 0;
                if !directory {
                    given.mode &= !taken;
                }
            }
        }
        Some(given)
    }

    /// Whether what names IDs that are not mapped is left out rather than refused.
    pub(crate) fn are_mapped(&self) -> bool {
        matches!(self, Self::Mapped { .. })
    }
}

/// The IDs of a user namespace, as ranges of first and number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ids(Vec<(u32, u32)>);

impl Ids {
    /// Reads an `uid_map` or `gid_map` of [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html).
    fn parse(text: &str) -> Option<Self> {
        let range = |line: &str| {
            let mut numbers = line
                .split_whitespace()
                .map(|number| number.parse::<u32>().ok());
            let (first, _outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
            numbers.next().is_none().then_some((first, count))
        };
        text.lines().map(range).collect::<Option<_>>().map(Self)
    }

    fn has(&self, id: u32) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_says_which_ids_there_are() {
        let ids =
            Ids::parse("         0       1000          1\n         1     100000      65535\n")
                .unwrap();
        assert!(ids.has(0) && ids.has(1) && ids.has(65_535));
        assert!(!ids.has(65_536) && !ids.has(u32::MAX));
        let all = Ids::parse("0 0 4294967295\n").unwrap();
        assert!(all.has(0) && all.has(u32::MAX - 1) && !all.has(u32::MAX));
        let none = Ids::parse("").unwrap();
        assert!(!none.has(0));
        for bad in ["0 0", "0 0 1 2", "a 0 1", "0 0 4294967296", "-1 0 1"] {
            assert_eq!(Ids::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_program_runs_as_nobody_that_it_was_not_meant_to_run_as() {
        let owners = Owners::Mapped {
            uids: Ids(vec![(0, 10)]),
            gids: Ids(vec![(0, 10)]),
            caller: (0, 0),
        };
        let give = |uid, gid| {
            let given = owners.give(uid, gid, 0o6755, false).unwrap();
            (given.uid, given.gid, given.mode, given.replaced)
        };
        assert_eq!(give(5, 6), (5, 6, 0o6755, false));
        assert_eq!(give(50, 6), (0, 6, 0o2755, true));
        assert_eq!(give(5, 60), (5, 0, 0o4755, true));
        assert_eq!(give(50, 60), (0, 0, 0o755, true));
        let shared = owners.give(0, 60, 0o2775, true).unwrap();
        assert_eq!(shared.mode, 0o2775, "a directory runs as nobody");
        assert_eq!(Owners::Caller.give(5, 6, 0o6755, false), None);
    }
}
