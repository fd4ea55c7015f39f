//! Names of images, given and taken away, and images that go with them.

use std::path::PathBuf;

use rocker_image::{Digest, Image, Reference, Store, Unreadable};

use super::{short_id, the_one};
use crate::engine::{Engine, Status, container};
use crate::{Error, Result};

impl Engine {
    /// Gives an image another name. What had that name before stays, without a name if it has no other.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Ambiguous`], [`Error::Image`].
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        let reference: Reference = name.parse()?;
        if reference.digest().is_some() {
            let expected = "a name with a tag: digests are not given but computed";
            return Err(Error::bad_value("TARGET", name, expected));
        }
        let store = self.store()?;
        let found = the_one(store, image)?;
        match store.tag(&reference, found.manifest_digest()) {
            // Somebody has removed it meanwhile.
            Err(rocker_image::Error::NoSuchBlob { .. }) => {
                let name = image.to_owned();
                return Err(Error::NoImage { name });
            }
            tagged => tagged?,
        }
        self.tell_of_image(&reference.familiar(), "tag");
        Ok(())
    }

    /// Takes names from images, or images away: a name loses that name, an ID all of them. What no image needs any more
    /// goes too. Tells what was done, line by line, as Docker says it, as soon as it is.
    ///
    /// With `force`, an ID may have several names, and an image may be in use: then it loses its names and stays for the containers
    /// that are made of it. By its ID, one that a running container uses stays as it is.
    ///
    /// An image that is damaged is removed as any other; if it is not known any more what its ID is, by a name or by the digest of its
    /// manifest. As long as one is there, what others leave stays too, since it might be the damaged one's.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::ImageInUse`], [`Error::ImageHasNames`], [`Error::Image`], also after some lines.
    pub fn remove_image(&self, name: &str, force: bool, mut tell: impl FnMut(&str)) -> Result<()> {
        self.reconcile()?;
        let store = self.store()?;
        // Nobody makes a container from here on: who is not in the records yet looks again for its layers.
        let _making = self.making()?;
        let (image, reference) = loop {
            let image = match the_one(store, name) {
                Ok(image) => Listed::from(&image),
                Err(error @ Error::Ambiguous { .. }) => return Err(error),
                Err(error) => unreadable(store, name)?.ok_or(error)?,
            };
            let reference = name
                .parse::<Reference>()
                .ok()
                .filter(|reference| image.names.contains(reference));
            let Some(reference) = reference else {
                return self.remove_by_id(store, &image.id, force, tell);
            };
            let user = self.user_of(&image.manifest)?;
            let is_last = image.names.len() == 1;
            if let Some(user) = user.as_ref().filter(|_| is_last && !force) {
                return Err(in_use(&image, user));
            }
            if is_last {
                self.unmount_unused(image.id.hex(), name)?;
            }
            let removed = match user {
                Some(_) => store.unname_from(&image.manifest, &reference)?,
                None => store.untag_from(&image.manifest, &reference)?,
            };
            // Otherwise another image has got the name meanwhile: what is to be said of that is to be decided anew.
            if removed {
                break (image, reference);
            }
        };
        let is_last = image.names.len() == 1;
        self.tell_of_image(&reference.familiar(), "untag");
        tell(&format!("Untagged: {}", reference.familiar()));
        if is_last
            && !listed(store)?
                .iter()
                .any(|other| other.manifest == image.manifest)
        {
            tell(&format!("Deleted: {}", image.id));
            self.tell_of_image(&image.id.to_string(), "delete");
            self.remove_unused_layers(store, tell)?;
        }
        Ok(())
    }

    /// Takes an image away in all ways in which the store has it.
    fn remove_by_id(
        &self,
        store: &Store,
        id: &Digest,
        force: bool,
        mut tell: impl FnMut(&str),
    ) -> Result<()> {
        'again: loop {
            let mut images = listed(store)?;
            images.retain(|image| image.id == *id);
            self.refuse_to_remove(&images, force)?;
            for image in &images {
                // Somebody has given it a name, or taken one away: whether it may go is to be decided anew.
                if !self.remove_whole(store, image, &mut tell)? {
                    continue 'again;
                }
            }
            break;
        }
        self.remove_unused_layers(store, tell)
    }

    fn refuse_to_remove(&self, images: &[Listed], force: bool) -> Result<()> {
        let names = images.iter().flat_map(|image| &image.names);
        let tags = names.filter(|name| name.digest().is_none()).count();
        for image in images {
            match self.user_of(&image.manifest)? {
                Some(user) if user.runs || !force => return Err(in_use(image, &user)),
                _ => {}
            }
        }
        match images.first().filter(|_| tags > 1 && !force) {
            Some(image) => Err(Error::ImageHasNames {
                image: short_id(&image.id).to_owned(),
                count: tags,
            }),
            None => Ok(()),
        }
    }

    /// Takes an image away with all its names; only the names, where a container is made of it. Nothing, and the answer is false, if
    /// somebody has given it another name or taken one away since it was read.
    pub(crate) fn remove_whole(
        &self,
        store: &Store,
        image: &Listed,
        mut tell: impl FnMut(&str),
    ) -> Result<bool> {
        let is_used = self.user_of(&image.manifest)?.is_some();
        if !is_used {
            self.unmount_unused(image.id.hex(), short_id(&image.id))?;
        }
        let removed = match is_used {
            true => store.unname_if(&image.manifest, &image.names)?,
            false => store.remove_if(&image.manifest, &image.names)?,
        };
        if !removed {
            return Ok(false);
        }
        for name in &image.names {
            self.tell_of_image(&name.familiar(), "untag");
            tell(&format!("Untagged: {}", name.familiar()));
        }
        if !is_used {
            self.tell_of_image(&image.id.to_string(), "delete");
            tell(&format!("Deleted: {}", image.id));
        }
        Ok(true)
    }

    /// Removes what no image needs, while nobody makes a container.
    pub(crate) fn remove_unneeded(&self) -> Result<()> {
        let _making = self.making()?;
        self.remove_unused_layers(self.store()?, |_| {})
    }

    /// Removes the blobs and the unpacked layers that no image needs, also those that a crash left. As long as there is an image of
    /// which it is not known what it needs, since it is damaged, it only warns.
    pub(crate) fn remove_unused_layers(
        &self,
        store: &Store,
        mut tell: impl FnMut(&str),
    ) -> Result<()> {
        // As long as this lives nobody begins to pull, so that what is not needed now is not needed soon either.
        let removed = store.remove_unreferenced()?;
        if let Some(blob) = removed.unreadable.first() {
            tracing::warn!(
                "an image is damaged ({blob} cannot be read): until it is pulled again or removed, what images leave takes room"
            );
            return Ok(());
        }
        if removed.deferred {
            return Ok(());
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
                tell(&format!("Deleted: layer {name}"));
            }
        }
        Ok(())
    }

    /// A container that is made of the image of that manifest, or sees its files: one that runs, if there is one.
    pub(crate) fn user_of(&self, manifest: &Digest) -> Result<Option<User>> {
        let manifest = manifest.to_string();
        let mut found: Option<User> = None;
        for id in container::ids(&self.roots().containers())? {
            // One that cannot be read uses what nobody knows.
            let record = self.record(&id).ok().flatten();
            if record.is_none_or(|record| record.manifests().all(|own| own != manifest)) {
                continue;
            }
            let status = self.summary(&id)?.map(|container| container.status);
            let idle = matches!(status, Some(Status::Created | Status::Exited { .. }));
            if found.as_ref().is_none_or(|found| !found.runs) {
                found = Some(User { id, runs: !idle });
            }
        }
        Ok(found)
    }
}

/// Who uses an image.
#[derive(Debug)]
pub(crate) struct User {
    id: String,
    /// Whether it runs, or is about to.
    runs: bool,
}

/// What is to be known of an image to remove it, also of one that cannot be read.
#[derive(Debug)]
pub(crate) struct Listed {
    manifest: Digest,
    /// The digest of its configuration, or of its manifest if that is all that is known.
    id: Digest,
    names: Vec<Reference>,
}

impl From<&Image> for Listed {
    fn from(image: &Image) -> Self {
        Self {
            manifest: image.manifest_digest().clone(),
            id: image.config_digest().clone(),
            names: image.references().to_vec(),
        }
    }
}

impl From<Unreadable> for Listed {
    fn from(image: Unreadable) -> Self {
        Self {
            id: image.id.unwrap_or_else(|| image.manifest.clone()),
            manifest: image.manifest,
            names: image.references,
        }
    }
}

/// All images, with those that cannot be read.
fn listed(store: &Store) -> Result<Vec<Listed>> {
    let unreadable = store.unreadable()?.into_iter().map(Listed::from);
    Ok(store
        .images()?
        .iter()
        .map(Listed::from)
        .chain(unreadable)
        .collect())
}

/// Of the images that cannot be read, the one of this name, of this manifest, or the only one whose ID begins so.
fn unreadable(store: &Store, name: &str) -> Result<Option<Listed>> {
    let mut images: Vec<_> = store.unreadable()?.into_iter().map(Listed::from).collect();
    let reference = name.parse::<Reference>().ok();
    let is_named = |image: &Listed| reference.iter().any(|name| image.names.contains(name));
    if let Some(at) = images.iter().position(is_named) {
        return Ok(Some(images.swap_remove(at)));
    }
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    images.retain(|image| {
        image.manifest.hex() == hex || !hex.is_empty() && image.id.hex().starts_with(hex)
    });
    let last = images.pop();
    Ok(last.filter(|last| images.iter().all(|other| other.id == last.id)))
}

fn in_use(image: &Listed, user: &User) -> Error {
    Error::ImageInUse {
        image: short_id(&image.id).to_owned(),
        container: user.id.get(..12).unwrap_or(&user.id).to_owned(),
    }
}
