//! The steps that mount one thing, at a place that is opened beneath the root and made where it is missing.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lookup::Opened;
use crate::mount::{Mount, MountAttributes, MountKind, Propagation};
use crate::plan::{MUST, Plan, Resolution, shown};
use crate::resolve::components;
use crate::source::Source;
use crate::step::Arg;

/// Mounts one file system or bind mount, and returns the mount's root, still open.
pub(crate) fn add_mount(plan: &mut Plan, root: &Arg, mount: &Mount) -> Result<Arg> {
    let shown = shown(&mount.destination);
    let (made, place) = match &mount.kind {
        MountKind::Filesystem { fstype, options } => {
            let place = add_mount_point(plan, root, &mount.destination, true)?;
            let why = format!("so that {shown} can be a {fstype} file system");
            let made = plan.new_mount(fstype, options, mount.attributes, &why)?;
            if mount.propagation != Propagation::Private {
                let why = format!("so that mounts beneath {shown} spread as asked");
                plan.set_attributes(
                    &made,
                    false,
                    MountAttributes::empty(),
                    Some(mount.propagation),
                    MUST,
                    why,
                );
            }
            (made, place)
        }
        MountKind::Bind { source, recursive } => {
            let source = Source::open(source, *recursive)?;
            let place = add_mount_point(plan, root, &mount.destination, source.is_directory())?;
            if let Some(userns) = &mount.id_map {
                source.map_ids(userns.as_fd(), *recursive)?;
            }
            let copy = source.copy(plan, *recursive)?;
            let why = format!("so that {shown} has its properties before anybody sees it");
            let read_only = mount.attributes & MountAttributes::RDONLY;
            let apart = *recursive && !mount.read_only_beneath && !read_only.is_empty();
            let attributes = match apart {
                true => mount.attributes - MountAttributes::RDONLY,
                false => mount.attributes,
            };
            let propagation = Some(mount.propagation);
            plan.set_attributes(&copy, *recursive, attributes, propagation, MUST, why);
            if apart {
                let why =
                    format!("so that {shown} is read-only, and what is mounted beneath as it was");
                plan.set_attributes(&copy, false, read_only, None, MUST, why);
            }
            (copy, place)
        }
    };
    plan.attach(
        &made,
        &place,
        MUST,
        format!("so that {shown} is mounted at the place just opened"),
    );
    plan.close(&place, MUST);
    Ok(made)
}

/// Makes a directory, and those above it that are missing.
pub(crate) fn add_directory(plan: &mut Plan, root: &Arg, path: &Path) -> Result<()> {
    let resolution = Resolution::of(path);
    let mut dir = root.clone();
    let mut so_far = PathBuf::new();
    for name in components(path)? {
        plan.make_dir(&dir, name, format!("so that {} is there", shown(path)))?;
        so_far.push(name);
        dir = enter(plan, root, dir, &so_far, resolution, path)?;
    }
    if let Arg::Result(_) = dir {
        plan.close(&dir, MUST);
    }
    Ok(())
}

/// Opens the place to mount at, and makes it where it is missing.
fn add_mount_point(
    plan: &mut Plan,
    root: &Arg,
    destination: &Path,
    directory: bool,
) -> Result<Arg> {
    let names = components(destination)?;
    let Some((last, above)) = names.split_last() else {
        return Err(Error::Destination {
            path: destination.into(),
            why: "the root is mounted already",
        });
    };
    let resolution = Resolution::of(destination);
    let shown = shown(destination);
    let mut dir = root.clone();
    let mut so_far = PathBuf::new();
    for name in above {
        plan.make_dir(&dir, name, format!("so that there is a way to {shown}"))?;
        so_far.push(name);
        dir = enter(plan, root, dir, &so_far, resolution, destination)?;
    }
    so_far.push(last);
    if directory {
        plan.make_dir(
            &dir,
            last,
            format!("so that there is a directory to mount {shown} on"),
        )?;
    } else {
        let why = format!("so that there is a file to mount {shown} on");
        plan.make_node(&dir, last, (libc::S_IFREG, "S_IFREG"), 0o644, (0, 0), why)?;
    }
    let why = match resolution {
        Resolution::InRoot => {
            format!("so that {shown} is mounted inside, wherever the image's links point")
        }
        _ => format!(
            "so that {shown} is mounted there and nowhere else: a symbolic link in its way is refused"
        ),
    };
    let place = plan.open(
        root,
        &so_far,
        Opened::place(directory),
        resolution,
        MUST,
        why,
    )?;
    if let Arg::Result(_) = dir {
        plan.close(&dir, MUST);
    }
    Ok(place)
}

/// Opens the directory `path` in exchange for `dir`.
fn enter(
    plan: &mut Plan,
    root: &Arg,
    dir: Arg,
    path: &Path,
    resolution: Resolution,
    goal: &Path,
) -> Result<Arg> {
    let why = format!(
        "so that the way to {} stays inside of the root file system",
        shown(goal)
    );
    let below = plan.open(root, path, Opened::Directory, resolution, MUST, why)?;
    if let Arg::Result(_) = dir {
        plan.close(&dir, MUST);
    }
    Ok(below)
}
