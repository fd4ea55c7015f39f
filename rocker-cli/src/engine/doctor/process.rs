//! Whether a container's process can be made: in namespaces of each kind, and with all steps up to its program.

use std::path::Path;

use rocker_cgroup::Hierarchy;
use rocker_ns::{Command, Namespace, Stdio, User};

use super::Check;
use super::storage::Scratch;
use crate::Result;
use crate::engine::container::run::contained;
use crate::engine::host::Host;
use crate::engine::image::hello;
use crate::engine::rootfs::etc;
use crate::engine::spec::others::Others;
use crate::engine::spec::surroundings::Surroundings;
use crate::engine::spec::{self, Facts};
use crate::engine::{Engine, Network, RunOptions};

/// The kinds that a container has of its own.
const NEEDED: [Namespace; 6] = [
    Namespace::Cgroup,
    Namespace::Ipc,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Pid,
    Namespace::Uts,
];

/// Those of the calls that are younger than others, or that a filter may hide.
const TELLING: [&str; 10] = [
    "close_range",
    "fsmount",
    "fsopen",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pivot_root",
    "prctl",
    "setns",
];

pub(super) fn checks(engine: &Engine, host: &Host, is_root: bool, has_overlay: bool) -> Vec<Check> {
    if !is_root {
        return vec![Check::untried("namespaces"), Check::untried("process")];
    }
    let time = Check::of(
        "time namespaces",
        host,
        make(Namespace::Time).map(|()| "made"),
    );
    let process = match has_overlay {
        true => Check::of("process", host, set_up(engine.roots().data())),
        false => Check::without("process", "an overlay"),
    };
    vec![namespaces(host), time.dispensable(), process]
}

/// Each kind alone, so that the one which fails is known.
fn namespaces(host: &Host) -> Check {
    let name = "namespaces";
    for kind in NEEDED {
        if let Err(error) = make(kind) {
            return Check::failed(&format!("{} namespaces", kind.name()), host, &error);
        }
    }
    Check::ok(name, NEEDED.map(Namespace::name).join(" "))
}

/// A process in a new namespace of this kind, which ends without having run a program.
fn make(kind: Namespace) -> Result<()> {
    let mut command = Command::new("/");
    command.unshare([kind]).die_with_parent(true);
    connect(&mut command);
    Ok(command.create()?.ready()?)
}

fn connect(command: &mut Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
}

/// All that a container's process does before its program, on an empty image. There is no program.
fn set_up(data: &Path) -> Result<String> {
    let scratch = Scratch::below(data)?;
    let root = scratch.overlay()?;
    let config = hello::configuration()?;
    let mut options = RunOptions::new(hello::NAME);
    options.network = Network::None;
    let own = scratch.path("files");
    for name in ["hosts", "hostname", "resolv.conf"] {
        etc::write(&own.join(name), "")?;
    }
    let spec = spec::build(&Facts {
        id: "doctor-doctor",
        options: &options,
        image: &config,
        user: &User::resolve("", &[], &[])?,
        cgroups: &Hierarchy::detect()?.mounts_for_container(),
        files: &own,
        places: &[],
        surroundings: &Surroundings::of(&options, &Others::default(), None)?,
    })?;
    let mut command = contained(&spec, root.into())?;
    command.die_with_parent(true);
    connect(&mut command);
    let mut created = command.create()?;
    created.ready()?;
    let steps = created.plan().steps();
    let made = |call: &&str| steps.iter().any(|step| step.call() == *call);
    let telling: Vec<_> = TELLING.into_iter().filter(made).collect();
    Ok(format!(
        "made by clone3 and set up by {} calls: {} and others",
        steps.len() - 1,
        telling.join(" ")
    ))
}
