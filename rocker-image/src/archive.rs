//! Images in one file: what `docker save` writes, and an OCI image layout in a tar archive.

mod contents;
mod docker;
mod layout;
mod load;
pub(crate) mod member;
mod save;

pub use self::load::{Displaced, Loaded};

/// What an archive of images looks like inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ArchiveFormat {
    /// As `docker save` has always written it: `manifest.json`, configurations, and uncompressed layers. The manifest, and
    /// with it the digest by which a registry knows the image, is not in it.
    #[default]
    Docker,
    /// An [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md): every blob as the
    /// store has it. A manifest of Docker's media types gets OCI's, and with them another digest: other tools look for those.
    Oci,
}

/// The file that lists the images of Docker's archive.
const MANIFEST: &str = "manifest.json";
/// The file that lists the images of an OCI layout.
const INDEX: &str = "index.json";
/// The file by which an OCI layout is known.
const LAYOUT: &str = "oci-layout";
