//! One file of a tree that somebody else may be changing at this moment.
//!
//! It is held as a place (`O_PATH`) from the moment it is found, and all that is asked of it is asked of that very file:
//! what has its name by then does not matter. Nothing is opened before it is known to be a directory or a regular file,
//! so that no device notices and no fifo blocks.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use crate::calls;
use crate::layer::XattrNamespace;

/// The largest value that an attribute has, and the largest list of names, in bytes: the kernel's own limits.
const XATTR: usize = 64 << 10;

/// A file, and what it was when it was found.
#[derive(Debug)]
pub(crate) struct Seen {
    place: OwnedFd,
    pub(crate) status: FileStat,
}

/// Names and values of extended attributes, sorted.
pub(crate) type Xattrs = Vec<(CString, Vec<u8>)>;

impl Seen {
    /// The file `name` in `dir`, be it a symbolic link; none where there is none any more.
    pub(crate) fn at(dir: BorrowedFd<'_>, name: &[u8]) -> nix::Result<Option<Self>> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let why = "so that this very file is looked at, whatever has its name by then";
        match calls::openat(dir, name, flags, Mode::empty(), why) {
            Ok(place) => Self::of(place).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What is at `path` beneath `root`, reached through no symbolic link; none where there is nothing.
    pub(crate) fn beneath(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<Option<Self>> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let path = if path.is_empty() { b"." } else { path };
        let why = "so that it is seen what the image has of this name";
        match calls::openat2(root, path, flags, resolve, why) {
            Ok(place) => Self::of(place).map(Some),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            // RESOLVE_NO_SYMLINKS refuses a link at the end too, unless it is opened as one.
            Err(Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn of(place: OwnedFd) -> nix::Result<Self> {
        let why = "so that it is known what this file is";
        let status = calls::fstat(place.as_fd(), why)?;
        Ok(Self { place, status })
    }

    pub(crate) fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.status.st_mode) & SFlag::S_IFMT
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }

    /// The permission bits, with set-user-ID, set-group-ID and sticky.
    pub(crate) fn mode(&self) -> u32 {
        self.status.st_mode & 0o7777
    }

    /// Whether owner, group and mode are the same.
    pub(crate) fn has_the_rights_of(&self, other: &Self) -> bool {
        let rights = |file: &Self| (file.status.st_uid, file.status.st_gid, file.status.st_mode);
        rights(self) == rights(other)
    }

    /// Whether nothing tells it from `original`, of which it is a copy or was one: of a directory, that is the directory itself,
    /// whatever is in it.
    pub(crate) fn is_as(&self, original: &Self) -> io::Result<bool> {
        if !self.has_the_rights_of(original) {
            return Ok(false);
        }
        let facts = |file: &Self| {
            let status = &file.status;
            (status.st_size, status.st_mtime, status.st_mtime_nsec)
        };
        let same = match self.kind() {
            SFlag::S_IFREG => facts(self) == facts(original),
            SFlag::S_IFLNK => self.target()? == original.target()?,
            SFlag::S_IFCHR | SFlag::S_IFBLK => self.status.st_rdev == original.status.st_rdev,
            _ => true,
        };
        Ok(same && self.own_xattrs()? == original.own_xattrs()?)
    }

    /// Its attributes without the marks of overlays.
    fn own_xattrs(&self) -> io::Result<Xattrs> {
        let mut all = self.xattrs()?;
        let marks = [XattrNamespace::Trusted, XattrNamespace::User].map(XattrNamespace::marks);
        let is_mark = |name: &CString| marks.iter().any(|mark| name.to_bytes().starts_with(mark));
        all.retain(|(name, _)| !is_mark(name));
        Ok(all)
    }

    /// Whether it is a whiteout by being the device 0:0.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == SFlag::S_IFCHR && self.status.st_rdev == 0
    }

    /// Whether it is a whiteout of the other kind, in a directory that has such: an empty file with an attribute (Linux 6.7).
    pub(crate) fn is_whiteout_by_attribute(&self, namespace: XattrNamespace) -> io::Result<bool> {
        let could = self.kind() == SFlag::S_IFREG && self.status.st_size == 0;
        Ok(could && self.xattr(namespace.whiteout())?.is_some())
    }

    /// Opens it to be read. To be called of a directory or a regular file only.
    pub(crate) fn open(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let why = "so that the very file that was looked at is read";
        calls::open(Path::new(&self.path()), flags, why)
    }

    /// Opens a directory, to list it and to look at what is in it.
    pub(crate) fn open_directory(&self) -> nix::Result<Dir> {
        Dir::from_fd(self.open()?)
    }

    /// Where a symbolic link leads.
    pub(crate) fn target(&self) -> nix::Result<Vec<u8>> {
        let why = "so that the link is known as it is, and followed nowhere";
        calls::readlink(self.place.as_fd(), why).map(OsStringExt::into_vec)
    }

    /// One of its attributes.
    pub(crate) fn xattr(&self, name: &CStr) -> io::Result<Option<Vec<u8>>> {
        let path = self.c_path();
        let why = "so that the file's attribute is known";
        // Most are short.
        for room in [256, XATTR] {
            let mut value = vec![0; room];
            match calls::getxattr(&path, name, &mut value, why) {
                Ok(length) => {
                    value.truncate(length);
                    return Ok(Some(value));
                }
                Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {}
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(None),
                        _ => Err(error),
                    };
                }
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// All of its attributes, in the order of their names.
    pub(crate) fn xattrs(&self) -> io::Result<Xattrs> {
        let path = self.c_path();
        let why = "so that it is known which attributes the file has";
        let mut names = vec![0; 1024];
        let length = match calls::listxattr(&path, &mut names, why) {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {
                names.resize(XATTR, 0);
                calls::listxattr(&path, &mut names, why)?
            }
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => 0,
            length => length?,
        };
        names.truncate(length);
        let mut all = Xattrs::new();
        for name in names.split_inclusive(|byte| *byte == 0) {
            let name = CStr::from_bytes_with_nul(name)
                .map_err(|_| io::ErrorKind::InvalidData)?
                .to_owned();
            // One that has gone meanwhile is gone.
            if let Some(value) = self.xattr(&name)? {
                all.push((name, value));
            }
        }
        all.sort();
        Ok(all)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// A path that leads to this file as long as this lives.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.place.as_raw_fd())
    }

    fn c_path(&self) -> CString {
        CString::new(self.path()).unwrap_or_default()
    }
}

/// The names in a directory, sorted as bytes.
pub(crate) fn names(dir: &mut Dir) -> nix::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The names in the directory `path` beneath `root`, sorted; none where there is no such directory.
pub(crate) fn names_beneath(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<Vec<Vec<u8>>> {
    match Seen::beneath(root, path)?.filter(Seen::is_directory) {
        Some(dir) => names(&mut dir.open_directory()?),
        None => Ok(Vec::new()),
    }
}

/// A path with one name more.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
}
