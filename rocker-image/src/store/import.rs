//! [`Store::import`]: an image that comes from no registry.

use std::io::Read;

use oci_spec::image::{ImageConfiguration, RootFs};

use super::Store;
use crate::compression::Compression;
use crate::document::{Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::verify::{BlobReader, LayerReader, Source};
use crate::{Descriptor, Error, Image, LayerSink, Reference, Result};

impl Store {
    /// Makes an image of one layer, gives it the name `reference`, and has `sink` unpack the layer if it lacks it.
    ///
    /// `layer` is one uncompressed tar archive. `config` says what to run; its `rootfs` is replaced by that layer.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if `layer` fails, [`Error::Unpack`] if the sink does, and [`Error::Store`].
    pub fn import(
        &self,
        reference: &Reference,
        mut config: ImageConfiguration,
        layer: impl Read,
        sink: &dyn LayerSink,
    ) -> Result<Image> {
        let _pin = self.pin()?;
        let (diff_id, size) = self.put_blob(layer, None)?;
        let layer = Descriptor::new(OCI_LAYER, diff_id.clone(), size);
        if !sink.contains(&diff_id) {
            let file = self.open_blob(&diff_id)?;
            let blob = BlobReader::new(Source::File(file), layer.clone(), None);
            LayerReader::new(blob, Compression::None, diff_id.clone())?.unpack(sink)?;
        }
        let mut rootfs = RootFs::default();
        rootfs.set_typ("layers".to_owned());
        rootfs.set_diff_ids(vec![diff_id.to_string()]);
        config.set_rootfs(rootfs);
        let config_bytes = encode("an image configuration", &config)?;
        let (digest, size) = self.put_blob(&*config_bytes, None)?;
        let manifest = Manifest {
            config: Descriptor::new(OCI_CONFIG, digest, size),
            layers: vec![layer],
        };
        let manifest_bytes = encode(
            "a manifest",
            &serde_json::json!({
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": manifest.config,
                "layers": manifest.layers,
            }),
        )?;
        let (digest, size) = self.put_blob(&*manifest_bytes, None)?;
        let descriptor = Descriptor::new(OCI_MANIFEST, digest, size);
        let image = Image::new(
            vec![reference.key()],
            descriptor.clone(),
            manifest,
            &config_bytes,
        )?;
        self.name(reference, &descriptor, &image)?;
        Ok(image)
    }
}

fn encode(object: &str, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::InvalidDocument {
        object: object.to_owned(),
        source,
    })
}
