//! The directory that a layer is written to.
//!
//! A parent directory is opened beneath the root without following any symbolic link, and everything then happens
//! relative to its descriptor, on one name. Since most archives list a directory's files together, the last parent
//! stays open.

mod node;
mod parents;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::sys::time::TimeSpec;
use nix::unistd::UnlinkatFlags;

use self::node::AS_MADE;
pub(crate) use self::node::Node;
use self::parents::unreachable_directory;
use crate::calls;
use crate::error::{Error, Result};
use crate::layer::UnpackOptions;
use crate::made;
use crate::member::{Member, TarPath};
use crate::metadata::{self, Left};
use crate::ownership::Owners;
use crate::remove;
use crate::sparse::Segments;
use crate::whiteout;

/// A directory that a layer is being written to.
pub(crate) struct Tree<'a> {
    root: BorrowedFd<'a>,
    options: &'a UnpackOptions,
    owners: &'a Owners,
    left: Left,
    /// Who makes files here, in a tree that others may be changing.
    maker: Option<u32>,
    /// The parent directory used last.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// The modes and times of directories, set when nothing is added to them any more.
    pending: BTreeMap<Vec<u8>, Last>,
    /// How many bytes the paths of these have together.
    pending_bytes: usize,
    buffer: Vec<u8>,
}

/// What a directory gets at the end.
struct Last {
    mode: u32,
    time: TimeSpec,
    /// Which directory it is, in a tree that others may be changing: its file system and its number there.
    which: Option<(u64, u64)>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(
        root: BorrowedFd<'a>,
        options: &'a UnpackOptions,
        owners: &'a Owners,
    ) -> Self {
        Self {
            root,
            options,
            owners,
            left: Left::default(),
            maker: options.merge.then(made::maker),
            parent: None,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn directory(&mut self, path: &TarPath, member: &Member) -> Result<()> {
        let failed = |operation, errno: Errno| failed(operation, &member.name, errno);
        let mut hides = false;
        if path.is_root() && self.options.merge {
            return Ok(());
        }
        // Until the end its owner, who may be no more than that, must be able to add to it.
        let open = member.mode | 0o700;
        let mode = as_made(open);
        if !path.is_root() {
            let mut again = true;
            while again {
                let parent = self.parent(path.parent(), &member.name)?;
                let why = "so that the layer's directory is there, open to its owner until the end";
                again = match calls::mkdirat(parent, path.name(), mode, why) {
                    Ok(()) => false,
                    Err(Errno::EEXIST) => {
                        let why =
                            "so that it is seen whether what has this name already is a directory";
                        let found = calls::status_at(parent, path.name(), why)
                            .map_err(|errno| failed("fstatat", errno))?;
                        // A whiteout of the same name hides what is below this directory.
                        hides |= self.options.whiteouts
                            && self.is_whiteout_at(path, &found, &member.name)?;
                        let replace = kind(&found) != SFlag::S_IFDIR;
                        if self.options.merge && replace {
                            return Err(Error::OtherKind {
                                entry: member.name.clone(),
                                there: "non-directory",
                                new: "a directory",
                            });
                        }
                        if self.options.merge {
                            return Ok(());
                        }
                        if replace {
                            self.remove(path, &member.name)?;
                        }
                        replace
                    }
                    Err(errno) => return Err(failed("mkdirat", errno)),
                };
            }
        }
        let dir = if path.is_root() {
            let why = "so that owner, mode and attributes are given to this very directory";
            self.open_directory(path.as_bytes(), OFlag::O_RDONLY, &member.name, why)?
        } else {
            let maker = self.maker;
            let parent = self.parent(path.parent(), &member.name)?;
            let made = made::directory(parent, path.name(), maker);
            let (dir, is_new) = made.map_err(|errno| unreachable_directory(&member.name, errno))?;
            if !is_new {
                // Somebody has put another one in its place, which stays as any other that was there.
                return Ok(());
            }
            dir
        };
        if hides {
            self.mark_opaque(dir.as_fd(), &member.name)?;
        }
        let left = metadata::apply_to_open(dir.as_fd(), member, open, self.owners)?;
        self.left.add(left);
        let which = match self.maker {
            Some(_) => Some(which(dir.as_fd()).map_err(|errno| failed("fstat", errno))?),
            None => None,
        };
        // What comes next is most often in it.
        if !path.is_root() {
            self.parent = Some((path.as_bytes().to_vec(), dir));
        }
        self.postpone(path, member, which)
    }

    pub(crate) fn regular(
        &mut self,
        path: &TarPath,
        member: &Member,
        data: &mut Segments<'_, impl io::Read>,
    ) -> Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = as_made(member.mode);
        let why = "so that the file is new: never one that is there, nor what a link leads to";
        let file = self.create(path, &member.name, "openat", |parent| {
            calls::openat(parent, path.name(), flags, mode, why)
        })?;
        let file = File::from(file);
        let mut buffer = std::mem::take(&mut self.buffer);
        let copied = data.copy_to(&file, member, &mut buffer);
        self.buffer = buffer;
        copied?;
        let left = metadata::apply_to_open(file.as_fd(), member, member.mode, self.owners)?;
        self.left.add(left);
        metadata::set_times_of_open(file.as_fd(), member.mtime)
            .map_err(|errno| failed("utimensat", &member.name, errno))
    }

    pub(crate) fn node(&mut self, path: &TarPath, member: &Member, node: Node<'_>) -> Result<()> {
        let name = path.name();
        let mode = AS_MADE;
        match node {
            Node::Symlink(target) => {
                self.create(path, &member.name, "symlinkat", |parent| {
                    let why = "so that the layer's symbolic link is there; where it leads is not looked at";
                    calls::symlinkat(target, parent, name, why)
                })?;
            }
            Node::Fifo => {
                self.create(path, &member.name, "mknodat", |parent| {
                    let why = "so that the layer's named pipe is there";
                    calls::mknodat(parent, name, SFlag::S_IFIFO, mode, (0, 0), why)
                })?;
            }
            Node::Char(number) => self.create(path, &member.name, "mknodat", |parent| {
                let why = "so that the layer's character device is there, though containers cannot open it";
                calls::mknodat(parent, name, SFlag::S_IFCHR, mode, number, why)
            })?,
            Node::Block(number) => self.create(path, &member.name, "mknodat", |parent| {
                let why = "so that the layer's block device is there, though containers cannot open it";
                calls::mknodat(parent, name, SFlag::S_IFBLK, mode, number, why)
            })?,
        }
        let (owners, maker) = (self.owners, self.maker);
        let parent = self.parent(path.parent(), &member.name)?;
        let place = made::place(parent, name, node.kind(), maker);
        let place = place.and_then(|place| match maker.is_none() || node.is_at(&place)? {
            true => Ok(place),
            false => Err(Errno::EEXIST),
        });
        let place = place.map_err(|errno| failed("openat", &member.name, errno))?;
        let left = metadata::apply_to_place(place.as_fd(), member, owners)?;
        self.left.add(left);
        Ok(())
    }

    /// Leaves a device out: nothing is there, and nothing of the layers below either.
    pub(crate) fn absent(&mut self, path: &TarPath, member: &Member) -> Result<()> {
        self.left.devices += 1;
        if self.options.merge {
            return Ok(());
        }
        let xattrs = self.options.xattr_namespace;
        self.create(path, &member.name, "mknodat", |parent| {
            let why = "so that the layers' file of this name is hidden, as the device that cannot be made would";
            whiteout::make(parent, path.name(), xattrs, why)
        })
    }

    pub(crate) fn hard_link(
        &mut self,
        path: &TarPath,
        target: &TarPath,
        member: &Member,
    ) -> Result<()> {
        let link_name = member.link_name();
        if target.is_root() {
            return Err(Error::Escapes {
                entry: link_name,
                why: "a hard link to the root",
            });
        }
        if path == target {
            return Err(Error::Malformed {
                entry: member.name.clone(),
                why: "a hard link to itself",
            });
        }
        let why = "so that the file to be linked is looked for inside of the layer";
        let from = self.open_directory(target.parent(), OFlag::O_PATH, &link_name, why)?;
        // Before anything is removed in favour of the link.
        let why = "so that nothing is replaced by a link to what is not there";
        calls::status_at(from.as_fd(), target.name(), why)
            .map_err(|errno| failed("fstatat", &link_name, errno))?;
        self.create(path, &member.name, "linkat", |parent| {
            let why = "so that both names are of one file";
            calls::linkat((from.as_fd(), target.name()), (parent, path.name()), why)
        })
    }

    /// Hides `name` of the layers below.
    pub(crate) fn whiteout(&mut self, parent: &[u8], name: &[u8], entry: &Path) -> Result<()> {
        let xattrs = self.options.xattr_namespace;
        let dir = self.parent(parent, entry)?;
        let why = "so that overlayfs hides the layers' file of this name: device 0:0 is its mark for that";
        match whiteout::make(dir, name, xattrs, why) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => {
                // A whiteout concerns the layers below only. What this layer has of that name hides theirs already,
                // unless both are directories.
                let why = "so that it is seen whether a directory of this layer has the name";
                let found = calls::status_at(dir, name, why)
                    .map_err(|errno| failed("fstatat", entry, errno))?;
                if kind(&found) != SFlag::S_IFDIR {
                    return Ok(());
                }
                let path = if parent.is_empty() {
                    name.to_vec()
                } else {
                    [parent, b"/", name].concat()
                };
                self.make_opaque(&path, entry)
            }
            Err(errno @ (Errno::EPERM | Errno::EOPNOTSUPP)) if whiteout::is_overlay(dir) => {
                Err(Error::Unsupported {
                    what: "whiteouts in a layer that is unpacked onto an overlay",
                    needs: "Linux 6.8, or a directory on another file system,",
                    source: errno.into(),
                })
            }
            Err(errno) => Err(failed("mknodat", entry, errno)),
        }
    }

    fn is_whiteout_at(&mut self, path: &TarPath, found: &FileStat, entry: &Path) -> Result<bool> {
        let xattrs = self.options.xattr_namespace;
        let parent = self.parent(path.parent(), entry)?;
        Ok(whiteout::is_one(parent, path.name(), found, xattrs))
    }

    /// Hides all that the layers below have in the directory.
    pub(crate) fn make_opaque(&mut self, path: &[u8], entry: &Path) -> Result<()> {
        self.parent(path, entry)?;
        let why = "so that the directory can be marked";
        let dir = self.open_directory(path, OFlag::O_RDONLY, entry, why)?;
        self.mark_opaque(dir.as_fd(), entry)
    }

    fn mark_opaque(&self, dir: BorrowedFd<'_>, entry: &Path) -> Result<()> {
        let why = "so that overlayfs hides what the layers below have in this directory";
        let name = self.options.xattr_namespace.opaque();
        metadata::set_xattr(dir, name, b"y", why).map_err(|source| Error::Entry {
            operation: "fsetxattr overlay.opaque of",
            entry: entry.into(),
            source,
        })
    }

    /// Notes what a directory gets at the end.
    fn postpone(
        &mut self,
        path: &TarPath,
        member: &Member,
        which: Option<(u64, u64)>,
    ) -> Result<()> {
        let path = path.as_bytes();
        let last = Last {
            mode: member.mode,
            time: member.mtime,
            which,
        };
        if self.pending.insert(path.to_vec(), last).is_none() {
            self.pending_bytes += path.len();
        }
        let limit = self.options.max_directory_paths;
        if self.pending_bytes > limit {
            return Err(Error::TooLarge {
                entry: member.name.clone(),
                what: "length of all directories' paths",
                limit: limit as u64,
            });
        }
        Ok(())
    }

    /// Sets the directories' modes and times; returns what is not as the layer says.
    pub(crate) fn finish(mut self) -> Result<Left> {
        // From the bottom up: a directory may be closed to its owner from then on.
        for (path, last) in std::mem::take(&mut self.pending).into_iter().rev() {
            let shown = shown(&path);
            let why = "so that the finished directory gets its last mode and time";
            let dir = self.open_directory(&path, OFlag::O_RDONLY, shown, why)?;
            let found = match last.which {
                Some(_) => Some(which(dir.as_fd()).map_err(|errno| failed("fstat", shown, errno))?),
                None => None,
            };
            if found != last.which {
                continue;
            }
            let (mode, time) = (last.mode, last.time);
            if mode & 0o700 != 0o700 {
                metadata::set_mode(dir.as_fd(), mode)
                    .map_err(|errno| failed("fchmod", shown, errno))?;
            }
            metadata::set_times_of_open(dir.as_fd(), time)
                .map_err(|errno| failed("utimensat", shown, errno))?;
        }
        Ok(self.left)
    }

    /// Makes one file through `make`; what has its name already is removed first.
    fn create<T>(
        &mut self,
        path: &TarPath,
        entry: &Path,
        operation: &'static str,
        make: impl Fn(BorrowedFd<'_>) -> nix::Result<T>,
    ) -> Result<T> {
        let mut made = make(self.parent(path.parent(), entry)?);
        if made.as_ref().err() == Some(&Errno::EEXIST) {
            self.remove(path, entry)?;
            made = make(self.parent(path.parent(), entry)?);
        }
        made.map_err(|errno| failed(operation, entry, errno))
    }

    /// Removes what is at `path`, with all beneath it.
    fn remove(&mut self, path: &TarPath, entry: &Path) -> Result<()> {
        let merge = self.options.merge;
        let parent = self.parent(path.parent(), entry)?;
        let why = "so that a later entry of the layer can take this name";
        match calls::unlinkat(parent, path.name(), UnlinkatFlags::NoRemoveDir, why) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR) if merge => {
                return Err(Error::OtherKind {
                    entry: entry.into(),
                    there: "directory",
                    new: "a non-directory",
                });
            }
            Err(Errno::EISDIR) => {}
            Err(errno) => return Err(failed("unlinkat", entry, errno)),
        }
        remove::tree_at(parent, path.name()).map_err(|errno| failed("unlinkat", entry, errno))?;
        // All that begins with `path/` sorts before `path0`.
        let gone = path.as_bytes();
        let (from, to) = ([gone, b"/"].concat(), [gone, b"0"].concat());
        let beneath = self.pending.range(from.clone()..to);
        let beneath: Vec<_> = beneath.map(|(path, _)| path.clone()).collect();
        for path in beneath.iter().map(Vec::as_slice).chain([gone]) {
            if self.pending.remove(path).is_some() {
                self.pending_bytes -= path.len();
            }
        }
        self.parent
            .take_if(|(path, _)| path == gone || path.starts_with(&from));
        Ok(())
    }
}

/// The mode that a file is made with: that of the layer, without the bits which count only for its last owner. Nobody else
/// reaches it meanwhile.
fn as_made(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

/// The file system that a directory is on, and its number there.
fn which(dir: BorrowedFd<'_>) -> nix::Result<(u64, u64)> {
    let why = "so that the directory is known in the end, whatever has its name by then";
    let found = calls::fstat(dir, why)?;
    Ok((found.st_dev, found.st_ino))
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

fn shown(path: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path))
}

fn failed(operation: &'static str, entry: &Path, errno: Errno) -> Error {
    Error::Entry {
        operation,
        entry: entry.into(),
        source: io::Error::from(errno),
    }
}
