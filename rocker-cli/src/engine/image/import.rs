//! An image made of the files of a root directory.

use std::io::Read;
use std::time::SystemTime;

use oci_spec::image::{Arch, Config, HistoryBuilder, ImageConfigurationBuilder, Os, RootFsBuilder};
use rocker_image::{Image, Platform, Reference};

use super::dockerfile;
use crate::engine::{Engine, time};
use crate::{Error, Result};

/// What an image is like that is made by [`Engine::import_image`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Its name; none leaves it without one.
    pub name: Option<String>,
    /// Lines of a Dockerfile that say what to run: `CMD ["/bin/sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// What its history says of it.
    pub message: Option<String>,
    /// What it is made for; this machine otherwise.
    pub platform: Option<Platform>,
}

impl Engine {
    /// Makes an image of a tar archive of a root file system, compressed by gzip or zstd or not.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a change that is none, [`Error::Image`] for an archive that cannot be unpacked. Nothing of it is kept
    /// then.
    pub fn import_image(&self, tar: impl Read, options: &ImportOptions) -> Result<Image> {
        let name = options.name.as_deref().map(str::parse::<Reference>);
        let name = name.transpose()?;
        if let Some(named) = name.as_ref().filter(|name| name.digest().is_some()) {
            let expected = "a name with a tag: digests are not given but computed";
            return Err(Error::bad_value("REPOSITORY", named.to_string(), expected));
        }
        let mut config = Config::default();
        for change in &options.changes {
            dockerfile::apply(&mut config, change)?;
        }
        let now = time::text(SystemTime::now());
        let mut history = HistoryBuilder::default()
            .created(now.as_str())
            .created_by("rocker import");
        if let Some(message) = &options.message {
            history = history.comment(message);
        }
        let platform = options.platform.clone().unwrap_or_default();
        let mut document = ImageConfigurationBuilder::default()
            .created(now)
            .os(Os::from(platform.os.as_str()))
            .architecture(Arch::from(platform.architecture.as_str()))
            .config(config)
            .history(vec![history.build()?])
            .rootfs(
                RootFsBuilder::default()
                    .typ("layers")
                    .diff_ids(Vec::new())
                    .build()?,
            );
        if let Some(variant) = platform.variant {
            document = document.variant(variant);
        }
        let document = document.build()?;
        let (store, layers) = (self.store()?, self.layers()?);
        let sink = self.sink(&layers);
        let imported = match &name {
            Some(name) => store.import(name, document, tar, &sink),
            None => store.import_unnamed(document, tar, &sink),
        };
        match imported {
            Ok(image) => {
                self.tell_of_image(&image.config_digest().to_string(), "import");
                Ok(image)
            }
            Err(error) => {
                if let Err(error) = self.remove_unneeded() {
                    tracing::warn!(%error, "what was imported in vain could not be removed");
                }
                Err(error.into())
            }
        }
    }
}
