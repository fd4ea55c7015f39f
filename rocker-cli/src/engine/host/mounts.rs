//! The mount that a path is on, by /proc/self/mountinfo.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A line of mountinfo, as far as it tells what is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostMount {
    /// The kernel's numbers of it, and of the mount that it is on.
    id: u32,
    parent: u32,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// The type of the file system, such as `ext4`.
    pub(crate) fstype: String,
    /// Whether nothing can be written through it.
    pub(crate) read_only: bool,
}

impl HostMount {
    /// All that a table lists, in no order that says what lies over what: since Linux 6.8 it is that in which the mounts were made, and one
    /// that was made first may be the last one that was attached.
    pub(crate) fn all(table: &str) -> Vec<Self> {
        table.lines().filter_map(parse).collect()
    }

    /// The one of `mounts` that is seen at `point`: no other one there is on it.
    pub(crate) fn seen_at<'a>(mounts: &'a [Self], point: &Path) -> Option<&'a Self> {
        let is_there = |mount: &&Self| mount.point.as_os_str() == point.as_os_str();
        let is_covered = |mount: &Self| {
            let mut there = mounts.iter().filter(is_there);
            there.any(|over| over.parent == mount.id && over.id != mount.id)
        };
        let mut there = mounts.iter().filter(is_there);
        there.rfind(|mount| !is_covered(mount))
    }

    /// What makes a file system of this type a bad place for an overlay's changes; none where nothing is known against it.
    pub(crate) fn bad_for_changes(&self) -> Option<&'static str> {
        match self.fstype.as_str() {
            "overlay" => Some("an overlay cannot keep its changes on another overlay"),
            "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" | "ceph" => {
                Some("an overlay can hardly ever keep its changes on a network file system")
            }
            "vfat" | "exfat" | "msdos" | "ntfs3" => {
                Some("the file system knows no Unix permissions, nor overlayfs's marks")
            }
            "ecryptfs" => Some(
                "ecryptfs takes file names of up to 143 bytes, and those of images may be longer",
            ),
            kind if kind.starts_with("fuse") => {
                Some("few FUSE file systems can hold what an overlay keeps there")
            }
            _ => None,
        }
    }
}

/// The one that is seen of those mounts of the table that are nearest above `path`.
pub(super) fn of(table: &str, path: &Path) -> Option<HostMount> {
    let mounts = HostMount::all(table);
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let nearest = above.max_by_key(|mount| mount.point.as_os_str().len())?;
    HostMount::seen_at(&mounts, &nearest.point).cloned()
}

fn parse(line: &str) -> Option<HostMount> {
    let (own, rest) = line.split_once(" - ")?;
    let mut own = own.split(' ');
    let id = own.next()?.parse().ok()?;
    let parent = own.next()?.parse().ok()?;
    let mut own = own.skip(2);
    let point = PathBuf::from(OsString::from_vec(unescape(own.next()?)));
    let read_only = own.next()?.split(',').any(|option| option == "ro");
    let fstype = rest.split(' ').next()?.to_owned();
    Some(HostMount {
        id,
        parent,
        point,
        fstype,
        read_only,
    })
}

/// The kernel writes blank, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut bytes = text.as_bytes().iter();
    let mut plain = Vec::new();
    while let Some(&byte) = bytes.next() {
        let digits = bytes.as_slice().get(..3).filter(|_| byte == b'\\');
        let code =
            digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        if code.is_some() {
            bytes.nth(2);
        }
        plain.push(code.unwrap_or(byte));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw\n\
        2 1 0:5 / /var rw,nosuid,noexec - tmpfs tmpfs rw,size=1k\n\
        3 2 0:6 / /var/a\\040b ro - overlay overlay rw,lowerdir=/x\n\
        4 1 0:7 / /var rw - xfs /dev/sdb rw\n";

    #[test]
    fn a_path_is_on_the_nearest_mount_above_it_and_there_on_the_last() {
        let on = |path| of(TABLE, Path::new(path)).unwrap().fstype;
        assert_eq!(on("/etc"), "ext4");
        assert_eq!(on("/var/lib"), "xfs");
        assert_eq!(on("/variant"), "ext4");
        assert_eq!(on("/var/a b/c"), "overlay");
        assert!(of("nonsense", Path::new("/")).is_none());
    }

    #[test]
    fn what_is_seen_is_what_lies_on_the_others_whichever_was_made_first() {
        let table = "\
            10 9 0:1 / / rw - overlay overlay rw\n\
            11 14 0:2 / /sys/fs/cgroup rw - ext4 /dev/sda rw\n\
            12 10 0:3 / /sys rw - sysfs sysfs rw\n\
            14 12 0:4 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n";
        let mounts = HostMount::all(table);
        let seen =
            |point| HostMount::seen_at(&mounts, Path::new(point)).map(|mount| &*mount.fstype);
        assert_eq!(seen("/sys/fs/cgroup"), Some("ext4"));
        assert_eq!(seen("/"), Some("overlay"));
        assert_eq!(seen("/proc"), None);
    }

    #[test]
    fn overlays_and_network_file_systems_are_bad_places_for_changes() {
        let mount = |fstype: &str| HostMount {
            id: 1,
            parent: 0,
            point: "/".into(),
            fstype: fstype.to_owned(),
            read_only: false,
        };
        for fstype in ["overlay", "nfs4", "ecryptfs", "fuse.sshfs", "vfat"] {
            assert!(mount(fstype).bad_for_changes().is_some(), "{fstype}");
        }
        for fstype in ["ext4", "xfs", "btrfs", "tmpfs"] {
            assert!(mount(fstype).bad_for_changes().is_none(), "{fstype}");
        }
    }
}
