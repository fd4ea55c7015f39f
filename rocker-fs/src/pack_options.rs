//! What of a tree becomes a tar stream, and how; and what there was.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::id_range::IdRange;
use crate::layer::XattrNamespace;

/// What [`pack`](crate::pack()) writes of a tree.
#[derive(Debug, Clone)]
pub struct PackOptions<'a> {
    /// In which namespace overlayfs has its marks; none where the tree is no upper directory.
    pub(crate) marks: Option<XattrNamespace>,
    pub(crate) lower: Option<BorrowedFd<'a>>,
    pub(crate) whole: bool,
    pub(crate) mount_points: Vec<PathBuf>,
    pub(crate) root_name: PathBuf,
    pub(crate) uids: Vec<IdRange>,
    pub(crate) gids: Vec<IdRange>,
    pub(crate) max_bytes: u64,
    pub(crate) harmless: bool,
}

impl<'a> PackOptions<'a> {
    /// A layer, of the upper directory of an overlay: its marks become whiteouts.
    pub fn layer(marks: XattrNamespace) -> Self {
        Self {
            marks: Some(marks),
            lower: None,
            whole: false,
            mount_points: Vec::new(),
            root_name: PathBuf::new(),
            uids: Vec::new(),
            gids: Vec::new(),
            max_bytes: 64 << 30,
            harmless: false,
        }
    }

    /// An archive of the files as they are. What is on file systems of the kernel's own making, such as /proc, is left out.
    pub fn files() -> Self {
        Self {
            marks: None,
            max_bytes: u64::MAX,
            ..Self::layer(XattrNamespace::Trusted)
        }
    }

    /// Leaves out the empty files and directories that were made to have something mounted on them, at these paths from the
    /// root, unless `lower`, which is all that the layers below have, has them too.
    pub fn mount_points(
        mut self,
        lower: BorrowedFd<'a>,
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Self {
        self.lower = Some(lower);
        self.mount_points = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Packs a layer of a tree that is no upper directory but whole: a copy of `lower`, which is all that the layers below have,
    /// that has been changed since. A file counts as changed by its size, mtime, owner, mode and attributes.
    pub fn whole(mut self, lower: BorrowedFd<'a>) -> Self {
        (self.lower, self.whole) = (Some(lower), true);
        self
    }

    /// What the tree itself is called in the archive; `.` without.
    pub fn root_name(mut self, name: impl Into<PathBuf>) -> Self {
        self.root_name = name.into();
        self
    }

    /// Gives each file the owner that a user namespace with these maps sees.
    pub fn id_maps(mut self, uids: Vec<IdRange>, gids: Vec<IdRange>) -> Self {
        (self.uids, self.gids) = (uids, gids);
        self
    }

    /// Leaves out what could give somebody privileges where the files come to belong to whoever unpacks them: set-user-ID and
    /// set-group-ID bits, extended attributes, and device nodes.
    pub fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    /// Writes at most so many bytes of files. Default: 64 GiB for a layer, as much as [`unpack`](crate::unpack) takes, and no limit otherwise.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// What [`pack`](crate::pack()) wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Packed {
    /// How many entries there are.
    pub entries: u64,
    /// How many bytes the files have, holes included.
    pub bytes: u64,
    /// How many sockets were left out: no archive has them.
    pub sockets_left_out: u64,
    /// How many device nodes were left out, see [`PackOptions::harmless`].
    pub devices_left_out: u64,
    /// How many files were left out of a layer since their names, which begin with `.wh.`, say something else there.
    pub names_left_out: u64,
}
