#![doc = include_str!("../README.md")]

mod attached;
mod calls;
mod changes;
mod context;
mod copy;
mod copy_data;
mod device;
mod device_nodes;
mod encode;
mod entry;
mod error;
mod file_system;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gone_volume;
mod ground;
mod id_range;
mod idmap;
mod layer;
mod layers;
mod location;
mod lock;
mod lookup;
mod made;
mod mask;
mod member;
mod memory;
mod merge;
mod metadata;

mod meter;
mod mount;
mod mount_point;
mod mounted;
mod overlay;
mod own_mounts;
mod ownership;
mod pack;
mod pack_options;
mod pax;
mod place;
mod plan;
mod probe;
mod propagation;
mod remove;
mod resolve;
mod rootfs;
mod seen;
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
mod traces;
mod tree;
mod view;
mod volume_fill;
mod volumes;
mod walk;
mod whiteout;
mod xattr;

pub use attached::AttachedOverlay;
pub use changes::{Change, ChangeKind, changes};
pub use copy::{Copied, copy_tree};
pub use device::{Device, DeviceKind};
pub use error::{Error, Result};
pub use file_system::FileSystem;
pub use gone_volume::GoneVolume;
pub use ground::Ground;
pub use id_range::IdRange;
pub use layer::{UnpackOptions, Unpacked, XattrNamespace, unpack, unpack_as};
pub use layers::Layers;
pub use merge::merge;
pub use mount::{BindSource, Mount, MountAttributes, MountKind, Propagation};
pub use mounted::OverlayMount;
pub use overlay::Overlay;
pub use ownership::Ownership;
pub use pack::pack;
pub use pack_options::{PackOptions, Packed};
pub use place::Place;
pub use probe::Probe;
pub use remove::remove_tree;
pub use resolve::{Access, create_dir_beneath, open_beneath, read_beneath, resolve_beneath};
pub use rootfs::Rootfs;
pub use source::detached_directory;
pub use standard::{MASKED_PATHS, READ_ONLY_PATHS};
pub use step::{Arg, Step};
pub use sysctl::{Sysctl, SysctlNamespaces};
pub use view::View;
pub use volumes::Volumes;
