//! [`Image`] and [`Layer`].

use oci_spec::image::ImageConfiguration;

use crate::document::{self, Manifest};
use crate::{Descriptor, Digest, Error, Platform, Reference, Result};

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The digest of the blob, as it is downloaded and stored.
    pub blob: Digest,
    /// The digest of the uncompressed archive: the name of the unpacked layer.
    pub diff_id: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The media type of the blob.
    pub media_type: String,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    references: Vec<Reference>,
    manifest: Descriptor,
    config_digest: Digest,
    config: ImageConfiguration,
    layers: Vec<Layer>,
    size: u64,
}

impl Image {
    /// Puts an image together from a manifest and the configuration it names, both verified.
    pub(crate) fn new(
        references: Vec<Reference>,
        descriptor: Descriptor,
        manifest: Manifest,
        config_bytes: &[u8],
    ) -> Result<Self> {
        let object = || format!("configuration {}", manifest.config.digest);
        let invalid = |source| Error::InvalidDocument {
            object: object(),
            source,
        };
        document::check_config(&manifest.config)?;
        let config: ImageConfiguration = serde_json::from_slice(config_bytes).map_err(invalid)?;
        let diff_ids = diff_ids(&config)?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(Error::LayerCount {
                object: format!("manifest {}", descriptor.digest),
                layers: manifest.layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let layers: Vec<Layer> = manifest
            .layers
            .into_iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| Layer {
                blob: layer.digest,
                diff_id,
                size: layer.size,
                media_type: layer.media_type,
            })
            .collect();
        let own = descriptor.size.saturating_add(manifest.config.size);
        let size = layers
            .iter()
            .fold(own, |sum, layer| sum.saturating_add(layer.size));
        Ok(Self {
            references,
            manifest: descriptor,
            config_digest: manifest.config.digest,
            config,
            layers,
            size,
        })
    }

    /// The names of the image in the store: none if all of them now name other images.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The digest of the manifest, by which a registry knows the image.
    pub fn manifest_digest(&self) -> &Digest {
        &self.manifest.digest
    }

    /// The media type of the manifest.
    pub fn manifest_media_type(&self) -> &str {
        &self.manifest.media_type
    }

    /// The digest of the configuration, which is the image's ID.
    pub fn config_digest(&self) -> &Digest {
        &self.config_digest
    }

    /// The configuration: what to run, and as whom.
    pub fn config(&self) -> &ImageConfiguration {
        &self.config
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The names of the unpacked layers, lowest first.
    pub fn diff_ids(&self) -> impl DoubleEndedIterator<Item = &Digest> + ExactSizeIterator {
        self.layers.iter().map(|layer| &layer.diff_id)
    }

    /// What the image is made for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os().to_string(),
            architecture: self.config.architecture().to_string(),
            variant: self.config.variant().clone(),
        }
    }

    /// When the image was made, in the form of RFC 3339. Reproducible builds say 1970, and some say nothing.
    pub fn created(&self) -> Option<&str> {
        self.config.created().as_deref()
    }

    /// The size in bytes of manifest, configuration and layers as they are stored, which is compressed as a rule.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn manifest_descriptor(&self) -> &Descriptor {
        &self.manifest
    }

    pub(crate) fn with_references(self, references: Vec<Reference>) -> Self {
        Self { references, ..self }
    }
}

/// The diff-ids of a configuration, lowest first.
pub(crate) fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    config
        .rootfs()
        .diff_ids()
        .iter()
        .map(|text| text.parse())
        .collect()
}
