//! [`Store`]: images on disk, as an OCI image layout.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::budget::Budget;
use crate::digest::Hasher;
use crate::document::{self, Document};
use crate::{Algorithm, Descriptor, Digest, Error, Image, Reference, Result, file};

pub use self::collect::Removed;
pub(crate) use self::import::{Packed, encode};
pub(crate) use self::index::{CONTAINERD_NAME, Index, REF_NAME};
pub(crate) use self::ingest::Ingest;
pub(crate) use self::lock::Lock;
pub(crate) use self::partial::{Claim, Partial};
pub use self::verify::{Fault, Part, Unreadable, Verified};

mod collect;
mod extend;
mod import;
mod index;
mod ingest;
mod lock;
mod names;
mod partial;
mod verify;

/// The contents of `oci-layout`.
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Images on disk: a directory that is a valid
/// [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md), which other tools can
/// read.
///
/// Any number of processes may use a store at once. Every file is written under a temporary name, synchronised and
/// renamed; `index.json` changes under a lock. A process that dies at any moment leaves a sound store, and at worst a
/// temporary file: of a download, the next one of the same blob goes on from it, and all else the next
/// [collection](Self::remove_unreferenced) removes.
///
/// A `Store` is a path and cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    root: Arc<Path>,
    max_image_bytes: u64,
}

/// Keeps what is put into a store from being collected for as long as this value lives.
///
/// A blob is unreferenced until something in the index leads to it, and any process may collect unreferenced blobs.
#[derive(Debug)]
#[must_use = "what is put into the store may be collected when this is dropped"]
pub(crate) struct Pin(#[expect(dead_code, reason = "held for its Drop")] Lock);

impl Store {
    /// How many bytes the layers of one image may have, unless [something else](Self::max_image_bytes) is set: 64 GiB.
    pub const MAX_IMAGE_BYTES: u64 = 64 << 30;

    /// Opens the store at `root`, and makes it, readable by its owner only, if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnImageLayout`] if the directory holds something else; [`Error::Store`] if it cannot be made or read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let store = Self {
            root: root.into(),
            max_image_bytes: Self::MAX_IMAGE_BYTES,
        };
        if store.is_layout()? {
            // A layout that another tool made has no place for all of our files yet.
            return store.make_dirs().map(|()| store);
        }
        let foreign = |name: &str| {
            !matches!(
                name,
                "ingest" | "blobs" | "index.json" | "index.lock" | "collect.lock"
            )
        };
        let why = "so that a directory in which somebody else keeps something is left alone";
        let names = file::names(root, why).unwrap_or_default();
        if names.iter().any(|name| name.to_str().is_none_or(foreign)) && !store.is_layout()? {
            return Err(Error::NotAnImageLayout {
                path: root.to_owned(),
            });
        }
        store.make_dirs()?;
        let why = "so that of several processes one makes the store";
        let _lock = Lock::exclusive(&store.index_lock(), why)?;
        // `oci-layout` comes last: where it is, everything else is too.
        if !store.is_layout()? {
            let why = "so that an index that a process left which died half-way stays";
            if file::status(&store.index_path(), why).is_err() {
                Index::empty().write(&store.ingest_dir(), &store.index_path())?;
            }
            let mut file = Ingest::new(&store.ingest_dir())?;
            file.write(LAYOUT.as_bytes())?;
            file.commit(&root.join("oci-layout"))?;
        }
        Ok(store)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Sets how many bytes the layers of one image may have, uncompressed and all together, for it to be pulled, loaded or
    /// imported through this value. Default: [`MAX_IMAGE_BYTES`](Self::MAX_IMAGE_BYTES).
    ///
    /// It is counted what is read to be unpacked, so layers that are there already are free, and so are the holes of sparse files.
    /// A single layer has no limit of its own: an image may be one.
    #[must_use]
    pub fn max_image_bytes(self, bytes: u64) -> Self {
        Self {
            max_image_bytes: bytes,
            ..self
        }
    }

    /// What the layers of one image may have.
    pub(crate) fn budget(&self, image: impl Into<String>) -> Arc<Budget> {
        Budget::new(image, self.max_image_bytes)
    }

    /// The image of this name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBlob`], [`Error::WrongDigest`] or [`Error::InvalidDocument`] if the image is damaged, and
    /// [`Error::Store`].
    pub fn image(&self, reference: &Reference) -> Result<Option<Image>> {
        let index = Index::read(&self.index_path())?;
        let Some(entry) = index.find(reference) else {
            return Ok(None);
        };
        self.load_listed(&index, &entry.digest, &entry.descriptor())
    }

    /// The image with this manifest, whether it has a name or not; none if the store has none.
    ///
    /// # Errors
    ///
    /// As [`image`](Self::image).
    pub fn by_manifest(&self, manifest: &Digest) -> Result<Option<Image>> {
        let index = Index::read(&self.index_path())?;
        let entry = index
            .manifests
            .iter()
            .find(|entry| entry.digest == *manifest);
        let Some(entry) = entry else {
            return Ok(None);
        };
        self.load_listed(&index, manifest, &entry.descriptor())
    }

    /// All images, in the order in which they were named; each once, with all its names.
    ///
    /// An image that is damaged or that another tool put there in a form that is not an image for one platform is left
    /// out, with a warning in the log.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] and [`Error::InvalidDocument`] if the index cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let index = Index::read(&self.index_path())?;
        let mut images: Vec<Image> = Vec::new();
        for entry in &index.manifests {
            if images
                .iter()
                .any(|image| *image.manifest_digest() == entry.digest)
            {
                continue;
            }
            match self.load_listed(&index, &entry.digest, &entry.descriptor()) {
                Ok(image) => images.extend(image),
                Err(error) => {
                    tracing::warn!(manifest = %entry.digest, error = &error as &dyn std::error::Error, "leaving out an image");
                }
            }
        }
        Ok(images)
    }

    /// The images that `id_or_name` can mean: the one of that name, or else all whose ID, the digest of the
    /// configuration, begins with it (with or without `sha256:`).
    ///
    /// None is the answer for what is neither. More than one may be the same image, stored in two ways.
    ///
    /// # Errors
    ///
    /// As [`images`](Self::images).
    pub fn find(&self, id_or_name: &str) -> Result<Vec<Image>> {
        if let Ok(reference) = id_or_name.parse::<Reference>()
            && let Some(image) = self.image(&reference)?
        {
            return Ok(vec![image]);
        }
        let prefix = id_or_name.strip_prefix("sha256:").unwrap_or(id_or_name);
        if prefix.is_empty() {
            return Ok(Vec::new());
        }
        let mut images = self.images()?;
        images.retain(|image| image.config_digest().hex().starts_with(prefix));
        Ok(images)
    }

    /// Writes down that an image is used now: as the time of its manifest's file, which is that of its pull at first.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn touch(&self, image: &Image) -> Result<()> {
        let path = image.manifest_digest().blob_path(&self.root);
        let why = "so that it is known which images nobody has used for long";
        match file::touch(&path, why) {
            // Somebody has removed it meanwhile.
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Store {
                operation: "change the time of",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// When an image was used last, as far as somebody has [told](Self::touch); none if it is damaged.
    pub fn last_used(&self, image: &Image) -> Option<SystemTime> {
        let path = image.manifest_digest().blob_path(&self.root);
        let why = "so that it is known when the image was used last";
        file::status(&path, why).ok()?.modified().ok()
    }

    /// Stores what `content` has to its end, and returns its digest and size. With `expected`, nothing is stored unless
    /// digest and size are those, and no more than that size is read.
    ///
    /// The blob may be collected as soon as this returns, unless something leads to it.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDigest`], [`Error::WrongSize`], [`Error::Read`] if `content` fails, and [`Error::Store`].
    pub fn put_blob(
        &self,
        mut content: impl Read,
        expected: Option<&Descriptor>,
    ) -> Result<(Digest, u64)> {
        let _pin = self.pin()?;
        let mut file = self.ingest()?;
        let mut hasher =
            Hasher::new(expected.map_or(Algorithm::Sha256, |expected| expected.digest.algorithm()));
        let mut buffer = vec![0; 128 * 1024];
        let mut size = 0;
        loop {
            let length = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Read { source }),
            };
            size += length as u64;
            if expected.is_some_and(|expected| size > expected.size) {
                break;
            }
            hasher.update(&buffer[..length]);
            file.write(&buffer[..length])?;
        }
        if let Some(expected) = expected.filter(|expected| size != expected.size) {
            let object = format!("blob {}", expected.digest);
            return Err(Error::WrongSize {
                object,
                expected: expected.size,
                found: size,
            });
        }
        let digest = hasher.finish();
        if let Some(expected) = expected.filter(|expected| digest != expected.digest) {
            let object = format!("blob {}", expected.digest);
            return Err(Error::WrongDigest {
                object,
                expected: expected.digest.clone(),
                found: digest,
            });
        }
        file.commit(&digest.blob_path(&self.root))?;
        Ok((digest, size))
    }

    /// Opens a blob for reading. Its content was verified when it was stored, and is not verified again.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBlob`] and [`Error::Store`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = digest.blob_path(&self.root);
        let why =
            "so that a manifest, configuration or layer of an image can be read from the store";
        file::open(&path, why).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoSuchBlob {
                digest: digest.clone(),
            },
            _ => Error::Store {
                operation: "open",
                path,
                source,
            },
        })
    }

    /// Whether there is a blob of this digest and size.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        let why = "so that content which is there already is not fetched again";
        file::status(&digest.blob_path(&self.root), why)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    /// Reads a manifest or configuration, and verifies it again.
    pub(crate) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let path = || digest.blob_path(&self.root);
        let mut file = self.open_blob(digest)?.take(document::MAX_SIZE + 1);
        file.read_to_end(&mut bytes)
            .map_err(|source| Error::Store {
                operation: "read",
                path: path(),
                source,
            })?;
        if bytes.len() as u64 > document::MAX_SIZE {
            return Err(Error::TooLarge {
                object: path().display().to_string(),
                limit: document::MAX_SIZE,
            });
        }
        document::check_digest(&path().display().to_string(), digest, &bytes)?;
        Ok(bytes)
    }

    /// Reads an image that `index` lists, with its names; none if somebody has removed it since the index was read.
    fn load_listed(
        &self,
        index: &Index,
        manifest: &Digest,
        descriptor: &Descriptor,
    ) -> Result<Option<Image>> {
        match self.load_image(descriptor) {
            Ok(image) => Ok(Some(image.with_references(names(index, manifest)))),
            Err(error @ Error::NoSuchBlob { .. }) => {
                let now = Index::read(&self.index_path())?;
                match now.manifests.iter().any(|entry| entry.digest == *manifest) {
                    true => Err(error),
                    false => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the image of a manifest.
    pub(crate) fn load_image(&self, descriptor: &Descriptor) -> Result<Image> {
        let object = format!("manifest {}", descriptor.digest);
        let bytes = self.read_document(&descriptor.digest)?;
        match Document::parse(&object, &bytes, &descriptor.media_type)? {
            Document::Index(_) => Err(Error::UnsupportedMediaType {
                object,
                media_type: descriptor.media_type.as_str().into(),
            }),
            Document::Manifest(manifest) => {
                let config = self.read_document(&manifest.config.digest)?;
                Image::new(Vec::new(), descriptor.clone(), manifest, &config)
            }
        }
    }

    pub(crate) fn pin(&self) -> Result<Pin> {
        let why =
            "so that no collection removes what is put into the store before an image leads to it";
        Lock::shared(&self.collect_lock(), why).map(Pin)
    }

    pub(crate) fn ingest(&self) -> Result<Ingest> {
        Ingest::new(&self.ingest_dir())
    }

    /// Takes up or begins the download of a blob, unless somebody else is at it.
    pub(crate) fn claim(&self, blob: &Descriptor) -> Result<Claim> {
        Partial::claim(&self.ingest_dir(), blob)
    }

    pub(crate) fn commit(&self, file: Partial, digest: &Digest) -> Result<()> {
        file.commit(&digest.blob_path(&self.root))
    }

    /// Whether the directory is a layout of a version we know.
    fn is_layout(&self) -> Result<bool> {
        let path = self.root.join("oci-layout");
        let why = "so that it is known whether this is an image layout, and of which version";
        let text = match file::read(&path, why) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => {
                return Err(Error::Store {
                    operation: "read",
                    path,
                    source,
                });
            }
        };
        let layout: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        match layout["imageLayoutVersion"].as_str() {
            Some(version) if version.starts_with("1.") => Ok(true),
            _ => Err(Error::NotAnImageLayout {
                path: self.root.to_path_buf(),
            }),
        }
    }

    fn make_dirs(&self) -> Result<()> {
        let algorithms = [Algorithm::Sha256, Algorithm::Sha512];
        let blobs = algorithms.map(|algorithm| self.root.join("blobs").join(algorithm.name()));
        let why = "so that the store has its directories, which its owner alone can read";
        [self.root.to_path_buf(), self.ingest_dir()]
            .into_iter()
            .chain(blobs)
            .try_for_each(|path| {
                let made = file::make_directory(&path, why);
                made.map_err(|source| Error::Store {
                    operation: "make the directory",
                    path,
                    source,
                })
            })
    }

    fn ingest_dir(&self) -> PathBuf {
        self.root.join("ingest")
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Held alone while `index.json` changes.
    fn index_lock(&self) -> PathBuf {
        self.root.join("index.lock")
    }

    /// Shared by all who put blobs that nothing leads to yet, and held alone by who removes such blobs.
    fn collect_lock(&self) -> PathBuf {
        self.root.join("collect.lock")
    }
}

fn names(index: &Index, manifest: &Digest) -> Vec<Reference> {
    index
        .manifests
        .iter()
        .filter(|entry| entry.digest == *manifest)
        .filter_map(index::Entry::reference)
        .collect()
}
