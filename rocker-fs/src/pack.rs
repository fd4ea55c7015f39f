//! Writing a tree as a tar stream: a layer of what overlayfs keeps in an upper directory, or an archive of plain files.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::sys::stat::{SFlag, major, minor};
use tar::EntryType;

use crate::entry::{BLOCK, Entry, portable};
use crate::error::{Error, Result};
use crate::file_system;
use crate::id_range::inside;
use crate::pack_options::{PackOptions, Packed};
use crate::seen::{Seen, Xattrs, join, names, names_beneath};
use crate::traces::Traces;

/// How much is read and written at once, in bytes.
const CHUNK: usize = 128 << 10;
/// The longest path of an archive in bytes, and the most directories that it goes down: what [`unpack`](crate::unpack) accepts.
const MAX_PATH: usize = 4095;
const MAX_DEPTH: usize = 256;

/// Writes a tree as a tar stream, and returns what it has written.
///
/// `tree` is a directory, or one file that is to be the only entry; a descriptor with `O_PATH` will do. The tree may change
/// meanwhile, as that of a container that runs: no symbolic link is followed, nothing but directories and regular files is
/// opened, a file that shrinks is filled up with zeros, and one that is gone is left out.
///
/// The same tree gives the same bytes: entries are sorted, directories before what is in them, with modes, numeric owners,
/// mtimes to the nanosecond, hard links, and the extended attributes that mean something elsewhere (`user.*`, `trusted.*`,
/// `security.capability` and access control lists). Sparse files are written whole, as the OCI image specification has it.
///
/// In a layer a whiteout stands as `.wh.NAME`, and an opaque directory has `.wh..wh..opq` as its first entry. A file
/// capability counts for the root of whichever user namespace the layer is used in.
///
/// Memory is bounded by the names of the directories on the way to one file, and the files with several hard links.
///
/// # Errors
/// [`Error::Unpackable`] for what a layer has no words for: a directory that was renamed by redirection, a path that is too
/// long or too deep to be unpacked; [`Error::TooLarge`]; [`Error::Entry`] when a system call fails; [`Error::Output`].
///
/// Format: [OCI image layer](https://github.com/opencontainers/image-spec/blob/main/layer.md), pax(1). Linux 5.6.
pub fn pack(tree: BorrowedFd<'_>, out: impl Write, options: &PackOptions<'_>) -> Result<Packed> {
    let traces = Traces::of(&options.mount_points);
    let mut packer = Packer {
        out: BufWriter::with_capacity(CHUNK, out),
        options,
        traces,
        links: HashMap::new(),
        pending: Vec::new(),
        buffer: vec![0; CHUNK],
        done: Packed::default(),
    };
    let name = options.root_name.as_os_str().as_bytes();
    let place = tree.try_clone_to_owned();
    let failed = |operation, source| Error::Entry {
        operation,
        entry: options.root_name.clone(),
        source,
    };
    let place = place.map_err(|source| failed("fcntl", source))?;
    let seen = Seen::of(place).map_err(|errno| failed("fstat", errno.into()))?;
    if seen.is_directory() {
        packer.directory(b"", name, seen, 0)?;
    } else {
        packer.file(name, &seen)?;
    }
    packer.end()
}

/// A directory that is being written.
struct Listing {
    dir: Dir,
    /// What is in it, and what no more is of what the layers below have.
    names: BTreeMap<Vec<u8>, bool>,
    /// Whether there may be whiteouts that are marked files.
    marked_files: bool,
    device: u64,
}

struct Packer<'a, 'b, W: Write> {
    out: BufWriter<W>,
    options: &'a PackOptions<'b>,
    traces: Traces,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The entries of directories on the way down that are as they were, which are needed only if something in them is not.
    pending: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    done: Packed,
}

impl<W: Write> Packer<'_, '_, W> {
    /// Writes a directory and all that is in it. `path` is where it is in the tree, `name` what it is called in the archive.
    ///
    /// What takes much room on the stack is done by others, which return before this goes down.
    fn directory(&mut self, path: &[u8], name: &[u8], seen: Seen, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH || name.len() > MAX_PATH {
            return Err(unpackable(
                name,
                "it is deeper than an archive can be unpacked",
            ));
        }
        let held = self.pending.len();
        let mut listing = self.begin(path, name, seen)?;
        while let Some((below, is_there)) = listing.names.pop_first() {
            if !is_there {
                self.mark(&join(name, &[b".wh.", &below[..]].concat()))?;
                continue;
            }
            let (path, name) = (join(path, &below), join(name, &below));
            if let Some(seen) = self.child(&listing, &path, &name, &below)? {
                self.directory(&path, &name, seen, depth + 1)?;
            }
        }
        // Nothing in it has changed either.
        self.pending.truncate(held);
        Ok(())
    }

    /// Writes a directory's own entry, and lists it.
    fn begin(&mut self, path: &[u8], name: &[u8], seen: Seen) -> Result<Listing> {
        let failed = |operation, error| failed(operation, name, error);
        let xattrs = seen.xattrs().map_err(|error| failed("listxattr", error))?;
        let value = |wanted: &CStr| xattrs.iter().find(|(name, _)| **name == *wanted);
        let mut marked_files = false;
        let mut opaque = false;
        if let Some(marks) = self.options.marks {
            if value(marks.redirections()[0]).is_some() {
                let why = "its overlay renamed it by redirection, which a layer cannot say; copy it under another name first";
                return Err(unpackable(name, why));
            }
            let mark = value(marks.opaque()).map(|(_, value)| &value[..]);
            (opaque, marked_files) = (mark == Some(b"y"), mark == Some(b"x"));
        }
        let own = if name.is_empty() { b"." } else { name };
        let own = [own, b"/"].concat();
        let below = self.below(path, name)?;
        match &below {
            Some(below) if !path.is_empty() && is_as(&seen, below, name)? => {
                let header = self.header(&own, EntryType::Directory, b"", 0, &seen, &xattrs);
                self.pending.push(header);
            }
            _ => self.entry(&own, EntryType::Directory, b"", 0, &seen, &xattrs)?,
        }
        if opaque {
            let mark = join(if name.is_empty() { b"" } else { name }, b".wh..wh..opq");
            self.mark(&mark)?;
        }
        let device = seen.status.st_dev;
        let opened = seen.open_directory();
        drop(seen);
        let mut dir = opened.map_err(|errno| failed("open", errno.into()))?;
        let own = names(&mut dir).map_err(|errno| failed("getdents64", errno.into()))?;
        let mut names: BTreeMap<Vec<u8>, bool> = own.into_iter().map(|name| (name, true)).collect();
        if let Some(lower) = self.options.lower.filter(|_| below.is_some()) {
            let gone = names_beneath(lower, path);
            for gone in gone.map_err(|errno| failed("getdents64", errno.into()))? {
                names.entry(gone).or_insert(false);
            }
        }
        Ok(Listing {
            dir,
            names,
            marked_files,
            device,
        })
    }

    /// Writes what a directory has under this name, and returns what is to be gone down to.
    fn child(
        &mut self,
        listing: &Listing,
        path: &[u8],
        name: &[u8],
        below: &[u8],
    ) -> Result<Option<Seen>> {
        let failed = |operation, error| failed(operation, name, error);
        let seen = Seen::at(listing.dir.as_fd(), below);
        let Some(seen) = seen.map_err(|errno| failed("openat", errno.into()))? else {
            return Ok(None);
        };
        if self.is_left_out(path, name, below, &seen)? {
            return Ok(None);
        }
        if let Some(marks) = self.options.marks {
            let by_attribute = listing.marked_files
                && seen
                    .is_whiteout_by_attribute(marks)
                    .map_err(|error| failed("getxattr", error))?;
            if seen.is_whiteout() || by_attribute {
                let above = name.len() - below.len();
                self.mark(&[&name[..above], b".wh.", below].concat())?;
                return Ok(None);
            }
        }
        if seen.is_directory() && self.is_the_kernels(&seen, listing.device, name)? {
            let own = [name, b"/"].concat();
            self.entry(&own, EntryType::Directory, b"", 0, &seen, &[])?;
            return Ok(None);
        }
        if seen.is_directory() {
            return Ok(Some(seen));
        }
        match self.below(path, name)? {
            Some(original) if is_as(&seen, &original, name)? => {}
            _ => self.file(name, &seen)?,
        }
        Ok(None)
    }

    /// What the layers below have at a path of a tree that is whole.
    fn below(&self, path: &[u8], name: &[u8]) -> Result<Option<Seen>> {
        match self.options.lower {
            Some(lower) if self.options.whole => {
                Seen::beneath(lower, path).map_err(|errno| failed("openat2", name, errno.into()))
            }
            _ => Ok(None),
        }
    }

    fn is_left_out(&mut self, path: &[u8], name: &[u8], below: &[u8], seen: &Seen) -> Result<bool> {
        let Some(marks) = self.options.marks else {
            return Ok(false);
        };
        if below.starts_with(b".wh.") {
            self.done.names_left_out += 1;
            return Ok(true);
        }
        let Some(lower) = self.options.lower else {
            return Ok(false);
        };
        self.traces
            .is_one(path, seen, lower, marks)
            .map_err(|error| failed("openat2", name, error))
    }

    /// Whether a directory of a tree of plain files is where a file system of the kernel's own making begins.
    fn is_the_kernels(&self, seen: &Seen, device: u64, name: &[u8]) -> Result<bool> {
        if self.options.marks.is_some() || seen.status.st_dev == device {
            return Ok(false);
        }
        let dir = seen
            .open()
            .map_err(|errno| failed("open", name, errno.into()))?;
        file_system::is_the_kernels(dir.as_fd())
            .map_err(|errno| failed("fstatfs", name, errno.into()))
    }

    /// Writes what is no directory.
    fn file(&mut self, name: &[u8], seen: &Seen) -> Result<()> {
        let failed = |operation, error| failed(operation, name, error);
        if name.len() > MAX_PATH {
            return Err(unpackable(
                name,
                "its path is longer than an archive can be unpacked with",
            ));
        }
        let kind = match seen.kind() {
            SFlag::S_IFREG => EntryType::Regular,
            SFlag::S_IFLNK => EntryType::Symlink,
            SFlag::S_IFIFO => EntryType::Fifo,
            SFlag::S_IFCHR | SFlag::S_IFBLK if self.options.harmless => {
                self.done.devices_left_out += 1;
                return Ok(());
            }
            SFlag::S_IFCHR => EntryType::Char,
            SFlag::S_IFBLK => EntryType::Block,
            _ => {
                self.done.sockets_left_out += 1;
                return Ok(());
            }
        };
        if seen.status.st_nlink > 1 {
            let identity = (seen.status.st_dev, seen.status.st_ino);
            if let Some(first) = self.links.get(&identity).cloned() {
                return self.entry(name, EntryType::Link, &first, 0, seen, &[]);
            }
            self.links.insert(identity, name.to_vec());
        }
        let xattrs = seen.xattrs().map_err(|error| failed("listxattr", error))?;
        if let Some(marks) = self.options.marks
            && xattrs
                .iter()
                .any(|(name, _)| **name == *marks.redirections()[1])
        {
            let why = "its content is a layer's below by the metacopy feature of its overlay, which a layer cannot say";
            return Err(unpackable(name, why));
        }
        match kind {
            EntryType::Regular => {
                let size = u64::try_from(seen.status.st_size).unwrap_or(0);
                if size > self.options.max_bytes.saturating_sub(self.done.bytes) {
                    return Err(Error::TooLarge {
                        entry: shown(name),
                        what: "size of all files",
                        limit: self.options.max_bytes,
                    });
                }
                // Before its header, so that one that cannot be opened is an error and no half of an entry.
                let file = match size {
                    0 => None,
                    _ => Some(seen.open().map_err(|errno| failed("open", errno.into()))?),
                };
                self.entry(name, kind, b"", size, seen, &xattrs)?;
                self.done.bytes += size;
                match file {
                    Some(file) => self.content(name, file, size),
                    None => Ok(()),
                }
            }
            EntryType::Symlink => {
                let target = seen
                    .target()
                    .map_err(|errno| failed("readlinkat", errno.into()))?;
                self.entry(name, kind, &target, 0, seen, &xattrs)
            }
            _ => self.entry(name, kind, b"", 0, seen, &xattrs),
        }
    }

    fn content(&mut self, name: &[u8], file: OwnedFd, size: u64) -> Result<()> {
        let mut file = File::from(file);
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let count = match file.read(&mut self.buffer[..room]) {
                // It has shrunk, and its header cannot be taken back.
                Ok(0) => {
                    self.buffer[..room].fill(0);
                    room
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read", name, error)),
            };
            self.out.write_all(&self.buffer[..count]).map_err(output)?;
            left -= count as u64;
        }
        let behind = size.next_multiple_of(BLOCK as u64) - size;
        // Less than a block.
        let zeros = [0; BLOCK];
        self.out
            .write_all(&zeros[..behind as usize])
            .map_err(output)
    }

    fn entry(
        &mut self,
        name: &[u8],
        kind: EntryType,
        link: &[u8],
        size: u64,
        seen: &Seen,
        xattrs: &[(CString, Vec<u8>)],
    ) -> Result<()> {
        let header = self.header(name, kind, link, size, seen, xattrs);
        self.write(&header)
    }

    fn header(
        &self,
        name: &[u8],
        kind: EntryType,
        link: &[u8],
        size: u64,
        seen: &Seen,
        xattrs: &[(CString, Vec<u8>)],
    ) -> Vec<u8> {
        let status = &seen.status;
        let (xattrs, set_ids) = match self.options.harmless {
            true => (Xattrs::new(), if seen.is_directory() { 0 } else { 0o6000 }),
            false => (portable(xattrs, &self.options.uids), 0),
        };
        let device = match kind {
            // Neither has more than 20 bits.
            EntryType::Char | EntryType::Block => {
                (major(status.st_rdev) as u32, minor(status.st_rdev) as u32)
            }
            _ => (0, 0),
        };
        let entry = Entry {
            name,
            kind,
            link,
            mode: seen.mode() & !set_ids,
            uid: inside(&self.options.uids, status.st_uid),
            gid: inside(&self.options.gids, status.st_gid),
            size,
            mtime: (status.st_mtime, status.st_mtime_nsec),
            device,
            xattrs: &xattrs,
        };
        entry.encode()
    }

    fn mark(&mut self, name: &[u8]) -> Result<()> {
        self.write(&Entry::mark(name).encode())
    }

    fn write(&mut self, header: &[u8]) -> Result<()> {
        for above in std::mem::take(&mut self.pending) {
            self.done.entries += 1;
            self.out.write_all(&above).map_err(output)?;
        }
        self.done.entries += 1;
        self.out.write_all(header).map_err(output)
    }

    fn end(mut self) -> Result<Packed> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(output)?;
        self.out.flush().map_err(output)?;
        Ok(self.done)
    }
}

fn is_as(seen: &Seen, original: &Seen, name: &[u8]) -> Result<bool> {
    seen.is_as(original)
        .map_err(|error| failed("getxattr", name, error))
}

fn shown(name: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(name)).to_owned()
}

fn unpackable(name: &[u8], why: &'static str) -> Error {
    Error::Unpackable {
        path: shown(name),
        why,
    }
}

fn output(source: io::Error) -> Error {
    Error::Output { source }
}

fn failed(operation: &'static str, name: &[u8], source: io::Error) -> Error {
    Error::Entry {
        operation,
        entry: shown(name),
        source,
    }
}
