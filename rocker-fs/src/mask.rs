//! The steps that hide files and directories, or make them read-only.

use std::path::{Path, PathBuf};

use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::lookup::Opened;
use crate::mount::MountAttributes;
use crate::own_mounts::{OwnMounts, Way};
use crate::plan::{MAY_BE_ABSENT, MAY_BE_UNOPENED, MUST, Plan, Resolution, constant, shown, text};
use crate::step::Arg;

/// Where the mask of a file finds no file: nothing there, or a directory's mask already.
const MAY_BE_MASKED: &[i32] = &[libc::ENOENT, libc::ENOTDIR, libc::EBADF, libc::EXDEV];

/// Makes the directory that masks directories. Before Linux 6.15 only what is attached can be
/// copied, so it lies beneath the root file system's root, and goes with the host's root.
pub(crate) fn add_empty_directory(plan: &mut Plan, target: &Path) -> Result<Arg> {
    let source = ("source".to_owned(), Some("tmpfs".to_owned()));
    let attributes = MountAttributes::RDONLY
        | MountAttributes::NOSUID
        | MountAttributes::NODEV
        | MountAttributes::NOEXEC;
    let why = "so that there is an empty directory to hide others with";
    let empty = plan.new_mount("tmpfs", &[source], attributes, why)?;
    plan.attach_at(
        &empty,
        target,
        "so that copies of the empty directory can be made",
    )?;
    Ok(empty)
}

/// Masks each path twice, as a directory and as a file: only the child sees which it is.
pub(crate) fn add_masks(
    plan: &mut Plan,
    root: &Arg,
    own: &OwnMounts,
    dev: Option<&Arg>,
    empty: &Arg,
    masked: &[PathBuf],
) -> Result<()> {
    let why = "so that files can be hidden by this very null device, whatever its path becomes";
    let null = match dev {
        Some(dev) => plan.open(
            dev,
            Path::new("null"),
            Opened::Place,
            Resolution::NoSymlinks,
            MUST,
            why,
        )?,
        // Somebody else's /dev may hold anything by that name, and another thing a moment later.
        None => open_null_of_host(plan, why)?,
    };
    let mut parents: Vec<(PathBuf, Arg)> = Vec::new();
    for path in masked {
        let Way { base, names, .. } = own.way(root, path)?;
        let Some((name, above)) = names.split_last() else {
            return Err(Error::Destination {
                path: path.clone(),
                why: "the root cannot be masked",
            });
        };
        let shown = shown(path);
        let parent = match parents
            .iter()
            .find(|(known, _)| path.parent() == Some(known))
        {
            Some((_, known)) => known.clone(),
            None if above.is_empty() => base,
            None => {
                let resolution = Resolution::of(path);
                let above: PathBuf = above.iter().collect();
                let why = format!("so that {shown} can be hidden");
                let opened = Opened::Directory;
                let parent = plan.open(&base, &above, opened, resolution, MAY_BE_ABSENT, why)?;
                parents.extend(
                    path.parent()
                        .map(|above| (above.to_owned(), parent.clone())),
                );
                parent
            }
        };
        let why = format!("so that {shown} is hidden, if it is a directory");
        let place = plan.open(
            &parent,
            name,
            Opened::Directory,
            Resolution::NoSymlinks,
            MAY_BE_ABSENT,
            why,
        )?;
        plan.only_with(&place, |plan| {
            let why = "so that the empty directory can be mounted once more";
            let copy = plan.clone_mount(empty, false, MUST, why);
            let why = format!("so that the directory {shown} is empty");
            plan.attach(&copy, &place, MUST, why);
            plan.close(&place, MUST);
            plan.close(&copy, MUST);
        });
        // What the directory's mask lies on is another mount now, and so is not taken for a file. Where the kernel cannot be
        // asked for that, it refuses to mount a file there.
        let why = format!("so that {shown} is hidden, if it is a file");
        let place = plan.open(
            &parent,
            name,
            Opened::Place,
            Resolution::NoSymlinksNorMounts,
            MAY_BE_MASKED,
            why,
        )?;
        plan.only_with(&place, |plan| {
            let why = "so that the null device can be mounted once more";
            let copy = plan.clone_mount(&null, false, MUST, why);
            let why = format!("so that the file {shown} is empty");
            let not_on_directories = match plan.has_openat2 {
                true => MUST,
                false => &[libc::EINVAL, libc::ENOTDIR],
            };
            plan.attach(&copy, &place, not_on_directories, why);
            plan.close(&place, MUST);
            plan.close(&copy, MUST);
        });
    }
    for (_, parent) in parents {
        plan.close(&parent, MAY_BE_UNOPENED);
    }
    plan.close(&null, MUST);
    Ok(())
}

/// Opens the host's null device, which was found to be that.
fn open_null_of_host(plan: &mut Plan, why: &'static str) -> Result<Arg> {
    let path = Path::new("/dev/null");
    let null = Device::new(path, DeviceKind::Char, 1, 3);
    let found = Device::of_host(path, path)?;
    if (found.kind, found.major, found.minor) != (null.kind, null.major, null.minor) {
        return Err(null.not_at(path));
    }
    let flags = (libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u64;
    let flags = constant(flags, "O_PATH|O_NOFOLLOW|O_CLOEXEC");
    let args = vec![Arg::Cwd, text(path)?, flags, Arg::Int(0)];
    Ok(plan.add("openat", args, MUST, why))
}

/// Lays a read-only copy of a mount over itself.
pub(crate) fn add_read_only_path(
    plan: &mut Plan,
    root: &Arg,
    own: &mut OwnMounts,
    path: &Path,
) -> Result<()> {
    let shown = shown(path);
    let Way { base, names, .. } = own.way(root, path)?;
    if names.is_empty() {
        return Err(Error::Destination {
            path: path.into(),
            why: "the root has a switch of its own",
        });
    }
    let inside: PathBuf = names.iter().collect();
    let why = format!("so that {shown} can be made read-only");
    let resolution = Resolution::of(path);
    let place = plan.open(
        &base,
        &inside,
        Opened::Place,
        resolution,
        MAY_BE_ABSENT,
        why,
    )?;
    plan.only_with(&place, |plan| {
        let why = format!("so that {shown} is a mount of its own");
        let copy = plan.clone_mount(&place, true, MUST, why);
        let why = format!("so that {shown} cannot be written");
        plan.set_attributes(&copy, true, MountAttributes::RDONLY, None, MUST, why);
        let why = format!("so that the read-only copy lies over {shown}");
        plan.attach(&copy, &place, MUST, why);
        plan.close(&copy, MUST);
        plan.close(&place, MUST);
    });
    own.cover(path)
}
