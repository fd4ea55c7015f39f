//! A container's root file system: what is mounted where, and the steps that a child takes into it.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::mount::{BindSource, Mount, MountAttributes, MountKind, Propagation};
use crate::plan::{MAY_BE_ABSENT, MAY_BE_UNOPENED, Plan, Resolution, constant, string, text};
use crate::resolve::components;
use crate::step::{Arg, Step};
use crate::sys::{self, uapi};
use crate::trace::traced;

const MUST: &[i32] = &[];
/// Where the mask of a file finds no file: nothing there, or a directory's mask already.
const MAY_BE_MASKED: &[i32] = &[libc::ENOENT, libc::ENOTDIR, libc::EBADF, libc::EXDEV];
/// Symbolic links in /dev that programs expect, and their targets.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The description of a root file system, with names and order of the
/// [OCI runtime specification](https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts).
#[derive(Debug, Clone)]
pub struct Rootfs {
    root: Arc<OwnedFd>,
    target: PathBuf,
    mounts: Vec<Mount>,
    devices: Vec<Device>,
    masked: Vec<PathBuf>,
    read_only_paths: Vec<PathBuf>,
    read_only: bool,
}

impl Rootfs {
    /// A root file system whose root is the detached mount `root` (an [`OverlayMount`](crate::OverlayMount), say).
    ///
    /// `target` is an existing directory of the host's at which the child attaches it, in its own mount namespace,
    /// before it becomes the child's root. Nobody else sees anything there.
    pub fn new(root: impl Into<OwnedFd>, target: impl Into<PathBuf>) -> Self {
        Self {
            root: Arc::new(root.into()),
            target: target.into(),
            mounts: Vec::new(),
            devices: Vec::new(),
            masked: Vec::new(),
            read_only_paths: Vec::new(),
            read_only: false,
        }
    }

    /// Adds a mount; they are mounted in this order.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Adds several mounts, such as [`Rootfs::standard_mounts`].
    pub fn mounts(mut self, mounts: impl IntoIterator<Item = Mount>) -> Self {
        self.mounts.extend(mounts);
        self
    }

    /// Adds a device node beneath /dev, which must be one of the mounts.
    pub fn device(mut self, device: Device) -> Self {
        self.devices.push(device);
        self
    }

    /// Hides a file or directory, if there is one: the file reads as empty, the directory is empty.
    ///
    /// A symbolic link at the path itself fails the child, since hiding it would hide nothing. /dev/null must exist.
    pub fn mask(mut self, path: impl Into<PathBuf>) -> Self {
        self.masked.push(path.into());
        self
    }

    /// Makes a file or directory read-only, if there is one, with what is mounted beneath.
    pub fn read_only_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only_paths.push(path.into());
        self
    }

    /// Makes the root itself read-only in the end; the other mounts are as they are.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The steps of a child into this root file system.
    ///
    /// The child is alone in a mount namespace (and in the PID, network, IPC and cgroup namespaces whose file
    /// systems are mounted), has CAP_SYS_ADMIN there, and a umask of 0. Afterwards its root and working directory are
    /// `/` of the new root file system, and of the host's mounts none is left.
    ///
    /// Sources of bind mounts are copied as detached mounts at this call, so the list can be executed once only.
    /// Without the privilege for that, the child copies them by path.
    ///
    /// # Errors
    /// [`Error::BindSource`] for a source that cannot be opened; [`Error::Destination`] for a path that cannot be
    /// meant; [`Error::Nul`].
    ///
    /// See [pivot_root(2)](https://man7.org/linux/man-pages/man2/pivot_root.2.html) and
    /// [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html). Linux 5.12.
    #[doc(alias = "pivot_root")]
    pub fn steps(&self) -> Result<Vec<Step>> {
        let mut plan = Plan::default();
        let root = Arg::Fd(Arc::clone(&self.root));
        let slave = constant(libc::MS_REC | libc::MS_SLAVE, "MS_REC|MS_SLAVE");
        let args = vec![Arg::Null, string("/")?, Arg::Null, slave, Arg::Null];
        plan.add(
            "mount",
            args,
            MUST,
            "so that nothing mounted from here on spreads to the host",
        );
        let empty = self.empty_directory(&mut plan)?;
        plan.attach_at(
            &root,
            &self.target,
            "so that the root file system is in this mount namespace",
        )?;
        for mount in &self.mounts {
            add_mount(&mut plan, &root, mount)?;
        }
        let own_dev = |mount: &Mount| {
            matches!(mount.kind, MountKind::Filesystem { .. })
                && components(&mount.destination).is_ok_and(|names| names == [Path::new("dev")])
        };
        if self.mounts.iter().any(own_dev) {
            self.add_devices(&mut plan, &root)?;
        } else if let Some(device) = self.devices.first() {
            return Err(Error::Destination {
                path: device.path.clone(),
                why: "a device needs a /dev of the container's own",
            });
        }
        if let Some(empty) = empty {
            self.add_masks(&mut plan, &root, &empty)?;
        }
        for path in &self.read_only_paths {
            add_read_only_path(&mut plan, &root, path)?;
        }
        self.add_pivot(&mut plan, &root)?;
        Ok(plan.0)
    }

    /// Makes the directory that masks directories, if one is needed. Before Linux 6.15 only what is attached can be
    /// copied, so it lies beneath the root file system's root, and goes with the host's root.
    fn empty_directory(&self, plan: &mut Plan) -> Result<Option<Arg>> {
        if self.masked.is_empty() {
            return Ok(None);
        }
        let source = ("source".to_owned(), Some("tmpfs".to_owned()));
        let attributes = MountAttributes::RDONLY
            | MountAttributes::NOSUID
            | MountAttributes::NODEV
            | MountAttributes::NOEXEC;
        let why = "so that there is an empty directory to hide others with";
        let empty = plan.new_mount("tmpfs", &[source], attributes, why)?;
        plan.attach_at(
            &empty,
            &self.target,
            "so that copies of the empty directory can be made",
        )?;
        Ok(Some(empty))
    }

    fn add_devices(&self, plan: &mut Plan, root: &Arg) -> Result<()> {
        let why = "so that devices are made in the new /dev, whatever the image has there";
        let dev = plan.open(
            root,
            Path::new("dev"),
            true,
            Resolution::NoSymlinks,
            MUST,
            why,
        )?;
        for device in &self.devices {
            let names = components(&device.path)?;
            let ([first, above @ .., name], true) = (names.as_slice(), names.len() > 1) else {
                return Err(Error::Destination {
                    path: device.path.clone(),
                    why: "a device must be beneath /dev",
                });
            };
            if *first != Path::new("dev") {
                return Err(Error::Destination {
                    path: device.path.clone(),
                    why: "a device must be beneath /dev",
                });
            }
            let shown = device.path.display();
            let mut dir = dev.clone();
            let mut so_far = PathBuf::new();
            for part in above {
                plan.make_dir(&dir, part, format!("so that {shown} has a directory"))?;
                so_far.push(part);
                dir = plan.open(
                    &dev,
                    &so_far,
                    true,
                    Resolution::NoSymlinks,
                    MUST,
                    format!("so that {shown} can be made"),
                )?;
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
        }
        for (name, target) in LINKS {
            plan.make_symlink(&dev, Path::new(name), Path::new(target))?;
        }
        plan.close(&dev, MUST);
        Ok(())
    }

    /// Masks each path twice, as a directory and as a file: only the child sees which it is.
    fn add_masks(&self, plan: &mut Plan, root: &Arg, empty: &Arg) -> Result<()> {
        let why = "so that files can be hidden by this very null device, whatever its path becomes";
        let null = plan.open(
            root,
            Path::new("dev/null"),
            false,
            Resolution::NoSymlinks,
            MUST,
            why,
        )?;
        let mut parents: HashMap<PathBuf, Arg> = HashMap::new();
        for path in &self.masked {
            let names = components(path)?;
            let Some((name, above)) = names.split_last() else {
                return Err(Error::Destination {
                    path: path.clone(),
                    why: "the root cannot be masked",
                });
            };
            let shown = path.display();
            let above: PathBuf = above.iter().collect();
            let parent = match parents.get(&above) {
                Some(known) => known.clone(),
                None => {
                    let resolution = Resolution::of(path);
                    let at = if above.as_os_str().is_empty() {
                        Path::new("/")
                    } else {
                        &above
                    };
                    let why = format!("so that {shown} can be hidden");
                    let parent = plan.open(root, at, true, resolution, MAY_BE_ABSENT, why)?;
                    parents.insert(above, parent.clone());
                    parent
                }
            };
            let why = format!("so that {shown} is hidden, if it is a directory");
            let place = plan.open(
                &parent,
                name,
                true,
                Resolution::NoSymlinks,
                MAY_BE_ABSENT,
                why,
            )?;
            let copy = plan.clone_mount(
                empty,
                false,
                MUST,
                "so that the empty directory can be mounted once more",
            );
            plan.attach(
                &copy,
                &place,
                MAY_BE_UNOPENED,
                format!("so that the directory {shown} is empty"),
            );
            plan.close(&place, MAY_BE_UNOPENED);
            plan.close(&copy, MUST);
            // What the directory's mask lies on is another mount now, and so is not taken for a file.
            let why = format!("so that {shown} is hidden, if it is a file");
            let place = plan.open(
                &parent,
                name,
                false,
                Resolution::NoSymlinksNorMounts,
                MAY_BE_MASKED,
                why,
            )?;
            let copy = plan.clone_mount(
                &null,
                false,
                MUST,
                "so that the null device can be mounted once more",
            );
            plan.attach(
                &copy,
                &place,
                MAY_BE_UNOPENED,
                format!("so that the file {shown} is empty"),
            );
            plan.close(&place, MAY_BE_UNOPENED);
            plan.close(&copy, MUST);
        }
        let mut opened: Vec<_> = parents.into_values().collect();
        opened.sort_by_key(|arg| {
            if let Arg::Result(index) = arg {
                *index
            } else {
                0
            }
        });
        for parent in opened {
            plan.close(&parent, MAY_BE_UNOPENED);
        }
        plan.close(&null, MUST);
        Ok(())
    }

    /// Makes the root file system's root the child's, and lets go of the host's.
    fn add_pivot(&self, plan: &mut Plan, root: &Arg) -> Result<()> {
        let here = string(".")?;
        plan.add(
            "fchdir",
            vec![root.clone()],
            MUST,
            "so that `.` is the new root",
        );
        plan.add(
            "pivot_root",
            vec![here.clone(), here.clone()],
            MUST,
            "so that `/` is the new root, over the host's",
        );
        let lazily = constant(libc::MNT_DETACH as u64, "MNT_DETACH");
        plan.add(
            "umount2",
            vec![here, lazily],
            MUST,
            "so that nothing of the host's tree can be reached any more",
        );
        plan.add(
            "chdir",
            vec![string("/")?],
            MUST,
            "so that the working directory is inside",
        );
        if self.read_only {
            let place = plan.open(
                &Arg::Cwd,
                Path::new("/"),
                true,
                Resolution::InRoot,
                MUST,
                "so that the root can be changed",
            )?;
            let why = "so that the image's files cannot be changed";
            plan.set_attributes(&place, false, MountAttributes::RDONLY, None, MUST, why);
            plan.close(&place, MUST);
        }
        Ok(())
    }
}

/// Mounts one file system or bind mount.
fn add_mount(plan: &mut Plan, root: &Arg, mount: &Mount) -> Result<()> {
    let shown = mount.destination.display();
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
            let place = add_mount_point(plan, root, &mount.destination, source.directory)?;
            let copy = match source.mount {
                Some(copy) => Arg::Fd(Arc::new(copy)),
                None => add_bind_by_path(plan, &source.path, *recursive)?,
            };
            let why = format!("so that {shown} has its properties before anybody sees it");
            plan.set_attributes(
                &copy,
                *recursive,
                mount.attributes,
                Some(mount.propagation),
                MUST,
                why,
            );
            (copy, place)
        }
    };
    plan.attach(
        &made,
        &place,
        MUST,
        format!("so that {shown} is mounted at the place just opened"),
    );
    if let Arg::Result(_) = made {
        plan.close(&made, MUST);
    }
    plan.close(&place, MUST);
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
    let shown = destination.display();
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
    let place = plan.open(root, &so_far, directory, resolution, MUST, why)?;
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
        goal.display()
    );
    let below = plan.open(root, path, true, resolution, MUST, why)?;
    if let Arg::Result(_) = dir {
        plan.close(&dir, MUST);
    }
    Ok(below)
}

/// Copies a bind mount's source by its path in the host's tree.
fn add_bind_by_path(plan: &mut Plan, source: &Path, recursive: bool) -> Result<Arg> {
    let mut flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC;
    let mut names = "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC".to_owned();
    if recursive {
        flags |= uapi::AT_RECURSIVE;
        names.push_str("|AT_RECURSIVE");
    }
    let args = vec![Arg::Cwd, text(source)?, constant(u64::from(flags), names)];
    Ok(plan.add(
        "open_tree",
        args,
        MUST,
        format!("so that {} can be mounted elsewhere", source.display()),
    ))
}

fn add_read_only_path(plan: &mut Plan, root: &Arg, path: &Path) -> Result<()> {
    let shown = path.display();
    let inside: OsString = components(path)?.iter().collect::<PathBuf>().into();
    if inside.is_empty() {
        return Err(Error::Destination {
            path: path.into(),
            why: "the root has a switch of its own",
        });
    }
    let why = format!("so that {shown} can be made read-only");
    let place = plan.open(
        root,
        Path::new(&inside),
        false,
        Resolution::of(path),
        MAY_BE_ABSENT,
        why,
    )?;
    let why = format!("so that {shown} is a mount of its own");
    let copy = plan.clone_mount(&place, true, MAY_BE_UNOPENED, why);
    let why = format!("so that {shown} cannot be written");
    plan.set_attributes(
        &copy,
        true,
        MountAttributes::RDONLY,
        None,
        MAY_BE_UNOPENED,
        why,
    );
    plan.attach(
        &copy,
        &place,
        MAY_BE_UNOPENED,
        format!("so that the read-only copy lies over {shown}"),
    );
    plan.close(&copy, MAY_BE_UNOPENED);
    plan.close(&place, MAY_BE_UNOPENED);
    Ok(())
}

/// A bind mount's source, looked at in the parent.
struct Source {
    path: PathBuf,
    directory: bool,
    /// A detached copy, unless this process may not make one.
    mount: Option<OwnedFd>,
}

impl Source {
    fn open(source: &BindSource, recursive: bool) -> Result<Self> {
        let (path, opened) = match source {
            BindSource::Path(path) => {
                let path = std::path::absolute(path).map_err(|source| Error::BindSource {
                    path: path.clone(),
                    source,
                })?;
                let opened = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
                (path, opened.map(Arc::new))
            }
            BindSource::Fd(fd) => {
                use std::os::fd::AsRawFd;
                (
                    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
                    Ok(Arc::clone(fd)),
                )
            }
        };
        let failed = |source: io::Error| Error::BindSource {
            path: path.clone(),
            source,
        };
        let opened = opened.map_err(|errno| failed(errno.into()))?;
        let status = fstat(&opened).map_err(|errno| failed(errno.into()))?;
        let directory = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        let recurse = if recursive { uapi::AT_RECURSIVE } else { 0 };
        let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | uapi::AT_EMPTY_PATH | recurse;
        let copied = traced(
            "open_tree",
            "so that this very file or directory is mounted, whatever happens to its path",
            || {
                let recurse = if recursive { "|AT_RECURSIVE" } else { "" };
                format!(
                    "<{}>, \"\", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH{recurse}",
                    path.display()
                )
            },
            || sys::open_tree(Some(opened.as_fd()), c"", flags),
        );
        let mount = match copied {
            Ok(mount) => Some(mount),
            // An ordinary user's child has the privilege only in its user namespace.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => None,
            Err(error) => return Err(failed(error)),
        };
        if CString::new(path.as_os_str().as_bytes()).is_err() {
            return Err(Error::Destination {
                path,
                why: "a NUL byte in it",
            });
        }
        Ok(Self {
            path,
            directory,
            mount,
        })
    }
}
