//! Images: from the registry into the store, and unpacked layers beside it.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use rocker_fs::{Layers, UnpackOptions};
use rocker_image::{
    Client, ClientOptions, Digest, Image, LayerSink, Progress, PullOptions, Pulled, Reference,
    Store, blocking,
};

use serde_json::Value;

use super::options::{HealthCheckOfImage, PullPolicy};
use super::{Engine, RunOptions, container, hello};
use crate::{Error, Result};

/// Unpacks layers with rocker-fs for rocker-image.
#[derive(Debug)]
pub(crate) struct Sink<'a>(pub(crate) &'a Layers);

impl LayerSink for Sink<'_> {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.0.contains(&diff_id.to_string())
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let options = match rocker_ns::in_user_namespace().map_err(io::Error::other)? {
            true => UnpackOptions::user_namespace(),
            false => UnpackOptions::default(),
        };
        self.0
            .unpack(&diff_id.to_string(), tar, &options)
            .map(drop)
            .map_err(io::Error::other)
    }
}

impl Engine {
    /// Pulls an image from its registry.
    ///
    /// # Errors
    /// [`Error::Image`]: what went wrong between here and the registry, or with what it sent.
    pub fn pull(
        &self,
        image: &str,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        self.pull_as(image, options, ClientOptions::from_env(), progress)
    }

    /// The same, with other ideas of how to talk to the registry than those that docker and podman have of it.
    ///
    /// # Errors
    /// As there.
    pub fn pull_as(
        &self,
        image: &str,
        options: &PullOptions,
        client: ClientOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let reference: Reference = image.parse()?;
        let layers = self.layers()?;
        if let Err(error) = layers.sweep() {
            tracing::warn!(%error, "what an interrupted pull left could not be removed");
        }
        let client = Client::new(client);
        let pulled = blocking::pull(
            &client,
            self.store()?,
            &reference,
            options,
            &Sink(&layers),
            progress,
        )?;
        self.tell_of_image(&reference.familiar(), "pull");
        Ok(pulled)
    }

    /// The images of the store.
    ///
    /// # Errors
    /// [`Error::Image`] when the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        Ok(self.store()?.images()?)
    }

    /// Takes names from images, or images away: a name loses that name, an ID all of them. What no image needs any more
    /// goes too. Returns what was done, line by line, as Docker says it.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::ImageInUse`], [`Error::Image`].
    pub fn remove_image(&self, name: &str) -> Result<Vec<String>> {
        self.reconcile()?;
        let store = self.store()?;
        // Nobody makes a container from here on: who is not in the records yet looks again for its layers.
        let _making = self.making()?;
        let image = &the_one(store, name)?;
        let reference = name
            .parse::<Reference>()
            .ok()
            .filter(|reference| image.references().contains(reference));
        let last = reference.is_none() || image.references().len() == 1;
        if last {
            self.refuse_if_used(image)?;
        }
        let mut done = Vec::new();
        match reference {
            Some(reference) => {
                store.untag(&reference)?;
                self.tell_of_image(&reference.familiar(), "untag");
                done.push(format!("Untagged: {}", reference.familiar()));
            }
            None => {
                done.extend(
                    image
                        .references()
                        .iter()
                        .map(|name| format!("Untagged: {}", name.familiar())),
                );
                store.remove(image.manifest_digest())?;
            }
        }
        if last {
            done.push(format!("Deleted: {}", image.config_digest()));
            self.tell_of_image(&image.config_digest().to_string(), "delete");
            done.extend(self.remove_unused_layers(store)?);
        }
        Ok(done)
    }

    /// Removes what no image needs, while nobody makes a container.
    pub(crate) fn remove_unneeded(&self) -> Result<()> {
        let _making = self.making()?;
        self.remove_unused_layers(self.store()?).map(drop)
    }

    /// Removes the blobs and the unpacked layers that no image needs, also those that a crash left.
    fn remove_unused_layers(&self, store: &Store) -> Result<Vec<String>> {
        // As long as this lives nobody begins to pull, so that what is not needed now is not needed soon either.
        let removed = store.remove_unreferenced()?;
        let mut done = Vec::new();
        if removed.deferred {
            return Ok(done);
        }
        let layers = self.layers()?;
        let needed: Vec<PathBuf> = store
            .diff_ids()?
            .iter()
            .map(|diff_id| layers.path(&diff_id.to_string()))
            .collect();
        for name in layers.names()? {
            if !needed.contains(&layers.path(&name)) {
                layers.remove(&name)?;
                done.push(format!("Deleted: layer {name}"));
            }
        }
        Ok(done)
    }

    fn refuse_if_used(&self, image: &Image) -> Result<()> {
        let manifest = image.manifest_digest().to_string();
        for id in container::ids(&self.roots().containers())? {
            let record = self.record(&id);
            if record.is_ok_and(|record| record.is_some_and(|record| record.manifest == manifest)) {
                return Err(Error::ImageInUse {
                    image: short_id(image.config_digest()).to_owned(),
                    container: id[..12].to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The image to run: from the store, or from its registry where the options say so.
    pub(crate) fn image(&self, options: &RunOptions<'_>) -> Result<Image> {
        let store = self.store()?;
        let fits = |image: &Image| {
            let wanted = options.platform.as_ref();
            wanted.is_none_or(|platform| image.platform().fits(platform))
        };
        if options.pull != PullPolicy::Always {
            if options.image == hello::NAME {
                let image = hello::image(store, &self.layers()?)?;
                if fits(&image) {
                    return Ok(image);
                }
            }
            if let Some(image) = find(store, &options.image)?
                && fits(&image)
                && self.is_unpacked(&image)?
            {
                return Ok(image);
            }
        }
        if options.pull == PullPolicy::Never {
            return Err(Error::NoImage {
                name: options.image.clone(),
            });
        }
        let mut pull = PullOptions::default();
        if let Some(platform) = &options.platform {
            pull = pull.platform(platform.clone());
        }
        Ok(self.pull(&options.image, &pull, options.progress)?.image)
    }

    /// Whether all of an image's layers are there to be mounted.
    pub(crate) fn is_unpacked(&self, image: &Image) -> Result<bool> {
        let layers = self.layers()?;
        Ok(image
            .diff_ids()
            .all(|diff_id| layers.contains(&diff_id.to_string())))
    }

    /// The directories of an image's layers, the bottom one first.
    pub(crate) fn lower_dirs(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let layers = self.layers()?;
        Ok(image
            .diff_ids()
            .map(|diff_id| layers.path(&diff_id.to_string()))
            .collect())
    }
}

/// The health check that an image asks for in Docker's words, which OCI's configuration does not have; none where it asks for none
/// that can be understood.
pub(crate) fn health_of(store: &Store, image: &Image) -> Option<HealthCheckOfImage> {
    let config = store.open_blob(image.config_digest()).ok()?;
    let document: Value = serde_json::from_reader(BufReader::new(config)).ok()?;
    let check = document.get("config")?.get("Healthcheck")?;
    serde_json::from_value(check.clone()).ok()
}

/// The one image that has this name, or an ID that begins so. One that is stored in two ways, with layers that are compressed and
/// with layers that are not, is one; that with a name is taken.
///
/// # Errors
/// [`Error::NoImage`], [`Error::Ambiguous`].
pub(crate) fn the_one(store: &Store, name: &str) -> Result<Image> {
    let mut found = different(store.find(name)?);
    match (found.pop(), &found[..]) {
        (None, _) => Err(Error::NoImage {
            name: name.to_owned(),
        }),
        (Some(one), []) => Ok(one),
        (Some(last), others) => {
            let all = others.iter().chain([&last]);
            let ids: Vec<_> = all.map(|image| short_id(image.config_digest())).collect();
            Err(Error::Ambiguous {
                prefix: name.to_owned(),
                ids: ids.join(", "),
            })
        }
    }
}

/// The image of this name, or the only one whose ID begins so.
pub(crate) fn find(store: &Store, name: &str) -> Result<Option<Image>> {
    if let Ok(reference) = name.parse::<Reference>()
        && let Some(image) = store.image(&reference)?
    {
        return Ok(Some(image));
    }
    let mut found = different(store.find(name)?);
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// Of images with the same ID, one.
fn different(mut images: Vec<Image>) -> Vec<Image> {
    images.sort_by_key(|image| (image.config_digest().clone(), image.references().is_empty()));
    images.dedup_by(|one, other| one.config_digest() == other.config_digest());
    images
}

/// The first twelve digits of an image's ID.
pub(crate) fn short_id(digest: &Digest) -> &str {
    digest.hex().get(..12).unwrap_or_default()
}
