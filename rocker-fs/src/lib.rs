#![doc = include_str!("../README.md")]

mod attached;
mod calls;
mod context;
mod copy;
mod copy_data;
mod device;
mod device_nodes;
mod encode;
mod error;
mod file_system;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod idmap;
mod layer;
mod layers;
mod lock;
mod mask;
mod member;
mod metadata;
mod meter;
mod mount;
mod mount_point;
mod overlay;
mod ownership;
mod pax;
mod plan;
mod remove;
mod resolve;
mod rootfs;
mod source;
mod sparse;
mod spelling;
mod stack;
mod standard;
mod step;
#[expect(
    unsafe_code,
    reason = "the system calls that nix has no safe wrapper for"
)]
mod sys;
mod sysctl;
mod trace;
mod tree;
mod volume_fill;
mod volumes;
mod walk;

pub use attached::AttachedOverlay;
pub use copy::{Copied, copy_tree};
pub use device::{Device, DeviceKind};
pub use error::{Error, Result};
pub use file_system::FileSystem;
pub use layer::{UnpackOptions, Unpacked, XattrNamespace, unpack};
pub use layers::Layers;
pub use mount::{BindSource, Mount, MountAttributes, MountKind, Propagation};
pub use overlay::{Overlay, OverlayMount};
pub use ownership::Ownership;
pub use resolve::{Access, create_dir_beneath, open_beneath, read_beneath, resolve_beneath};
pub use rootfs::Rootfs;
pub use source::detached_directory;
pub use standard::{MASKED_PATHS, READ_ONLY_PATHS};
pub use step::{Arg, Step};
pub use sysctl::{Sysctl, SysctlNamespaces};
pub use volumes::Volumes;
