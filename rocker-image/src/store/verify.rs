//! [`Store::verify`]: whether everything is still what its name says.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::index::{Entry, Index};
use super::{Store, names};
use crate::document::{Document, Manifest};
use crate::verify::{BlobReader, Source};
use crate::{Descriptor, Digest, Error, Image, Reference, Result, file};

/// An image that has been looked at.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its ID, the digest of its configuration; none if the manifest is damaged.
    pub id: Option<Digest>,
    /// Its names.
    pub references: Vec<Reference>,
    /// How many blobs it has, as far as they are known.
    pub blobs: usize,
    /// What is wrong with it: nothing, as a rule.
    pub faults: Vec<Fault>,
}

/// A blob that is not what it should be, or not there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fault {
    /// Its digest.
    pub blob: Digest,
    /// What it is of the image.
    pub part: Part,
    /// What is wrong, in words.
    pub problem: String,
}

/// An image that the index lists and that cannot be read: a damaged one, or one that another tool put there in a form that is not an
/// image for one platform.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its ID, the digest of its configuration; none if the manifest is damaged.
    pub id: Option<Digest>,
    /// Its names.
    pub references: Vec<Reference>,
}

/// What a blob is of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The manifest, or the index that leads to manifests.
    Manifest,
    /// The configuration.
    Config,
    /// A layer.
    Layer,
}

/// What is known of blobs that were read: nothing wrong, or what.
type Known = BTreeMap<(Digest, u64), Option<String>>;

impl Store {
    /// Reads and hashes all blobs of the images that `wanted` is true of, by their names, the digests of their manifests and,
    /// where the manifest is not damaged, their IDs.
    ///
    /// A layer that is damaged is moved away, so that the next pull fetches it again; a
    /// [collection](Self::remove_unreferenced) removes it for good. A manifest and a configuration stay where they are: a pull puts
    /// others in their place anyway, and until then no collection takes what they lead to. What several images have is read once.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] and [`Error::InvalidDocument`] if the index cannot be read. What is wrong with an image is in the answer.
    pub fn verify(
        &self,
        wanted: impl Fn(&[Reference], &Digest, Option<&Digest>) -> bool,
    ) -> Result<Vec<Verified>> {
        // As in a pull, so that what is moved away here is not removed while somebody still looks.
        let _pin = self.pin()?;
        let index = Index::read(&self.index_path())?;
        let mut known = Known::new();
        let mut all: Vec<Verified> = Vec::new();
        for entry in &index.manifests {
            if all.iter().any(|image| image.manifest == entry.digest) {
                continue;
            }
            let references = names(&index, &entry.digest);
            let document = self.document(entry);
            let id = match &document {
                Ok(Document::Manifest(manifest)) => Some(manifest.config.digest.clone()),
                _ => None,
            };
            if wanted(&references, &entry.digest, id.as_ref()) {
                all.push(self.look_at(entry, document, references, &mut known));
            }
        }
        Ok(all)
    }

    /// The images that [`images`](Self::images) leaves out, each once, with all its names. [`untag`](Self::untag) and
    /// [`remove_if`](Self::remove_if) take them away as any other.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] and [`Error::InvalidDocument`] if the index cannot be read.
    pub fn unreadable(&self) -> Result<Vec<Unreadable>> {
        let index = Index::read(&self.index_path())?;
        let mut all: Vec<Unreadable> = Vec::new();
        for entry in &index.manifests {
            if all.iter().any(|image| image.manifest == entry.digest)
                || self
                    .load_listed(&index, &entry.digest, &entry.descriptor())
                    .is_ok()
            {
                continue;
            }
            all.push(Unreadable {
                manifest: entry.digest.clone(),
                id: match self.document(entry) {
                    Ok(Document::Manifest(manifest)) => Some(manifest.config.digest),
                    _ => None,
                },
                references: names(&index, &entry.digest),
            });
        }
        Ok(all)
    }

    fn document(&self, entry: &Entry) -> Result<Document> {
        let bytes = self.read_document(&entry.digest)?;
        let object = format!("manifest {}", entry.digest);
        Document::parse(&object, &bytes, &entry.media_type)
    }

    fn look_at(
        &self,
        entry: &Entry,
        document: Result<Document>,
        references: Vec<Reference>,
        known: &mut Known,
    ) -> Verified {
        let mut verified = Verified {
            manifest: entry.digest.clone(),
            id: None,
            references,
            blobs: 1,
            faults: Vec::new(),
        };
        let mut look = |descriptor: &Descriptor, part: Part, faults: &mut Vec<Fault>| {
            let blob = descriptor.digest.clone();
            let key = (blob.clone(), descriptor.size);
            let problem = known
                .entry(key)
                .or_insert_with(|| self.problem(descriptor, part));
            if let Some(problem) = problem.clone() {
                faults.push(Fault {
                    blob,
                    part,
                    problem,
                });
            }
        };
        look(&entry.descriptor(), Part::Manifest, &mut verified.faults);
        match document {
            Ok(Document::Manifest(manifest)) => {
                verified.id = Some(manifest.config.digest.clone());
                verified.blobs = 2 + manifest.layers.len();
                look(&manifest.config, Part::Config, &mut verified.faults);
                for layer in &manifest.layers {
                    look(layer, Part::Layer, &mut verified.faults);
                }
                if verified.faults.is_empty() {
                    verified.faults.extend(self.disagreement(entry, manifest));
                }
            }
            // An index of another tool's, which is no image of ours.
            Ok(Document::Index(_)) => {}
            Err(error) if verified.faults.is_empty() => verified.faults.push(Fault {
                blob: entry.digest.clone(),
                part: Part::Manifest,
                problem: said(&error),
            }),
            Err(_) => {}
        }
        verified
    }

    /// What is wrong with an image whose blobs are all right.
    fn disagreement(&self, entry: &Entry, manifest: Manifest) -> Option<Fault> {
        let blob = manifest.config.digest.clone();
        let config = self.read_document(&blob);
        let image =
            config.and_then(|config| Image::new(Vec::new(), entry.descriptor(), manifest, &config));
        let problem = said(&image.err()?);
        let part = Part::Config;
        Some(Fault {
            blob,
            part,
            problem,
        })
    }

    /// Reads a blob to its end. A layer that is damaged is moved away.
    fn problem(&self, descriptor: &Descriptor, part: Part) -> Option<String> {
        let (file, inode) = match self.open_blob(&descriptor.digest) {
            Ok(file) => {
                let inode = file.metadata().map(|found| found.ino()).ok();
                (file, inode)
            }
            Err(error) => return Some(said(&error)),
        };
        let reader = BlobReader::new(Source::File(file), descriptor.clone(), None);
        let error = reader.verdict().err()?;
        let damaged = matches!(
            error,
            Error::WrongDigest { .. } | Error::WrongSize { .. } | Error::Read { .. }
        );
        if damaged
            && part == Part::Layer
            && let Err(error) = self.move_away(&descriptor.digest, inode)
        {
            tracing::warn!(blob = %descriptor.digest, error = &error as &dyn std::error::Error, "a damaged blob could not be moved away");
        }
        Some(said(&error))
    }

    /// Moves a blob to where the next collection removes it, unless somebody has put another one in its place meanwhile.
    fn move_away(&self, digest: &Digest, inode: Option<u64>) -> Result<()> {
        let path = digest.blob_path(&self.root);
        let why = "so that it is seen whether the file is still the one that was read";
        if file::own_status(&path, why).ok().map(|found| found.ino()) != inode {
            return Ok(());
        }
        let name = format!("damaged-{}-{}", digest.algorithm().name(), digest.hex());
        let why =
            "so that damaged content has no name any more, and the next pull fetches it again";
        file::rename(&path, &self.ingest_dir().join(name), why).map_err(|source| Error::Store {
            operation: "move away",
            path,
            source,
        })
    }
}

/// An error and what led to it, on one line.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
