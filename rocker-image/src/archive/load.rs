//! [`Store::load`]: images from an archive.

use std::io::Read;

use super::contents::Contents;
use super::docker::{self, Item};
use super::{INDEX, LAYOUT, MANIFEST, layout};
use crate::store::Packed;
use crate::{Digest, Error, Image, LayerSink, Platform, Reference, Result, Store};

/// An image that came out of an archive.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The image, as it is in the store now.
    pub image: Image,
    /// The names that the archive gave it; none leaves it without one, unless it had some before.
    pub names: Vec<Reference>,
    /// The names among them that other images had to give up.
    pub displaced: Vec<Displaced>,
}

/// A name that means another image than before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Displaced {
    /// The name.
    pub name: Reference,
    /// The ID of the image that had it, or the digest of its manifest if that image is damaged.
    pub id: Digest,
}

/// An image of an archive that is whole, and not named yet.
pub(crate) struct Found {
    pub(crate) packed: Packed,
    pub(crate) names: Vec<Reference>,
}

impl Store {
    /// Loads all images of an archive and has `sink` unpack those of their layers that it lacks. The archive is read once,
    /// from front to back; it may be compressed by gzip or zstd. It is what `docker save` writes, in its old or its new
    /// form, or an OCI image layout, of whose indexes the images for `platform` are taken.
    ///
    /// Everything is hashed while it is read: each blob against its name, each layer against its image's configuration, and
    /// nothing gets a name before all of it is right. No name in the archive becomes a path. After an error, what was read is
    /// in the store as blobs that nothing leads to, which [`remove_unreferenced`](Self::remove_unreferenced) removes.
    ///
    /// # Errors
    ///
    /// [`Error::ReadArchive`], [`Error::NotAnArchive`], [`Error::ArchiveMember`] and [`Error::NotInArchive`] for what is
    /// wrong with the archive, [`Error::WrongDigest`] and its kind for what is in it, [`Error::Unpack`] if the sink fails, and
    /// [`Error::Store`].
    pub fn load(
        &self,
        archive: impl Read,
        platform: &Platform,
        sink: &dyn LayerSink,
    ) -> Result<Vec<Loaded>> {
        let _pin = self.pin()?;
        let contents = Contents::read(self, archive)?;
        let is_layout = contents.document(LAYOUT).is_some() && contents.document(INDEX).is_some();
        let found = match (is_layout, contents.document(MANIFEST)) {
            (true, _) => layout::pack(self, &contents, platform, sink)?,
            (false, Some(_)) => Item::all(&contents)?
                .iter()
                .map(|item| docker::pack(self, &contents, item, sink))
                .collect::<Result<_>>()?,
            (false, None) => {
                return Err(Error::NotAnArchive {
                    problem: "it has no manifest.json, and no oci-layout and index.json",
                });
            }
        };
        if found.is_empty() {
            return Err(Error::NotAnArchive {
                problem: "it lists no image",
            });
        }
        found
            .into_iter()
            .map(|found| self.give_names(found))
            .collect()
    }

    fn give_names(&self, found: Found) -> Result<Loaded> {
        let Found { packed, names } = found;
        let platform = packed.image.platform();
        let descriptor = &packed.descriptor;
        let before = self.change_index(|index| {
            let mut before = Vec::new();
            for name in &names {
                let had = index.find(name).map(|entry| entry.descriptor());
                before.extend(had.map(|had| (name.clone(), had)));
                index.tag(name, descriptor, &platform);
            }
            index.keep(descriptor, &platform);
            before
        })?;
        let id = |had| match self.load_image(had) {
            Ok(image) => image.config_digest().clone(),
            Err(_) => had.digest.clone(),
        };
        let displaced = before
            .iter()
            .filter(|(_, had)| had.digest != descriptor.digest)
            .map(|(name, had)| Displaced {
                name: name.clone(),
                id: id(had),
            });
        let displaced = displaced.collect();
        let image = self.by_manifest(&descriptor.digest)?;
        Ok(Loaded {
            image: image.unwrap_or(packed.image),
            names,
            displaced,
        })
    }
}

/// The image of this configuration that the store has all of: what was pulled, saved and loaded is the same image, although its
/// manifest would be another one.
pub(crate) fn known(
    store: &Store,
    config: &Digest,
    is_it: impl Fn(&Image) -> bool,
) -> Result<Option<Packed>> {
    let is_whole = |image: &Image| {
        let mut layers = image.layers().iter();
        layers.all(|layer| store.has_blob(&layer.blob, layer.size))
    };
    let mut images = store.images()?.into_iter();
    let image =
        images.find(|image| image.config_digest() == config && is_it(image) && is_whole(image));
    Ok(image.map(|image| Packed {
        descriptor: image.manifest_descriptor().clone(),
        image,
    }))
}
