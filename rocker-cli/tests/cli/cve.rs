//! What has gone wrong in other engines does not here: tests named after the records of it, each from end to end. Those of mounts have
//! further ones in rocker-fs, and those of images in rocker-image.

mod accounts;
mod copies;
mod images;
mod kernel;
mod mounts;
mod processes;
mod resources;
mod store;
mod volumes;

use std::fs;
use std::path::Path;

use crate::registry::busybox_root;
use crate::static_c;
use crate::support::{Background, Scene};

/// An image of a busybox with the programs of somebody hostile, and what `change` adds to it.
fn hostile_image(scene: &Scene<'_>, name: &str, change: impl FnOnce(&Path)) -> String {
    let root = scene.host.dir(&format!("image-{name}"));
    busybox_root(&root);
    fs::create_dir(root.join("etc")).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    static_c::compile(&root.join("bin"), "attacker");
    change(&root);
    scene.registry.push_dir(&root, name, "{}")
}

/// Starts a container of that image that says `up` when it runs, and ends when its input does.
fn start_idle(scene: &Scene<'_>, flags: &str, image: &str) -> Background {
    let mut idle = scene.start(&format!(
        "run -i --rm --name web {flags} {image} sh -c 'echo up; cat'"
    ));
    assert_eq!(idle.line(), "up");
    idle
}

/// All that is in a directory of the host's, with what changes when something is done to it.
fn all_in(scene: &Scene<'_>, dir: &str) -> String {
    scene.host.sh(&format!(
        "find {dir} -printf '%p %y %m %U %n %s %T@ %C@\\n' | sort"
    ))
}
