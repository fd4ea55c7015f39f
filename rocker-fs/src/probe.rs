//! What is known of an overlay before it is mounted.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::calls;
use crate::error::{Error, Result};
use crate::ground::Ground;
use crate::layer::XattrNamespace;
use crate::overlay::{Overlay, Upper};

/// What an overlay would be made of, as the kernel tells it before anything is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// What the upper directory stands on; none without one, or with one in memory.
    pub upper: Option<Ground>,
    /// On how many file systems the layers lie. overlayfs takes any number; with more than one, files of different layers have
    /// different device numbers, so that `find -xdev` and `du -x` stop inside of the overlay.
    pub lower_file_systems: usize,
    dirs: Option<(PathBuf, PathBuf)>,
    xattrs: XattrNamespace,
}

impl Probe {
    /// Whether overlayfs can do it, as far as can be known without mounting, and else what stands in the way and what helps.
    /// Nothing is asked of the kernel any more.
    ///
    /// # Errors
    /// [`Error::UpperOnOverlay`], [`Error::UpperReadOnly`], [`Error::UpperAndWorkApart`], [`Error::NoWhiteouts`] (NFS, most of
    /// FUSE, vfat), [`Error::NoEntryTypes`], [`Error::NoXattrs`]. [`Error::is_unfit`] tells those for which a copy of the layers
    /// ([`merge`](crate::merge)) is the way out.
    pub fn verdict(&self) -> Result<()> {
        match (&self.upper, &self.dirs) {
            (Some(ground), Some((upper, work))) => ground.verdict(upper, work, self.xattrs),
            _ => Ok(()),
        }
    }
}

/// As in `upper on ext4: types in directories, attributes, whiteouts, one mount; layers on 1 file system`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ground) = &self.upper {
            write!(f, "upper on {ground}; ")?;
        }
        match self.lower_file_systems {
            1 => f.write_str("layers on 1 file system"),
            many => write!(
                f,
                "layers on {many} file systems, whose files have device numbers of their own"
            ),
        }
    }
}

impl Overlay {
    /// Looks at what the overlay would be made of. Nothing is mounted; where it is not known what the file system of the upper
    /// directory can do, a file is made in the work directory and removed again. [`Overlay::mount`] looks at the upper
    /// directory in the same way.
    ///
    /// # Errors
    /// [`Error::Store`] naming a directory that cannot be looked at. That overlayfs cannot use what is found is no error
    /// here, but [`Probe::verdict`].
    ///
    /// See [statfs(2)](https://man7.org/linux/man-pages/man2/statfs.2.html) and
    /// [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html).
    pub fn probe(&self) -> Result<Probe> {
        let why = "so that it is known on how many file systems the layers lie";
        let mut devices = BTreeSet::new();
        for dir in &self.lower {
            let failed = |errno: Errno| Error::Store {
                operation: "stat",
                path: dir.clone(),
                source: errno.into(),
            };
            devices.insert(calls::status(dir, why).map_err(failed)?.st_dev);
        }
        let dirs = match &self.upper {
            Some(Upper::Dirs(upper, work)) => Some((upper.clone(), work.clone())),
            _ => None,
        };
        let upper = dirs
            .as_ref()
            .map(|(upper, work)| Ground::of(upper, work, self.xattrs));
        Ok(Probe {
            upper: upper.transpose()?,
            lower_file_systems: devices.len(),
            dirs,
            xattrs: self.xattrs,
        })
    }
}
