//! Copying a tree from one open directory to another.
//!
//! Both sides may be written to by somebody else at the same time. So no path is ever looked up: each name is opened in its
//! directory without following a symbolic link, looked at, and from then on it is that very file that is read; on the
//! other side a file is new (`O_EXCL`), or there is an error.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::sys::time::TimeSpec;

use crate::calls;
use crate::copy_data::Data;
use crate::error::{Error, Result};
use crate::made;

/// How deep a tree may be: two descriptors are held a level, and a process has 1024 as a rule.
pub(crate) const MAX_DEPTH: usize = 256;
/// The longest list of an extended attribute's names, and the longest value, in bytes: the kernel's limit.
const XATTR_MAX: usize = 64 << 10;

/// What [`copy_tree`] has copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// How many names there are in the copy, that of the tree itself not counted.
    pub entries: u64,
    /// The sizes of all files in bytes, holes included; a file with several names counts once.
    pub bytes: u64,
    /// How many files have their data in common with their originals (reflinks), until one of the two is changed.
    pub shared: u64,
    /// How many extended attributes were left out, since the new file system knows none of their kind.
    pub attributes_left_out: u64,
}

/// Copies all that is in the directory `from` to the directory `to`, and its own owner, mode, attributes and times to that.
///
/// What is kept: the data with its holes, hard links within the tree, symbolic links, fifos, sockets, devices, owners, modes with
/// set-user-ID and the like, extended attributes (file capabilities and access control lists too, but not the label of SELinux, which goes by where a file is),
/// and access and modification times to the nanosecond. Data are shared where the file system can (FICLONE), else copied within the kernel (copy_file_range),
/// else read and written. What is mounted beneath is copied as if it belonged to the tree.
///
/// Both directories must be open for reading (not `O_PATH`). Names that `to` has already are an error, except for directories, which are added
/// to. Files that appear or vanish meanwhile are copied or not; a symbolic link that somebody puts in the way is copied as one. It takes /proc to be mounted,
/// and CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE, and CAP_MKNOD for devices; without, those files that need none.
///
/// # Errors
/// [`Error::Copy`] with the path of the first that could not be copied; [`Error::CopyTooDeep`]. What was copied until then stays.
///
/// See [openat(2)](https://man7.org/linux/man-pages/man2/openat.2.html),
/// [FICLONE(2const)](https://man7.org/linux/man-pages/man2/FICLONE.2const.html) and
/// [copy_file_range(2)](https://man7.org/linux/man-pages/man2/copy_file_range.2.html).
#[doc(alias = "FICLONE")]
#[doc(alias = "copy_file_range")]
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Copied> {
    let mut copy = Copy::new(to, b"");
    let why = "so that the directory itself can be as the original is";
    let status = calls::fstat(from, why).map_err(|errno| copy.failed("fstat", errno))?;
    copy.directory(from, &status, to)?;
    Ok(copy.copied())
}

/// Gives the directory `to` the owner, mode, attributes and times of `from`, and nothing of what is in it.
pub(crate) fn copy_own(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut copy = Copy::new(to, b"");
    let why = "so that the directory itself can be as the original is";
    let status = calls::fstat(from, why).map_err(|errno| copy.failed("fstat", errno))?;
    copy.own(from, &status, to)
}

/// All names in a directory; or the call that failed, and why.
pub(crate) fn names_in(
    dir: BorrowedFd<'_>,
    why: &'static str,
) -> std::result::Result<Vec<CString>, (&'static str, Errno)> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut list: Dir =
        calls::open_dir(dir, b".", flags, why).map_err(|errno| ("openat", errno))?;
    let mut names = Vec::new();
    for entry in list.iter() {
        let entry = entry.map_err(|errno| ("getdents64", errno))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// A copy that is being made.
pub(crate) struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// What begins the names of attributes that are not copied; empty if all are.
    leave_out: &'static [u8],
    /// Where it is now, relative to both roots; for errors, and for links to what has several names.
    pub(crate) path: PathBuf,
    depth: usize,
    /// The first copies of files with several names, by the device and inode of the originals.
    links: HashMap<(u64, u64), PathBuf>,
    data: Data,
    copied: Copied,
}

impl<'a> Copy<'a> {
    /// A copy into `root`, without the attributes whose names begin with `leave_out`.
    pub(crate) fn new(root: BorrowedFd<'a>, leave_out: &'static [u8]) -> Self {
        Self {
            root,
            leave_out,
            path: PathBuf::new(),
            depth: 0,
            links: HashMap::new(),
            data: Data::default(),
            copied: Copied::default(),
        }
    }

    /// What was copied so far.
    pub(crate) fn copied(&self) -> Copied {
        Copied {
            shared: self.data.shared,
            ..self.copied
        }
    }

    /// Counts a directory that the caller has made.
    pub(crate) fn count_directory(&mut self) {
        self.copied.entries += 1;
    }

    /// Copies what is in a directory, and then what it is itself.
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        status: &FileStat,
        to: BorrowedFd<'_>,
    ) -> Result<()> {
        if self.depth > MAX_DEPTH {
            return Err(Error::CopyTooDeep {
                path: self.path.clone(),
                limit: MAX_DEPTH,
            });
        }
        self.depth += 1;
        let why = "so that its names can be listed, wherever others have read up to";
        let names =
            names_in(from, why).map_err(|(operation, errno)| self.failed(operation, errno))?;
        for name in names {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(from, name.to_bytes(), to)?;
            self.path.pop();
        }
        self.depth -= 1;
        // In the end, since each name that is added changes the times, and the mode may forbid to add any.
        self.own(from, status, to)
    }

    /// Gives a directory what the original has of its own.
    fn own(&mut self, from: BorrowedFd<'_>, status: &FileStat, to: BorrowedFd<'_>) -> Result<()> {
        let why = "so that attributes are read of the very directory that was copied";
        let place = calls::openat(from, b".", PLACE, Mode::empty(), why)
            .map_err(|errno| self.failed("openat", errno))?;
        self.finish_open(place.as_fd(), status, to)
    }

    /// Copies what has this name, whatever it is.
    pub(crate) fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        to: BorrowedFd<'_>,
    ) -> Result<()> {
        let why = "so that it is looked at what this is, and that is copied, whatever has its name by then";
        let place = match calls::openat(from, name, PLACE, Mode::empty(), why) {
            Ok(place) => place,
            // Somebody has removed it meanwhile.
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(self.failed("openat", errno)),
        };
        let why = "so that the copy is of the same kind, and has the same owner, mode and times";
        let status =
            calls::fstat(place.as_fd(), why).map_err(|errno| self.failed("fstat", errno))?;
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        self.copied.entries += 1;
        if kind == SFlag::S_IFDIR {
            return self.subdirectory(place, &status, name, to);
        }
        if status.st_nlink > 1 {
            let key = (status.st_dev, status.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                return self.link(&first, name, to);
            }
            self.links.insert(key, self.path.clone());
        }
        match kind {
            SFlag::S_IFREG => self.file(place.as_fd(), &status, name, to),
            SFlag::S_IFLNK => {
                let why = "so that the copy points to where the original does";
                let target = calls::readlink(place.as_fd(), why)
                    .map_err(|errno| self.failed("readlinkat", errno))?;
                let why = "so that there is the same symbolic link, which nobody follows";
                calls::symlinkat(target.as_bytes(), to, name, why)
                    .map_err(|errno| self.failed("symlinkat", errno))?;
                self.finish_name(place.as_fd(), &status, name, to)
            }
            _ => {
                let device = status.st_rdev;
                let device = (
                    u32::try_from(nix::sys::stat::major(device)).unwrap_or(u32::MAX),
                    u32::try_from(nix::sys::stat::minor(device)).unwrap_or(u32::MAX),
                );
                let why = "so that there is the same fifo, socket or device";
                calls::mknodat(to, name, kind, Mode::empty(), device, why)
                    .map_err(|errno| self.failed("mknodat", errno))?;
                self.finish_name(place.as_fd(), &status, name, to)
            }
        }
    }

    fn subdirectory(
        &mut self,
        place: OwnedFd,
        status: &FileStat,
        name: &[u8],
        to: BorrowedFd<'_>,
    ) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let why = "so that what is in this very directory can be listed";
        let below = calls::openat(place.as_fd(), b".", flags, Mode::empty(), why)
            .map_err(|errno| self.failed("openat", errno))?;
        drop(place);
        let why = "so that there is a directory that only its owner sees until it is complete";
        match calls::mkdirat(to, name, Mode::S_IRWXU, why) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(self.failed("mkdirat", errno)),
        }
        let why = "so that what is in it is made there, and nowhere that a link leads to";
        let made = calls::openat(to, name, flags, Mode::empty(), why)
            .map_err(|errno| self.failed("openat", errno))?;
        self.directory(below.as_fd(), status, made.as_fd())
    }

    fn file(
        &mut self,
        place: BorrowedFd<'_>,
        status: &FileStat,
        name: &[u8],
        to: BorrowedFd<'_>,
    ) -> Result<()> {
        let again = itself(place);
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let why = "so that the very file that was looked at is read";
        let from = calls::open(Path::new(OsStr::from_bytes(again.to_bytes())), flags, why)
            .map_err(|errno| self.failed("open", errno))?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let why = "so that there is a new file, which only its owner can read until it is complete";
        let made = calls::openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR, why)
            .map_err(|errno| self.failed("openat", errno))?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        self.data
            .copy(from.as_fd(), made.as_fd(), size)
            .map_err(|(operation, source)| self.because(operation, source))?;
        self.copied.bytes += size;
        self.finish_open(place, status, made.as_fd())
    }

    /// Gives the copy of a file with several names another one.
    fn link(&self, first: &Path, name: &[u8], to: BorrowedFd<'_>) -> Result<()> {
        let mut dir: Option<OwnedFd> = None;
        let above = first.parent().unwrap_or(Path::new(""));
        for part in above.components() {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let why = "so that the way to the file's first name goes through no symbolic link";
            let here = dir.as_ref().map_or(self.root, |dir| dir.as_fd());
            let part = part.as_os_str().as_bytes();
            let below = calls::openat(here, part, flags, Mode::empty(), why)
                .map_err(|errno| self.failed("openat", errno))?;
            dir = Some(below);
        }
        let here = dir.as_ref().map_or(self.root, |dir| dir.as_fd());
        let known = first.file_name().unwrap_or_default().as_bytes();
        let why = "so that the file has several names in the copy, too";
        calls::linkat((here, known), (to, name), why).map_err(|errno| self.failed("linkat", errno))
    }

    /// Gives an open file or directory the owner, mode, attributes and times of the original, which is open as a place.
    pub(crate) fn finish_open(
        &mut self,
        from: BorrowedFd<'_>,
        status: &FileStat,
        to: BorrowedFd<'_>,
    ) -> Result<()> {
        let why = "so that it belongs to whom the original belongs";
        calls::fchown(to, status.st_uid, status.st_gid, why)
            .map_err(|errno| self.failed("fchown", errno))?;
        let why =
            "so that its mode is the original's, set-user-ID and all, which chown(2) takes away";
        calls::fchmod(to, mode(status), why).map_err(|errno| self.failed("fchmod", errno))?;
        let why = "so that it has the original's capabilities and other attributes";
        self.attributes(from, |name, value| {
            calls::fsetxattr(to, name, value, why).map_err(|error| ("fsetxattr", error))
        })?;
        let why = "so that it is as old as the original, now that nothing more is written to it";
        let (accessed, modified) = times(status);
        calls::set_both_times(to, accessed, modified, why)
            .map_err(|errno| self.failed("utimensat", errno))
    }

    /// The same for what is not to be opened: a symbolic link, a fifo, a socket, a device.
    fn finish_name(
        &mut self,
        from: BorrowedFd<'_>,
        status: &FileStat,
        name: &[u8],
        to: BorrowedFd<'_>,
    ) -> Result<()> {
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        let made = made::place(to, name, kind, None);
        let made = made.map_err(|errno| self.failed("openat", errno))?;
        let to = made.as_fd();
        let why = "so that it belongs to whom the original belongs, not what it may point to";
        calls::chown_place(to, status.st_uid, status.st_gid, why)
            .map_err(|errno| self.failed("fchownat", errno))?;
        if kind != SFlag::S_IFLNK {
            // A symbolic link has no mode of its own.
            let why = "so that its mode is the original's, whatever the umask";
            calls::chmod_place(to, mode(status), why)
                .map_err(|errno| self.failed("fchmodat", errno))?;
        }
        let path = itself(to);
        let why = "so that it has the original's attributes: only by a path can they be set without opening it";
        self.attributes(from, |name, value| {
            calls::setxattr(&path, name, value, why).map_err(|error| ("setxattr", error))
        })?;
        let why = "so that it is as old as the original";
        let (accessed, modified) = times(status);
        calls::set_times_of_place(to, accessed, modified, why)
            .map_err(|errno| self.failed("utimensat", errno))
    }

    /// Copies the extended attributes of what is open as a place.
    fn attributes(
        &mut self,
        from: BorrowedFd<'_>,
        set: impl Fn(&CStr, &[u8]) -> std::result::Result<(), (&'static str, io::Error)>,
    ) -> Result<()> {
        // Through /proc the descriptor of a place will do, even one of a symbolic link, which is not followed.
        let from = itself(from);
        let why = "so that it is known which attributes there are to copy";
        let mut list = Vec::new();
        let length = match grown(&mut list, |room| calls::listxattr(&from, room, why)) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
            Err(error) => return Err(self.because("listxattr", error)),
        };
        let mut value = Vec::new();
        for name in list[..length].split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            // It says where a file is, and is given to the copy by the kernel.
            if name == c"security.selinux" {
                continue;
            }
            if !self.leave_out.is_empty() && name.to_bytes().starts_with(self.leave_out) {
                continue;
            }
            let why = "so that the copy has the same attribute";
            let length = match grown(&mut value, |room| calls::getxattr(&from, name, room, why)) {
                Ok(length) => length,
                Err(error) if error.raw_os_error() == Some(libc::ENODATA) => continue,
                Err(error) => return Err(self.because("getxattr", error)),
            };
            match set(name, &value[..length]) {
                Ok(()) => {}
                Err((_, error)) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.copied.attributes_left_out += 1;
                }
                Err((operation, error)) => return Err(self.because(operation, error)),
            }
        }
        Ok(())
    }

    pub(crate) fn failed(&self, operation: &'static str, errno: Errno) -> Error {
        self.because(operation, errno.into())
    }

    fn because(&self, operation: &'static str, source: io::Error) -> Error {
        let path = match self.path.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => self.path.clone(),
        };
        Error::Copy {
            operation,
            path,
            source,
        }
    }
}

/// To open something as a place in the tree, be it a symbolic link.
pub(crate) const PLACE: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Reads something of a length that is not known beforehand, with more room each time it does not fit.
fn grown(buffer: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    buffer.resize(buffer.len().max(256), 0);
    loop {
        match read(buffer) {
            Err(error)
                if error.raw_os_error() == Some(libc::ERANGE) && buffer.len() < XATTR_MAX =>
            {
                buffer.resize(XATTR_MAX, 0);
            }
            done => return done,
        }
    }
}

/// The path by which a process finds what it has open.
pub(crate) fn itself(file: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

fn mode(status: &FileStat) -> Mode {
    Mode::from_bits_truncate(status.st_mode & 0o7777)
}

fn times(status: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(status.st_atime, status.st_atime_nsec),
        TimeSpec::new(status.st_mtime, status.st_mtime_nsec),
    )
}
