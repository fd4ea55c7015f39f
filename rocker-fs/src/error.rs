//! What can go wrong, each with what was tried and on what.

use std::io;
use std::path::PathBuf;

use crate::device::DeviceKind;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether no overlay can be had here, be it for the file system or for the kernel. A copy of the layers
    /// ([`merge`](crate::merge)) can, and an upper directory elsewhere may.
    pub fn is_unfit(&self) -> bool {
        match self {
            Self::UpperOnOverlay { .. }
            | Self::NoEntryTypes { .. }
            | Self::NoXattrs { .. }
            | Self::NoWhiteouts { .. } => true,
            Self::Unsupported { what, .. } => *what == "overlayfs",
            _ => false,
        }
    }
}

/// An error of this crate: the operation, its object, and the system's reason as the source.
///
/// Names that come out of a layer are shown quoted, so that no control character of theirs reaches a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer's entry tries to reach outside of the layer, or through a symbolic link.
    #[error("refuse layer entry {entry:?}: {why}")]
    Escapes {
        /// The entry's name, or the target of the hard link.
        entry: PathBuf,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A layer is larger than [`UnpackOptions`](crate::UnpackOptions) allow.
    #[error("refuse layer entry {entry:?}: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// The entry at which the limit was reached.
        entry: PathBuf,
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A layer's entry is of a type that no file of Linux is.
    #[error("refuse layer entry {entry:?}: unknown entry type {kind:#04x}")]
    UnknownEntryType {
        /// The entry's name.
        entry: PathBuf,
        /// The type byte of its header.
        kind: u8,
    },
    /// A layer's entry contradicts the format, or itself.
    #[error("refuse layer entry {entry:?}: {why}")]
    Malformed {
        /// The entry's name.
        entry: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The tar stream ends inside of an entry.
    #[error("layer ends inside of entry {entry:?}, {missing} bytes early")]
    Truncated {
        /// The entry's name.
        entry: PathBuf,
        /// How many bytes of it are missing.
        missing: u64,
    },
    /// The tar stream could not be read, or is not a tar stream.
    #[error("read the layer's tar stream")]
    Archive {
        /// The reader's error, or the tar parser's.
        source: io::Error,
    },
    /// A system call on behalf of a layer's entry failed.
    #[error("{operation} layer entry {entry:?}")]
    Entry {
        /// What was done, as the system call's name.
        operation: &'static str,
        /// The entry's name.
        entry: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A tree has something in it that no layer can say.
    #[error("cannot pack {path:?}: {why}")]
    Unpackable {
        /// Where, beneath the tree's root.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// A directory is to take the place of a file, or a file that of a directory, in a tree that is in use.
    #[error("cannot overwrite {there} {entry:?} with {new}")]
    OtherKind {
        /// The entry's name.
        entry: PathBuf,
        /// What is there: `directory` or `non-directory`.
        there: &'static str,
        /// What is to take its place.
        new: &'static str,
    },
    /// Whoever is to get an archive does not take it.
    #[error("write the archive")]
    Output {
        /// The writer's error.
        source: io::Error,
    },
    /// A layer's name is not a digest, so no directory can be called by it.
    #[error("{name:?} does not name a layer: a digest such as sha256:0a1b… is needed")]
    LayerName {
        /// The name as given.
        name: String,
    },
    /// A name that no volume can have.
    #[error(
        "{name:?} does not name a volume: a letter or digit is needed, then letters, digits, `_`, `.` or `-`; 240 at most"
    )]
    VolumeName {
        /// The name as given.
        name: String,
    },
    /// A system call on the store of layers or of volumes failed.
    #[error("{operation} {}", path.display())]
    Store {
        /// What was done, as the system call's name.
        operation: &'static str,
        /// To which directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A path could not be opened beneath its root.
    #[error("{operation} {path:?} beneath the root")]
    Resolve {
        /// What was done, as the system call's name.
        operation: &'static str,
        /// The path, relative to the root.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something that must be a regular file is not.
    #[error("{path:?} beneath the root is not a regular file")]
    NotRegular {
        /// The path, relative to the root.
        path: PathBuf,
    },
    /// A file is larger than its reader allows.
    #[error("{path:?} beneath the root is larger than {limit} bytes")]
    FileTooLarge {
        /// The path, relative to the root.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file or directory of a tree could not be copied.
    #[error("{operation} {path:?} of a tree that is being copied")]
    Copy {
        /// What was done, as the system call's name.
        operation: &'static str,
        /// The path, relative to the tree and to its copy.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A tree that is to be copied is too deep.
    #[error("{path:?} of a tree that is being copied lies deeper than {limit} directories")]
    CopyTooDeep {
        /// The path, relative to the tree.
        path: PathBuf,
        /// How deep a tree may be.
        limit: usize,
    },
    /// An overlay without a lower layer was asked for.
    #[error("an overlay needs at least one lower layer")]
    NoLayers,
    /// An overlay of more layers than the kernel stacks.
    #[error("an overlay of {count} layers: the kernel stacks at most {limit}")]
    TooManyLayers {
        /// How many layers were given.
        count: usize,
        /// The kernel's limit, or what fits in its page of options before Linux 6.8.
        limit: usize,
    },
    /// The upper directory lies on an overlay, which overlayfs refuses.
    #[error("upper directory {} lies on overlayfs; put it on another file system (a volume or a tmpfs)", upper.display())]
    UpperOnOverlay {
        /// The upper directory.
        upper: PathBuf,
    },
    /// Nothing can be written where the upper directory lies.
    #[error("upper directory {}: its file system is mounted read-only; mount it writable, or put the directory elsewhere", upper.display())]
    UpperReadOnly {
        /// The upper directory.
        upper: PathBuf,
    },
    /// The upper and the work directory are on different mounts, between which nothing can be renamed.
    #[error("upper directory {} and work directory {} are on different mounts; put both into one directory", upper.display(), work.display())]
    UpperAndWorkApart {
        /// The upper directory.
        upper: PathBuf,
        /// The work directory.
        work: PathBuf,
    },
    /// The directories of the upper directory's file system do not say what type their entries are of (`d_type`), so that overlayfs
    /// would show its whiteouts.
    #[error("upper directory {}: directories of its file system, {filesystem}, do not tell the types of their entries; make it anew with ftype=1 (xfs) or -O filetype (ext4), or put the directory on another one", upper.display())]
    NoEntryTypes {
        /// The upper directory.
        upper: PathBuf,
        /// What its file system is called.
        filesystem: &'static str,
    },
    /// The upper directory's file system takes no attributes of the kind with which overlayfs marks directories.
    #[error("upper directory {}: its file system, {filesystem}, takes no {namespace} attributes; put it on ext4, xfs, btrfs or tmpfs (user.* on tmpfs: Linux 6.6)", upper.display())]
    NoXattrs {
        /// The upper directory.
        upper: PathBuf,
        /// What its file system is called.
        filesystem: &'static str,
        /// Which attributes: `trusted.*` or `user.*`.
        namespace: &'static str,
    },
    /// The upper directory's file system cannot leave a whiteout in the place of what is deleted, as NFS, most of FUSE, and vfat.
    #[error("upper directory {}: its file system, {filesystem}, has no whiteouts (RENAME_WHITEOUT); put it on ext4, xfs, btrfs or tmpfs", upper.display())]
    NoWhiteouts {
        /// The upper directory.
        upper: PathBuf,
        /// What its file system is called.
        filesystem: &'static str,
    },
    /// The kernel does not let this process mount.
    #[error(
        "{operation}: not permitted; CAP_SYS_ADMIN in the user namespace that owns the mount namespace is needed"
    )]
    NotPermitted {
        /// What was tried, as the system call's name.
        operation: &'static str,
        /// EPERM.
        source: io::Error,
    },
    /// The kernel lacks a system call or a file system.
    #[error("the kernel lacks {what}: {needs} is needed")]
    Unsupported {
        /// The call or file system.
        what: &'static str,
        /// The kernel version or option that brings it.
        needs: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A file system cannot show its files with the owners that a user namespace's map gives them.
    #[error("{}: no ID map can be laid over its file system, {filesystem}; {needs} is needed", path.display())]
    NoIdMap {
        /// A directory on the file system.
        path: PathBuf,
        /// What the file system is called.
        filesystem: &'static str,
        /// The kernel version that brings it.
        needs: &'static str,
        /// EINVAL.
        source: io::Error,
    },
    /// The owner of a directory that files are to be made in has no ID in the user namespace.
    #[error("{}: its owner is nobody in the user namespace, so that nothing can be made in it; give it to an ID that is mapped", path.display())]
    NotMapped {
        /// The work directory of an overlay.
        path: PathBuf,
        /// EOVERFLOW.
        source: io::Error,
    },
    /// The kernel refused an overlay.
    #[error("mount an overlay of {layers} layers: {call}{}{said}", if said.is_empty() { "" } else { ", the kernel says " })]
    Overlay {
        /// How many lower layers it has.
        layers: usize,
        /// The system call that failed.
        call: &'static str,
        /// What the kernel told about it through the file system context, if anything.
        said: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A mount could not be attached or taken away.
    #[error("{operation} {}", target.display())]
    Mount {
        /// What was done, as the system call's name.
        operation: &'static str,
        /// The mount point.
        target: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What is to be bind-mounted cannot be opened.
    #[error("bind mount of {}", path.display())]
    BindSource {
        /// The source.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What is to be bind-mounted lies where the root file system is attached, and only the child may copy it, which would find the image's.
    #[error(
        "bind mount of {}: this process may not copy it before the root file system is attached at {}, over it; have the root attached elsewhere",
        path.display(), target.display()
    )]
    SourceBeneathTarget {
        /// The source.
        path: PathBuf,
        /// Where the root is attached.
        target: PathBuf,
    },
    /// A device of the host's could not be looked at.
    #[error("{operation} device {}", path.display())]
    HostDevice {
        /// What was done, as the system call's name.
        operation: &'static str,
        /// Where the host should have it.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What should be a device of the host's is none.
    #[error("{} is not a device", path.display())]
    NotADevice {
        /// The path on the host.
        path: PathBuf,
    },
    /// The host has something else where a device was expected that a container may have.
    #[error("{} is not the {kind} {major}:{minor}", path.display())]
    OtherDevice {
        /// The path on the host.
        path: PathBuf,
        /// What was expected.
        kind: DeviceKind,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A path of the root file system's description cannot be meant.
    #[error("{path:?} in the root file system: {why}")]
    Destination {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is to be a kernel parameter's name and value cannot be one.
    #[error("sysctl {name:?}: {why}")]
    BadSysctl {
        /// The name as given.
        name: String,
        /// What is wrong with it, or with the value.
        why: &'static str,
    },
    /// A kernel parameter is the whole host's.
    #[error("sysctl {name:?} is the whole host's: no namespace has one of its own")]
    HostSysctl {
        /// The name as given.
        name: String,
    },
    /// A kernel parameter is that of a namespace which the container shares.
    #[error("sysctl {name} needs {} {namespace} namespace of the container's own", if *namespace == "IPC" { "an" } else { "a" })]
    SharedSysctl {
        /// Its name.
        name: String,
        /// The namespace that has it.
        namespace: &'static str,
    },
    /// A text for the kernel has a NUL byte in it.
    #[error("{text:?} contains a NUL byte")]
    Nul {
        /// The text.
        text: String,
    },
}
