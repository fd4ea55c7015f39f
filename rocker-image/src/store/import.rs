//! [`Store::import`]: an image that comes from no registry.

use std::io::Read;
use std::sync::Arc;

use oci_spec::image::{ImageConfiguration, RootFs};

use super::Store;
use crate::ahead;
use crate::budget::{Budget, Share, Within};
use crate::compression::{self, Compression};
use crate::document::{Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::sink::Discard;
use crate::verify::{BlobReader, LayerReader, Source};
use crate::{Descriptor, Digest, Error, Image, LayerSink, Reference, Result};

/// An image whose manifest, configuration and layers are in the store, and which has no name there yet.
pub(crate) struct Packed {
    pub(crate) descriptor: Descriptor,
    pub(crate) image: Image,
}

impl Store {
    /// Makes an image of one layer, gives it the name `reference`, and has `sink` unpack the layer if it lacks it.
    ///
    /// `layer` is one tar archive: as it is, or compressed by gzip or zstd. It is stored uncompressed. `config` says what
    /// to run; its `rootfs` is replaced by that layer.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if `layer` fails, [`Error::Unpack`] if the sink does, and [`Error::Store`].
    pub fn import(
        &self,
        reference: &Reference,
        config: ImageConfiguration,
        layer: impl Read,
        sink: &dyn LayerSink,
    ) -> Result<Image> {
        let _pin = self.pin()?;
        let packed = self.pack(config, layer, sink)?;
        self.name(reference, &packed.descriptor, &packed.image)?;
        Ok(packed.image.with_references(vec![reference.key()]))
    }

    /// The same, for an image that gets no name.
    ///
    /// # Errors
    ///
    /// As [`import`](Self::import).
    pub fn import_unnamed(
        &self,
        config: ImageConfiguration,
        layer: impl Read,
        sink: &dyn LayerSink,
    ) -> Result<Image> {
        let _pin = self.pin()?;
        let packed = self.pack(config, layer, sink)?;
        let platform = packed.image.platform();
        self.change_index(|index| index.keep(&packed.descriptor, &platform))?;
        Ok(packed.image)
    }

    fn pack(
        &self,
        mut config: ImageConfiguration,
        layer: impl Read,
        sink: &dyn LayerSink,
    ) -> Result<Packed> {
        let layer = compression::decompressed(layer).map_err(|source| Error::Read { source })?;
        let mut share = Share::of(&self.budget("the archive"));
        let within = Within {
            inner: layer,
            share: &mut share,
        };
        let (diff_id, size) = self.put_blob(within, None).map_err(of_budget)?;
        let layer = Descriptor::new(OCI_LAYER, diff_id.clone(), size);
        // It is the same bytes, which have been counted.
        self.unpack(&layer, &diff_id, &self.budget("the archive"), sink)?;
        let mut rootfs = RootFs::default();
        rootfs.set_typ("layers".to_owned());
        rootfs.set_diff_ids(vec![diff_id.to_string()]);
        config.set_rootfs(rootfs);
        let config_bytes = encode("an image configuration", &config)?;
        let (digest, size) = self.put_blob(&*config_bytes, None)?;
        self.put_manifest(Manifest {
            config: Descriptor::new(OCI_CONFIG, digest, size),
            layers: vec![layer],
        })
    }

    /// Stores a manifest of blobs that are all there.
    pub(crate) fn put_manifest(&self, manifest: Manifest) -> Result<Packed> {
        let bytes = manifest.encode()?;
        let config = self.read_document(&manifest.config.digest)?;
        let (digest, size) = self.put_blob(&*bytes, None)?;
        let descriptor = Descriptor::new(OCI_MANIFEST, digest, size);
        let image = Image::new(Vec::new(), descriptor.clone(), manifest, &config)?;
        Ok(Packed { descriptor, image })
    }

    /// Has `sink` unpack a layer whose blob is in the store, if it lacks it. The blob and the layer are verified.
    pub(crate) fn unpack(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        budget: &Arc<Budget>,
        sink: &dyn LayerSink,
    ) -> Result<()> {
        // What was hashed while it was stored, and is not compressed, is the layer of that name.
        if sink.contains(diff_id) && layer.digest == *diff_id {
            return Ok(());
        }
        let layer = self.layer(layer, diff_id)?;
        let layer = layer.ahead(ahead::is_worthwhile(1));
        let unpacked = match sink.contains(diff_id) {
            true => layer.unpack(&Discard),
            false => layer.within(budget).unpack(sink),
        };
        unpacked.map(drop)
    }

    /// A reader of a stored layer, which verifies it.
    pub(crate) fn layer(&self, layer: &Descriptor, diff_id: &Digest) -> Result<LayerReader> {
        let compression =
            Compression::of(&layer.media_type).ok_or_else(|| Error::UnsupportedMediaType {
                object: format!("layer {}", layer.digest),
                media_type: layer.media_type.as_str().into(),
            })?;
        let file = self.open_blob(&layer.digest)?;
        let blob = BlobReader::new(Source::File(file), layer.clone(), None);
        LayerReader::new(blob, compression, diff_id.clone())
    }
}

/// That something is too large is no trouble with reading it.
pub(crate) fn of_budget(error: Error) -> Error {
    match error {
        Error::Read { source } => source
            .downcast()
            .unwrap_or_else(|source| Error::Read { source }),
        other => other,
    }
}

pub(crate) fn encode(object: &str, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::InvalidDocument {
        object: object.to_owned(),
        source,
    })
}
