//! [`Client::push`]: the course of a push.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Client;
use super::pull::on_thread;
use crate::registry::{Registry, Started};
use crate::{Descriptor, Digest, Error, Image, LayerOutcome, Progress, Reference, Result, Store};

/// How many blobs are uploaded at once.
const PARALLEL: usize = 4;

/// What a push has brought into the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The manifest, which the name means there now.
    pub manifest: Descriptor,
}

impl Client {
    /// Pushes an image of `store` to the registry, under the name `reference`.
    ///
    /// A blob that the repository has is not sent again, and one that the store knows to be in another repository of the same
    /// registry is asked for from there. Everything that is sent is verified as it is read. The manifest comes last, so that
    /// the name never means something that is not all there.
    ///
    /// # Errors
    ///
    /// [`Error::PushDenied`], [`Error::PushRefused`], [`Error::PushStalled`], [`Error::Unreachable`] and what else a registry's
    /// answer can be wrong in; [`Error::WrongDigest`], [`Error::WrongSize`] and [`Error::NoSuchBlob`] if the image is damaged;
    /// [`Error::InvalidReference`] for a name by another digest than the image's.
    pub async fn push(
        &self,
        store: &Store,
        reference: &Reference,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<Pushed> {
        let manifest = image.manifest_descriptor();
        if reference
            .digest()
            .is_some_and(|digest| *digest != manifest.digest)
        {
            return Err(Error::InvalidReference {
                input: reference.to_string().into(),
                reason: "its digest is not that of the image",
            });
        }
        let (pin, elsewhere, bytes, config_size) = on_thread({
            let (store, image, reference) = (store.clone(), image.clone(), reference.clone());
            move || {
                let pin = store.pin()?;
                let elsewhere = elsewhere(&store, &image, &reference)?;
                let bytes = store.read_document(image.manifest_digest())?;
                let config = store.read_document(image.config_digest())?;
                Ok((Arc::new(pin), elsewhere, bytes, config.len() as u64))
            }
        })
        .await?;
        progress.resolved(image);

        let config = Descriptor::new("", image.config_digest().clone(), config_size);
        let everything = async |elsewhere| {
            let registry = Registry::own(&self.http, &self.options, reference).await?;
            let upload = Upload {
                registry: &registry.for_push(BTreeMap::values(elsewhere)),
                store,
                elsewhere,
                silence: self.options.silence,
                progress,
            };
            upload.layers(image).await?;
            upload.blob(&config, &|_| ()).await?;
            let name = reference.manifest();
            let registry = upload.registry;
            registry.put_manifest(&name, manifest, bytes.clone()).await
        };
        match everything(&elsewhere).await {
            // Who may push here need not be allowed to pull from there.
            Err(Error::Token { .. }) if !elsewhere.is_empty() => {
                everything(&BTreeMap::new()).await?;
            }
            done => done?,
        }
        drop(pin);
        Ok(Pushed {
            manifest: manifest.clone(),
        })
    }
}

/// The blobs of an image that are in other repositories of the same registry, as far as the store knows, and one repository of
/// each.
fn elsewhere(
    store: &Store,
    image: &Image,
    reference: &Reference,
) -> Result<BTreeMap<Digest, String>> {
    let mut found = BTreeMap::new();
    let own: HashSet<&Digest> = image.layers().iter().map(|layer| &layer.blob).collect();
    for other in store.images()? {
        let mut repositories = other.references().iter().filter(|name| {
            name.domain() == reference.domain() && name.repository() != reference.repository()
        });
        let Some(name) = repositories.next() else {
            continue;
        };
        let shared = other
            .layers()
            .iter()
            .filter(|layer| own.contains(&layer.blob));
        for layer in shared {
            found.insert(layer.blob.clone(), name.repository().to_owned());
        }
    }
    Ok(found)
}

/// Gets blobs into the registry.
struct Upload<'a> {
    registry: &'a Registry<'a>,
    store: &'a Store,
    elsewhere: &'a BTreeMap<Digest, String>,
    silence: Duration,
    progress: &'a dyn Progress,
}

impl Upload<'_> {
    async fn layers(&self, image: &Image) -> Result<()> {
        let mut seen = HashSet::new();
        let layers = image
            .layers()
            .iter()
            .filter(|layer| seen.insert(&layer.blob));
        let layers = layers.map(|layer| Descriptor::new("", layer.blob.clone(), layer.size));
        let layers: Vec<Descriptor> = layers.collect();
        stream::iter(layers.iter().map(|layer| self.layer(layer)))
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await
    }

    async fn layer(&self, layer: &Descriptor) -> Result<()> {
        let digest = &layer.digest;
        self.progress.layer_started(digest, layer.size);
        let advanced = |bytes| self.progress.layer_advanced(digest, bytes);
        let outcome = self.blob(layer, &advanced).await?;
        self.progress.layer_done(digest, outcome);
        Ok(())
    }

    async fn blob(
        &self,
        blob: &Descriptor,
        advanced: &(dyn Fn(u64) + Sync),
    ) -> Result<LayerOutcome> {
        if self.registry.has_blob(&blob.digest).await? {
            return Ok(LayerOutcome::Present);
        }
        let mut from = self.elsewhere.get(&blob.digest);
        let mut attempt = 0;
        loop {
            let sent = async {
                let mount = from.map(|from| (&blob.digest, from.as_str()));
                match self.registry.start_upload(mount).await? {
                    Started::Mounted => Ok(LayerOutcome::Mounted),
                    Started::At(place) => {
                        let upload = self.registry.upload(self.store, &place, blob);
                        upload.watched(self.silence, advanced).await?;
                        Ok(LayerOutcome::Uploaded)
                    }
                }
            };
            let error = match sent.await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let Some(pause) = self.registry.pause(&error, attempt) else {
                return Err(error);
            };
            tracing::debug!(blob = %blob.digest, ?pause, error = &error as &dyn std::error::Error, "uploading again");
            tokio::time::sleep(pause).await;
            (from, attempt) = (None, attempt + 1);
        }
    }
}
