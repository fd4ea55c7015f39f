//! An archive that is an OCI image layout: `index.json`, which leads to manifests by their digests.

use std::collections::HashMap;

use serde::Deserialize;

use super::INDEX;
use super::contents::Contents;
use super::docker::Item;
use super::load::{self, Found};
use crate::document::{self, Document, Manifest};
use crate::store::{CONTAINERD_NAME, Packed, REF_NAME};
use crate::{Descriptor, Error, Image, LayerSink, Platform, Reference, Result, Store};

/// An index may lead to an index, but not for long.
const MAX_DEPTH: usize = 3;

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// Puts all images of the archive together, and has their layers unpacked. Of an index, that for `platform` is taken.
pub(crate) fn pack(
    store: &Store,
    contents: &Contents,
    platform: &Platform,
    sink: &dyn LayerSink,
) -> Result<Vec<Found>> {
    let bytes = contents.document(INDEX).unwrap_or_default();
    let index: Index = serde_json::from_slice(bytes).map_err(|source| Error::InvalidDocument {
        object: format!("the archive's {INDEX}"),
        source,
    })?;
    let items = Item::all(contents)?;
    let mut all: Vec<Found> = Vec::new();
    for entry in index.manifests {
        let (descriptor, manifest) = select(store, contents, entry.descriptor.clone(), platform)?;
        let mut names: Vec<Reference> = name(&entry, &descriptor).into_iter().collect();
        let same = |found: &&mut Found| found.packed.descriptor.digest == descriptor.digest;
        if let Some(found) = all.iter_mut().find(same) {
            found.names.append(&mut names);
            continue;
        }
        let config = &manifest.config;
        // What Docker writes has the names there as well.
        if let Some(item) = items
            .iter()
            .find(|item| names.is_empty() && item.is_of(&config.digest))
        {
            names = item.names()?;
        }
        document::check_config(config)?;
        contents.blob(config, "manifest")?;
        let bytes = store.read_document(&config.digest)?;
        let image = Image::new(Vec::new(), descriptor.clone(), manifest, &bytes)?;
        let budget = store.budget(format!("the archive's image {}", image.config_digest()));
        for layer in image.layers() {
            let blob = Descriptor::new(layer.media_type.as_str(), layer.blob.clone(), layer.size);
            contents.blob(&blob, "manifest")?;
            store.unpack(&blob, &layer.diff_id, &budget, sink)?;
        }
        let same = |other: &Image| {
            other
                .layers()
                .iter()
                .map(|layer| &layer.blob)
                .eq(image.layers().iter().map(|layer| &layer.blob))
        };
        let known = load::known(store, image.config_digest(), same)?;
        let packed = known.unwrap_or(Packed { descriptor, image });
        all.push(Found { packed, names });
    }
    Ok(all)
}

/// From an entry to the manifest of one image.
fn select(
    store: &Store,
    contents: &Contents,
    mut descriptor: Descriptor,
    wanted: &Platform,
) -> Result<(Descriptor, Manifest)> {
    let object = |descriptor: &Descriptor| format!("the archive's manifest {}", descriptor.digest);
    for _ in 0..MAX_DEPTH {
        contents.blob(&descriptor, INDEX)?;
        let bytes = store.read_document(&descriptor.digest)?;
        let (name, kind) = (object(&descriptor), &descriptor.media_type);
        match Document::parse(&name, &bytes, kind)? {
            Document::Manifest(manifest) => return Ok((descriptor, manifest)),
            Document::Index(entries) => {
                // Of an image for several platforms, an archive may have some.
                let here = entries.into_iter().filter(|entry| contents.has_blob(entry));
                let here: Vec<Descriptor> = here.collect();
                let fitness = |entry: &Descriptor| match &entry.platform {
                    Some(platform) => platform.fitness(wanted),
                    None => Some((0, 0)),
                };
                let best = here.iter().rev().filter(|entry| fitness(entry).is_some());
                let best = best.max_by_key(|entry| fitness(entry)).cloned();
                descriptor = best.ok_or_else(|| Error::NoMatchingPlatform {
                    reference: name,
                    wanted: Box::new(wanted.clone()),
                    available: here
                        .into_iter()
                        .filter_map(|entry| entry.platform)
                        .take(32)
                        .collect(),
                })?;
            }
        }
    }
    Err(Error::NestedIndex {
        object: object(&descriptor),
    })
}

/// The name that an entry has. Many tools write only the tag, which is no name.
fn name(entry: &Entry, manifest: &Descriptor) -> Option<Reference> {
    let written = entry.annotations.get(CONTAINERD_NAME).or_else(|| {
        let name = entry.annotations.get(REF_NAME)?;
        name.contains([':', '/']).then_some(name)
    })?;
    let name: Reference = written.parse().ok()?;
    let claimed = name.digest();
    let is_true =
        claimed.is_none_or(|digest| [&manifest.digest, &entry.descriptor.digest].contains(&digest));
    is_true.then_some(name)
}
