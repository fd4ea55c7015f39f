//! The steps that fill a container's own /dev.

use std::path::{Path, PathBuf};

use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::lookup::Opened;
use crate::mount::{BindSource, MountAttributes, Propagation};
use crate::plan::{MUST, Plan, Resolution, constant, shown, text};
use crate::resolve::components;
use crate::source::Source;
use crate::step::Arg;

/// Symbolic links in /dev that programs expect, and their targets.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Where the nodes of a /dev come from, and which others there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nodes {
    /// Whether device nodes can be opened wherever they are.
    pub(crate) all: bool,
    /// Whether those can that somebody makes in /dev later.
    pub(crate) later: bool,
    /// Whether they are the host's nodes, mounted, in place of new ones.
    pub(crate) of_host: bool,
}

/// Makes devices and symbolic links in the new file system `dev`, whatever the image has at /dev. Unless `nodes` says
/// so, no other device node that comes to be there can be opened. `is_empty` says that nothing is on it but what these steps make.
pub(crate) fn add_devices(
    plan: &mut Plan,
    dev: &Arg,
    is_empty: bool,
    devices: &[Device],
    nodes: Nodes,
) -> Result<()> {
    let all = nodes.all || nodes.later;
    for device in devices {
        let names = components(&device.path)?;
        let misplaced = || Error::Destination {
            path: device.path.clone(),
            why: "a device must be beneath /dev",
        };
        let [first, above @ .., name] = names.as_slice() else {
            return Err(misplaced());
        };
        if *first != Path::new("dev") {
            return Err(misplaced());
        }
        let shown = shown(&device.path);
        let mut dir = dev.clone();
        let mut so_far = PathBuf::new();
        for part in above {
            plan.make_dir(&dir, part, format!("so that {shown} has a directory"))?;
            so_far.push(part);
            let why = format!("so that {shown} can be made");
            let below = plan.open(
                dev,
                &so_far,
                Opened::Directory,
                Resolution::NoSymlinks,
                MUST,
                why,
            )?;
            // Only `dev` itself is needed for the next device.
            if so_far.components().count() > 1 {
                plan.close(&dir, MUST);
            }
            dir = below;
        }
        // A pipe is no device: everybody may make one.
        if nodes.of_host && device.kind != DeviceKind::Fifo {
            add_node_of_host(plan, &dir, name, device)?;
        } else {
            add_node(
                plan,
                &dir,
                name,
                device,
                (all, is_empty && above.is_empty()),
            )?;
        }
        if !above.is_empty() {
            plan.close(&dir, MUST);
        }
    }
    if !all {
        let why = "so that a device node made in /dev later cannot be opened";
        plan.set_attributes(dev, false, MountAttributes::NODEV, None, MUST, why);
    }
    for (name, target) in LINKS {
        plan.make_symlink(dev, Path::new(name), Path::new(target))?;
    }
    Ok(())
}

/// Makes one node, and mounts it over itself if it must work where no other does. `is_known` says that there is no symbolic link by its
/// name, so that the name is good enough to find it again.
fn add_node(
    plan: &mut Plan,
    dir: &Arg,
    name: &Path,
    device: &Device,
    (all, is_known): (bool, bool),
) -> Result<()> {
    let shown = shown(&device.path);
    let numbers = (device.major, device.minor);
    let why = format!("so that {shown} exists");
    let mode = device.mode & 0o7777;
    plan.make_node(dir, name, device.kind.encode(), mode, numbers, why)?;
    if (device.uid, device.gid) != (0, 0) {
        let ids = [device.uid, device.gid].map(|id| Arg::Int(i64::from(id)));
        let [uid, gid] = ids;
        let nofollow = constant(libc::AT_SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW");
        let why = format!("so that {shown} has its owner");
        let args = vec![dir.clone(), text(name)?, uid, gid, nofollow];
        plan.add("fchownat", args, MUST, why);
    }
    if all && !device.read_only {
        return Ok(());
    }
    let own = format!("so that {shown} is a mount of its own, whose devices can be opened");
    let (copy, node) = if is_known {
        (plan.clone_mount_in(dir, name, own)?, None)
    } else {
        let why = format!("so that {shown} can be mounted over itself");
        let node = plan.open(dir, name, Opened::Place, Resolution::NoSymlinks, MUST, why)?;
        (plan.clone_mount(&node, false, MUST, own), Some(node))
    };
    if device.read_only {
        let why = format!("so that nobody gives {shown} back what permissions it lacks");
        plan.set_attributes(&copy, false, MountAttributes::RDONLY, None, MUST, why);
    }
    let why = format!("so that {shown} still works when no other device there does");
    match node {
        Some(node) => {
            plan.attach(&copy, &node, MUST, why);
            plan.close(&node, MUST);
        }
        None => plan.attach_in(&copy, dir, name, why)?,
    }
    plan.close(&copy, MUST);
    Ok(())
}

/// Mounts one node of the host's on an empty file.
fn add_node_of_host(plan: &mut Plan, dir: &Arg, name: &Path, device: &Device) -> Result<()> {
    let shown = shown(&device.path);
    let source = Source::open(&BindSource::Path(device.source.clone()), false)?;
    if !device.is(&source.status) {
        return Err(device.not_at(&device.source));
    }
    let why = format!("so that there is a file to mount {shown} on");
    plan.make_node(dir, name, (libc::S_IFREG, "S_IFREG"), 0o000, (0, 0), why)?;
    let why = format!("so that {shown} is mounted there and nowhere else");
    let place = plan.open(dir, name, Opened::Place, Resolution::NoSymlinks, MUST, why)?;
    let copy = source.copy(plan, false)?;
    let mut attributes = MountAttributes::NOSUID | MountAttributes::NOEXEC;
    attributes.set(MountAttributes::RDONLY, device.read_only);
    let why =
        format!("so that {shown} is a device and no more, and no mount of the host's any more");
    let propagation = Some(Propagation::Private);
    plan.set_attributes(&copy, false, attributes, propagation, MUST, why);
    let why = format!("so that {shown} is the host's, which no user namespace could make");
    plan.attach(&copy, &place, MUST, why);
    plan.close(&place, MUST);
    if let Arg::Result(_) = copy {
        plan.close(&copy, MUST);
    }
    Ok(())
}
