//! One entry of a layer, parsed and checked before anything is done for it.

use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::time::TimeSpec;
use tar::{Entry, EntryType};

use crate::error::{Error, Result};
use crate::layer::{UnpackOptions, XattrNamespace};
use crate::pax::{self, Pax};

/// What is wrong with a path, before it is known whose path it is.
pub(crate) enum Flaw {
    Escapes(&'static str),
    TooLarge(&'static str, u64),
}

impl Flaw {
    pub(crate) fn of(self, entry: PathBuf) -> Error {
        match self {
            Self::Escapes(why) => Error::Escapes { entry, why },
            Self::TooLarge(what, limit) => Error::TooLarge { entry, what, limit },
        }
    }
}

/// A path of a tar entry: relative to the layer's root, without `.`, `..`, empty names and NUL; empty for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TarPath(Vec<u8>);

impl TarPath {
    pub(crate) fn parse(raw: &[u8], options: &UnpackOptions) -> std::result::Result<Self, Flaw> {
        if raw.contains(&0) {
            return Err(Flaw::Escapes("a NUL byte in its name"));
        }
        let mut path = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for name in raw.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(Flaw::Escapes("`..` in its name")),
                _ if name.len() > 255 => return Err(Flaw::TooLarge("length of a file name", 255)),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            depth += 1;
        }
        if path.len() > options.max_path {
            return Err(Flaw::TooLarge("length of a path", options.max_path as u64));
        }
        if depth > options.max_depth {
            return Err(Flaw::TooLarge("depth of a path", options.max_depth as u64));
        }
        Ok(Self(path))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of the directory that holds this; empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        self.0
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(b"", |slash| &self.0[..slash])
    }

    /// The last name.
    pub(crate) fn name(&self) -> &[u8] {
        self.0
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(&self.0, |slash| &self.0[slash + 1..])
    }

    /// What stands behind `.wh.` where this is a whiteout.
    pub(crate) fn whiteout(&self) -> Option<&[u8]> {
        self.name().strip_prefix(b".wh.")
    }
}

/// One entry of a layer.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name as the tar has it, for messages.
    pub(crate) name: PathBuf,
    pub(crate) path: TarPath,
    pub(crate) kind: EntryType,
    /// The target of a link, as the tar has it.
    pub(crate) link: Vec<u8>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The permission bits, with set-user-ID, set-group-ID and sticky.
    pub(crate) mode: u32,
    pub(crate) mtime: TimeSpec,
    pub(crate) xattrs: Vec<(CString, Vec<u8>)>,
    /// How many attributes the entry has that no user namespace can set, and that are not to be set.
    pub(crate) xattrs_left_out: u64,
    /// How many bytes the entry's data yields.
    pub(crate) size: u64,
    pub(crate) sparse: Option<pax::Sparse>,
}

impl Member {
    /// Reads what stands before the entry's data; `headers` are the raw bytes of that.
    pub(crate) fn parse<R: Read>(
        entry: &Entry<'_, R>,
        headers: &[u8],
        options: &UnpackOptions,
    ) -> Result<Self> {
        let mut kind = entry.header().entry_type();
        let pax = Pax::find(headers);
        let path = pax.as_ref().ok().and_then(|pax| pax.get(b"path"));
        let mut raw = path.map_or_else(|| entry.path_bytes().into_owned(), <[u8]>::to_vec);
        let shown = PathBuf::from(OsString::from_vec(raw.clone()));
        let malformed = |why| Error::Malformed {
            entry: shown.clone(),
            why,
        };
        let pax = pax.map_err(malformed)?;
        if kind == EntryType::XGlobalHeader {
            // An extended header counts for the next file. The tar crate gives it to this one, so it would be lost.
            if !pax.is_empty() || raw != *entry.header().path_bytes() {
                return Err(malformed(
                    "a global header between an entry and its own headers",
                ));
            }
            return Ok(Self::nothing(shown, entry.size()));
        }
        agree(entry, &pax).map_err(malformed)?;
        let sparse = pax.sparse(options.max_headers).map_err(malformed)?;
        if let Some(name) = pax.get(b"GNU.sparse.name") {
            raw = name.to_vec();
        }
        // Before POSIX.1-1988 a directory was a file whose name ends in a slash.
        if kind == EntryType::Regular && raw.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let path = TarPath::parse(&raw, options).map_err(|flaw| flaw.of(shown.clone()))?;
        let header = entry.header();
        let id = |key, field: Option<u64>, why| {
            let number = pax
                .get(key)
                .map_or(field, pax::decimal)
                .and_then(|id| u32::try_from(id).ok());
            // The largest number means "leave it" to chown(2).
            number
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| malformed(why))
        };
        let uid = id(&b"uid"[..], header.uid().ok(), "its user ID is not one")?;
        let gid = id(&b"gid"[..], header.gid().ok(), "its group ID is not one")?;
        let mode = header
            .mode()
            .map_err(|_| malformed("its mode is not one"))?
            & 0o7777;
        let mtime = match pax.get(b"mtime") {
            Some(text) => pax::time(text).ok_or_else(|| malformed("its mtime is not a time"))?,
            None => {
                let seconds = header.mtime().ok().and_then(|seconds| {
                    // A number in base 256 may have a sign; the tar crate reads its last eight bytes.
                    let negative = header.as_old().mtime[0] == 0xff;
                    let signed = i64::from_be_bytes(seconds.to_be_bytes());
                    (negative == (signed < 0)).then_some(signed)
                });
                let seconds = seconds.ok_or_else(|| malformed("its mtime is not a time"))?;
                TimeSpec::new(seconds, 0)
            }
        };
        let device = match kind {
            EntryType::Char | EntryType::Block => {
                let number = |field: std::io::Result<Option<u32>>| field.ok().flatten();
                number(header.device_major()).zip(number(header.device_minor()))
            }
            // Others have anything in these fields.
            _ => Some((0, 0)),
        };
        // Not 0:0 in its place, which would be a whiteout.
        let device = device.ok_or_else(|| malformed("its device is not one"))?;
        let link = match pax.get(b"linkpath") {
            Some(target) => target.to_vec(),
            None => entry
                .link_name_bytes()
                .map(|target| target.into_owned())
                .unwrap_or_default(),
        };
        if link.contains(&0) || link.len() > options.max_path {
            return Err(malformed("the target of its link is not a path"));
        }
        let (xattrs, xattrs_left_out) = xattrs(&pax, options, &shown)?;
        let size = entry.size();
        // Most programs take what is behind such an entry for the next one, whatever its size; the tar crate skips it.
        if size > 0 && has_no_data(kind) {
            return Err(malformed("data behind a kind of entry that has none"));
        }
        Ok(Self {
            name: shown,
            path,
            kind,
            link,
            device,
            uid,
            gid,
            mode,
            mtime,
            xattrs,
            xattrs_left_out,
            size,
            sparse,
        })
    }

    /// An entry that describes no file.
    fn nothing(name: PathBuf, size: u64) -> Self {
        Self {
            name,
            path: TarPath(Vec::new()),
            kind: EntryType::XGlobalHeader,
            link: Vec::new(),
            device: (0, 0),
            uid: 0,
            gid: 0,
            mode: 0,
            mtime: TimeSpec::new(0, 0),
            xattrs: Vec::new(),
            xattrs_left_out: 0,
            size,
            sparse: None,
        }
    }

    /// Reads a header for all entries, which says nothing here, as in Docker. Refuses one by which others would see other
    /// files.
    pub(crate) fn check_global(&self, data: &mut impl Read) -> Result<()> {
        let malformed = |why| Error::Malformed {
            entry: self.name.clone(),
            why,
        };
        let mut raw = Vec::new();
        data.read_to_end(&mut raw)
            .map_err(|source| Error::Archive { source })?;
        let pax = Pax::parse(&raw).map_err(malformed)?;
        let changes = |key: &[u8]| {
            matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.")
        };
        match pax.records.iter().any(|(key, _)| changes(key)) {
            true => Err(malformed("a global header with a path or a size")),
            false => Ok(()),
        }
    }

    /// The target of the link, for messages.
    pub(crate) fn link_name(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.link))
    }
}

/// Whether POSIX gives this kind of entry no data.
fn has_no_data(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

/// Refuses an entry that another reader of tar, which splits PAX records at newlines, would take for a different file.
fn agree<R: Read>(entry: &Entry<'_, R>, pax: &Pax<'_>) -> std::result::Result<(), &'static str> {
    for key in [
        &b"path"[..],
        b"linkpath",
        b"size",
        b"uid",
        b"gid",
        b"mtime",
        b"GNU.sparse.name",
    ] {
        let theirs = pax::first_by_lines(pax.raw, key);
        // An empty value takes the record back, for some.
        if theirs.is_some_and(<[u8]>::is_empty) || theirs.is_some() && theirs != pax.get(key) {
            return Err("its PAX records read differently in different programs");
        }
    }
    // The tar crate reads the last eight bytes of a number in base 256, and takes a sign for part of an octal one.
    let field = &entry.header().as_old().size;
    if !matches!(field, [0x80, 0, 0, 0, ..] | [..0x80, ..])
        || field.contains(&b'+') && field[0] < 0x80
    {
        return Err("its size is not a number");
    }
    // The tar crate finds the next entry by the size, so here both must be of one opinion.
    if let Some(text) = pax.get(b"size") {
        let said = pax::decimal(text).ok_or("its size is not a number")?;
        let stated = entry.header().entry_size().unwrap_or(0);
        let framed = entry.header().entry_type() == EntryType::GNUSparse || said == entry.size();
        // A header has room for 8 GiB; beyond that its own field may hold anything.
        if !framed || (stated != 0 && stated != said && said < 0o77_777_777_777) {
            return Err("its two sizes contradict each other");
        }
    }
    Ok(())
}

/// Names and values, in their order.
type Xattrs = Vec<(CString, Vec<u8>)>;

/// The attributes that an entry gets, and the number of those that it does not get.
fn xattrs(pax: &Pax<'_>, options: &UnpackOptions, entry: &Path) -> Result<(Xattrs, u64)> {
    let mut found = Vec::new();
    let mut left_out = 0;
    for (key, value) in &pax.records {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else {
            continue;
        };
        // These steer overlayfs: a layer could redirect a directory of another layer.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        if options.xattr_namespace == XattrNamespace::User && is_of_the_host(name) {
            left_out += 1;
            continue;
        }
        if value.len() > options.max_xattr {
            let limit = options.max_xattr as u64;
            return Err(Error::TooLarge {
                entry: entry.into(),
                what: "size of an extended attribute",
                limit,
            });
        }
        let name = CString::new(name.to_vec()).map_err(|_| Error::Malformed {
            entry: entry.into(),
            why: "a NUL byte in the name of an extended attribute",
        })?;
        found.push((name, value.to_vec()));
    }
    Ok((found, left_out))
}

/// Whether only the root of the initial user namespace can set this attribute.
fn is_of_the_host(name: &[u8]) -> bool {
    name.starts_with(b"trusted.")
        || name.starts_with(b"security.") && name != b"security.capability"
}
