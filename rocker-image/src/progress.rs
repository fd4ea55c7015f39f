//! [`Progress`]: what a pull or a push tells whoever watches it.

use crate::{Digest, Image};

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerOutcome {
    /// It was there already: nothing was downloaded or unpacked.
    Skipped,
    /// It came from the registry.
    Downloaded,
    /// Its blob was in the store, and only had to be unpacked.
    Unpacked,
    /// Of a push: the registry had it in this repository.
    Present,
    /// Of a push: the registry took it over from another of its repositories.
    Mounted,
    /// Of a push: it was sent.
    Uploaded,
}

/// Watches a pull or a push. Every method has an empty default.
///
/// The methods are called from the task that downloads, so they should return soon. Layers are named by the digest of
/// their blob, as in [`Layer::blob`](crate::Layer::blob). `()` watches nothing.
pub trait Progress: Send + Sync {
    /// The registry said which image it is. What follows concerns its layers; each comes once, even where an image has
    /// the same layer twice.
    fn resolved(&self, image: &Image) {
        let _ = image;
    }

    /// A layer of `size` bytes begins.
    fn layer_started(&self, blob: &Digest, size: u64) {
        let _ = (blob, size);
    }

    /// Somebody else, in this process or another, is downloading the layer to the same store just now. What he has of it
    /// is shown by [`layer_advanced`](Self::layer_advanced), and where he fails this pull goes on from there.
    fn layer_waits(&self, blob: &Digest) {
        let _ = blob;
    }

    /// `bytes` bytes of the layer have come, or gone, in all, those among them that an earlier pull left.
    fn layer_advanced(&self, blob: &Digest, bytes: u64) {
        let _ = (blob, bytes);
    }

    /// The layer is downloaded, verified and unpacked, or uploaded, or did not have to be.
    fn layer_done(&self, blob: &Digest, outcome: LayerOutcome) {
        let _ = (blob, outcome);
    }
}

impl Progress for () {}
