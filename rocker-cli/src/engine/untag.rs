//! Names of images, given and taken away, and images that go with them.

use std::path::PathBuf;

use rocker_image::{Image, Reference, Store};

use super::image::{short_id, the_one};
use super::{Engine, Status, container};
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
    /// goes too. Returns what was done, line by line, as Docker says it.
    ///
    /// With `force`, an ID may have several names, and an image may be in use: then it loses its names and stays for the containers
    /// that are made of it. By its ID, one that a running container uses stays as it is.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::ImageInUse`], [`Error::ImageHasNames`], [`Error::Image`].
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<String>> {
        self.reconcile()?;
        let store = self.store()?;
        // Nobody makes a container from here on: who is not in the records yet looks again for its layers.
        let _making = self.making()?;
        let image = the_one(store, name)?;
        let reference = name
            .parse::<Reference>()
            .ok()
            .filter(|reference| image.references().contains(reference));
        let Some(reference) = reference else {
            return self.remove_by_id(store, image, force);
        };
        let mut done = Vec::new();
        let is_last = image.references().len() == 1;
        match self.user_of(&image)? {
            Some(user) if is_last && !force => return Err(in_use(&image, &user)),
            Some(_) => drop(store.unname(&reference)?),
            None => drop(store.untag(&reference)?),
        }
        self.tell_of_image(&reference.familiar(), "untag");
        done.push(format!("Untagged: {}", reference.familiar()));
        if is_last && store.by_manifest(image.manifest_digest())?.is_none() {
            done.push(format!("Deleted: {}", image.config_digest()));
            self.tell_of_image(&image.config_digest().to_string(), "delete");
            done.extend(self.remove_unused_layers(store)?);
        }
        Ok(done)
    }

    /// Takes an image away in all ways in which the store has it.
    fn remove_by_id(&self, store: &Store, image: Image, force: bool) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let same = |other: &Image| other.config_digest() == image.config_digest();
        'again: loop {
            let images: Vec<_> = store.images()?.into_iter().filter(same).collect();
            self.refuse_to_remove(&images, force)?;
            for image in &images {
                match self.remove_whole(store, image)? {
                    Some(lines) => done.extend(lines),
                    // Somebody has given it a name, or taken one away: whether it may go is to be decided anew.
                    None => continue 'again,
                }
            }
            break;
        }
        done.extend(self.remove_unused_layers(store)?);
        Ok(done)
    }

    fn refuse_to_remove(&self, images: &[Image], force: bool) -> Result<()> {
        let names = images.iter().flat_map(Image::references);
        let tags = names.filter(|name| name.digest().is_none()).count();
        for image in images {
            match self.user_of(image)? {
                Some(user) if user.runs || !force => return Err(in_use(image, &user)),
                _ => {}
            }
        }
        match images.first().filter(|_| tags > 1 && !force) {
            Some(image) => Err(Error::ImageHasNames {
                image: short_id(image.config_digest()).to_owned(),
                count: tags,
            }),
            None => Ok(()),
        }
    }

    /// Takes an image away with all its names; only the names, where a container is made of it. Nothing, and no answer, if
    /// somebody has given it another name or taken one away since it was read.
    pub(crate) fn remove_whole(&self, store: &Store, image: &Image) -> Result<Option<Vec<String>>> {
        let is_used = self.user_of(image)?.is_some();
        let (manifest, names) = (image.manifest_digest(), image.references());
        let removed = match is_used {
            true => store.unname_if(manifest, names)?,
            false => store.remove_if(manifest, names)?,
        };
        if !removed {
            return Ok(None);
        }
        let mut done = Vec::new();
        for name in names {
            self.tell_of_image(&name.familiar(), "untag");
            done.push(format!("Untagged: {}", name.familiar()));
        }
        if !is_used {
            self.tell_of_image(&image.config_digest().to_string(), "delete");
            done.push(format!("Deleted: {}", image.config_digest()));
        }
        Ok(Some(done))
    }

    /// Removes what no image needs, while nobody makes a container.
    pub(crate) fn remove_unneeded(&self) -> Result<()> {
        let _making = self.making()?;
        self.remove_unused_layers(self.store()?).map(drop)
    }

    /// Removes the blobs and the unpacked layers that no image needs, also those that a crash left.
    pub(crate) fn remove_unused_layers(&self, store: &Store) -> Result<Vec<String>> {
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

    /// A container that is made of an image: one that runs, if there is one.
    pub(crate) fn user_of(&self, image: &Image) -> Result<Option<User>> {
        let manifest = image.manifest_digest().to_string();
        let mut found: Option<User> = None;
        for id in container::ids(&self.roots().containers())? {
            // One that cannot be read uses what nobody knows.
            let record = self.record(&id).ok().flatten();
            if record.is_none_or(|record| record.manifest != manifest) {
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

fn in_use(image: &Image, user: &User) -> Error {
    Error::ImageInUse {
        image: short_id(image.config_digest()).to_owned(),
        container: user.id.get(..12).unwrap_or(&user.id).to_owned(),
    }
}
