//! Applying a layer's tar stream to a directory, in overlay form.

use std::ffi::CStr;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use tar::{Archive, EntryType};

use crate::error::{Error, Result};
use crate::id_range::{IdRange, outside};
use crate::idmap;
use crate::member::{Member, TarPath};
use crate::meter::Meter;
use crate::ownership::{Owners, Ownership};
use crate::sparse;
use crate::stack;
use crate::tree::{Node, Tree};

/// Where overlayfs looks for its marks on files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum XattrNamespace {
    /// `trusted.overlay.*`: the default, which needs CAP_SYS_ADMIN in the initial user namespace.
    #[default]
    Trusted,
    /// `user.overlay.*`, for overlays in a user namespace (mount option `userxattr`, Linux 5.11).
    User,
}

impl XattrNamespace {
    /// The mark of a directory that hides what the layers below have there; its value is `y`.
    pub(crate) fn opaque(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }

    /// The mark of an empty file that is a whiteout, where there can be no device: on an overlay. Linux 6.8.
    pub(crate) fn whiteout(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.whiteout",
            Self::User => c"user.overlay.whiteout",
        }
    }

    /// What begins the names of all marks.
    pub(crate) fn marks(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// As errors name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.*",
            Self::User => "user.*",
        }
    }

    /// The marks of a directory that was renamed and of a file whose content is another one's: they lead to files of the
    /// layers below.
    pub(crate) fn redirections(self) -> [&'static CStr; 2] {
        match self {
            Self::Trusted => [c"trusted.overlay.redirect", c"trusted.overlay.metacopy"],
            Self::User => [c"user.overlay.redirect", c"user.overlay.metacopy"],
        }
    }
}

/// What [`unpack`] does and how much it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpackOptions {
    /// In which namespace opaque directories are marked. Default: trusted.
    pub xattr_namespace: XattrNamespace,
    /// Who the files belong to. Default: to whom the layer says.
    pub ownership: Ownership,
    /// Whether device nodes are made. Otherwise there is nothing in their places, and of the layers below neither.
    /// Default: true.
    pub devices: bool,
    /// Whether names that begin with `.wh.` say what of the layers below is hidden. Default: true.
    pub whiteouts: bool,
    /// Whether the directory is a tree in use, to which the archive's files are added: directories that are there stay as they
    /// are, with their owner and mode, and neither does a file take the place of a directory nor a directory that of a file.
    /// Default: false.
    pub merge: bool,
    /// The user namespace's IDs that the archive speaks of, and what they are outside of it. Default: none, they are the same.
    pub uids: Vec<IdRange>,
    /// The same for groups.
    pub gids: Vec<IdRange>,
    /// The most bytes that all files together may hold, holes included. Default: 64 GiB.
    pub max_bytes: u64,
    /// The most entries. Default: 2,000,000.
    pub max_entries: u64,
    /// The longest path in bytes. Default: 4,095, the kernel's own limit.
    pub max_path: usize,
    /// The most directories that a path goes down. Default: 256.
    pub max_depth: usize,
    /// The largest value of one extended attribute in bytes. Default: 64 KiB, the kernel's own limit.
    pub max_xattr: usize,
    /// The most bytes of headers in front of one entry: long names, PAX records, maps of sparse files. Default: 1 MiB.
    pub max_headers: u64,
    /// The most bytes of headers, and of data that belong to no file, in all. Default: 4 GiB.
    pub max_overhead: u64,
    /// The most bytes that the paths of all directories may have together, since they are held in memory until the end.
    /// Default: 64 MiB.
    pub max_directory_paths: usize,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            xattr_namespace: XattrNamespace::Trusted,
            ownership: Ownership::Layer,
            devices: true,
            whiteouts: true,
            merge: false,
            uids: Vec::new(),
            gids: Vec::new(),
            max_bytes: 64 << 30,
            max_entries: 2_000_000,
            max_path: 4095,
            max_depth: 256,
            max_xattr: 64 << 10,
            max_headers: 1 << 20,
            max_overhead: 4 << 30,
            max_directory_paths: 64 << 20,
        }
    }
}

impl UnpackOptions {
    /// What the root of a user namespace can do: marks are `user.overlay.*`, files whose owner is not mapped belong to
    /// the caller, device nodes are left out. [`Unpacked`] says how much of the layer that concerned.
    pub fn user_namespace() -> Self {
        Self::default()
            .xattr_namespace(XattrNamespace::User)
            .ownership(Ownership::Mapped)
            .devices(false)
    }

    /// Marks opaque directories in this namespace.
    pub fn xattr_namespace(mut self, namespace: XattrNamespace) -> Self {
        self.xattr_namespace = namespace;
        self
    }

    /// Says who the files belong to.
    pub fn ownership(mut self, ownership: Ownership) -> Self {
        self.ownership = ownership;
        self
    }

    /// Makes device nodes, or leaves them out.
    pub fn devices(mut self, make: bool) -> Self {
        self.devices = make;
        self
    }

    /// Adds plain files to a tree in use, in which no name is a whiteout.
    pub fn into_tree_in_use(mut self) -> Self {
        (self.merge, self.whiteouts) = (true, false);
        self
    }

    /// Gives files to those who the archive's owners are outside of a user namespace with these maps.
    pub fn id_maps(mut self, uids: Vec<IdRange>, gids: Vec<IdRange>) -> Self {
        (self.uids, self.gids) = (uids, gids);
        self
    }

    /// Accepts at most so many bytes in all files together.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Accepts at most so many entries.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = entries;
        self
    }
}

/// What [`unpack`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Unpacked {
    /// How many entries the stream had.
    pub entries: u64,
    /// How many bytes its files hold, holes included.
    pub bytes: u64,
    /// How many whiteouts there were, opaque directories included.
    pub whiteouts: u64,
    /// Whether the layer's root is opaque, so that the layers below count for nothing. overlayfs does not look for the
    /// mark on a layer's root, but [`Overlay`](crate::Overlay) does.
    pub opaque_root: bool,
    /// How many entries belong to the caller in place of an owner or a group that is not mapped ([`Ownership::Mapped`]).
    pub unmapped: u64,
    /// How many device nodes were left out.
    pub devices_left_out: u64,
    /// How many extended attributes were left out: those that the file system does not know, such as a layer made on
    /// macOS has; with [`XattrNamespace::User`] those that no user namespace can set, `trusted.*` and all of
    /// `security.*` but file capabilities; and those that name an ID that is not mapped.
    pub attributes_left_out: u64,
}

/// Applies one uncompressed layer to the directory `into`, so that overlayfs can use it as a lower layer.
///
/// A whiteout `.wh.NAME` becomes the character device 0:0 `NAME`, and `.wh..wh..opq` the extended attribute
/// `overlay.opaque` of its directory, as [overlayfs](https://docs.kernel.org/filesystems/overlayfs.html) wants them. All
/// that the layer says about its files survives: see the crate's front page.
///
/// The stream is hostile input. Every path is resolved beneath `into` without following a symbolic link. Attributes
/// `trusted.overlay.*` and `user.overlay.*` of a layer are dropped: they could lead overlayfs astray. The stream is
/// read to its end, behind the archive's end too, so that a reader that computes a digest has seen all of it.
///
/// `into` should be an empty directory that nobody else can reach. On error it is left half full, for the caller to
/// remove ([`Layers`](crate::Layers) does all that).
///
/// # Errors
/// [`Error::Escapes`] for an entry that tries to leave; [`Error::TooLarge`] beyond a limit of `options`;
/// [`Error::Malformed`], [`Error::UnknownEntryType`], [`Error::Truncated`] and [`Error::Archive`] for what is no layer;
/// [`Error::Entry`] when a system call fails.
///
/// Format: [OCI image layer](https://github.com/opencontainers/image-spec/blob/main/layer.md). Linux 5.6.
pub fn unpack(tar: impl Read, into: BorrowedFd<'_>, options: &UnpackOptions) -> Result<Unpacked> {
    let meter = Meter::new(tar, options.max_headers);
    let mut archive = Archive::new(&meter);
    let mut done = Unpacked::default();
    let owners = Owners::of_this_process(options.ownership)?;
    let mut tree = Tree::new(into, options, &owners);
    let mut last = PathBuf::new();
    let mut overhead: u64 = 0;
    let mut entries = archive
        .entries()
        .map_err(|source| Error::Archive { source })?;
    loop {
        meter.expect_headers();
        let Some(entry) = entries.next() else { break };
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(_) if meter.is_spent() => {
                return Err(Error::TooLarge {
                    entry: last,
                    what: "size of headers",
                    limit: options.max_headers,
                });
            }
            Err(source) => return Err(Error::Archive { source }),
        };
        let headers = meter.expect_data();
        let mut member = Member::parse(&entry, &headers, options)?;
        member.uid = outside(&options.uids, member.uid);
        member.gid = outside(&options.gids, member.gid);
        last.clone_from(&member.name);
        done.entries += 1;
        if done.entries > options.max_entries {
            return Err(Error::TooLarge {
                entry: last,
                what: "number of entries",
                limit: options.max_entries,
            });
        }
        let has_content = matches!(
            member.kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        if !has_content && member.size > options.max_headers {
            let what = "size of what belongs to no file";
            return Err(Error::TooLarge {
                entry: last,
                what,
                limit: options.max_headers,
            });
        }
        overhead += headers.len() as u64 + if has_content { 0 } else { member.size };
        if overhead > options.max_overhead {
            return Err(Error::TooLarge {
                entry: last,
                what: "size of all headers",
                limit: options.max_overhead,
            });
        }
        match member.kind {
            EntryType::XGlobalHeader => member.check_global(&mut entry)?,
            _ => apply(&mut tree, &member, &mut entry, options, &mut done)?,
        }
        // What is left of the entry's data must not count as headers of the next.
        io::copy(&mut entry, &mut io::sink()).map_err(|source| Error::Archive { source })?;
    }
    meter.expect_data();
    let trailing = io::copy(&mut (&meter).take(options.max_bytes), &mut io::sink())
        .map_err(|source| Error::Archive { source })?;
    if trailing == options.max_bytes && trailing > 0 {
        return Err(Error::TooLarge {
            entry: last,
            what: "data behind the archive",
            limit: options.max_bytes,
        });
    }
    let left = tree.finish()?;
    done.unmapped = left.unmapped;
    done.devices_left_out = left.devices;
    done.attributes_left_out = left.attributes;
    Ok(done)
}

/// The same in a thread that makes files as the user `uid` and the group `gid`, and has all capabilities of this process: the
/// root of a user namespace, say, to which the files then belong with [`Ownership::Caller`].
///
/// # Errors
/// As [`unpack`], and [`Error::Store`] if it cannot become that user.
#[doc(alias = "setfsuid")]
pub fn unpack_as(
    (uid, gid): (u32, u32),
    tar: impl Read + Send,
    into: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked> {
    let failed = |source| Error::Store {
        operation: "setfsuid for",
        path: PathBuf::from("/"),
        source,
    };
    let why = "so that files are made as somebody whom the container knows";
    stack::in_thread(|| {
        idmap::become_user(uid, gid, why).map_err(failed)?;
        unpack(tar, into, options)
    })
    .map_err(failed)?
}

/// Makes what one entry describes.
fn apply(
    tree: &mut Tree<'_>,
    member: &Member,
    data: &mut impl Read,
    options: &UnpackOptions,
    done: &mut Unpacked,
) -> Result<()> {
    let path = &member.path;
    let whiteout = path.whiteout().filter(|_| options.whiteouts);
    match whiteout {
        Some(b"") => {
            return Err(Error::Escapes {
                entry: member.name.clone(),
                why: "a whiteout of nothing",
            });
        }
        Some(b"." | b"..") => {
            return Err(Error::Escapes {
                entry: member.name.clone(),
                why: "a whiteout of `.` or `..`",
            });
        }
        Some(b".wh..opq") => {
            done.whiteouts += 1;
            done.opaque_root |= path.parent().is_empty();
            return tree.make_opaque(path.parent(), &member.name);
        }
        // Bookkeeping of AUFS, which older tools let slip into layers.
        Some(hidden) if hidden.starts_with(b".wh.") => return Ok(()),
        Some(hidden) => {
            done.whiteouts += 1;
            return tree.whiteout(path.parent(), hidden, &member.name);
        }
        None => {}
    }
    if path.is_root() && member.kind != EntryType::Directory {
        return Err(Error::Escapes {
            entry: member.name.clone(),
            why: "the root itself must be a directory",
        });
    }
    match member.kind {
        EntryType::Directory => tree.directory(path, member),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut data = sparse::Segments::new(data, member)?;
            let room = options.max_bytes - done.bytes;
            if data.len() > room {
                let entry = member.name.clone();
                return Err(Error::TooLarge {
                    entry,
                    what: "size of all files",
                    limit: options.max_bytes,
                });
            }
            done.bytes += data.len();
            tree.regular(path, member, &mut data)
        }
        EntryType::Link => {
            let target = TarPath::parse(&member.link, options)
                .map_err(|flaw| flaw.of(member.link_name()))?;
            tree.hard_link(path, &target, member)
        }
        EntryType::Symlink if member.link.is_empty() => Err(Error::Malformed {
            entry: member.name.clone(),
            why: "a symbolic link to nothing",
        }),
        EntryType::Symlink => tree.node(path, member, Node::Symlink(&member.link)),
        EntryType::Fifo => tree.node(path, member, Node::Fifo),
        EntryType::Char | EntryType::Block if !options.devices => tree.absent(path, member),
        EntryType::Char => tree.node(path, member, Node::Char(member.device)),
        EntryType::Block => tree.node(path, member, Node::Block(member.device)),
        other => Err(Error::UnknownEntryType {
            entry: member.name.clone(),
            kind: other.as_byte(),
        }),
    }
}
