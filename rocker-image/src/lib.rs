#![doc = include_str!("../README.md")]

pub use oci_spec;

pub use crate::archive::{ArchiveFormat, Displaced, Loaded};
pub use crate::auth::Credentials;
pub use crate::client::{Client, ClientOptions, PullOptions, Pulled, Pushed, Resolved};
pub use crate::credentials::{AuthFiles, SavedIn};
pub use crate::descriptor::Descriptor;
pub use crate::digest::{Algorithm, Digest};
pub use crate::error::{Error, Result};
pub use crate::image::{Image, Layer};
pub use crate::platform::Platform;
pub use crate::progress::{LayerOutcome, Progress};
pub use crate::reference::Reference;
pub use crate::registries::Registries;
pub use crate::sink::LayerSink;
pub use crate::store::{Fault, Part, Removed, Store, Unreadable, Verified};
pub use crate::untrusted::Untrusted;

#[cfg(feature = "blocking")]
pub mod blocking;

mod ahead;
mod archive;
mod auth;
mod budget;
mod client;
mod compression;
mod credentials;
mod descriptor;
mod digest;
mod document;
mod error;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod platform;
mod progress;
mod reference;
mod registries;
mod registry;
mod sink;
mod store;
mod trace;
mod untrusted;
mod verify;
mod window;
