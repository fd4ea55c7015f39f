//! [`Index`]: the layout's `index.json`, which says what the images are called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ingest::Ingest;
use crate::document::OCI_INDEX;
use crate::{Descriptor, Digest, Error, Platform, Reference, Result, file};

/// The annotation that the image layout specification gives a name in.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that containerd and Docker give the whole name in, where the other has the tag alone.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The entries of `index.json`. What another tool wrote into it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default)]
    pub(crate) manifests: Vec<Entry>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// One image: a manifest, and its name unless it has lost it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "mediaType")]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Index {
    pub(crate) fn empty() -> Self {
        let other = Map::from_iter([("mediaType".to_owned(), OCI_INDEX.into())]);
        Self {
            schema_version: 2,
            manifests: Vec::new(),
            other,
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let why = "so that it is known which names there are, and of which images";
        let bytes = file::read(path, why).map_err(|source| Error::Store {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| Error::InvalidDocument {
            object: path.display().to_string(),
            source,
        })
    }

    pub(crate) fn write(&self, ingest_dir: &Path, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|source| Error::InvalidDocument {
            object: path.display().to_string(),
            source,
        })?;
        let mut file = Ingest::new(ingest_dir)?;
        file.write(&bytes)?;
        file.commit(path)
    }

    pub(crate) fn find(&self, reference: &Reference) -> Option<&Entry> {
        let key = reference.key();
        self.manifests
            .iter()
            .find(|entry| entry.reference().as_ref() == Some(&key))
    }

    /// Whether the image of this manifest has the name, and no other one.
    pub(crate) fn has(&self, manifest: &Digest, reference: &Reference) -> bool {
        let mut named = self.manifests.iter();
        named
            .find(|entry| entry.is_named(reference))
            .is_some_and(|entry| entry.digest == *manifest)
    }

    /// Gives `descriptor` the name. What had it before stays, without a name if that was its last.
    pub(crate) fn tag(
        &mut self,
        reference: &Reference,
        descriptor: &Descriptor,
        platform: &Platform,
    ) {
        let (displaced, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.manifests)
            .into_iter()
            .partition(|entry| entry.is_named(reference));
        self.manifests = kept;
        // The image may have been there without a name.
        self.manifests.retain(|entry| {
            entry.digest != descriptor.digest || entry.annotations.contains_key(REF_NAME)
        });
        self.manifests
            .push(Entry::new(descriptor, platform, reference));
        self.keep_unnamed(displaced);
    }

    /// Makes `descriptor` an image without a name, unless it is there already.
    pub(crate) fn keep(&mut self, descriptor: &Descriptor, platform: &Platform) {
        if self
            .manifests
            .iter()
            .all(|entry| entry.digest != descriptor.digest)
        {
            self.manifests.push(Entry::unnamed(descriptor, platform));
        }
    }

    /// Takes the name away; the image goes with its last one. Returns whether there was such a name.
    pub(crate) fn untag(&mut self, reference: &Reference) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|entry| !entry.is_named(reference));
        self.manifests.len() != before
    }

    /// Takes the name away; the image stays, if need be without a name. Returns whether there was such a name.
    pub(crate) fn unname(&mut self, reference: &Reference) -> bool {
        let (named, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.manifests)
            .into_iter()
            .partition(|entry| entry.is_named(reference));
        self.manifests = kept;
        let found = !named.is_empty();
        self.keep_unnamed(named);
        found
    }

    /// Keeps images that have lost a name, without one if it was their last.
    fn keep_unnamed(&mut self, entries: Vec<Entry>) {
        for mut entry in entries {
            let same = |other: &Entry| other.digest == entry.digest;
            if !self.manifests.iter().any(same) {
                entry.annotations.remove(REF_NAME);
                self.manifests.push(entry);
            }
        }
    }

    /// Takes all names of an image away, and with `whole` the image too, if its names are those that were `seen`, in any order.
    /// Returns whether they were, and there was such an image.
    pub(crate) fn remove_if(&mut self, manifest: &Digest, seen: &[Reference], whole: bool) -> bool {
        let of_it = |entry: &&Entry| entry.digest == *manifest;
        let now = self.manifests.iter().filter(of_it);
        // Another tool may have written a tag beside a digest.
        let now: BTreeSet<_> = now
            .filter_map(|entry| Some(entry.reference()?.key()))
            .collect();
        if now != seen.iter().map(Reference::key).collect() {
            return false;
        }
        if whole {
            return self.remove(manifest);
        }
        for name in seen {
            self.unname(name);
        }
        self.manifests.iter().any(|entry| entry.digest == *manifest)
    }

    /// Takes away an image with all its names. Returns whether there was such an image.
    pub(crate) fn remove(&mut self, manifest: &Digest) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|entry| entry.digest != *manifest);
        self.manifests.len() != before
    }
}

impl Entry {
    fn new(descriptor: &Descriptor, platform: &Platform, reference: &Reference) -> Self {
        let mut entry = Self::unnamed(descriptor, platform);
        let name = reference.key().to_string();
        entry.annotations.insert(REF_NAME.to_owned(), name);
        entry
    }

    fn unnamed(descriptor: &Descriptor, platform: &Platform) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            annotations: BTreeMap::new(),
            other: Map::from_iter([("platform".to_owned(), platform.of_entry())]),
        }
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size)
    }

    /// The name, if it is one in its complete form. Other tools may write other names; those are not ours.
    pub(crate) fn reference(&self) -> Option<Reference> {
        let name = self.annotations.get(REF_NAME)?;
        let reference: Reference = name.parse().ok()?;
        (reference.to_string() == *name).then_some(reference)
    }

    fn is_named(&self, reference: &Reference) -> bool {
        self.reference().as_ref() == Some(&reference.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(index: &Index) -> Vec<Option<String>> {
        index
            .manifests
            .iter()
            .map(|entry| entry.reference().map(|name| name.familiar()))
            .collect()
    }

    fn tag(index: &mut Index, name: &str, content: &str) {
        let descriptor = Descriptor::new("m", Digest::sha256(content.as_bytes()), 1);
        index.tag(&name.parse().unwrap(), &descriptor, &Platform::default());
    }

    #[test]
    fn an_image_that_loses_its_last_name_stays_without_one() {
        let mut index = Index::empty();
        tag(&mut index, "a", "one");
        tag(&mut index, "b", "one");
        tag(&mut index, "a", "two");
        assert_eq!(
            names(&index),
            [Some("b:latest".into()), Some("a:latest".into())]
        );
        tag(&mut index, "b", "two");
        assert_eq!(
            names(&index),
            [Some("a:latest".into()), Some("b:latest".into()), None]
        );
        tag(&mut index, "c", "one");
        assert_eq!(
            names(&index),
            [
                Some("a:latest".into()),
                Some("b:latest".into()),
                Some("c:latest".into())
            ]
        );
        assert!(index.unname(&"c".parse().unwrap()));
        assert_eq!(names(&index).last(), Some(&None));
        tag(&mut index, "c", "one");
        assert!(index.untag(&"c".parse().unwrap()));
        assert!(!index.untag(&"c".parse().unwrap()));
        assert!(index.remove(&Digest::sha256(b"two")));
        assert_eq!(names(&index), []);
    }

    #[test]
    fn an_image_whose_name_has_a_tag_and_a_digest_is_removed_by_what_was_seen() {
        let mut index = Index::empty();
        tag(&mut index, "a", "one");
        let digest = Digest::sha256(b"one");
        let name = format!("docker.io/library/a:1@{digest}");
        let annotations = &mut index.manifests[0].annotations;
        annotations.insert(REF_NAME.to_owned(), name.clone());
        let seen: Vec<_> = index.manifests[0].reference().into_iter().collect();
        assert_eq!(seen[0].to_string(), name);
        assert!(!index.remove_if(&digest, &[], true));
        assert!(index.remove_if(&digest, &seen, true));
    }

    #[test]
    fn what_another_tool_wrote_is_kept() {
        let digest = Digest::sha256(b"");
        let text = format!(
            r#"{{"schemaVersion":2,"x":1,"manifests":[{{"mediaType":"m","digest":"{digest}","size":0,
            "platform":{{"os":"plan9"}},"annotations":{{"{REF_NAME}":"latest","k":"v"}},"y":[2]}}]}}"#
        );
        let mut index: Index = serde_json::from_str(&text).unwrap();
        assert_eq!(
            index.manifests[0].reference(),
            None,
            "\"latest\" is not a complete name"
        );
        tag(&mut index, "a", "one");
        let written: Value = serde_json::from_str(&serde_json::to_string(&index).unwrap()).unwrap();
        let before: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["manifests"][0], before["manifests"][0]);
        assert_eq!(written["x"], 1);
    }
}
