//! [`Store::save`]: images into an archive.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::iter;
use std::sync::Mutex;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::docker::Item;
use super::{ArchiveFormat, INDEX, LAYOUT, MANIFEST};
use crate::compression::Compression;
use crate::document::{
    Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST,
};
use crate::store::{CONTAINERD_NAME, Ingest, REF_NAME, encode};
use crate::verify::{BlobReader, Source};
use crate::{Descriptor, Digest, Error, Image, Layer, LayerSink, Reference, Result, Store};

/// Takes a layer as it is uncompressed, whose size has to be known before it can be put into an archive.
struct Uncompressed(Mutex<Ingest>);

impl LayerSink for Uncompressed {
    fn contains(&self, _: &Digest) -> bool {
        false
    }

    fn unpack(&self, _: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let mut file = self.0.lock().map_err(|_| io::Error::other("poisoned"))?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match tar.read(&mut buffer)? {
                0 => return Ok(()),
                length => file.write(&buffer[..length]).map_err(io::Error::other)?,
            }
        }
    }
}

impl Store {
    /// Writes images, under the given names, as one tar archive. The same images and names give the same bytes.
    ///
    /// What is written is verified as it is read: where a blob is damaged the archive is too, and this an error. In Docker's
    /// form, layers are uncompressed, each by way of a temporary file in the store.
    ///
    /// # Errors
    ///
    /// [`Error::WriteArchive`]; [`Error::WrongDigest`], [`Error::WrongSize`] and [`Error::NoSuchBlob`] if an image is damaged;
    /// [`Error::Store`].
    pub fn save(
        &self,
        images: &[(Image, Vec<Reference>)],
        format: ArchiveFormat,
        out: impl Write,
    ) -> Result<()> {
        let _pin = self.pin()?;
        let mut archive = Archive {
            store: self,
            tar: Builder::new(out),
            written: HashSet::new(),
        };
        match format {
            ArchiveFormat::Docker => archive.docker(images)?,
            ArchiveFormat::Oci => archive.layout(images)?,
        }
        let finished = archive.tar.into_inner().and_then(|mut out| out.flush());
        finished.map_err(failed)
    }
}

/// An archive that is being written.
struct Archive<'a, W: Write> {
    store: &'a Store,
    tar: Builder<W>,
    written: HashSet<String>,
}

impl<W: Write> Archive<'_, W> {
    fn docker(&mut self, images: &[(Image, Vec<Reference>)]) -> Result<()> {
        let mut items = Vec::new();
        for (image, names) in images {
            let config = format!("{}.json", image.config_digest().hex());
            let bytes = self.store.read_document(image.config_digest())?;
            self.bytes(&config, &bytes)?;
            let mut layers = Vec::new();
            for layer in image.layers() {
                let name = format!("{}.tar", layer.diff_id.hex());
                if self.written.insert(name.clone()) {
                    self.layer(&name, layer)?;
                }
                layers.push(name);
            }
            // This form knows no names by digest.
            let tags = names.iter().filter(|name| name.digest().is_none());
            let tags: Vec<_> = tags.map(Reference::familiar).collect();
            items.push(Item {
                config,
                repo_tags: (!tags.is_empty()).then_some(tags),
                layers,
            });
        }
        let bytes = encode("the archive's manifest.json", &items)?;
        self.bytes(MANIFEST, &bytes)
    }

    fn layout(&mut self, images: &[(Image, Vec<Reference>)]) -> Result<()> {
        let mut entries = Vec::new();
        for (image, names) in images {
            let config = self.store.read_document(image.config_digest())?;
            let config = Descriptor::new(
                OCI_CONFIG,
                image.config_digest().clone(),
                config.len() as u64,
            );
            let manifest = self.manifest(image, &config)?;
            let layers = image.layers().iter();
            let layers = layers.map(|layer| Descriptor::new("", layer.blob.clone(), layer.size));
            for blob in iter::once(config).chain(layers) {
                self.blob(&blob)?;
            }
            entries.extend(match names[..] {
                [] => vec![entry(image, &manifest, None)],
                _ => names
                    .iter()
                    .map(|name| entry(image, &manifest, Some(name)))
                    .collect(),
            });
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": entries,
        });
        self.bytes(INDEX, &encode("the archive's index.json", &index)?)?;
        self.bytes(LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// The manifest: as it is, or where it has Docker's media types, with those that other tools look for in a layout.
    fn manifest(&mut self, image: &Image, config: &Descriptor) -> Result<Descriptor> {
        let manifest = image.manifest_descriptor();
        if manifest.media_type == OCI_MANIFEST {
            return self.blob(manifest).map(|()| manifest.clone());
        }
        let layers = image.layers().iter().map(|layer| {
            let kind = match Compression::of(&layer.media_type) {
                Some(Compression::None) => OCI_LAYER,
                Some(Compression::Gzip) => OCI_LAYER_GZIP,
                Some(Compression::Zstd) => OCI_LAYER_ZSTD,
                None => layer.media_type.as_str(),
            };
            Descriptor::new(kind, layer.blob.clone(), layer.size)
        });
        let layers = layers.collect();
        let config = config.clone();
        let bytes = Manifest { config, layers }.encode()?;
        let digest = Digest::sha256(&bytes);
        self.bytes(&format!("blobs/sha256/{}", digest.hex()), &bytes)?;
        Ok(Descriptor::new(OCI_MANIFEST, digest, bytes.len() as u64))
    }

    /// A layer as it is uncompressed.
    fn layer(&mut self, name: &str, layer: &Layer) -> Result<()> {
        let blob = Descriptor::new(layer.media_type.as_str(), layer.blob.clone(), layer.size);
        let sink = Uncompressed(Mutex::new(self.store.ingest()?));
        self.store.layer(&blob, &layer.diff_id)?.unpack(&sink)?;
        let mut file = sink
            .0
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (size, file) = file.reread()?;
        self.tar
            .append_data(&mut header(size), name, file)
            .map_err(failed)
    }

    /// A blob as the store has it.
    fn blob(&mut self, blob: &Descriptor) -> Result<()> {
        let digest = &blob.digest;
        let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        if !self.written.insert(name.clone()) {
            return Ok(());
        }
        let source = Source::File(self.store.open_blob(digest)?);
        let mut reader = BlobReader::new(source, blob.clone(), None);
        let mut header = header(blob.size);
        let written = self.tar.append_data(&mut header, &name, &mut reader);
        // A blob that is wrong is the cause of whatever became of it.
        reader.verdict()?;
        written.map_err(failed)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = header(bytes.len() as u64);
        self.tar
            .append_data(&mut header, name, bytes)
            .map_err(failed)
    }
}

/// What `index.json` says of an image, by one of its names.
fn entry(image: &Image, manifest: &Descriptor, name: Option<&Reference>) -> Value {
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "platform": image.platform().of_entry(),
    });
    if let Some(name) = name {
        let name = name.to_string();
        entry["annotations"] = json!({CONTAINERD_NAME: name, REF_NAME: name});
    }
    entry
}

/// The header of a file that belongs to root, and that nobody has changed since 1970.
fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn failed(source: io::Error) -> Error {
    Error::WriteArchive { source }
}
