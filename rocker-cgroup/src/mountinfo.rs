//! What `/proc/self/mountinfo` and `/proc/self/cgroup` say about cgroups.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::Controller;
use crate::tree::Kind;

/// One mount of a cgroup file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: Kind,
    /// Which part of the tree is mounted, seen from this process's cgroup namespace.
    pub(crate) root: PathBuf,
    pub(crate) mount_point: PathBuf,
}

/// A line of mountinfo: a mount of any kind. The mount point is as the kernel writes it: of two that are the same, or one beneath the
/// other, the writings are so too.
#[derive(Debug)]
struct Line<'a> {
    id: u32,
    parent: u32,
    root: &'a str,
    mount_point: &'a str,
    kind: Option<Kind>,
}

/// The cgroup mounts in [mountinfo](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html) that can be reached
/// by their paths, in its order. The order says nothing about what covers what; the parents do.
pub(crate) fn mounts(text: &str) -> Vec<Mount> {
    let lines: Vec<Line<'_>> = text.lines().filter_map(line).collect();
    let seen = lines.iter().filter_map(|line| {
        let kind = line.kind.as_ref()?;
        (!is_hidden(line, &lines)).then(|| Mount {
            kind: kind.clone(),
            root: unescape(line.root),
            mount_point: unescape(line.mount_point),
        })
    });
    seen.collect()
}

/// Whether a later mount covers this one: one on its very root, or one beside it or beside a mount that it is in, on a
/// directory above.
fn is_hidden(line: &Line<'_>, lines: &[Line<'_>]) -> bool {
    if lines.iter().any(|over| {
        over.parent == line.id && over.mount_point == line.mount_point && over.id != line.id
    }) {
        return true;
    }
    let mut inner = line;
    for _ in 0..lines.len() {
        let covers = |over: &Line<'_>| {
            over.parent == inner.parent
                && over.id != over.parent
                && is_beneath(inner.mount_point, over.mount_point)
        };
        if lines.iter().any(covers) {
            return true;
        }
        match lines.iter().find(|outer| outer.id == inner.parent) {
            Some(outer) => inner = outer,
            None => return false,
        }
    }
    false
}

/// Whether a path leads through another one, and further.
fn is_beneath(path: &str, above: &str) -> bool {
    let above = above.strip_suffix('/').unwrap_or(above);
    path.len() > above.len() + 1
        && path.as_bytes()[above.len()] == b'/'
        && path.as_bytes().starts_with(above.as_bytes())
}

fn line(text: &str) -> Option<Line<'_>> {
    let mut fields = text.split(' ');
    let id = fields.next()?.parse().ok()?;
    let parent = fields.next()?.parse().ok()?;
    let root = fields.nth(1)?;
    let mount_point = fields.next()?;
    // Behind the mount's options there are fields of any number, up to this one.
    fields.find(|field| *field == "-")?;
    let fstype = fields.next()?;
    let options = fields.nth(1)?;
    let kind = match fstype {
        "cgroup2" => Some(Kind::V2 {
            controllers: Vec::new(),
            at_root: Vec::new(),
        }),
        "cgroup" => Some(Kind::V1 {
            controllers: options
                .split(',')
                .filter_map(Controller::from_name)
                .collect(),
            name: options
                .split(',')
                .find_map(|option| option.strip_prefix("name="))
                .map(str::to_owned),
        }),
        _ => None,
    };
    Some(Line {
        id,
        parent,
        root,
        mount_point,
        kind,
    })
}

/// Takes back the kernel's `\040` for a space, and its like.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| field.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// One line of `/proc/PID/cgroup`: in which cgroup of one tree a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    controllers: Vec<String>,
    pub(crate) path: PathBuf,
}

/// Parses [`/proc/PID/cgroup`](https://man7.org/linux/man-pages/man7/cgroups.7.html).
pub(crate) fn memberships(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?;
            Some(Membership {
                controllers: controllers
                    .split(',')
                    .filter(|one| !one.is_empty())
                    .map(str::to_owned)
                    .collect(),
                path: PathBuf::from(path),
            })
        })
        .collect()
}

impl Membership {
    /// Whether the line speaks of this tree.
    pub(crate) fn is_of(&self, kind: &Kind) -> bool {
        match kind {
            Kind::V2 { .. } => self.controllers.is_empty(),
            Kind::V1 { controllers, name } => {
                let named = |text: &String| text.strip_prefix("name=") == name.as_deref();
                match controllers.first() {
                    Some(first) => self.controllers.iter().any(|text| text == first.v1_name()),
                    None => name.is_some() && self.controllers.iter().any(named),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_optional_fields_and_named_trees_are_read() {
        let text = "31 23 0:28 /a\\040b /mnt/c\\134d rw shared:9 master:1 - cgroup cgroup rw,xattr,name=systemd\n\
                    32 23 0:29 / /u rw - cgroup2 cgroup2 rw,nsdelegate\n\
                    33 23 0:30 / /home rw - ext4 /dev/sda rw\n";
        let found = mounts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].root, PathBuf::from("/a b"));
        assert_eq!(found[0].mount_point, PathBuf::from("/mnt/c\\d"));
        assert_eq!(
            found[0].kind,
            Kind::V1 {
                controllers: vec![],
                name: Some("systemd".to_owned())
            }
        );
        assert_eq!(
            found[1].kind,
            Kind::V2 {
                controllers: vec![],
                at_root: vec![]
            }
        );
    }

    #[test]
    fn a_mount_covers_those_at_and_below_its_place() {
        let above = "1 9 0:1 /../.. /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     2 9 0:2 / /sys rw - sysfs sysfs rw\n\
                     3 2 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let same = "1 9 0:1 /../.. /sys/fs/cgroup rw - cgroup cgroup rw,memory\n\
                    3 1 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n";
        // A new /sys on the old one, which has a mount below it.
        let deep = "5 9 0:2 / /sys rw - sysfs sysfs rw\n\
                    6 5 0:3 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    7 6 0:1 /../.. /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    2 5 0:2 / /sys rw - sysfs sysfs rw\n\
                    3 2 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        for text in [above, same, deep] {
            let found = mounts(text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].root, PathBuf::from("/"));
        }
    }

    #[test]
    fn a_root_that_is_listed_after_what_is_mounted_in_it_covers_nothing() {
        let text = "29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                    24 30 0:22 / /sys rw - sysfs sysfs rw\n\
                    30 1 8:1 / / rw - ext4 /dev/sda rw\n";
        assert_eq!(mounts(text).len(), 1);
    }

    #[test]
    fn a_path_with_colons_is_one_path() {
        assert_eq!(memberships("0::/a:b\n")[0].path, PathBuf::from("/a:b"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            mounts(&text);
            memberships(&text);
            unescape(&text);
        }
    }
}
