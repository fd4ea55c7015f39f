//! Names of images, given and taken away.

use super::{Index, Lock, Store};
use crate::{Descriptor, Digest, Error, Image, Reference, Result};

impl Store {
    /// Gives the image of this manifest a name. An image that had the name before stays, without a name if it had no
    /// other.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBlob`] if the store has no such manifest, and as [`image`](Self::image).
    pub fn tag(&self, reference: &Reference, manifest: &Digest) -> Result<()> {
        let _pin = self.pin()?;
        let index = Index::read(&self.index_path())?;
        let known = index
            .manifests
            .iter()
            .find(|entry| entry.digest == *manifest);
        let known = known.ok_or_else(|| Error::NoSuchBlob {
            digest: manifest.clone(),
        })?;
        let image = self.load_image(&known.descriptor())?;
        self.name(reference, &known.descriptor(), &image)
    }

    /// Takes a name away, and the image with its last name. Returns whether there was such a name.
    ///
    /// The image's blobs stay until [`remove_unreferenced`](Self::remove_unreferenced).
    ///
    /// # Errors
    ///
    /// [`Error::Store`] and [`Error::InvalidDocument`] if the index cannot be read or written.
    pub fn untag(&self, reference: &Reference) -> Result<bool> {
        self.change_index(|index| index.untag(reference))
    }

    /// Takes a name away from the image of this manifest, and the image with its last name. Returns whether it had that name: what
    /// another image has got meanwhile stays with it.
    ///
    /// # Errors
    ///
    /// As [`untag`](Self::untag).
    pub fn untag_from(&self, manifest: &Digest, reference: &Reference) -> Result<bool> {
        self.change_index(|index| index.has(manifest, reference) && index.untag(reference))
    }

    /// Takes a name away from the image of this manifest, which stays, without a name if that was its last. Returns whether it had
    /// that name.
    ///
    /// # Errors
    ///
    /// As [`untag`](Self::untag).
    pub fn unname_from(&self, manifest: &Digest, reference: &Reference) -> Result<bool> {
        self.change_index(|index| index.has(manifest, reference) && index.unname(reference))
    }

    /// Takes a name away; the image stays, without a name if that was its last. Returns whether there was such a name.
    ///
    /// # Errors
    ///
    /// As [`untag`](Self::untag).
    pub fn unname(&self, reference: &Reference) -> Result<bool> {
        self.change_index(|index| index.unname(reference))
    }

    /// Takes an image away with all its names. Returns whether there was such an image.
    ///
    /// # Errors
    ///
    /// As [`untag`](Self::untag).
    pub fn remove(&self, manifest: &Digest) -> Result<bool> {
        self.change_index(|index| index.remove(manifest))
    }

    /// Takes an image away with all its names, if they are still those that were `seen` when that was decided, in any order.
    /// Otherwise, also where there is no such image, nothing happens and the answer is false: who gave it a name meanwhile keeps it.
    ///
    /// # Errors
    ///
    /// As [`untag`](Self::untag).
    pub fn remove_if(&self, manifest: &Digest, seen: &[Reference]) -> Result<bool> {
        self.change_index(|index| index.remove_if(manifest, seen, true))
    }

    /// Takes all names of an image away, if they are still those that were `seen`, as [`remove_if`](Self::remove_if); the image
    /// stays, without a name.
    ///
    /// # Errors
    ///
    /// As [`untag`](Self::untag).
    pub fn unname_if(&self, manifest: &Digest, seen: &[Reference]) -> Result<bool> {
        self.change_index(|index| index.remove_if(manifest, seen, false))
    }

    /// Gives a manifest, whose blobs are all there, a name.
    pub(crate) fn name(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        image: &Image,
    ) -> Result<()> {
        self.change_index(|index| index.tag(reference, descriptor, &image.platform()))
    }

    pub(crate) fn change_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        let why = "so that two processes that change the index do not undo each other's change";
        let _lock = Lock::exclusive(&self.index_lock(), why)?;
        let mut index = Index::read(&self.index_path())?;
        let result = change(&mut index);
        index.write(&self.ingest_dir(), &self.index_path())?;
        Ok(result)
    }
}
