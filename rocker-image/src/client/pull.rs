//! The course of a pull.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::fetch::{Fetcher, Spawn, claim};
use super::{Client, PullOptions, Pulled, select};
use crate::ahead;
use crate::document;
use crate::registry::Registry;
use crate::{
    Descriptor, Digest, Error, Image, LayerOutcome, LayerSink, Progress, Reference, Result, Store,
};

impl Client {
    /// [`pull`](Self::pull), with `spawn` to decide on which threads the layers are unpacked.
    pub(crate) async fn pull_with(
        &self,
        store: &Store,
        reference: &Reference,
        options: &PullOptions,
        sink: &dyn LayerSink,
        spawn: Spawn<'_>,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let pin = Arc::new(
            on_thread({
                let store = store.clone();
                move || store.pin()
            })
            .await?,
        );
        let before = on_thread({
            let (store, reference) = (store.clone(), reference.clone());
            move || store.image(&reference)
        })
        .await;
        let before = before.unwrap_or_else(|error| {
            tracing::warn!(%reference, error = &error as &dyn std::error::Error, "the stored image is damaged");
            None
        });
        if let Some(image) = before.as_ref().filter(|image| {
            // A digest never comes to mean something else.
            reference.digest().is_some() && fits(image, options) && is_whole(store, sink, image)
        }) {
            skip(image, progress);
            return Ok(Pulled {
                image: image.clone(),
                changed: false,
            });
        }

        let registries = Registry::all(&self.http, &self.options, reference).await?;
        let (selected, registries) =
            select::select(&registries, Some(store), reference, &options.platform).await?;
        let config_descriptor = selected.manifest.config.clone();
        document::check_config(&config_descriptor)?;
        let config = config(registries, store, &config_descriptor).await?;
        let descriptor = selected.descriptor;
        let image = Image::new(
            vec![reference.key()],
            descriptor.clone(),
            selected.manifest,
            &config,
        )?;
        if !fits(&image, options) {
            return Err(Error::ArchitectureMismatch {
                reference: reference.to_string(),
                wanted: Box::new(options.platform.clone()),
                found: Box::new(image.platform()),
            });
        }
        progress.resolved(&image);

        let budget = store.budget(reference.to_string());
        budget.check(to_fetch(sink, &image))?;
        let turns = options.parallel_layers.clamp(1, Semaphore::MAX_PERMITS / 2);
        let fetcher = Fetcher {
            registries,
            store,
            pin,
            verified: verified(store).await?,
            sink,
            spawn,
            progress,
            budget,
            turns: Arc::new(Semaphore::new(turns)),
            ahead: ahead::is_worthwhile(missing(sink, &image).min(turns)),
        };
        let mut seen = HashSet::new();
        let layers = image
            .layers()
            .iter()
            .filter(|layer| seen.insert((&layer.blob, &layer.diff_id)));
        let layers = layers
            .map(|layer| fetcher.layer(layer))
            .collect::<Result<Vec<_>>>()?;
        let new = stream::iter(layers)
            // Whoever has read all of his only waits for the disk, and somebody else goes on meanwhile.
            .buffer_unordered(2 * turns)
            .try_fold(false, |new, outcome| async move {
                Ok(new || outcome != LayerOutcome::Skipped)
            })
            .await?;

        let same = before.filter(|before| *before.manifest_digest() == descriptor.digest);
        if let Some(image) = same.filter(|_| !new) {
            return Ok(Pulled {
                image,
                changed: false,
            });
        }
        let image = on_thread({
            let (store, reference) = (store.clone(), reference.clone());
            move || {
                store.put_blob(&*selected.bytes, Some(&descriptor))?;
                store.name(&reference, &descriptor, &image)?;
                Ok(store.image(&reference)?.unwrap_or(image))
            }
        })
        .await?;
        Ok(Pulled {
            image,
            changed: true,
        })
    }
}

/// Gets an image's configuration, from the store if it is there; else it is there from then on, for others who pull the same.
async fn config(
    registries: &[Registry<'_>],
    store: &Store,
    descriptor: &Descriptor,
) -> Result<Vec<u8>> {
    let stored = || {
        let (store, digest, size) = (store.clone(), descriptor.digest.clone(), descriptor.size);
        on_thread(move || match store.has_blob(&digest, size) {
            true => store.read_document(&digest),
            // Of another size it is not what the manifest means, whatever its digest: as if the registry had sent it.
            false => Err(Error::NoSuchBlob { digest }),
        })
    };
    if let Ok(bytes) = stored().await {
        return Ok(bytes);
    }
    let (mut partial, _) = claim(store, descriptor, |_| {}).await?;
    // Somebody may have been faster.
    if let Ok(bytes) = stored().await {
        return Ok(bytes);
    }
    let bytes = small_blob(registries, descriptor).await?;
    let (store, digest) = (store.clone(), descriptor.digest.clone());
    on_thread(move || {
        partial.restart()?;
        partial.write(&bytes)?;
        store.commit(partial, &digest)?;
        Ok(bytes)
    })
    .await
}

/// Gets a small blob from the first registry that gives it.
async fn small_blob(registries: &[Registry<'_>], descriptor: &Descriptor) -> Result<Vec<u8>> {
    let mut failure = None;
    for registry in registries {
        match registry.small_blob(descriptor).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a registry does not give a blob"
                );
                failure = Some(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::NoSuchBlob {
        digest: descriptor.digest.clone(),
    }))
}

/// The layers of all images in the store. Each was read to its end before its image got into the index.
async fn verified(store: &Store) -> Result<HashSet<(Digest, Digest)>> {
    let store = store.clone();
    let images = on_thread(move || store.images()).await?;
    let layers = images.iter().flat_map(Image::layers);
    Ok(layers
        .map(|layer| (layer.blob.clone(), layer.diff_id.clone()))
        .collect())
}

/// How many layers are to be unpacked.
fn missing(sink: &dyn LayerSink, image: &Image) -> usize {
    let layers = image.layers().iter();
    layers
        .filter(|layer| !sink.contains(&layer.diff_id))
        .count()
}

/// How many bytes, compressed or not, are to be read to be unpacked.
fn to_fetch(sink: &dyn LayerSink, image: &Image) -> u64 {
    let mut seen = HashSet::new();
    let layers = image.layers().iter();
    let layers = layers.filter(|layer| seen.insert(&layer.blob) && !sink.contains(&layer.diff_id));
    layers.fold(0, |sum: u64, layer| sum.saturating_add(layer.size))
}

fn fits(image: &Image, options: &PullOptions) -> bool {
    options.any_platform || image.platform().fits(&options.platform)
}

fn is_whole(store: &Store, sink: &dyn LayerSink, image: &Image) -> bool {
    image
        .layers()
        .iter()
        .all(|layer| store.has_blob(&layer.blob, layer.size) && sink.contains(&layer.diff_id))
}

fn skip(image: &Image, progress: &dyn Progress) {
    progress.resolved(image);
    let mut seen = HashSet::new();
    for layer in image
        .layers()
        .iter()
        .filter(|layer| seen.insert(&layer.blob))
    {
        progress.layer_started(&layer.blob, layer.size);
        progress.layer_done(&layer.blob, LayerOutcome::Skipped);
    }
}

/// Runs what reads or writes files where that disturbs no other task.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::Read {
                source: std::io::Error::other(error),
            }),
        },
    }
}
