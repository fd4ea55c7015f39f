//! The steps that mount one thing, at a place that is opened beneath the root and made where it is missing.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lookup::Opened;
use crate::mount::{Mount, MountAttributes, MountKind, Propagation};
use crate::own_mounts::{OwnMounts, Way};
use crate::plan::{MUST, Plan, Resolution, shown};
use crate::resolve::components;
use crate::source::Source;
use crate::step::Arg;

/// Where something is mounted.
#[derive(Debug)]
enum Target<'path> {
    /// At an open place.
    Place(Arg),
    /// At a name in an open directory that has no symbolic links.
    In(Arg, &'path Path),
}

/// Mounts one file system or bind mount, and returns the mount's root, still open.
pub(crate) fn add_mount(
    plan: &mut Plan,
    root: &Arg,
    own: &OwnMounts,
    mount: &Mount,
) -> Result<Arg> {
    let shown = shown(&mount.destination);
    let way = own.way(root, &mount.destination)?;
    let (made, place) = match &mount.kind {
        MountKind::Filesystem { fstype, options } => {
            let place = add_mount_point(plan, way, &mount.destination, true)?;
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
            let place = add_mount_point(plan, way, &mount.destination, source.is_directory())?;
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
    match place {
        Target::Place(place) => {
            let why = format!("so that {shown} is mounted at the place just opened");
            plan.attach(&made, &place, MUST, why);
            plan.close(&place, MUST);
        }
        Target::In(dir, name) => {
            let why = format!("so that {shown} is mounted at the place just made");
            plan.attach_in(&made, &dir, name, why)?;
        }
    }
    Ok(made)
}

/// Makes a directory, and those above it that are missing.
pub(crate) fn add_directory(plan: &mut Plan, root: &Arg, path: &Path) -> Result<()> {
    let resolution = Resolution::of(path);
    let mut dir = None;
    let mut so_far = PathBuf::new();
    for name in components(path)? {
        let why = format!("so that {} is there", shown(path));
        plan.make_dir(dir.as_ref().unwrap_or(root), name, why)?;
        so_far.push(name);
        dir = Some(enter(plan, root, dir, &so_far, resolution, path)?);
    }
    if let Some(dir) = dir {
        plan.close(&dir, MUST);
    }
    Ok(())
}

/// Finds the place to mount at, and makes it where it is missing.
fn add_mount_point<'path>(
    plan: &mut Plan,
    way: Way<'path>,
    destination: &'path Path,
    directory: bool,
) -> Result<Target<'path>> {
    let Way {
        base,
        names,
        is_empty,
    } = way;
    let Some((last, above)) = names.split_last() else {
        return Err(Error::Destination {
            path: destination.into(),
            why: "the root is mounted already",
        });
    };
    let resolution = Resolution::of(destination);
    let shown = shown(destination);
    let mut dir = None;
    let mut so_far = PathBuf::new();
    for name in above {
        let why = format!("so that there is a way to {shown}");
        plan.make_dir(dir.as_ref().unwrap_or(&base), name, why)?;
        so_far.push(name);
        dir = Some(enter(plan, &base, dir, &so_far, resolution, destination)?);
    }
    so_far.push(last);
    let parent = dir.as_ref().unwrap_or(&base);
    if directory {
        let why = format!("so that there is a directory to mount {shown} on");
        plan.make_dir(parent, last, why)?;
    } else {
        let why = format!("so that there is a file to mount {shown} on");
        plan.make_node(parent, last, (libc::S_IFREG, "S_IFREG"), 0o644, (0, 0), why)?;
    }
    if is_empty && dir.is_none() {
        return Ok(Target::In(base, last));
    }
    let why = match resolution {
        Resolution::InRoot => {
            format!("so that {shown} is mounted inside, wherever the image's links point")
        }
        _ => format!(
            "so that {shown} is mounted there and nowhere else: a symbolic link in its way is refused"
        ),
    };
    let opened = Opened::place(directory);
    let place = plan.open(&base, &so_far, opened, resolution, MUST, why)?;
    if let Some(dir) = dir {
        plan.close(&dir, MUST);
    }
    Ok(Target::Place(place))
}

/// Opens the directory `path` beneath `base`, in exchange for `dir`.
fn enter(
    plan: &mut Plan,
    base: &Arg,
    dir: Option<Arg>,
    path: &Path,
    resolution: Resolution,
    goal: &Path,
) -> Result<Arg> {
    let why = format!(
        "so that the way to {} stays inside of the root file system",
        shown(goal)
    );
    let below = plan.open(base, path, Opened::Directory, resolution, MUST, why)?;
    if let Some(dir) = dir {
        plan.close(&dir, MUST);
    }
    Ok(below)
}
