//! Images in archives: out of the store into one file, and back.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rocker_image::{ArchiveFormat, Digest, Image, Loaded, Platform, Reference, Verified};

use super::the_one;
use crate::engine::{Engine, disk};
use crate::{Error, Result};

impl Engine {
    /// Writes images as one archive. A name without a tag means all tags of its repository, as with Docker; an ID means the
    /// image without a name.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Image`].
    pub fn save_images(
        &self,
        names: &[String],
        format: ArchiveFormat,
        out: impl Write,
    ) -> Result<()> {
        let images = self.to_save(names)?;
        self.save(names, &images, format, out)
    }

    fn save(
        &self,
        names: &[String],
        images: &[(Image, Vec<Reference>)],
        format: ArchiveFormat,
        out: impl Write,
    ) -> Result<()> {
        match self.store()?.save(images, format, out) {
            Err(error @ rocker_image::Error::NoSuchBlob { .. }) => {
                // Says so, if somebody has removed one meanwhile.
                self.to_save(names)?;
                Err(error.into())
            }
            saved => Ok(saved?),
        }
    }

    /// The same into a file, which has its name only when all of it is there, and is nobody else's to read. What is there and is no
    /// file, such as a pipe, is written to as it is.
    ///
    /// # Errors
    /// As [`Engine::save_images`], and [`Error::State`].
    pub fn save_images_to(
        &self,
        names: &[String],
        format: ArchiveFormat,
        path: &Path,
    ) -> Result<()> {
        let images = self.to_save(names)?;
        let failed = disk::failed("write", path);
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            let out = File::options().write(true).open(path).map_err(failed)?;
            return self.save(names, &images, format, out);
        }
        let new = Unfinished::beside(path);
        let file = disk::create_private(&new.0, "so that the archive grows under another name")
            .map_err(&failed)?;
        self.save(names, &images, format, &file)?;
        let why = "so that the archive is on the disk before it has its name";
        disk::sync(&file, why).map_err(&failed)?;
        disk::rename(
            &new.0,
            path,
            "so that the archive is there whole or not at all",
        )
        .map_err(failed)
    }

    /// Loads all images of an archive.
    ///
    /// # Errors
    /// [`Error::Image`]: what is wrong with the archive. Nothing of it is kept then.
    pub fn load_images(&self, archive: impl Read) -> Result<Vec<Loaded>> {
        let (store, layers) = (self.store()?, self.layers()?);
        if let Err(error) = layers.sweep() {
            tracing::warn!(%error, "what an interrupted pull left could not be removed");
        }
        let loaded = match store.load(archive, &Platform::default(), &self.sink(&layers)) {
            Ok(loaded) => loaded,
            Err(error) => {
                if let Err(error) = self.remove_unneeded() {
                    tracing::warn!(%error, "what was loaded in vain could not be removed");
                }
                return Err(error.into());
            }
        };
        for image in &loaded {
            self.tell_of_image(&image.image.config_digest().to_string(), "load");
        }
        Ok(loaded)
    }

    /// Hashes all that images are made of; all images if there are no names. Layers that are damaged are moved away, so that the next
    /// pull fetches them again. What is wrong is in the answer.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Image`] if the store cannot be read.
    pub fn verify_images(&self, names: &[String]) -> Result<Vec<Verified>> {
        let named: Vec<Option<Reference>> = names.iter().map(|name| name.parse().ok()).collect();
        let is_it = |at: usize, references: &[Reference], id: Option<&Digest>| {
            let prefix = names[at].strip_prefix("sha256:").unwrap_or(&names[at]);
            named[at]
                .as_ref()
                .is_some_and(|name| references.contains(name))
                || id.is_some_and(|id| !prefix.is_empty() && id.hex().starts_with(prefix))
        };
        let verified = self.store()?.verify(|references, _, id| {
            names.is_empty() || (0..names.len()).any(|at| is_it(at, references, id))
        })?;
        for (at, name) in names.iter().enumerate() {
            let mut images = verified.iter();
            if !images.any(|image| is_it(at, &image.references, image.id.as_ref())) {
                return Err(Error::NoImage { name: name.clone() });
            }
        }
        Ok(verified)
    }

    /// The images of these names, each once, with the names that each is saved under.
    fn to_save(&self, names: &[String]) -> Result<Vec<(Image, Vec<Reference>)>> {
        let store = self.store()?;
        let mut all: Vec<(Image, Vec<Reference>)> = Vec::new();
        let mut add = |image: Image, name: Option<Reference>| {
            let same =
                |(other, _): &&mut (Image, _)| other.manifest_digest() == image.manifest_digest();
            match all.iter_mut().find(same) {
                Some((_, names)) => names.extend(name.filter(|name| !names.contains(name))),
                None => all.push((image, name.into_iter().collect())),
            }
        };
        for name in names {
            let reference = name.parse::<Reference>().ok();
            let of_repository = reference.as_ref().filter(|_| !has_tag(name));
            let mut found = false;
            if let Some(wanted) = of_repository {
                for image in store.images()? {
                    let tags = image.references().iter().filter(|name| {
                        name.tag().is_some()
                            && (name.domain(), name.repository())
                                == (wanted.domain(), wanted.repository())
                    });
                    for tag in tags.cloned().collect::<Vec<_>>() {
                        found = true;
                        add(image.clone(), Some(tag));
                    }
                }
            }
            if !found {
                let image = the_one(store, name)?;
                let named = reference.filter(|name| image.references().contains(name));
                add(image, named);
            }
        }
        Ok(all)
    }
}

/// Whether a name has more than a repository.
fn has_tag(name: &str) -> bool {
    name.contains('@')
        || name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'))
}

/// A file that goes unless it gets another name.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self(path.with_file_name(format!(".{name}.rocker-{}", std::process::id())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = disk::remove_file(
            &self.0,
            "so that nothing is left of an archive that is not whole",
        );
    }
}
