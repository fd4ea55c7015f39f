//! One entry of a tar archive, as it is written: POSIX's ustar, with PAX records for what that has no room for.
//!
//! The same entry has the same bytes always: no access times, no names of users, records in the order of their keys.

use std::collections::BTreeMap;
use std::ffi::CString;

use tar::{EntryType, Header};

use crate::id_range::{IdRange, inside};
use crate::seen::Xattrs;

/// The most that seven and eleven octal digits can say.
const SEVEN: u64 = 0o7_777_777;
const ELEVEN: u64 = 0o77_777_777_777;
/// How long a name may be in the header itself, in bytes.
const NAME: usize = 100;
/// The size of a block in bytes.
pub(crate) const BLOCK: usize = 512;

/// What stands in front of an entry's data.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: EntryType,
    /// The target of a link.
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: &'a [(CString, Vec<u8>)],
}

impl<'a> Entry<'a> {
    /// An empty file of nobody's and no time, as marks of layers are.
    pub(crate) fn mark(name: &'a [u8]) -> Self {
        Self {
            name,
            kind: EntryType::Regular,
            link: b"",
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: &[],
        }
    }

    /// The blocks in front of the entry's data.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut record = |key: &str, value: &[u8]| {
            records.insert(key.as_bytes().to_vec(), value.to_vec());
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        for (key, value, most) in [
            ("uid", u64::from(self.uid), SEVEN),
            ("gid", u64::from(self.gid), SEVEN),
            ("size", self.size, ELEVEN),
        ] {
            let fits = value <= most;
            if !fits {
                record(key, value.to_string().as_bytes());
            }
            let value = if fits { value } else { 0 };
            match key {
                "uid" => header.set_uid(value),
                "gid" => header.set_gid(value),
                _ => header.set_size(value),
            }
        }
        let (seconds, nanoseconds) = self.mtime;
        match u64::try_from(seconds) {
            Ok(seconds) if nanoseconds == 0 && seconds <= ELEVEN => header.set_mtime(seconds),
            within => {
                record("mtime", time(self.mtime).as_bytes());
                // For who does not know the record.
                header.set_mtime(within.ok().filter(|time| *time <= ELEVEN).unwrap_or(0));
            }
        }
        let bytes = header.as_mut_bytes();
        for (key, text, at) in [("path", self.name, 0), ("linkpath", self.link, 157)] {
            if text.len() > NAME {
                record(key, text);
            }
            let text = &text[..text.len().min(NAME)];
            bytes[at..at + text.len()].copy_from_slice(text);
        }
        // Each has room for more than the kernel has.
        let _ = header.set_device_major(self.device.0);
        let _ = header.set_device_minor(self.device.1);
        header.set_cksum();
        for (name, value) in self.xattrs {
            let key = [b"SCHILY.xattr.", name.to_bytes()].concat();
            records.insert(key, value.clone());
        }
        let mut blocks = Vec::new();
        if !records.is_empty() {
            let mut data = Vec::new();
            for (key, value) in &records {
                add_record(&mut data, key, value);
            }
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_mode(0o644);
            extended.set_uid(0);
            extended.set_gid(0);
            extended.set_mtime(0);
            extended.set_size(data.len() as u64);
            extended.as_mut_bytes()[..12].copy_from_slice(b"PaxHeaders/x");
            extended.set_cksum();
            blocks.extend_from_slice(extended.as_bytes());
            blocks.extend_from_slice(&data);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        blocks.extend_from_slice(header.as_bytes());
        blocks
    }
}

/// Adds `LENGTH KEY=VALUE\n`, whose length counts itself.
fn add_record(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    data.extend_from_slice(format!("{length} ").as_bytes());
    data.extend_from_slice(key);
    data.push(b'=');
    data.extend_from_slice(value);
    data.push(b'\n');
}

/// A time in decimal seconds. The kernel counts nanoseconds upwards, before 1970 too.
fn time((seconds, nanoseconds): (i64, i64)) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => (
            "-",
            (seconds + 1).unsigned_abs(),
            1_000_000_000 - nanoseconds,
        ),
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
    };
    match nanoseconds {
        0 => format!("{sign}{seconds}"),
        _ => {
            let text = format!("{sign}{seconds}.{nanoseconds:09}");
            text.trim_end_matches('0').to_owned()
        }
    }
}

/// The attributes that mean something on another machine, where users are numbered as inside of a namespace with the map `uids`.
pub(crate) fn portable(all: &[(CString, Vec<u8>)], uids: &[IdRange]) -> Xattrs {
    let mut kept = Xattrs::new();
    for (name, value) in all {
        let bytes = name.to_bytes();
        let marks = [&b"trusted.overlay."[..], b"user.overlay."];
        let is_mark = marks.iter().any(|mark| bytes.starts_with(mark));
        let is_known = bytes.starts_with(b"user.")
            || bytes.starts_with(b"trusted.")
            || bytes == b"security.capability"
            || bytes.starts_with(b"system.posix_acl_");
        // A key of a PAX record ends at the first of these.
        if is_mark || !is_known || bytes.contains(&b'=') {
            continue;
        }
        let value = match bytes {
            b"security.capability" => for_the_root(value, uids),
            _ => Some(value.clone()),
        };
        kept.extend(value.map(|value| (name.clone(), value)));
    }
    kept
}

/// A file capability without the number of the user namespace's root for whom it counts, which is another one elsewhere; none if that is not the root of
/// the map: what a user has given to programs in a namespace of his own is not to count for everybody. See `struct vfs_ns_cap_data` in `linux/capability.h`.
fn for_the_root(value: &[u8], uids: &[IdRange]) -> Option<Vec<u8>> {
    const REVISION: u32 = 0xff00_0000;
    let number = |at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    match (number(0), number(20)) {
        (Some(magic), Some(root)) if magic & REVISION == 0x0300_0000 => {
            let magic = magic & !REVISION | 0x0200_0000;
            (inside(uids, root) == 0).then(|| [&magic.to_le_bytes()[..], &value[4..20]].concat())
        }
        _ => Some(value.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pax::{self, Pax};

    #[test]
    fn a_capability_of_a_namespace_is_its_roots_alone() {
        let of = |root: u32| [&[1, 0, 0, 3][..], &[7; 16], &root.to_le_bytes()].concat();
        let plain = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        let (start, count) = (100_000, 65_536);
        let map = [IdRange {
            inside: 0,
            outside: start,
            count,
        }];
        assert_eq!(for_the_root(&of(start), &map), Some(plain.clone()));
        assert_eq!(for_the_root(&of(start + 1), &map), None);
        assert_eq!(for_the_root(&of(start), &[]), None);
        assert_eq!(for_the_root(&of(0), &[]), Some(plain.clone()));
        assert_eq!(for_the_root(&plain, &map), Some(plain));
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..1200 {
            let value = vec![b'v'; length];
            let mut data = Vec::new();
            add_record(&mut data, b"key", &value);
            let parsed = Pax::parse(&data).unwrap();
            assert_eq!(parsed.get(b"key"), Some(&value[..]));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_time_is_read_as_it_was_written(seconds in -1_i64 << 40..1_i64 << 40, nanoseconds in 0_i64..1_000_000_000) {
            let read = pax::time(time((seconds, nanoseconds)).as_bytes()).unwrap();
            proptest::prop_assert_eq!((read.tv_sec(), read.tv_nsec()), (seconds, nanoseconds));
        }
    }
}
