//! From the OCI runtime specification to what each crate takes.

mod devices;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Mount, Spec,
};
use rocker_cgroup::Limits;
use rocker_fs::{
    Access, Device, DeviceKind, MountAttributes, Overlay, Propagation, Rootfs, Sysctl,
    SysctlNamespaces, XattrNamespace, open_beneath,
};
use rocker_ns::{Capabilities, IdMap, Namespace, Rlimit, User, signal_number};

use super::{DEVICE_SOURCE, GROUPS, INIT, STOP_SIGNAL, SUBPATH, seccomp};
use crate::engine::container::record::CONFIG;
use crate::engine::{disk, rootless};
use crate::{Error, Result};

/// Where the child attaches its root, in its own mount namespace: nobody else sees it there, and the way is open to all. It is on every
/// host, and not the host's own root: what lies there goes with the host's tree, by one call.
const TARGET: &str = "/proc";

/// The root file system that `spec` describes, over the detached mount `root`.
pub(crate) fn rootfs(spec: &Spec, root: OwnedFd) -> Result<Rootfs> {
    let namespaces = own_namespaces(spec);
    let mut own = SysctlNamespaces::empty();
    for (kind, flag) in [
        (Namespace::Ipc, SysctlNamespaces::IPC),
        (Namespace::Net, SysctlNamespaces::NET),
        (Namespace::Uts, SysctlNamespaces::UTS),
    ] {
        own.set(flag, namespaces.contains(&kind));
    }
    let mut rootfs = Rootfs::new(root, TARGET)
        .all_devices(devices::all_allowed(spec))
        .devices_made_later(devices::further_allowed(spec)?)
        .host_devices(has_devices_of_host(spec)?)
        .own_namespaces(own);
    if let Some(process) = spec.process() {
        rootfs = rootfs.directory(process.cwd());
    }
    for mount in spec.mounts().iter().flatten() {
        rootfs = rootfs.mount(fs_mount(spec, mount)?);
    }
    for device in Device::standard() {
        rootfs = rootfs.device(device);
    }
    if let Some(linux) = spec.linux() {
        for (name, value) in linux.sysctl().iter().flatten().collect::<BTreeMap<_, _>>() {
            rootfs = rootfs.sysctl(Sysctl::new(name, value)?);
        }
        for device in linux.devices().iter().flatten() {
            let mut device = fs_device(device);
            if let Some(source) = source_of(spec, &device.path) {
                device.source = source;
            }
            rootfs = rootfs.device(device);
        }
        for path in linux.masked_paths().iter().flatten() {
            rootfs = rootfs.mask(path);
        }
        for path in linux.readonly_paths().iter().flatten() {
            rootfs = rootfs.read_only_path(path);
        }
    }
    let read_only = spec
        .root()
        .as_ref()
        .and_then(|root| root.readonly())
        .unwrap_or(false);
    Ok(rootfs.read_only(read_only))
}

fn fs_device(device: &LinuxDevice) -> Device {
    let kind = match device.typ() {
        LinuxDeviceType::B => DeviceKind::Block,
        _ => DeviceKind::Char,
    };
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Device::new(
        device.path(),
        kind,
        number(device.major()),
        number(device.minor()),
    )
    .mode(device.file_mode().unwrap_or(0o600))
}

/// Where the host has a device that it does not have at the same path.
fn source_of(spec: &Spec, path: &Path) -> Option<PathBuf> {
    let name = format!("{DEVICE_SOURCE}{}", path.to_string_lossy());
    let source = spec.annotations().as_ref()?.get(&name)?;
    Some(PathBuf::from(source))
}

/// Whether device nodes are the host's own, since in a user namespace none can be made.
pub(crate) fn has_devices_of_host(spec: &Spec) -> Result<bool> {
    Ok(own_namespaces(spec).contains(&Namespace::User) || rootless::in_user_namespace()?)
}

/// What of the host's files, and of other images', lies over a root file system. A source that is not there any more is left out.
pub(crate) fn binds(spec: &Spec) -> Result<Vec<rocker_fs::Mount>> {
    let mut binds = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let kind = mount.typ().as_deref().unwrap_or("bind");
        if !matches!(kind, "bind" | "overlay") || of_another(spec, mount).is_some() {
            continue;
        }
        match fs_mount(spec, mount) {
            Err(Error::NoSource { .. }) => {}
            bind => binds.push(bind?),
        }
    }
    Ok(binds)
}

/// One of the specification's mounts in the words of rocker-fs.
fn fs_mount(spec: &Spec, mount: &Mount) -> Result<rocker_fs::Mount> {
    let destination = mount.destination().clone();
    let kind = mount.typ().as_deref().unwrap_or("bind");
    if kind == "overlay" {
        return stack_mount(mount);
    }
    let mut result = if let Some((pid, path)) = of_another(spec, mount) {
        // Another container's: only in its own mount namespace can it be copied.
        rocker_fs::Mount::bind_in(Namespace::Mount.of(pid)?, path, destination)
    } else if kind == "bind" {
        let path = mount.source().clone().unwrap_or_default();
        let mut source = open_source(&path)?;
        if let Some(part) = subpath(spec, mount) {
            source = part_of(source, &path, &part)?;
        }
        rocker_fs::Mount::bind_fd(source, destination)
    } else {
        rocker_fs::Mount::filesystem(kind, destination)
    };
    if let Some(users) = mapped(mount)? {
        result = result.id_map(users);
    }
    let mut attributes = MountAttributes::empty();
    for option in mount.options().iter().flatten() {
        match option.as_str() {
            // The top alone, as the specification has it.
            "ro" => {
                attributes |= MountAttributes::RDONLY;
                result = result.read_only_beneath(false);
            }
            "rro" => attributes |= MountAttributes::RDONLY,
            "nosuid" => attributes |= MountAttributes::NOSUID,
            "nodev" => attributes |= MountAttributes::NODEV,
            "noexec" => attributes |= MountAttributes::NOEXEC,
            "strictatime" => attributes |= MountAttributes::STRICTATIME,
            "rprivate" => result = result.propagation(Propagation::Private),
            "rslave" => result = result.propagation(Propagation::Slave),
            "rshared" => result = result.propagation(Propagation::Shared),
            "bind" => result = result.recursive(false),
            "rw" | "dev" | "exec" | "suid" | "rbind" | "idmap" | "ridmap" => {}
            other => {
                result = match other.split_once('=') {
                    Some((key, value)) => result.option(key, value),
                    None => result.flag(other),
                };
            }
        }
    }
    Ok(result.attributes(attributes))
}

/// Opens the source of a bind mount, as a place only: what is mounted is what the path meant now.
fn open_source(path: &Path) -> Result<OwnedFd> {
    let source = disk::open_for(
        "fs",
        path,
        OpenOptions::new().read(true).custom_flags(O_PATH),
        "O_RDONLY|O_CLOEXEC|O_PATH",
        "so that what is mounted is what this path means now, whatever becomes of it",
    );
    let path = path.to_owned();
    let source = source.map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::NoSource { path, source },
        _ => Error::State {
            operation: "open",
            path,
            source,
        },
    })?;
    Ok(source.into())
}

/// Which part of a mount's source is meant, if not all.
fn subpath(spec: &Spec, mount: &Mount) -> Option<PathBuf> {
    let name = format!("{SUBPATH}{}", mount.destination().to_string_lossy());
    let part = spec.annotations().as_ref()?.get(&name)?;
    Some(PathBuf::from(part))
}

/// Opens a part of what is open. Others may write to it, and exchange a directory for a symbolic link at any moment: none leads out of it.
fn part_of(whole: OwnedFd, path: &Path, part: &Path) -> Result<OwnedFd> {
    match open_beneath(whole.as_fd(), part, Access::Path) {
        Err(rocker_fs::Error::Resolve { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            let path = path.join(part);
            Err(Error::NoSource { path, source })
        }
        opened => Ok(opened?),
    }
}

/// The user namespace whose map says whose the files of a mount are.
fn mapped(mount: &Mount) -> Result<Option<OwnedFd>> {
    let maps = |list: &Option<Vec<LinuxIdMapping>>| {
        let list = list.iter().flatten();
        list.map(id_map).collect::<Vec<_>>()
    };
    let (uids, gids) = (maps(mount.uid_mappings()), maps(mount.gid_mappings()));
    match uids.is_empty() && gids.is_empty() {
        true => Ok(None),
        false => Ok(Some(rocker_ns::id_map_namespace(uids, gids)?)),
    }
}

/// A stack of directories, which are an image's.
fn stack_mount(mount: &Mount) -> Result<rocker_fs::Mount> {
    let destination = mount.destination().clone();
    let (mut layers, mut upper, mut work) = (Vec::new(), None, None);
    let mut attributes = MountAttributes::empty();
    for option in mount.options().iter().flatten() {
        match option.split_once('=') {
            Some(("lowerdir+", dir)) => layers.push(PathBuf::from(dir)),
            Some(("upperdir", dir)) => upper = Some(PathBuf::from(dir)),
            Some(("workdir", dir)) => work = Some(PathBuf::from(dir)),
            _ if matches!(option.as_str(), "ro" | "rro") => attributes |= MountAttributes::RDONLY,
            _ if option == "nodev" => attributes |= MountAttributes::NODEV,
            _ => {}
        }
    }
    // The specification has the topmost first.
    layers.reverse();
    let mut overlay = Overlay::new(layers);
    if let (Some(upper), Some(work)) = (upper, work) {
        overlay = overlay.upper(upper, work);
    }
    if rootless::in_user_namespace()? {
        overlay = overlay.xattr_namespace(XattrNamespace::User);
    } else if let Some(users) = mapped(mount)? {
        overlay = overlay.id_map(users);
    }
    let made: OwnedFd = overlay.mount()?.into();
    Ok(rocker_fs::Mount::detached(made, destination).attributes(attributes))
}

/// The container whose memory is shared, and where it has that: in rocker's own words, see `spec/mounts.rs`. Any other source in
/// /proc is a path like all others.
fn of_another(spec: &Spec, mount: &Mount) -> Option<(u32, PathBuf)> {
    let ipc = namespaces(spec).find(|one| one.typ() == LinuxNamespaceType::Ipc)?;
    let path = ipc.path().as_ref()?.strip_prefix("/proc").ok()?;
    let pid = path.iter().next()?.to_str()?;
    let memory = Path::new("/dev/shm");
    let theirs = Path::new("/proc").join(pid).join("root/dev/shm");
    let is_shared = mount.destination() == memory && mount.source().as_ref() == Some(&theirs);
    is_shared.then_some((pid.parse().ok()?, memory.into()))
}

/// `O_PATH`, which the standard library has no name for; the same on all architectures that rocker runs on.
const O_PATH: i32 = 0o10_000_000;

/// The namespaces of their own that `spec` asks for.
pub(crate) fn own_namespaces(spec: &Spec) -> Vec<Namespace> {
    namespaces(spec)
        .filter(|namespace| namespace.path().is_none())
        .map(|one| kind(one.typ()))
        .collect()
}

/// The namespaces that the container is in and whoever runs rocker is not, those included that it shares with others.
pub(crate) fn all_namespaces(spec: &Spec) -> Vec<Namespace> {
    namespaces(spec).map(|one| kind(one.typ())).collect()
}

fn namespaces(spec: &Spec) -> impl Iterator<Item = &LinuxNamespace> {
    let list = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    list.into_iter().flatten()
}

/// What each run of the container's users and groups is outside; nothing where they are the same.
pub(crate) fn id_maps(spec: &Spec) -> [Vec<IdMap>; 2] {
    let linux = spec.linux().as_ref();
    let maps =
        |list: Option<&Vec<LinuxIdMapping>>| list.into_iter().flatten().map(id_map).collect();
    [
        maps(linux.and_then(|linux| linux.uid_mappings().as_ref())),
        maps(linux.and_then(|linux| linux.gid_mappings().as_ref())),
    ]
}

fn id_map(one: &LinuxIdMapping) -> IdMap {
    IdMap {
        inside: one.container_id(),
        outside: one.host_id(),
        count: one.size(),
    }
}

fn kind(typ: LinuxNamespaceType) -> Namespace {
    match typ {
        LinuxNamespaceType::Cgroup => Namespace::Cgroup,
        LinuxNamespaceType::Ipc => Namespace::Ipc,
        LinuxNamespaceType::Mount => Namespace::Mount,
        LinuxNamespaceType::Network => Namespace::Net,
        LinuxNamespaceType::Pid => Namespace::Pid,
        LinuxNamespaceType::Time => Namespace::Time,
        LinuxNamespaceType::User => Namespace::User,
        LinuxNamespaceType::Uts => Namespace::Uts,
    }
}

/// The signal that asks the program to end, where the image names one that exists.
pub(crate) fn stop_signal(spec: &Spec) -> Option<i32> {
    signal_number(spec.annotations().as_ref()?.get(STOP_SIGNAL)?)
}

/// The groups that are added to those of whichever user.
pub(crate) fn further_groups(spec: &Spec) -> Vec<String> {
    let annotations = spec.annotations().as_ref();
    let groups = annotations.and_then(|all| all.get(GROUPS));
    let groups = groups.map(|groups| groups.split(',').map(str::to_owned).collect());
    groups.unwrap_or_default()
}

/// Whether an init is to run in front of the program.
fn has_init(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.is_some_and(|all| all.contains_key(INIT))
}

/// The limits that `spec` sets.
pub(crate) fn limits(spec: &Spec) -> Result<Limits> {
    let linux = spec.linux().as_ref();
    match linux.and_then(|linux| linux.resources().as_ref()) {
        Some(resources) => Ok(Limits::try_from(resources)?),
        None => Ok(Limits::default()),
    }
}

/// The cgroup in which `spec` has the container's own; none is the place where all have theirs.
pub(crate) fn cgroup_parent(spec: &Spec) -> Option<String> {
    let path = spec.linux().as_ref()?.cgroups_path().as_ref()?;
    let parent = path.parent()?.to_str()?;
    (parent != "/").then(|| parent.to_owned())
}

/// The capabilities that the container can ever have.
pub(crate) fn capabilities(spec: &Spec) -> Result<Capabilities> {
    let process = spec.process().as_ref().ok_or(Error::NoCommand)?;
    let bounding = process
        .capabilities()
        .as_ref()
        .and_then(|sets| sets.bounding().as_ref());
    let mut set = Capabilities::NONE;
    for capability in bounding.into_iter().flatten() {
        set = set.with(&capability.to_string())?;
    }
    Ok(set)
}

/// The program that `spec` describes, with its user and its capabilities.
pub(crate) fn process(spec: &Spec) -> Result<rocker_ns::Command> {
    let process = spec.process().as_ref().ok_or(Error::NoCommand)?;
    let args = process.args().as_deref().unwrap_or_default();
    let (program, args) = args.split_first().ok_or(Error::NoCommand)?;
    let mut command = rocker_ns::Command::new(program);
    command
        .args(args)
        .current_dir(process.cwd())
        .terminal(process.terminal().unwrap_or(false))
        .init(has_init(spec));
    for variable in process.env().iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    let user = process.user();
    command.user(User {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        home: PathBuf::from("/"),
    });
    command
        .capabilities(capabilities(spec)?)
        .no_new_privileges(process.no_new_privileges().unwrap_or(false));
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        command.rlimit(Rlimit::new(&name, limit.soft(), limit.hard())?);
    }
    let adjustment = process.oom_score_adj();
    if let Some(adjustment) = adjustment.and_then(|number| i16::try_from(number).ok()) {
        command.oom_score_adj(adjustment);
    }
    let linux = spec.linux().as_ref();
    if let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) {
        let profile = seccomp::profile_of(Path::new(CONFIG), profile)?;
        command.seccomp(profile.compile()?);
    }
    if let Some(profile) = process.apparmor_profile() {
        command.apparmor_profile(profile);
    }
    if let Some(label) = process.selinux_label() {
        command.selinux_label(label);
    }
    Ok(command)
}
