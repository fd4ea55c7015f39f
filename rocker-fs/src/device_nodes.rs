//! The steps that fill a container's own /dev.

use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::mount::MountAttributes;
use crate::plan::{MUST, Plan, Resolution, constant, shown, text};
use crate::resolve::components;
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

/// Makes devices and symbolic links in the new file system `dev`, whatever the image has at /dev. Unless `all` says so,
/// no other device node that comes to be there can be opened.
pub(crate) fn add_devices(plan: &mut Plan, dev: &Arg, devices: &[Device], all: bool) -> Result<()> {
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
            let below = plan.open(dev, &so_far, true, Resolution::NoSymlinks, MUST, why)?;
            // Only `dev` itself is needed for the next device.
            if so_far.components().count() > 1 {
                plan.close(&dir, MUST);
            }
            dir = below;
        }
        let numbers = (device.major, device.minor);
        let why = format!("so that {shown} exists");
        plan.make_node(
            &dir,
            name,
            device.kind.encode(),
            device.mode & 0o7777,
            numbers,
            why,
        )?;
        if (device.uid, device.gid) != (0, 0) {
            let ids = [device.uid, device.gid].map(|id| Arg::Int(i64::from(id)));
            let [uid, gid] = ids;
            let nofollow = constant(libc::AT_SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW");
            let why = format!("so that {shown} has its owner");
            plan.add(
                "fchownat",
                vec![dir.clone(), text(name)?, uid, gid, nofollow],
                MUST,
                why,
            );
        }
        if !all {
            let why = format!("so that {shown} can be mounted over itself");
            let node = plan.open(&dir, name, false, Resolution::NoSymlinks, MUST, why)?;
            let why = format!("so that {shown} is a mount of its own, whose devices can be opened");
            let copy = plan.clone_mount(&node, false, MUST, why);
            let why = format!("so that {shown} still works when no other device there does");
            plan.attach(&copy, &node, MUST, why);
            plan.close(&copy, MUST);
            plan.close(&node, MUST);
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
