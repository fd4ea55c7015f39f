//! [`Store::extend`]: an image that is another one with a layer more.

use std::io::{self, Read};

use flate2::read::GzEncoder;
use serde_json::Value;

use super::Store;
use super::import::{encode, of_budget};
use crate::budget::{Share, Within};
use crate::compression::Compression;
use crate::digest::{Algorithm, Hasher};
use crate::document::{Manifest, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};
use crate::{Descriptor, Digest, Error, Image, LayerSink, Reference, Result};

/// How hard gzip tries: whoever waits for a commit waits for that, too.
const EFFORT: u32 = 3;

/// What errors call it.
const LAYER: &str = "the new layer";

impl Store {
    /// Makes an image of the layers of `base` and one more, gives it the name `reference` if there is one, and has `sink`
    /// unpack the new layer.
    ///
    /// `layer` is a tar archive as it is; it is stored compressed by gzip, and the same archive gives the same bytes. `config` is
    /// the image's configuration as JSON, in Docker's format or OCI's: all that it says is kept, but for the layers, of which
    /// it may say what it likes.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if `layer` fails, [`Error::InvalidDocument`] if `config` is none, [`Error::Unpack`] if the sink fails, and
    /// [`Error::Store`], [`Error::ImageTooLarge`] for a layer of more bytes than an image may have. Nothing leads to what was stored by then.
    pub fn extend(
        &self,
        base: &Image,
        config: &[u8],
        layer: impl Read,
        reference: Option<&Reference>,
        sink: &dyn LayerSink,
    ) -> Result<Image> {
        let _pin = self.pin()?;
        let object = "the new image's configuration";
        let invalid = |source| Error::InvalidDocument {
            object: object.to_owned(),
            source,
        };
        let mut document: Value = serde_json::from_slice(config).map_err(invalid)?;
        let mut share = Share::of(&self.budget(LAYER));
        let mut hashed = Hashed {
            inner: Within {
                inner: layer,
                share: &mut share,
            },
            hasher: Hasher::new(Algorithm::Sha256),
        };
        let compressed = GzEncoder::new(&mut hashed, flate2::Compression::new(EFFORT));
        let (blob, size) = self.put_blob(compressed, None).map_err(of_budget)?;
        let diff_id = hashed.hasher.finish();
        let layer = Descriptor::new(OCI_LAYER_GZIP, blob, size);
        // It is the same bytes, which have been counted.
        self.unpack(&layer, &diff_id, &self.budget(LAYER), sink)?;
        let diff_ids: Vec<String> = base
            .diff_ids()
            .chain([&diff_id])
            .map(Digest::to_string)
            .collect();
        if let Some(document) = document.as_object_mut() {
            let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
            document.insert("rootfs".to_owned(), rootfs);
        }
        let config_bytes = encode(object, &document)?;
        let (digest, size) = self.put_blob(&*config_bytes, None)?;
        // Docker's names for layers have no place in a manifest of OCI's.
        let below = base.layers().iter().map(|layer| {
            let media_type = match Compression::of(&layer.media_type) {
                Some(Compression::None) => OCI_LAYER,
                Some(Compression::Gzip) => OCI_LAYER_GZIP,
                Some(Compression::Zstd) => OCI_LAYER_ZSTD,
                None => &layer.media_type,
            };
            Descriptor::new(media_type, layer.blob.clone(), layer.size)
        });
        let packed = self.put_manifest(Manifest {
            config: Descriptor::new(OCI_CONFIG, digest, size),
            layers: below.chain([layer]).collect(),
        })?;
        match reference {
            Some(reference) => {
                self.name(reference, &packed.descriptor, &packed.image)?;
                Ok(packed.image.with_references(vec![reference.key()]))
            }
            None => {
                let platform = packed.image.platform();
                self.change_index(|index| index.keep(&packed.descriptor, &platform))?;
                Ok(packed.image)
            }
        }
    }
}

/// A reader that hashes what goes through it.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
