//! The file systems of a container.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount, MountBuilder};
use rocker_ns::IdMap;

use super::Facts;
use crate::Result;
use crate::engine::container::ETC;
use crate::engine::options::{Beneath, RunOptions, Share, Volume};
use crate::engine::volume::places::Place;

/// The size of `/dev/shm` where nobody asks for another.
const SHM_SIZE: u64 = 64 << 20;

/// Every mount, in the order in which they are made.
pub(super) fn mounts(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let options = facts.options;
    let foreign = &facts.surroundings.foreign;
    let mut mounts = vec![
        match foreign.pid {
            // Who does not own the PID namespace cannot mount its processes anew.
            true => mount("/proc", "bind", "/proc", &BIND)?,
            false => mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        },
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        terminals(facts)?,
    ];
    mounts.extend(shared_memory(facts)?);
    let sys = match (options.privileged, foreign.network) {
        (true, _) => "rw",
        (false, true) => "rro",
        (false, false) => "ro",
    };
    mounts.push(match foreign.network {
        // Neither can who does not own the network namespace mount the devices that it has.
        true => mount(
            "/sys",
            "bind",
            "/sys",
            &["rbind", "rprivate", "nosuid", "noexec", "nodev", sys],
        )?,
        false => mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", sys],
        )?,
    });
    if !foreign.network {
        mounts.extend(cgroups(facts)?);
    }
    let mut beneath = files(facts)?;
    beneath.extend(in_memory(options)?);
    beneath.extend(volumes(&options.volumes, facts.places, options.privileged)?);
    by_depth(&mut beneath);
    mounts.extend(beneath);
    Ok(mounts)
}

/// What is seen of volumes.
pub(super) fn volumes(
    volumes: &[Volume],
    places: &[Place],
    privileged: bool,
) -> Result<Vec<Mount>> {
    let volumes = volumes.iter().zip(places);
    volumes
        .map(|(volume, place)| volume_mount(volume, place, privileged))
        .collect()
}

/// What lies beneath another one comes after it. Of those at one place the last one is seen: the caller's.
pub(super) fn by_depth(mounts: &mut [Mount]) {
    mounts.sort_by_key(|mount| mount.destination().components().count());
}

/// The files that rocker makes for the container.
fn files(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let file = |name: &str| {
        // Names mean the same for all that share a network.
        let theirs = facts.surroundings.network_files.as_deref();
        let files = theirs.filter(|_| name != "hostname").unwrap_or(facts.files);
        let file = files.join(name);
        let mut list = BIND.to_vec();
        if facts.options.read_only {
            list.push("ro");
        }
        mount(Path::new("/etc").join(name), "bind", file, &list)
    };
    ETC.into_iter().map(file).collect()
}

/// What is writable by custom where the root is not, see hier(7): podman has it as well.
const CUSTOMARY: [(&str, &str); 3] = [
    ("/run", "mode=755"),
    ("/tmp", "mode=1777"),
    ("/var/tmp", "mode=1777"),
];

/// The file systems in memory.
fn in_memory(options: &RunOptions<'_>) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    let is_taken = |place: &str| {
        let place = Path::new(place);
        options
            .volumes
            .iter()
            .any(|volume| volume.destination == place)
            || options.tmpfs.iter().any(|tmpfs| tmpfs.destination == place)
    };
    if options.read_only && options.read_only_tmpfs {
        for (place, mode) in CUSTOMARY.iter().filter(|(place, _)| !is_taken(place)) {
            mounts.push(mount(place, "tmpfs", "tmpfs", &["nosuid", "nodev", mode])?);
        }
    }
    for tmpfs in &options.tmpfs {
        let mut list = vec!["nosuid", "nodev", "noexec", "mode=1777"];
        for option in &tmpfs.options {
            // The last word counts; what takes a restriction back takes it off the list.
            list.retain(|other| !contradicts(option, other));
            list.push(option);
        }
        mounts.push(mount(&tmpfs.destination, "tmpfs", "tmpfs", &list)?);
    }
    Ok(mounts)
}

/// What is seen of a volume.
fn volume_mount(volume: &Volume, place: &Place, privileged: bool) -> Result<Mount> {
    let (recursive, map) = match volume.beneath {
        Beneath::Nothing => ("bind", "idmap"),
        _ => ("rbind", "ridmap"),
    };
    let read_only = volume.read_only || place.read_only;
    let access = match (read_only, volume.beneath) {
        (false, _) => "rw",
        // A file system that is mounted beneath is a way round it otherwise.
        (true, Beneath::All) => "rro",
        (true, _) => "ro",
    };
    let devices = if privileged { "dev" } else { "nodev" };
    let mut list = vec![recursive, volume.propagation.word(), access, devices];
    let (mut kind, mut source) = ("bind", place.source.clone());
    let mut stack = Vec::new();
    if !place.layers.is_empty() {
        (kind, source) = ("overlay", "overlay".into());
        list.drain(..2);
        let named = |key: &str, dir: &Path| format!("{key}={}", dir.display());
        stack.extend(place.layers.iter().map(|dir| named("lowerdir+", dir)));
        if let Some([upper, work]) = &place.upper {
            stack.extend([named("upperdir", upper), named("workdir", work)]);
        }
    }
    list.extend(stack.iter().map(String::as_str));
    if place.maps.is_some() && kind == "bind" {
        list.push(map);
    }
    let mut made = mount(&volume.destination, kind, source, &list)?;
    if let Some(maps) = &place.maps {
        made.set_uid_mappings(Some(mappings(&maps.uids)?));
        made.set_gid_mappings(Some(mappings(&maps.gids)?));
    }
    Ok(made)
}

fn mappings(maps: &[IdMap]) -> Result<Vec<LinuxIdMapping>> {
    let one = |map: &IdMap| {
        Ok(LinuxIdMappingBuilder::default()
            .container_id(map.inside)
            .host_id(map.outside)
            .size(map.count)
            .build()?)
    };
    maps.iter().map(one).collect()
}

/// The options of a directory or file that is the host's as well.
const BIND: [&str; 2] = ["rbind", "rprivate"];

/// Whether a mount option says otherwise than an earlier one.
fn contradicts(option: &str, earlier: &str) -> bool {
    let key = |option: &str| {
        let key = option.split('=').next().unwrap_or_default();
        match key {
            "ro" | "rw" => "access".to_owned(),
            key => key.trim_start_matches("no").to_owned(),
        }
    };
    key(option) == key(earlier)
}

fn terminals(facts: &Facts<'_>) -> Result<Mount> {
    let mut list = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    // The group tty, as every distribution has it; where nobody has that number, terminals stay their user's own.
    if facts.surroundings.has_group(TTY) {
        list.push("gid=5");
    }
    mount("/dev/pts", "devpts", "devpts", &list)
}

/// The number of the group `tty`.
const TTY: u32 = 5;

/// What processes share by name: message queues, and memory.
fn shared_memory(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let options = facts.options;
    let mut mounts = Vec::new();
    if !facts.surroundings.foreign.ipc {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &QUIET)?);
    }
    mounts.push(match (&options.ipc, facts.surroundings.ipc) {
        (Share::Host, _) => mount("/dev/shm", "bind", "/dev/shm", &BIND)?,
        // Memory that is shared by name is a mount of that container's.
        (_, Some(pid)) => mount(
            "/dev/shm",
            "bind",
            format!("/proc/{pid}/root/dev/shm"),
            &BIND,
        )?,
        (_, None) => {
            let size = format!("size={}", options.shm_size.unwrap_or(SHM_SIZE));
            let list = [&QUIET[..], &["mode=1777", &size]].concat();
            mount("/dev/shm", "tmpfs", "shm", &list)?
        }
    });
    Ok(mounts)
}

/// What nothing is executed from, and no device opened in.
const QUIET: [&str; 3] = ["nosuid", "noexec", "nodev"];

/// The view of the container's own cgroups, which it cannot change; a privileged one can, to have containers of its own.
fn cgroups(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let read_only = [&QUIET[..], &["ro"]].concat();
    let view_options = match facts.options.privileged {
        true => &QUIET[..],
        false => &read_only,
    };
    let mut mounts = Vec::new();
    if facts
        .cgroups
        .iter()
        .any(|view| !view.destination.is_empty())
    {
        let list = [&read_only[..], &["mode=755"]].concat();
        mounts.push(mount("/sys/fs/cgroup", "tmpfs", "cgroup", &list)?);
    }
    for view in facts.cgroups {
        let destination = Path::new("/sys/fs/cgroup").join(&view.destination);
        let mut list = view_options.to_vec();
        list.extend(view.options.iter().map(String::as_str));
        mounts.push(mount(destination, view.fstype, "cgroup", &list)?);
    }
    Ok(mounts)
}

fn mount(
    to: impl Into<PathBuf>,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Result<Mount> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    Ok(MountBuilder::default()
        .destination(to)
        .typ(kind)
        .source(source)
        .options(options)
        .build()?)
}
