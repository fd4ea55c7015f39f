//! Who a process runs as.

use std::path::PathBuf;

use crate::{Error, Result};

/// The user, group and supplementary groups of a process.
///
/// Made from a Docker-like `USER[:GROUP]` and the text of an image's own passwd(5) and group(5) files; the host's
/// databases have no say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The supplementary groups; the group itself is one of them.
    pub groups: Vec<u32>,
    /// The user's home directory, `/` where passwd knows none.
    pub home: PathBuf,
}

impl User {
    /// Finds out who `spec` is: `""` (root), `name`, `uid`, `name:group` or `uid:gid`.
    ///
    /// Digits are always an id, never the name of somebody. Without a group it is the one in `passwd`, or 0, and the
    /// supplementary groups are those whose line in `group` names the user.
    ///
    /// # Errors
    /// [`Error::UnknownUser`] for a name that the files do not know, [`Error::BadId`] for a number that is no id.
    pub fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Self> {
        let (user, wanted_group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (spec, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let passwd = String::from_utf8_lossy(passwd);
        let group = String::from_utf8_lossy(group);
        let id = parse_id(user)?;
        let entry = passwd
            .lines()
            .filter_map(Entry::parse)
            .find(|entry| match id {
                Some(id) => entry.uid == id,
                None => entry.name == user,
            });
        let uid = match (&entry, id) {
            (Some(entry), _) => entry.uid,
            (None, Some(id)) => id,
            (None, None) => {
                return Err(Error::UnknownUser {
                    kind: "user",
                    name: user.to_owned(),
                    file: "passwd",
                });
            }
        };
        let gid = match wanted_group {
            Some(wanted) => group_id(wanted, &group)?,
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        let mut groups = vec![gid];
        if let (Some(entry), None) = (&entry, wanted_group) {
            for (_, id, members) in group.lines().filter_map(parse_group) {
                if members.split(',').any(|member| member == entry.name) && !groups.contains(&id) {
                    groups.push(id);
                }
            }
        }
        let home = entry
            .map(|entry| entry.home)
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/");
        Ok(Self {
            uid,
            gid,
            groups,
            home: PathBuf::from(home),
        })
    }

    /// Adds a supplementary group: a number, or a name that `group` knows.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn add_group(&mut self, wanted: &str, group: &[u8]) -> Result<()> {
        let id = group_id(wanted, &String::from_utf8_lossy(group))?;
        if !self.groups.contains(&id) {
            self.groups.push(id);
        }
        Ok(())
    }
}

/// A line of passwd(5).
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = parse_id(fields.nth(1)?).ok()??;
        let gid = parse_id(fields.next()?).ok()??;
        let home = fields.nth(1).unwrap_or("/");
        Some(Self {
            name,
            uid,
            gid,
            home,
        })
    }
}

/// A line of group(5): name, id and members.
fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = parse_id(fields.nth(1)?).ok()??;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn group_id(wanted: &str, group: &str) -> Result<u32> {
    if let Some(id) = parse_id(wanted)? {
        return Ok(id);
    }
    group
        .lines()
        .filter_map(parse_group)
        .find(|(name, ..)| *name == wanted)
        .map(|(_, id, _)| id)
        .ok_or_else(|| Error::UnknownUser {
            kind: "group",
            name: wanted.to_owned(),
            file: "group",
        })
}

/// The id that `text` is, or none where it is a name. What looks like a number must be one that the kernel can hold:
/// 4294967295 is its way of saying "unchanged".
fn parse_id(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(Error::BadId {
            id: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        1000:x:0:0:a trap:/:/bin/sh\n\
        broken line\n\
        alice:x:1001:1002:Alice:/home/alice:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:alice,bob\nusers:x:1002:\nwheel:x:10:alice\nbig:x:99999999999:alice\n";

    fn resolve(spec: &str) -> Result<(u32, u32, Vec<u32>)> {
        User::resolve(spec, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn every_form_of_user_and_group_gives_exactly_its_ids() {
        for (spec, expected) in [
            ("", (0, 0, vec![0])),
            ("root", (0, 0, vec![0])),
            ("alice", (1001, 1002, vec![1002, 50, 10])),
            ("1001", (1001, 1002, vec![1002, 50, 10])),
            ("alice:staff", (1001, 50, vec![50])),
            ("alice:77", (1001, 77, vec![77])),
            ("4242", (4242, 0, vec![0])),
            ("1:", (1, 0, vec![0])),
            (":50", (0, 50, vec![50])),
        ] {
            assert_eq!(resolve(spec).unwrap(), expected, "{spec:?}");
        }
    }

    #[test]
    fn further_groups_are_numbers_or_names_and_each_counts_once() {
        let mut user = User::resolve("alice", PASSWD, GROUP).unwrap();
        for group in ["wheel", "4242", "50"] {
            user.add_group(group, GROUP).unwrap();
        }
        assert_eq!(user.groups, [1002, 50, 10, 4242]);
        for wrong in ["nogroup", "-1", "4294967295"] {
            assert!(user.add_group(wrong, GROUP).is_err(), "{wrong}");
        }
    }

    #[test]
    fn digits_are_an_id_even_where_somebody_has_them_for_a_name() {
        assert_eq!(resolve("1000").unwrap().0, 1000);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for spec in [
            "4294967296",
            "4294967295",
            "-1",
            "18446744073709551616",
            "0:4294967296",
            "root:-5",
        ] {
            assert!(
                matches!(resolve(spec), Err(Error::BadId { .. })),
                "{spec:?}"
            );
        }
        for spec in ["nobody-here", "0x1", "alice:nogroup"] {
            assert!(
                matches!(resolve(spec), Err(Error::UnknownUser { .. })),
                "{spec:?}"
            );
        }
    }

    #[test]
    fn home_comes_from_passwd_and_is_absolute() {
        assert_eq!(
            User::resolve("alice", PASSWD, GROUP).unwrap().home,
            PathBuf::from("/home/alice")
        );
        assert_eq!(
            User::resolve("7", PASSWD, GROUP).unwrap().home,
            PathBuf::from("/")
        );
        assert_eq!(
            User::resolve("x", b"x:x:1:1::relative:/bin/sh", b"")
                .unwrap()
                .home,
            PathBuf::from("/")
        );
    }
}
