//! A container's root file system: what is mounted where, and the steps that a child takes into it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::device::Device;
use crate::device_nodes::{Nodes, add_devices};
use crate::error::{Error, Result};
use crate::lookup::Opened;
use crate::mask::{add_empty_directory, add_masks, add_read_only_path};
use crate::mount::{Mount, MountAttributes, MountKind, Propagation};
use crate::mount_point::{add_directory, add_mount};
use crate::own_mounts::OwnMounts;
use crate::plan::{MUST, Plan, Resolution, constant, shown, string};
use crate::resolve::{self, begin_with, components};
use crate::step::{Arg, Step};
use crate::sysctl::{Sysctl, SysctlNamespaces, add_sysctls};

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
    nodes: Nodes,
    sysctls: Vec<Sysctl>,
    own: SysctlNamespaces,
    directories: Vec<PathBuf>,
}

impl Rootfs {
    /// A root file system whose root is the detached mount `root` (an [`OverlayMount`](crate::OverlayMount), say).
    ///
    /// `target` is an existing directory of the host's at which the child attaches it, in its own mount namespace,
    /// before it becomes the child's root. Nobody else sees anything there. `/` will do, and the way to it is open to everybody.
    /// With another one, sources of bind mounts that the child copies by path may not lie there or beneath: it would find those of the image.
    pub fn new(root: impl Into<OwnedFd>, target: impl Into<PathBuf>) -> Self {
        Self {
            root: Arc::new(root.into()),
            target: target.into(),
            mounts: Vec::new(),
            devices: Vec::new(),
            masked: Vec::new(),
            read_only_paths: Vec::new(),
            read_only: false,
            nodes: Nodes {
                all: false,
                later: false,
                of_host: false,
            },
            sysctls: Vec::new(),
            own: SysctlNamespaces::empty(),
            directories: Vec::new(),
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
    /// A symbolic link at the path itself fails the child, since hiding it would hide nothing. Where /dev is one of the mounts, it must have the device null. A
    /// file that is itself one of the mounts is not hidden: whoever mounts it there wants it seen.
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

    /// Lets device nodes be opened wherever they are. Without it, those of [`Rootfs::device`] can be opened, and no
    /// other: neither those that an image brings along, nor those that a program makes with CAP_MKNOD.
    pub fn all_devices(mut self, allow: bool) -> Self {
        self.nodes.all = allow;
        self
    }

    /// Lets device nodes be opened that a program makes in /dev with CAP_MKNOD, and elsewhere those of no more than
    /// [`Rootfs::device`]. It is for those who have a cgroup decide which devices may be used.
    pub fn devices_made_later(mut self, allow: bool) -> Self {
        self.nodes.later = allow;
        self
    }

    /// Mounts the host's own nodes in place of making device nodes, which no user namespace allows.
    ///
    /// They keep the host's permission bits and owner. [`Rootfs::steps`] sees to it that each node of the host's
    /// ([`Device::source`]) is the device that it is taken for.
    pub fn host_devices(mut self, mount: bool) -> Self {
        self.nodes.of_host = mount;
        self
    }

    /// Sets a kernel parameter for the container alone, by its own /proc, which must be one of the mounts. It must be of
    /// one of [`Rootfs::own_namespaces`].
    ///
    /// In a user namespace the kernel keeps kernel.domainname as it is, and before 6.1 perhaps more. What names a network interface needs that to be there already.
    pub fn sysctl(mut self, sysctl: Sysctl) -> Self {
        self.sysctls.push(sysctl);
        self
    }

    /// Says which namespaces with kernel parameters the child shares with nobody. Default: none.
    pub fn own_namespaces(mut self, own: SysctlNamespaces) -> Self {
        self.own = own;
        self
    }

    /// Makes a directory, and those above it that are missing, when all is mounted: one to work in, say.
    ///
    /// The child makes it, so in a user namespace it belongs to the container's root, which no process outside can do
    /// ([`Overlay::id_map`](crate::Overlay::id_map)).
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directories.push(path.into());
        self
    }

    /// The steps of a child into this root file system.
    ///
    /// The child is alone in a mount namespace (and in the PID, network, IPC and cgroup namespaces whose file
    /// systems are mounted), has CAP_SYS_ADMIN there, and a umask of 0. Afterwards its root and working directory are
    /// `/` of the new root file system, and of the host's mounts none is left.
    ///
    /// Sources of bind mounts are copied as detached mounts at this call, so the list can be executed once only.
    /// Without the privilege for that, the child copies them by path. The steps hold the root and the copies open: drop
    /// them, and this description, when the child has executed them, or the overlay outlives the container.
    ///
    /// # Errors
    /// [`Error::BindSource`] for a source that cannot be opened, and [`Error::SourceBeneathTarget`] for one that the root would lie over; [`Error::NoIdMap`] for one that can have no ID map, and
    /// [`Error::NotPermitted`] without the privilege to give it one; [`Error::OtherDevice`] for a host's node of another
    /// device; [`Error::SharedSysctl`]; [`Error::Destination`] for a path that cannot be meant; [`Error::Nul`].
    ///
    /// See [pivot_root(2)](https://man7.org/linux/man-pages/man2/pivot_root.2.html) and
    /// [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html). Linux 5.12.
    #[doc(alias = "pivot_root")]
    pub fn steps(&self) -> Result<Vec<Step>> {
        let mut plan = Plan::new(resolve::has_openat2(self.root.as_fd()));
        let root = Arg::Fd(Arc::clone(&self.root));
        let slave = constant(libc::MS_REC | libc::MS_SLAVE, "MS_REC|MS_SLAVE");
        let args = vec![Arg::Null, string("/")?, Arg::Null, slave, Arg::Null];
        plan.add(
            "mount",
            args,
            MUST,
            "so that nothing mounted from here on spreads to the host",
        );
        let empty = match self.masked.is_empty() {
            true => None,
            false => Some(add_empty_directory(&mut plan, &self.target)?),
        };
        // What is a copy of a shared mount cannot be the root, and what is mounted in it would be mounted on the original.
        let private = Some(Propagation::Private);
        let (attributes, why) = match self.nodes.all {
            true => (
                MountAttributes::empty(),
                "so that what is mounted in it is mounted nowhere else",
            ),
            false => (
                MountAttributes::NODEV,
                "so that no device node of the image's, or made in it, can be opened, and what is mounted in it is mounted nowhere else",
            ),
        };
        plan.set_attributes(&root, false, attributes, private, MUST, why);
        plan.attach_at(
            &root,
            &self.target,
            "so that the root file system is in this mount namespace",
        )?;
        plan.covered = Some(self.target.clone());
        for sysctl in &self.sysctls {
            sysctl.check(self.own)?;
        }
        let mut sysctls = Some(&self.sysctls).filter(|sysctls| !sysctls.is_empty());
        let mut dev = None;
        let mut own = OwnMounts::default();
        let mut read_only = Vec::new();
        for (index, mount) in self.mounts.iter().enumerate() {
            let sysctls = match is_own(mount, "proc", Some("proc")) {
                true => sysctls.take(),
                false => None,
            };
            // What others lie beneath stays writable until their mount points are made.
            let mut later = self.mounts[index + 1..].iter();
            let hold = is_read_only(mount)
                && (sysctls.is_some() || later.any(|other| lies_beneath(other, mount)));
            let mounted = if hold {
                let mut writable = mount.clone();
                writable.attributes.remove(MountAttributes::RDONLY);
                add_mount(&mut plan, &root, &own, &writable)?
            } else {
                add_mount(&mut plan, &root, &own, mount)?
            };
            if hold {
                read_only.push((mounted.clone(), shown(&mount.destination)));
            }
            if let Some(sysctls) = sysctls {
                add_sysctls(&mut plan, &mounted, sysctls)?;
            }
            let stays_open = own.note(mount, &mounted)?;
            if is_own(mount, "dev", None) {
                // By this descriptor it is found again, even if another mount comes to lie over it through a link.
                dev = Some(mounted);
            } else if let (Arg::Result(_), false) = (&mounted, stays_open) {
                plan.close(&mounted, MUST);
            }
        }
        if sysctls.is_some() {
            return Err(Error::Destination {
                path: "/proc/sys".into(),
                why: "sysctls need a /proc of the container's own",
            });
        }
        for path in &self.directories {
            add_directory(&mut plan, &root, path)?;
        }
        if let Some(dev) = &dev {
            let is_empty = own.is_empty(dev);
            add_devices(&mut plan, dev, is_empty, &self.devices, self.nodes)?;
        } else if let Some(device) = self.devices.first() {
            return Err(Error::Destination {
                path: device.path.clone(),
                why: "a device needs a /dev of the container's own",
            });
        }
        if let Some(empty) = empty {
            add_masks(&mut plan, &root, &own, dev.as_ref(), &empty, &self.masked)?;
            plan.close(&empty, MUST);
            for path in &self.masked {
                own.cover(path)?;
            }
        }
        for (mounted, shown) in read_only {
            let why =
                format!("so that {shown} cannot be written, now that all beneath it is mounted");
            plan.set_attributes(&mounted, false, MountAttributes::RDONLY, None, MUST, why);
        }
        for path in &self.read_only_paths {
            add_read_only_path(&mut plan, &root, &mut own, path)?;
        }
        for mounted in own.into_all() {
            plan.close(&mounted, MUST);
        }
        self.add_pivot(&mut plan, &root)?;
        Ok(plan.steps)
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
        if !self.masked.is_empty() && self.target == Path::new("/") {
            let why = "so that the host's tree is the topmost here: the empty directory lies over its root";
            plan.add("umount2", vec![here.clone(), lazily.clone()], MUST, why);
        }
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
                Opened::Directory,
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

/// Whether this is a new file system that nothing can be written to.
fn is_read_only(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Filesystem { .. })
        && mount.attributes.contains(MountAttributes::RDONLY)
}

/// Whether `other` is mounted somewhere in what `mount` mounts.
fn lies_beneath(other: &Mount, mount: &Mount) -> bool {
    match (
        components(&other.destination),
        components(&mount.destination),
    ) {
        (Ok(other), Ok(mount)) => other.len() > mount.len() && begin_with(&other, &mount),
        _ => false,
    }
}

/// Whether this is a new file system, of this type if that matters, at this directory beneath the root.
fn is_own(mount: &Mount, place: &str, of: Option<&str>) -> bool {
    let MountKind::Filesystem { fstype, .. } = &mount.kind else {
        return false;
    };
    of.is_none_or(|of| of == fstype)
        && components(&mount.destination).is_ok_and(|names| names == [Path::new(place)])
}
