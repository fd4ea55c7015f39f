//! Docker's archive: `manifest.json`, which names configurations and layers by the files that they are.

use std::io::Read;
use std::path::Path;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::MANIFEST;
use super::contents::Contents;
use super::load::{self, Found};
use crate::compression::{self, Compression};
use crate::document::{
    Manifest, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, check_digest,
};
use crate::{Descriptor, Digest, Error, LayerSink, Reference, Result, Store, image};

/// An image in `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Item {
    pub(crate) config: String,
    /// `null` for an image that has no name.
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) layers: Vec<String>,
}

impl Item {
    pub(crate) fn all(contents: &Contents) -> Result<Vec<Self>> {
        let bytes = contents.document(MANIFEST).unwrap_or(b"[]");
        serde_json::from_slice(bytes).map_err(|source| Error::InvalidDocument {
            object: format!("the archive's {MANIFEST}"),
            source,
        })
    }

    /// The names that it gives its image. A name by digest would be a claim that nobody has checked.
    pub(crate) fn names(&self) -> Result<Vec<Reference>> {
        let names = self.repo_tags.iter().flatten();
        names
            .map(|name| match name.parse::<Reference>()? {
                named if named.digest().is_some() => Err(Error::InvalidReference {
                    input: name.as_str().into(),
                    reason: "an archive gives tags, not digests",
                }),
                named => Ok(named),
            })
            .collect()
    }

    /// Whether this is the image of a configuration.
    pub(crate) fn is_of(&self, config: &Digest) -> bool {
        stem(&self.config) == config.hex()
    }
}

/// Puts an image of the archive together, and has its layers unpacked.
pub(crate) fn pack(
    store: &Store,
    contents: &Contents,
    item: &Item,
    sink: &dyn LayerSink,
) -> Result<Found> {
    let names = item.names()?;
    let (digest, size) = contents.file(&item.config, MANIFEST)?;
    let config = store.read_document(&digest)?;
    // Its name has been its digest since there are IDs that are digests.
    if let Ok(named) = format!("sha256:{}", stem(&item.config)).parse() {
        check_digest(&format!("the archive's {digest}"), &named, &config)?;
    }
    let object = || format!("configuration {digest}");
    let parsed: ImageConfiguration =
        serde_json::from_slice(&config).map_err(|source| Error::InvalidDocument {
            object: object(),
            source,
        })?;
    let diff_ids = image::diff_ids(&parsed)?;
    if diff_ids.len() != item.layers.len() {
        return Err(Error::LayerCount {
            object: object(),
            layers: item.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let mut layers = Vec::new();
    let budget = store.budget(format!("the archive's image {digest}"));
    for (name, diff_id) in item.layers.iter().zip(&diff_ids) {
        let (digest, size) = contents.file(name, MANIFEST)?;
        let layer = Descriptor::new(media_type(store, &digest, name)?, digest, size);
        if layer.media_type == OCI_LAYER && layer.digest != *diff_id {
            return Err(Error::WrongDigest {
                object: format!(
                    "the archive's layer {}",
                    crate::Untrusted::from(name.as_str())
                ),
                expected: diff_id.clone(),
                found: layer.digest,
            });
        }
        store.unpack(&layer, diff_id, &budget, sink)?;
        layers.push(layer);
    }
    let packed = match load::known(store, &digest, |image| image.diff_ids().eq(&diff_ids))? {
        Some(packed) => packed,
        None => store.put_manifest(Manifest {
            config: Descriptor::new(OCI_CONFIG, digest, size),
            layers,
        })?,
    };
    Ok(Found { packed, names })
}

/// The media type of a layer, which the archive does not say: what it is compressed with shows.
fn media_type(store: &Store, blob: &Digest, name: &str) -> Result<&'static str> {
    let mut head = Vec::new();
    let file = store.open_blob(blob)?;
    file.take(8)
        .read_to_end(&mut head)
        .map_err(|source| Error::Read { source })?;
    match compression::of_head(&head) {
        Ok(Compression::None) => Ok(OCI_LAYER),
        Ok(Compression::Gzip) => Ok(OCI_LAYER_GZIP),
        Ok(Compression::Zstd) => Ok(OCI_LAYER_ZSTD),
        Err(_) => Err(Error::ArchiveMember {
            member: name.into(),
            problem: "is compressed with what is not understood: only gzip and zstd are",
        }),
    }
}

/// The name of a configuration's file without what is before and behind it.
fn stem(name: &str) -> &str {
    let last = Path::new(name).file_name().and_then(|name| name.to_str());
    let last = last.unwrap_or_default();
    last.strip_suffix(".json").unwrap_or(last)
}
