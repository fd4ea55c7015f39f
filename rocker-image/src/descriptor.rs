//! [`Descriptor`]: the name, size and kind of a piece of content.

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform};

/// What a manifest says of a piece of content before anybody has it: its digest, its size, its media type.
///
/// Specified in the [OCI image specification](https://github.com/opencontainers/image-spec/blob/main/descriptor.md).
/// Other properties are not kept; a descriptor's `urls` are never used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Descriptor {
    /// The kind of content.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// What an image is made for; only in an index.
    #[serde(default, skip_serializing)]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor without a platform.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
        }
    }
}
