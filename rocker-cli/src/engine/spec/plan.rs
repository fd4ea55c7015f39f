//! What a run would have its child do: the same list, made without privileges and without a container.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{Mount, Spec};
use rocker_fs::{Device, read_beneath};
use rocker_image::{Image, Store};
use rocker_ns::User;

use super::accounts::{ACCOUNTS_LIMIT, wanted_user};
use super::others::Others;
use super::surroundings::Surroundings;
use super::{Facts, parts, steps};
use crate::engine::container::process;
use crate::engine::container::run::command_of;
use crate::engine::image::hello;
use crate::engine::network::connection::network_of;
use crate::engine::volume::places::UNMADE;
use crate::engine::{Engine, RunOptions, disk, image};
use crate::{Error, Result};

/// Stands for the short id of a container, and is as long.
const ID: &str = "<id, 12 hex>";
/// Stands for the directory of what outlives a run of a container.
const FILES: &str = "<container>";
/// Stands for what cannot be opened before there is a container; it is a file as well, and always there.
const ANY_FILE: &str = "/dev/null";
/// The same for a directory.
const ANY_DIRECTORY: &str = "/";

impl Engine {
    /// The list of system calls that the process of a container with these options would make before its program runs.
    /// It needs no privileges, and nothing is made, pulled or run. What is known only at run time, such as ids and
    /// descriptors, is shown as a placeholder in brackets.
    ///
    /// # Errors
    /// [`Error::NotPulled`], [`Error::ClosedStore`], and what keeps a run from beginning, such as [`Error::NoSource`].
    pub fn plan(&self, options: &RunOptions<'_>) -> Result<rocker_ns::Plan> {
        let options = &RunOptions {
            network: network_of(options)?,
            env: super::resolved(&options.env),
            ..options.clone()
        };
        let (config, layers) = self.known_image(options)?;
        let wanted = wanted_user(options, &config);
        let file = |name| topmost(&layers, name);
        let group = file("/etc/group");
        let mut user = User::resolve(&wanted, &file("/etc/passwd"), &group)?;
        for wanted in &options.group_add {
            user.add_group(wanted, &group)?;
        }
        let others = Others::find(self, options)?;
        let users = self.users(options, None)?;
        let cgroups = self.hierarchy()?.mounts_for_container();
        let places = self.places(&options.volumes, users.as_ref(), None)?;
        let mut spec = super::build(&Facts {
            id: ID,
            options,
            image: &config,
            user: &user,
            cgroups: &cgroups,
            files: Path::new(FILES),
            places: &places,
            surroundings: &Surroundings::of(options, &others, users)?,
        })?;
        let mut sources = binds(&mut spec);
        if parts::has_devices_of_host(&spec)? {
            // They come last.
            sources.extend(Device::standard().into_iter().map(|device| device.path));
            sources.extend(options.devices.iter().map(|device| device.source.clone()));
        }
        let root = File::open(ANY_FILE).map_err(disk::failed("open", Path::new(ANY_FILE)))?;
        let number = root.as_raw_fd();
        let steps = parts::rootfs(&spec, root.into())?.steps()?;
        let mut command = command_of(&spec, steps::placeholders(steps, number, &sources)?)?;
        command.first(steps::planned_joins(&cgroups)?);
        others.share_with(&mut command)?;
        process::connect(&mut command, options.io, process::Streams::Callers);
        Ok(command.plan()?)
    }

    /// The configuration of an image, and the directories of its layers, the bottom one first.
    fn known_image(&self, options: &RunOptions<'_>) -> Result<(ImageConfiguration, Vec<PathBuf>)> {
        let images = self.roots().images();
        let not_pulled = || Error::NotPulled {
            name: options.image.clone(),
        };
        if let Some(root) = &options.root_directory {
            return Ok((ImageConfiguration::default(), vec![root.path.clone()]));
        }
        if options.image == hello::NAME {
            return Ok((hello::configuration()?, Vec::new()));
        }
        // A store that is not there would be made by opening it.
        if let Err(source) = fs::metadata(images.join("oci-layout")) {
            return Err(match source.kind() {
                ErrorKind::NotFound => not_pulled(),
                _ => Error::ClosedStore {
                    path: images,
                    source,
                },
            });
        }
        let fits = |image: &Image| {
            let wanted = options.platform.as_ref();
            wanted.is_none_or(|platform| image.platform().fits(platform))
        };
        let found = image::find(&Store::open(&images)?, &options.image)?.filter(fits);
        let image = found.ok_or_else(not_pulled)?;
        let layers = self.roots().layers();
        let dirs = image.diff_ids().map(|diff_id| layers.join(diff_id.hex()));
        Ok((image.config().clone(), dirs.collect()))
    }
}

/// What the topmost layer that has a file has in it; nothing where none can be read.
fn topmost(layers: &[PathBuf], name: &str) -> Vec<u8> {
    let read = |layer: &PathBuf| {
        let layer = disk::open(layer, "so that the image's accounts can be looked up").ok()?;
        read_beneath(layer.as_fd(), name, ACCOUNTS_LIMIT).ok()?
    };
    layers.iter().rev().find_map(read).unwrap_or_default()
}

/// The sources of the specification's bind mounts. Those that are made for a container become a file that is there.
fn binds(spec: &mut Spec) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    // A part of something that may not be there yet cannot be looked up.
    if let Some(annotations) = spec.annotations_mut() {
        annotations.retain(|name, _| !name.starts_with(super::SUBPATH));
    }
    let is_bind = |mount: &&mut Mount| matches!(mount.typ().as_deref(), Some("bind" | "overlay"));
    for mount in spec.mounts_mut().iter_mut().flatten().filter(is_bind) {
        let mut source = mount.source().clone().unwrap_or_default();
        // Whose the files are is said of the copy of a mount before there is a process.
        mount.set_uid_mappings(None).set_gid_mappings(None);
        if mount.typ().as_deref() == Some("overlay") {
            mount.set_typ(Some("bind".to_owned()));
            mount.set_options(None);
            source = Path::new(UNMADE).join("<image>");
        }
        if source.starts_with(FILES) {
            mount.set_source(Some(ANY_FILE.into()));
        } else if source.starts_with(UNMADE) {
            mount.set_source(Some(ANY_DIRECTORY.into()));
        }
        sources.push(source);
    }
    sources
}
