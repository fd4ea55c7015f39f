//! [`select`]: from a reference to the manifest of one image.

use super::pull::on_thread;
use crate::document::{Document, Manifest};
use crate::registry::Registry;
use crate::{Descriptor, Digest, Error, Platform, Reference, Result, Store};

/// An index may lead to an index, but not for long.
const MAX_DEPTH: usize = 3;

/// What a reference means for a platform.
pub(crate) struct Selected {
    /// The manifest's.
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Vec<u8>,
    /// The digest of what the reference itself names, which may be an index.
    pub(crate) digest: Digest,
}

/// Asks the registries, one after the other until one knows, and returns those from that one on.
pub(crate) async fn select<'a>(
    registries: &'a [Registry<'a>],
    store: Option<&Store>,
    reference: &Reference,
    wanted: &Platform,
) -> Result<(Selected, &'a [Registry<'a>])> {
    let mut rest = registries;
    loop {
        let [registry, others @ ..] = rest else {
            return Err(Error::NoSuchImage {
                reference: reference.to_string(),
                status: 404,
                message: None,
            });
        };
        match select_in(registry, store, reference, wanted).await {
            Err(error) if !others.is_empty() => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%reference, error, "a mirror does not give the image");
                rest = others;
            }
            result => return result.map(|selected| (selected, rest)),
        }
    }
}

/// Asks one registry. What is named by its digest is taken from `store` if it is there.
async fn select_in(
    registry: &Registry<'_>,
    store: Option<&Store>,
    reference: &Reference,
    wanted: &Platform,
) -> Result<Selected> {
    let (mut descriptor, mut bytes) = registry
        .manifest(&reference.manifest(), reference.digest())
        .await?;
    let digest = descriptor.digest.clone();
    for _ in 0..MAX_DEPTH {
        let object = format!("{reference}, manifest {},", descriptor.digest);
        match Document::parse(&object, &bytes, &descriptor.media_type)? {
            Document::Manifest(manifest) => {
                return Ok(Selected {
                    descriptor,
                    manifest,
                    bytes,
                    digest,
                });
            }
            Document::Index(manifests) => {
                let chosen = choose(reference, manifests, wanted)?;
                (descriptor, bytes) = follow(registry, store, chosen).await?;
            }
        }
    }
    Err(Error::NestedIndex {
        object: reference.to_string(),
    })
}

/// Gets what an index's entry names.
async fn follow(
    registry: &Registry<'_>,
    store: Option<&Store>,
    entry: Descriptor,
) -> Result<(Descriptor, Vec<u8>)> {
    if let Some(store) = store {
        let (store, digest) = (store.clone(), entry.digest.clone());
        if let Ok(bytes) = on_thread(move || store.read_document(&digest)).await
            && bytes.len() as u64 == entry.size
        {
            return Ok((entry, bytes));
        }
    }
    let (sent, bytes) = registry
        .manifest(&entry.digest.to_string(), Some(&entry.digest))
        .await?;
    let object = || format!("manifest {}", entry.digest);
    if sent.size != entry.size {
        return Err(Error::WrongSize {
            object: object(),
            expected: entry.size,
            found: sent.size,
        });
    }
    if sent.media_type != entry.media_type {
        let (header, document) = (sent.media_type.into(), entry.media_type.into());
        return Err(Error::MediaTypeMismatch {
            object: object(),
            header,
            document,
        });
    }
    Ok((entry, bytes))
}

/// The entry that fits best, and of those the first. One that names no platform fits if nothing else does.
fn choose(
    reference: &Reference,
    manifests: Vec<Descriptor>,
    wanted: &Platform,
) -> Result<Descriptor> {
    let best = manifests
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| match &entry.platform {
            Some(platform) => Some((platform.fitness(wanted)?, at)),
            None => Some(((0, 0), at)),
        })
        .max_by_key(|(fitness, at)| (*fitness, std::cmp::Reverse(*at)));
    match best.and_then(|(_, at)| manifests.get(at).cloned()) {
        Some(entry) => Ok(entry),
        None => Err(Error::NoMatchingPlatform {
            reference: reference.to_string(),
            wanted: Box::new(wanted.clone()),
            // Attestations are listed in an index as images for "unknown/unknown".
            available: manifests
                .into_iter()
                .filter_map(|entry| entry.platform)
                .filter(|platform| platform.os != "unknown")
                .take(32)
                .collect(),
        }),
    }
}
