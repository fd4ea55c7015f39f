//! Images: from the registry into the store, and unpacked layers beside it.

pub(super) mod archive;
pub(super) mod commit;
pub(super) mod configuration;
pub(super) mod dockerfile;
pub(crate) mod elf;
pub(super) mod hello;
pub(super) mod import;
pub(super) mod prune;
pub(super) mod untag;

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use rocker_fs::{Layers, UnpackOptions};
use rocker_image::{
    Client, ClientOptions, Digest, Image, LayerSink, Progress, PullOptions, Pulled, Pushed,
    Reference, Store, blocking,
};

use serde_json::Value;

use crate::engine::options::{HealthCheckOfImage, PullPolicy};
use crate::engine::{Engine, RunOptions, rootless};
use crate::{Error, Result};

/// Unpacks layers with rocker-fs for rocker-image.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    layers: &'a Layers,
    /// How many bytes the files of one layer may have. As an image may be one layer, it is what an image may have; here the
    /// holes of sparse files count, too.
    max_bytes: u64,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(layers: &'a Layers) -> Self {
        Self {
            layers,
            max_bytes: Store::MAX_IMAGE_BYTES,
        }
    }
}

impl LayerSink for Sink<'_> {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.layers.contains(&diff_id.to_string())
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let options = match rootless::in_user_namespace().map_err(io::Error::other)? {
            true => UnpackOptions::user_namespace(),
            false => UnpackOptions::default(),
        };
        let options = options.max_bytes(self.max_bytes);
        self.layers
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
            &self.sink(&layers),
            progress,
        );
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(error) => {
                // What else there is to be had of an image that is refused is of no use to anybody.
                if matches!(error, rocker_image::Error::ImageTooLarge { .. })
                    && let Err(error) = self.remove_unneeded()
                {
                    tracing::warn!(%error, "what was pulled in vain could not be removed");
                }
                return Err(error.into());
            }
        };
        self.used(&pulled.image);
        self.tell_of_image(&reference.familiar(), "pull");
        Ok(pulled)
    }

    /// Pushes an image to the registry that its name says.
    ///
    /// # Errors
    /// [`Error::NoImage`] where there is none of that name; [`Error::Image`].
    pub fn push(&self, name: &str, progress: &dyn Progress) -> Result<Pushed> {
        self.push_as(name, ClientOptions::from_env(), progress)
    }

    /// The same, with other ideas of how to talk to the registry than those that docker and podman have of it.
    ///
    /// # Errors
    /// As there.
    pub fn push_as(
        &self,
        name: &str,
        client: ClientOptions,
        progress: &dyn Progress,
    ) -> Result<Pushed> {
        let reference: Reference = name.parse()?;
        let store = self.store()?;
        let no_image = || Error::NoImage {
            name: name.to_owned(),
        };
        let image = store.image(&reference)?.ok_or_else(no_image)?;
        let client = Client::new(client);
        let pushed = blocking::push(&client, store, &reference, &image, progress)?;
        self.tell_of_image(&reference.familiar(), "push");
        Ok(pushed)
    }

    /// Who unpacks layers into `layers`.
    pub(crate) fn sink<'a>(&self, layers: &'a Layers) -> Sink<'a> {
        let max_bytes = self.max_image_bytes;
        Sink { layers, max_bytes }
    }

    /// The one image that has this name, or an ID that begins so.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Ambiguous`], [`Error::Image`].
    pub fn find_image(&self, name: &str) -> Result<Image> {
        the_one(self.store()?, name)
    }

    /// The images of the store.
    ///
    /// # Errors
    /// [`Error::Image`] when the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        Ok(self.store()?.images()?)
    }

    /// The image to run: from the store, or from its registry where the options say so. It is in use now.
    pub(crate) fn image(&self, options: &RunOptions<'_>) -> Result<Image> {
        let image = self.to_run(options)?;
        self.used(&image);
        Ok(image)
    }

    /// Writes down when an image was used last.
    fn used(&self, image: &Image) {
        if let Err(error) = self.store().and_then(|store| Ok(store.touch(image)?)) {
            tracing::warn!(%error, "that the image is used could not be written down");
        }
    }

    fn to_run(&self, options: &RunOptions<'_>) -> Result<Image> {
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
