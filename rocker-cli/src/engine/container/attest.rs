//! The container as the kernel sees it, held against its specification.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rocker_cgroup::Cgroup;
use rocker_ns::{Created, Fact};

use crate::engine::host::HostMount;
use crate::engine::rootfs::storage::ROOT;
use crate::engine::spec::parts;
use crate::engine::{Engine, cgroup_of, disk};
use crate::{Error, Result};

/// Holds what the kernel says of a container's process, which has set itself up and waits, against what was asked for.
///
/// # Errors
/// [`rocker_ns::Error::NotAsAsked`] for the first difference; the process is gone then.
pub(crate) fn attest(created: &mut Created, spec: &Spec, cgroup: Option<&Cgroup>) -> Result<()> {
    created.attest_also(|pid| facts_of(pid, spec, cgroup))
}

impl Engine {
    /// What was asked for a container that runs, and what the kernel says of its first process.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], and [`Error::Ns`] when the kernel does not tell.
    pub fn actual(&self, name: &str) -> Result<Vec<Fact>> {
        let found = self.container(name)?;
        let process = self.process_of(&found.id)?;
        let spec = self.spec_of(&found.id)?;
        let spec = spec.ok_or(Error::NotRunning { name: found.name })?;
        let [uids, gids] = parts::id_maps(&spec);
        let mut command = parts::process(&spec)?;
        command
            .unshare(parts::own_namespaces(&spec))
            .id_maps(uids, gids);
        let mut facts = command.expected()?.compare(process.id())?;
        // What it shares with another container is that one's, and not the caller's.
        let shared = parts::all_namespaces(&spec);
        facts.retain(|fact| {
            let kind = fact.what.strip_suffix(" namespace");
            fact.asked != "the caller's"
                || kind.is_none_or(|kind| shared.iter().all(|one| one.name() != kind))
        });
        let hierarchy = self.hierarchy_of(&found.id)?;
        let parent = parts::cgroup_parent(&spec);
        let cgroup = cgroup_of(&hierarchy, parent.as_deref(), &found.id).ok();
        facts.extend(facts_of(process.id(), &spec, cgroup.as_ref())?);
        Ok(facts)
    }
}

/// What concerns the crates beside rocker-ns: cgroups and mounts.
fn facts_of(pid: u32, spec: &Spec, cgroup: Option<&Cgroup>) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    if let Some(cgroup) = cgroup {
        facts.push(membership(pid, spec, cgroup)?);
    }
    let mounts = HostMount::all(&read(pid, "mountinfo")?);
    // The kernel writes a path in one way only, so that it is enough to write ours that way too, once.
    let at = |path: &Path| {
        let path: PathBuf = path.components().collect();
        HostMount::seen_at(&mounts, &path)
    };
    let access = |read_only: bool| if read_only { "ro" } else { "rw" };
    let root = spec.root().as_ref();
    let read_only = root.and_then(|root| root.readonly());
    // A directory of the host's, or a copy of the image beside the specification, is of whatever file system it is on.
    let is_directory =
        root.is_some_and(|root| root.path().is_absolute() || root.path() == Path::new(ROOT));
    let kind = if is_directory { "bind" } else { "overlay" };
    facts.push(Fact::new(
        "mount /",
        format!("{kind} {}", access(read_only.unwrap_or(false))),
        at(Path::new("/")).map_or_else(String::new, |root| {
            let kind = if is_directory { kind } else { &root.fstype };
            format!("{kind} {}", access(root.read_only))
        }),
    ));
    let asked_for = spec.mounts().as_deref().unwrap_or_default();
    for (index, mount) in asked_for.iter().enumerate() {
        let path = mount.destination();
        // Of several at one place the last one is seen.
        if asked_for[index + 1..]
            .iter()
            .any(|later| later.destination() == path)
        {
            continue;
        }
        // Elsewhere a symbolic link of the image may have led to another place.
        if !["/proc", "/sys", "/dev"]
            .iter()
            .any(|top| path.starts_with(top))
        {
            continue;
        }
        let is_bind = mount.typ().as_deref() == Some("bind");
        let asked = mount
            .options()
            .iter()
            .flatten()
            .any(|option| matches!(option.as_str(), "ro" | "rro"));
        let kind = match is_bind {
            true => "bind",
            false => mount.typ().as_deref().unwrap_or_default(),
        };
        let actual = at(path).map_or_else(String::new, |found| {
            let kind = if is_bind { "bind" } else { &found.fstype };
            format!("{kind} {}", access(found.read_only))
        });
        let what = format!("mount {}", path.display());
        facts.push(Fact::new(what, format!("{kind} {}", access(asked)), actual));
    }
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
    for path in masked.into_iter().flatten() {
        let open = at(Path::new(path)).is_none() && exists(pid, path);
        facts.push(hidden(path, "hidden", !open));
    }
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_ref());
    for path in read_only.into_iter().flatten() {
        let open = at(Path::new(path)).is_none_or(|mount| !mount.read_only) && exists(pid, path);
        facts.push(hidden(path, "read-only", !open));
    }
    Ok(facts)
}

fn hidden(path: &str, how: &str, is_so: bool) -> Fact {
    Fact::new(path, how, if is_so { how } else { "open" })
}

/// Whether there is such a path in the container. Its /proc, /sys and /dev are no links, so that it leads nowhere else.
fn exists(pid: u32, path: &str) -> bool {
    fs::symlink_metadata(format!("/proc/{pid}/root{path}")).is_ok_and(|found| found.nlink() > 0)
}

/// In how many of the trees in which the container has a cgroup the process is in it.
fn membership(pid: u32, spec: &Spec, cgroup: &Cgroup) -> Result<Fact> {
    let linux = spec.linux().as_ref();
    let name = linux.and_then(|linux| linux.cgroups_path().clone());
    let name = name.unwrap_or_default().display().to_string();
    let text = read(pid, "cgroup")?;
    let inside = text.lines().filter(|line| line.ends_with(&name)).count();
    let shown = |count: usize| format!("its own in {count} trees");
    Ok(Fact::new(
        "cgroup",
        shown(cgroup.paths().len()),
        shown(inside),
    ))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    let why =
        "so that the kernel's own account of the container can be held against what was asked for";
    let text = disk::read(&path, why).map_err(disk::failed("read", &path))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
