//! The files that a container sees: its root file system, mounted, looked at, copied and packed.

pub(super) mod base;
pub(super) mod copy;
pub(super) mod diff;
pub(super) mod etc;
pub(super) mod export;
pub(super) mod mounted;
pub(super) mod packing;
pub(super) mod storage;
pub(crate) mod view;
