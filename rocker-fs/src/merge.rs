//! The layers of an image as one plain directory, for where there can be no overlay.
//!
//! What is copied is what an overlay would show: of each name the topmost layer's, but of directories what all layers down
//! to one that is opaque have in them. A layer is opened anew for each directory, so that hundreds of layers take
//! hundreds of descriptors, and not as many for each level.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};

use crate::calls;
use crate::copy::{Copied, Copy, MAX_DEPTH, names_in};
use crate::error::{Error, Result};
use crate::layer::XattrNamespace;
use crate::resolve;
use crate::whiteout;

/// Copies what an overlay of these layers would show, the **bottommost first**, into the directory `to`, which is empty and
/// open for reading. Whiteouts and opaque directories, marked in the namespace `xattrs`, are applied, and not copied.
///
/// Each file is copied as [`copy_tree`](crate::copy_tree) does it: with holes, hard links, attributes, owners and times, and
/// with its data shared where the file system can (FICLONE). It takes one descriptor a layer.
///
/// # Errors
/// [`Error::NoLayers`]; [`Error::Store`] naming a layer that cannot be opened; [`Error::Copy`] with the path of the first that
/// could not be copied; [`Error::CopyTooDeep`]. What was copied until then stays.
///
/// See [openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html) and
/// [FICLONE(2const)](https://man7.org/linux/man-pages/man2/FICLONE.2const.html).
#[doc(alias = "flatten")]
#[doc(alias = "vfs")]
pub fn merge(
    layers: impl IntoIterator<Item = impl AsRef<Path>>,
    to: BorrowedFd<'_>,
    xattrs: XattrNamespace,
) -> Result<Copied> {
    let why = "so that what the layer has can be copied";
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |layer: &Path| {
        calls::open(layer, flags, why).map_err(|errno| Error::Store {
            operation: "open",
            path: layer.into(),
            source: errno.into(),
        })
    };
    let roots = layers.into_iter().map(|layer| open(layer.as_ref()));
    let mut roots = roots.collect::<Result<Vec<_>>>()?;
    if roots.is_empty() {
        return Err(Error::NoLayers);
    }
    roots.reverse();
    let all: Vec<_> = (0..roots.len()).collect();
    let mut merge = Merge {
        copy: Copy::new(to, xattrs.marks()),
        roots: &roots,
        xattrs,
    };
    let parts = merge.visible(&all)?;
    merge.directory(&parts, to, 0)?;
    Ok(merge.copy.copied())
}

struct Merge<'a> {
    copy: Copy<'a>,
    /// The topmost first.
    roots: &'a [OwnedFd],
    xattrs: XattrNamespace,
}

impl Merge<'_> {
    /// Copies what the layers `parts` have at the path where it is now, the topmost first.
    fn directory(&mut self, parts: &[usize], to: BorrowedFd<'_>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            let path = self.copy.path.clone();
            let limit = MAX_DEPTH;
            return Err(Error::CopyTooDeep { path, limit });
        }
        let mut seen = HashSet::new();
        for (at, layer) in parts.iter().enumerate() {
            let from = self.open(*layer)?;
            let why = "so that it is known what this layer has here";
            let names = names_in(from.as_fd(), why);
            for name in names.map_err(|(call, errno)| self.copy.failed(call, errno))? {
                if !seen.insert(name.clone()) {
                    continue;
                }
                let name = name.to_bytes();
                self.copy.path.push(OsStr::from_bytes(name));
                self.entry(from.as_fd(), name, &parts[at..], to, depth)?;
                self.copy.path.pop();
            }
        }
        // In the end, since each name that is added changes the times.
        let why = "so that the directory is as the topmost layer has it";
        let top = self.open(parts[0])?;
        let status = calls::fstat(top.as_fd(), why);
        let status = status.map_err(|errno| self.copy.failed("fstat", errno))?;
        self.copy.finish_open(top.as_fd(), &status, to)
    }

    /// Copies what `from`, a directory of the first of `parts`, has under this name.
    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        parts: &[usize],
        to: BorrowedFd<'_>,
        depth: usize,
    ) -> Result<()> {
        let why = "so that it is known whether this is a file, a whiteout, or a directory of several layers";
        let status = calls::status_at(from, name, why);
        let status = status.map_err(|errno| self.copy.failed("newfstatat", errno))?;
        if whiteout::is_one(from, name, &status, self.xattrs) {
            return Ok(());
        }
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
            return self.copy.entry(from, name, to);
        }
        let parts = self.visible(parts)?;
        let why = "so that there is a directory that only its owner sees until it is complete";
        calls::mkdirat(to, name, Mode::S_IRWXU, why)
            .map_err(|errno| self.copy.failed("mkdirat", errno))?;
        self.copy.count_directory();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let why = "so that what is in it is made there, and nowhere that a link leads to";
        let made = calls::openat(to, name, flags, Mode::empty(), why)
            .map_err(|errno| self.copy.failed("openat", errno))?;
        self.directory(&parts, made.as_fd(), depth + 1)
    }

    /// Which of the layers `parts` show what they have in the directory where it is now: down to one that is opaque, and to what
    /// is no directory.
    fn visible(&self, parts: &[usize]) -> Result<Vec<usize>> {
        let mut all = Vec::new();
        for layer in parts {
            let dir = match self.open(*layer) {
                Ok(dir) => dir,
                Err(Error::Copy { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                    continue;
                }
                // Something else hides what lies below: a file, a link, a whiteout.
                Err(Error::Copy { source, .. })
                    if matches!(source.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            };
            all.push(*layer);
            if whiteout::is_opaque(dir.as_fd(), self.xattrs) {
                break;
            }
        }
        Ok(all)
    }

    /// Opens the directory where it is now in a layer.
    fn open(&self, layer: usize) -> Result<OwnedFd> {
        let path = self.copy.path.as_os_str().as_bytes();
        let why =
            "so that it is this layer's directory that is read, and nothing that a link leads to";
        let root = self.roots[layer].as_fd();
        resolve::open_directory_beneath(root, path, OFlag::O_RDONLY, why)
            .map_err(|errno| self.copy.failed("openat2", errno))
    }
}
