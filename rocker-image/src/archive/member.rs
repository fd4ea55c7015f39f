//! [`Members`]: a tar archive from front to back, with bounds on all that it says about itself.

use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::{Error, Result};

const BLOCK: usize = 512;
/// No archive of images has more members.
const MAX_MEMBERS: usize = 1 << 15;
/// No member of one has a longer name.
const MAX_NAME: usize = 1024;
/// How much the records before a member may say of it.
const MAX_RECORDS: u64 = 64 << 10;
/// How much is read behind the end, where tar programs put zeros.
const MAX_TAIL: u64 = 1 << 20;

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Relative, with no `.`, `..` or empty part.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A symbolic link, and what stands in it.
    Link(String),
}

/// What the records before a member say of it.
#[derive(Default)]
struct Records {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads members one after another. As a [`Read`], it is the content of the last one.
pub(crate) struct Members<R> {
    inner: R,
    /// What is left of the content of the member.
    left: u64,
    /// The zeros behind it.
    padding: u64,
    seen: usize,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            left: 0,
            padding: 0,
            seen: 0,
        }
    }

    /// The next member; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let mut records = Records::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.seen += 1;
            if self.seen > MAX_MEMBERS {
                return Err(Error::NotAnArchive {
                    problem: "it has more than 32768 members",
                });
            }
            self.begin(header.entry_size().map_err(broken)?);
            match header.entry_type() {
                EntryType::XGlobalHeader => {}
                EntryType::XHeader => records.read(&self.records()?)?,
                EntryType::GNULongName => records.name = Some(text(self.records()?)),
                EntryType::GNULongLink => records.target = Some(text(self.records()?)),
                kind => return self.member(&header, kind, records).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, kind: EntryType, records: Records) -> Result<Member> {
        if let Some(size) = records.size {
            self.begin(size);
        }
        let bytes = records.name.unwrap_or_else(|| header.path_bytes().into());
        let refused = |problem| Error::ArchiveMember {
            member: String::from_utf8_lossy(&bytes).into_owned().into(),
            problem,
        };
        let name = path(&bytes).map_err(refused)?;
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => {
                let target = records
                    .target
                    .or_else(|| Some(header.link_name_bytes()?.into()));
                let target = String::from_utf8(target.unwrap_or_default());
                let target = target.map_err(|_| refused("is a link to a name that is no text"))?;
                if target.len() > MAX_NAME {
                    return Err(refused("is a link to a name of more than 1024 bytes"));
                }
                Kind::Link(target)
            }
            EntryType::Link => return Err(refused("is a hard link")),
            _ => return Err(refused("is neither a file nor a directory")),
        };
        Ok(Member {
            name,
            kind,
            size: self.left,
        })
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Goes on behind the content of the member.
    fn skip(&mut self) -> Result<()> {
        let rest = u128::from(self.left) + u128::from(self.padding);
        let rest = u64::try_from(rest).map_err(|_| broken(io::ErrorKind::InvalidData.into()))?;
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink());
        if skipped.map_err(broken)? != rest {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        self.begin(0);
        Ok(())
    }

    /// The next header; none where the archive ends, be it that its last blocks are missing.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = Vec::with_capacity(BLOCK);
        let mut next = (&mut self.inner).take(BLOCK as u64);
        next.read_to_end(&mut block).map_err(broken)?;
        if block.is_empty() && self.seen > 0 {
            return Ok(None);
        }
        if block.len() < BLOCK {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        if block.iter().all(|byte| *byte == 0) {
            // Whoever writes the archive into a pipe is not to be stopped by its end.
            let mut tail = (&mut self.inner).take(MAX_TAIL);
            io::copy(&mut tail, &mut io::sink()).map_err(broken)?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        if header.cksum().ok() != Some(sum(&block)) {
            return Err(Error::NotAnArchive {
                problem: "it is no tar archive, or damaged",
            });
        }
        Ok(Some(header.clone()))
    }

    /// All of the member's content, where that says something of the next one.
    fn records(&mut self) -> Result<Vec<u8>> {
        if self.left > MAX_RECORDS {
            return Err(Error::NotAnArchive {
                problem: "it has records of more than 64 KiB",
            });
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(broken)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = (&mut self.inner).take(self.left).read(buf)?;
        if length == 0 && self.left > 0 && !buf.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length as u64;
        Ok(length)
    }
}

impl Records {
    /// Reads the records of a PAX header: `LENGTH KEY=VALUE\n`, where the length counts all of the record.
    fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        let wrong = || Error::NotAnArchive {
            problem: "it has PAX records that cannot be read",
        };
        let parse = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ');
            let space = space.ok_or_else(wrong)?;
            let length = parse(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length > space && *length <= bytes.len());
            let (record, rest) = bytes.split_at(length.ok_or_else(wrong)?);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=');
            let (key, value) = record.split_at(equals.ok_or_else(wrong)?);
            let value = &value[1..];
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(parse(value).ok_or_else(wrong)?),
                // A sparse file's content is not what stands in the archive.
                key if key.starts_with(b"GNU.sparse") => return Err(wrong()),
                _ => {}
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// A member's name, if it leads nowhere but into the archive.
fn path(bytes: &[u8]) -> std::result::Result<String, &'static str> {
    if bytes.len() > MAX_NAME {
        return Err("has a name of more than 1024 bytes");
    }
    let name = std::str::from_utf8(bytes).map_err(|_| "has a name that is no text")?;
    if name.starts_with('/') {
        return Err("has an absolute name");
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("has a name that leads out of the archive"),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The text before the zero that ends it.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

/// The sum of a header's bytes, of which those of the sum itself count as spaces.
fn sum(block: &[u8]) -> u32 {
    let byte = |(at, byte): (usize, &u8)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    };
    block.iter().enumerate().map(byte).sum()
}

fn broken(source: io::Error) -> Error {
    Error::ReadArchive { source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn archive(members: &[(&[u8], EntryType, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, content) in members {
            bytes.extend_from_slice(header(name, *kind, content.len() as u64).as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    fn all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut members = Members::new(bytes);
        let mut all = Vec::new();
        while let Some(member) = members.next()? {
            let mut content = Vec::new();
            members
                .read_to_end(&mut content)
                .map_err(|source| Error::ReadArchive { source })?;
            all.push((member.name, content));
        }
        Ok(all)
    }

    #[test]
    fn members_come_with_their_names_however_long_and_their_content() {
        let long = "d/".repeat(200) + "f";
        let record = format!(" path={long}\n");
        let record = format!("{}{record}", record.len() + 3);
        for (kind, text) in [
            (EntryType::XHeader, record.as_bytes()),
            (EntryType::GNULongName, long.as_bytes()),
        ] {
            let bytes = archive(&[
                (b"./a", EntryType::Regular, b"content"),
                (b"records", kind, text),
                (b"short", EntryType::Regular, &[7; 513]),
                (b"dir/", EntryType::Directory, b""),
            ]);
            let found = all(&bytes).unwrap();
            assert_eq!(found[0], ("a".into(), b"content".to_vec()));
            assert_eq!(found[1], (long.clone(), vec![7; 513]));
            assert_eq!(found[2].0, "dir");
        }
    }

    #[test]
    fn a_name_that_leads_out_a_hard_link_and_a_device_are_refused() {
        for (name, kind) in [
            (&b"../x"[..], EntryType::Regular),
            (b"a/../../x", EntryType::Regular),
            (b"/etc/passwd", EntryType::Regular),
            (b"\xff", EntryType::Regular),
            (b"x", EntryType::Link),
            (b"x", EntryType::Char),
            (b"x", EntryType::Fifo),
            (b"x", EntryType::GNUSparse),
        ] {
            let result = all(&archive(&[(name, kind, b"")]));
            assert!(
                matches!(result, Err(Error::ArchiveMember { .. })),
                "{name:?}: {result:?}"
            );
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_no_archive() {
        let bytes = archive(&[(b"a", EntryType::Regular, &[7; 600])]);
        for end in [0, 1, 511, 513, 1000, 1535] {
            assert!(all(&bytes[..end]).is_err(), "{end}");
        }
        let mut wrong = bytes;
        wrong[0] ^= 1;
        assert!(matches!(all(&wrong), Err(Error::NotAnArchive { .. })));
    }

    #[test]
    fn records_are_bounded() {
        let bytes = archive(&[(b"x", EntryType::GNULongName, &vec![b'a'; 1 << 17])]);
        assert!(matches!(all(&bytes), Err(Error::NotAnArchive { .. })));
        let huge = header(b"x", EntryType::Regular, u64::MAX);
        assert!(all(huge.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
            let _ = all(&bytes);
            if bytes.len() >= BLOCK {
                let mut header = Header::from_byte_slice(&bytes[..BLOCK]).clone();
                header.set_cksum();
                bytes[..BLOCK].copy_from_slice(header.as_bytes());
                let _ = all(&bytes);
            }
        }
    }
}
