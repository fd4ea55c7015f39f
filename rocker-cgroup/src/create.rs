//! Making a cgroup in every tree, with its parents ready for it.

use std::io;
use std::path::Path;

use crate::directory::{self, Directory};
use crate::name::Name;
use crate::tree::{Kind, Tree};
use crate::{Applied, Cgroup, Compat, Controller, Error, Hierarchy, Limits, Result, file, remove};

/// How often a parent may be removed under our hands by the end of its last other child, before that is an error.
const ATTEMPTS: usize = 200;

/// The controllers that are enabled for every container on v2, so that its use can be read and its limits changed
/// while it runs.
const ENABLED: [Controller; 5] = [
    Controller::Cpu,
    Controller::Cpuset,
    Controller::Io,
    Controller::Memory,
    Controller::Pids,
];

/// The controllers whose trees a container must be in.
pub(crate) const JOINED: [Controller; 8] = [
    Controller::Cpu,
    Controller::Cpuacct,
    Controller::Cpuset,
    Controller::Devices,
    Controller::Freezer,
    Controller::Io,
    Controller::Memory,
    Controller::Pids,
];

impl Cgroup {
    /// Makes the cgroup `parent/name` with these limits in every tree of the host, and its parents where they are
    /// missing.
    ///
    /// `parent` is relative to the place where containers may live (the root of each tree, or what is delegated to this
    /// user), such as `rocker`, and may be several directories deep, or empty, which is that place itself. It belongs to
    /// whoever uses this crate: it is removed together with the last cgroup below it. One with a slash in front, `/mine/all`, is
    /// somebody else's: it is made where it is missing, at the same place, and stays.
    ///
    /// On v2 the controllers are enabled down to the parent. The cgroups on this way can then have no processes of
    /// their own (but for the machine's root).
    ///
    /// # Errors
    ///
    /// No cgroup is left behind after an error. [`Error::Exists`]: there is one of this name.
    /// [`Error::InternalProcesses`]: v2, and processes live in a parent. [`Error::NotDelegated`]: this user may make no
    /// cgroup here, or may not use the controller of a limit that is required. [`Error::PermissionDenied`],
    /// [`Error::ReadOnly`], [`Error::InvalidName`], [`Error::Create`], and those of [`Cgroup::apply`].
    pub fn create(
        hierarchy: &Hierarchy,
        parent: &str,
        name: &str,
        limits: &Limits,
        compat: Compat,
    ) -> Result<(Cgroup, Applied)> {
        let name = Name::new(parent, name)?;
        limits.validate()?;
        if compat == Compat::Require {
            hierarchy.refuse(limits)?;
        }
        if !hierarchy.is_delegated() {
            return Err(Error::NotDelegated {
                what: "a cgroup".into(),
                reason: hierarchy.nothing_delegated(),
            });
        }
        let needed: Vec<Controller> = match compat {
            Compat::Require => limits
                .render(hierarchy)
                .iter()
                .map(|write| write.controller)
                .collect(),
            Compat::BestEffort => Vec::new(),
        };
        let mut cgroup = Cgroup {
            hierarchy: hierarchy.clone(),
            name: name.clone(),
            directories: Vec::new(),
            fd: None,
            guarded_by: Some(std::process::id()),
        };
        for tree in hierarchy.usable() {
            match make(tree, &name, &needed) {
                Ok(directory) => cgroup.directories.push(directory),
                // systemd's own tree, or the empty v2 of a hybrid host: it limits nothing.
                Err(error)
                    if error.is_forbidden()
                        && !tree
                            .kind
                            .controllers()
                            .iter()
                            .any(|one| JOINED.contains(one)) =>
                {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "no cgroup in a tree that limits nothing"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        cgroup.open_fd()?;
        let applied = cgroup.apply(limits, compat)?;
        Ok((cgroup, applied))
    }

    /// As [`Cgroup::create`], but where nothing is delegated to this user there is no cgroup, and no error unless a limit is
    /// required: what has none runs as well in the cgroup of whoever starts it. It cannot be counted, frozen or
    /// killed as one then. With [`Compat::BestEffort`] the limits are all [skipped](Applied::skipped).
    ///
    /// # Errors
    ///
    /// As [`Cgroup::create`].
    pub fn create_if_delegated(
        hierarchy: &Hierarchy,
        parent: &str,
        name: &str,
        limits: &Limits,
        compat: Compat,
    ) -> Result<(Option<Cgroup>, Applied)> {
        if hierarchy.is_delegated() {
            let (cgroup, applied) = Cgroup::create(hierarchy, parent, name, limits, compat)?;
            return Ok((Some(cgroup), applied));
        }
        Name::new(parent, name)?;
        limits.validate()?;
        if compat == Compat::Require {
            hierarchy.refuse(limits)?;
        }
        let mut applied = Applied::default();
        for write in limits.render(hierarchy) {
            let refused = hierarchy.unavailable(write.controller, write.file.clone());
            applied.record(write, Err(refused), compat)?;
        }
        Ok((None, applied))
    }
}

/// Makes the cgroup in one tree.
fn make(tree: &Tree, name: &Name, needed: &[Controller]) -> Result<Directory> {
    let mut attempt = 1;
    loop {
        match try_make(tree, name, needed) {
            Err(error) if error.is_vanished() && attempt < ATTEMPTS => attempt += 1,
            Err(error) => {
                remove::parents(tree, name);
                return Err(error);
            }
            made => return made,
        }
    }
}

fn try_make(tree: &Tree, name: &Name, needed: &[Controller]) -> Result<Directory> {
    prepare(tree, &tree.base, needed)?;
    for parent in name.parents_below(&tree.base) {
        let why = "so that the parent of all containers is made only where it is missing";
        if !file::is_dir(&parent, why) {
            match directory::mkdir(&parent, "so that all containers have one parent") {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(create_error(&parent, source));
                }
                _ => {}
            }
        }
        // Somebody else may have made it, or be about to; what he has given it counts.
        fill_cpuset(tree, &parent, is_filled)?;
        prepare(tree, &parent, needed)?;
    }
    let directory = Directory::new(tree, name);
    match directory::mkdir(
        &directory.path,
        "so that the container can be limited, counted and killed as one",
    ) {
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists {
                path: directory.path,
            });
        }
        Err(source) => return Err(create_error(&directory.path, source)),
        Ok(()) => {}
    }
    if let Err(error) = fill_cpuset(tree, &directory.path, |_| Ok(false)) {
        remove::remove(std::slice::from_ref(&directory), name)?;
        return Err(error);
    }
    Ok(directory)
}

fn create_error(path: &Path, source: io::Error) -> Error {
    Error::at("create cgroup", path, source, |path, source| {
        Error::Create { path, source }
    })
}

/// Gives a cpuset of v1 its parent's CPUs and memory nodes: it is born with none, and no process can join it then.
fn fill_cpuset(
    tree: &Tree,
    path: &Path,
    has_its_own: impl Fn(&Path) -> Result<bool>,
) -> Result<()> {
    if tree.kind.is_v2() || !tree.kind.has(Controller::Cpuset) {
        return Ok(());
    }
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = path.join(name);
        if has_its_own(&own)? {
            continue;
        }
        let above = path.parent().unwrap_or(path);
        let inherited = file::read(
            &above.join(name),
            "so that the new cpuset can be given what its parent has",
        )?;
        let why = "so that processes can join: a new cpuset of v1 has no CPUs and no memory, and refuses them";
        file::write(&own, inherited.trim_end(), why).map_err(|source| {
            let value = inherited.trim_end().to_owned();
            Error::at("write", &own, source, |path, source| Error::Write {
                path,
                value,
                source,
            })
        })?;
    }
    Ok(())
}

fn is_filled(file: &Path) -> Result<bool> {
    let why = "so that it is seen whether this cpuset has CPUs and memory yet";
    Ok(!file::read(file, why)?.trim_end().is_empty())
}

/// Enables the controllers of v2 for the children of `path`. A failure counts if the controller is `needed`.
fn prepare(tree: &Tree, path: &Path, needed: &[Controller]) -> Result<()> {
    let Kind::V2 { controllers, .. } = &tree.kind else {
        return Ok(());
    };
    let why = "so that only controllers that are not enabled yet are enabled";
    let enabled = file::read(&path.join("cgroup.subtree_control"), why)?;
    // What few ask for costs all others time, so it is enabled where it is wanted.
    let wanted = needed.iter().filter(|one| !ENABLED.contains(one));
    let missing: Vec<Controller> = ENABLED
        .iter()
        .chain(wanted)
        .copied()
        .filter(|one| {
            controllers.contains(one) && !enabled.split_whitespace().any(|name| name == one.name())
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let needs = |one: &&Controller| needed.contains(one);
    // The kernel would let some controllers through, and then refuse every process in the children: a "threaded" cgroup.
    if has_processes(path)? {
        return match missing.iter().find(needs) {
            Some(&controller) => Err(Error::InternalProcesses {
                controller,
                path: path.to_owned(),
            }),
            None => Ok(()),
        };
    }
    if enable(path, &missing).is_ok() {
        return Ok(());
    }
    // All or nothing, says the kernel; what can be enabled alone is found out one by one.
    for one in &missing {
        match enable(path, std::slice::from_ref(one)) {
            Err(source) if source.raw_os_error() == Some(libc::EBUSY) && needs(&one) => {
                return Err(Error::InternalProcesses {
                    controller: *one,
                    path: path.to_owned(),
                });
            }
            Err(source) if needs(&one) => {
                let file = path.join("cgroup.subtree_control");
                let value = format!("+{one}");
                return Err(Error::at("write", &file, source, |path, source| {
                    Error::Write {
                        path,
                        value,
                        source,
                    }
                }));
            }
            _ => {}
        }
    }
    Ok(())
}

fn enable(path: &Path, controllers: &[Controller]) -> io::Result<()> {
    let names: Vec<String> = controllers.iter().map(|one| format!("+{one}")).collect();
    let why = "so that the cgroups below have these controllers' files";
    file::write(&path.join("cgroup.subtree_control"), &names.join(" "), why)
}

/// Whether processes live in this very cgroup, where that keeps it from having controllers for its children: everywhere
/// but in the machine's root, which alone has no `cgroup.type`.
fn has_processes(path: &Path) -> Result<bool> {
    let why = "so that the machine's root is recognised, which alone has no such file";
    if !file::exists(&path.join("cgroup.type"), why) {
        return Ok(false);
    }
    let why = "so that no controllers are asked for where processes stand in their way";
    match file::read(&path.join("cgroup.procs"), why) {
        Ok(text) => Ok(!text.is_empty()),
        // A threaded cgroup: whoever made it so has processes in it.
        Err(Error::Read { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}
