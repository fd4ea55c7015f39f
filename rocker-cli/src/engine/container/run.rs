//! A run of a container's program, from image to exit.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::SystemTime;

use oci_spec::runtime::{RootBuilder, Spec};
use rocker_cgroup::{
    Applied, Cgroup, Compat, Controller, DeviceKind, DeviceRule, Hierarchy, Limits, SkipReason,
};
use rocker_ns::Namespace;

use super::attest::attest;
use super::keeper::Keeper;
use super::process::{Care, Leave, Streams, connect, create_in, look_after, or_its_own, start};
use super::record::{self, Health, Running, State};
use super::signal::SIGTERM;
use super::supervisor::Supervisor;
use super::{Container, ETC, place};
use crate::engine::options::{Network, RunOptions, Share, Users};
use crate::engine::rootfs::base::Base;
use crate::engine::rootfs::etc;
use crate::engine::rootfs::storage::ROOT;
use crate::engine::spec::accounts::{user_of, wanted_user};
use crate::engine::spec::others::Others;
use crate::engine::spec::surroundings::Surroundings;
use crate::engine::spec::{self, Facts, parts, steps};
use crate::engine::{CGROUP_PARENT, Engine, cgroup_name, disk, rootless};
use crate::{Error, Result};

/// The cgroup for rocker itself beside those of an ordinary user's containers: on v2 one that has others beneath it has no processes.
const SUPERVISORS: &str = "rocker-supervisors";

impl Engine {
    /// Runs the program once, to its end.
    pub(crate) fn run_to_end(
        &self,
        container: &mut Container,
        supervisor: &mut Supervisor<'_>,
    ) -> Result<ExitStatus> {
        let options = &container.options().clone();
        Surroundings::check(options)?;
        let (base, hierarchy) = (supervisor.base, supervisor.hierarchy);
        // Held until it is known to run, so that of two that come to share processes the second one sees whether the first may trace it.
        let sharing = match options.pid {
            Share::Container(_) => Some(self.sharing()?),
            Share::Own | Share::Host => None,
        };
        let others = Others::find(self, options)?;
        // Held until it is written down which users the container has, so that no other one chooses the same.
        let making = match options.users {
            Users::Auto => {
                // Whose the files are is a matter of how they are mounted.
                self.copy_ahead(container, base)?;
                Some(self.making()?)
            }
            _ => None,
        };
        let maps = self.users(options, Some(container.id()))?;
        self.unmount_of_others(container, maps.as_ref())?;
        let (root, is_copy) = self.mount_root(container, base, maps.as_ref())?;
        let root = root.into();
        let surroundings = Surroundings::of(options, &others, maps)?;
        let mut spec = self.specify(container, options, base, hierarchy, &root, &surroundings)?;
        if is_copy {
            // Beside the specification itself, as OCI has it.
            let root = RootBuilder::default().path(ROOT);
            spec.set_root(Some(root.readonly(options.read_only).build()?));
        }
        drop(making);
        let cgroup = make_cgroup(container, hierarchy, &spec)?;
        if cgroup.is_none() && options.pid != Share::Own {
            return Err(Error::bad_value(
                "--pid",
                "host or container:NAME".to_owned(),
                "private here: no cgroup is delegated to this user, and without one, or a PID namespace of its own, what the \
                           container leaves running could not be ended with it",
            ));
        }
        let mut command = contained(&spec, root)?;
        others.share_with(&mut command)?;
        command.fail_at(supervisor.caller.fail_at);
        connect(&mut command, supervisor.caller.io, supervisor.streams);
        let mut created = create_in(command, hierarchy, cgroup.as_ref())?;
        let cgroup = cgroup.map(Cgroup::keep);
        // Opened while the process waits: one that fails soon takes its namespace with it.
        let netns = match &options.network {
            Network::Host | Network::Container(_) => None,
            _ => {
                let netns = created.namespace(Namespace::Net).map_err(Error::from);
                Some(or_its_own(&mut created, netns)?)
            }
        };
        // From here on the child sets up its root, and at the same time this process its network, and what else can wait until then.
        created.set_up()?;
        let written = record::write(&container.config(), &spec);
        or_its_own(&mut created, written)?;
        let _pasta = match netns {
            Some(netns) => {
                let connected =
                    self.connect(container, options, &netns, &spec, &mut supervisor.ports);
                or_its_own(&mut created, connected)?
            }
            None => None,
        };
        attest(&mut created, &spec, cgroup.as_ref())?;
        let (mut child, terminal) = start(created, |process| {
            let health = container.record.health.as_ref();
            container.enter(State::Running(Running {
                pid: process.id(),
                start_time: process.start_time().unwrap_or(0),
                started: SystemTime::now(),
                restarts: supervisor.restarts,
                health: health.map(|_| Health::default()),
            }))?;
            write_pid(container, process.id())?;
            drop(sharing);
            Ok(())
        })?;
        supervisor.has_run = true;
        if let Err(error) = self.catch_up(container, cgroup.as_ref(), &mut spec) {
            tracing::warn!("an update that came meanwhile: {}", error.chain());
        }
        self.tell(&container.record, "start", &[]);
        if let Some(running) = supervisor.caller.running.take() {
            running(container.id());
        }
        let stop_signal = parts::stop_signal(&spec);
        if container.is_bridged() {
            // Its own networks have their rules. Where somebody has flushed them others lack theirs, and nobody waits for those here.
            self.restore_network_at_a_glance();
        }
        if container.asked_to_stop().is_some() {
            // Whoever asked found no program to tell.
            child.process().signal(stop_signal.unwrap_or(SIGTERM))?;
        }
        let mut keeper = Keeper::new(self, container, supervisor.log.as_mut());
        let mut care = Care {
            io: supervisor.caller.io,
            leave: &mut supervisor.leave,
            stop_signal,
            signals: supervisor.signals,
            attendant: Some(&mut keeper),
            attach: Some(&mut supervisor.attach),
        };
        let ended = look_after(&mut child, terminal.as_ref(), &mut care);
        // A health check first: until that is waited for, the program cannot end.
        supervisor.wish = keeper.finish();
        if ended.is_err() {
            child.wait()?;
        }
        if matches!(supervisor.leave, Leave::Left) {
            supervisor.streams = Streams::Others;
        }
        ended
    }

    /// The specification, and the files that it mentions.
    fn specify(
        &self,
        container: &Container,
        options: &RunOptions<'_>,
        base: &Base,
        hierarchy: &Hierarchy,
        root: &OwnedFd,
        surroundings: &Surroundings,
    ) -> Result<Spec> {
        let config = base.config();
        let user = user_of(root, &wanted_user(options, config), &options.group_add)?;
        let cgroups = hierarchy.mounts_for_container();
        let scratch = container.data().join("volumes");
        let users = surroundings.users.as_ref();
        let places = self.places(&options.volumes, users, Some(&scratch))?;
        let facts = Facts {
            id: container.id(),
            options,
            image: config,
            user: &user,
            cgroups: &cgroups,
            files: container.data(),
            places: &places,
            surroundings,
        };
        let spec = spec::build(&facts)?;
        let hostname = spec.hostname().clone().unwrap_or_default();
        if container.state.is_some() {
            // Each run begins with its own: with what the one before has made of them, its owner and mode, they may not even be writable.
            for name in ETC {
                etc::remove(&container.etc(name))?;
            }
        }
        etc::write(&container.etc("hostname"), &format!("{hostname}\n"))?;
        let gateway = match options.network {
            Network::Host => Some(Ipv4Addr::LOCALHOST.into()),
            _ => None,
        };
        let hosts = etc::hosts(&[], gateway, &hostname, options);
        etc::write(&container.etc("hosts"), &hosts)?;
        let resolv_conf = etc::resolv_conf(options);
        etc::write(&container.etc("resolv.conf"), &resolv_conf)?;
        Ok(spec)
    }
}

/// The process that the specification describes, on its way into the root file system over the detached mount `root`.
pub(crate) fn contained(spec: &Spec, root: OwnedFd) -> Result<rocker_ns::Command> {
    command_of(spec, steps::translate(parts::rootfs(spec, root)?.steps()?)?)
}

/// The process that the specification describes, with the steps into its root file system.
pub(crate) fn command_of(spec: &Spec, steps: Vec<rocker_ns::Step>) -> Result<rocker_ns::Command> {
    let mut command = parts::process(spec)?;
    let [uids, gids] = parts::id_maps(spec);
    command
        .unshare(parts::own_namespaces(spec))
        .id_maps(uids, gids)
        .setup(steps);
    if let Some(hostname) = spec.hostname() {
        command.hostname(hostname);
    }
    if let Some(domainname) = spec.domainname() {
        command.domainname(domainname);
    }
    Ok(command)
}

/// The container's cgroup, with the limits that the specification sets. None where an ordinary user has no cgroups to give, and
/// asks for no limits.
fn make_cgroup(
    container: &Container,
    hierarchy: &Hierarchy,
    spec: &Spec,
) -> Result<Option<Cgroup>> {
    let mut limits = parts::limits(spec)?;
    let asked = !container.options().device_rules.is_empty();
    if !has_device_rules(hierarchy, asked)? || container.options().privileged {
        limits.devices = None;
    }
    if rootless::in_user_namespace()? && hierarchy.is_delegated() {
        let own: Vec<u32> = rocker_ns::stood_in_by()
            .into_iter()
            .chain([std::process::id()])
            .collect();
        match hierarchy.make_way(SUPERVISORS, &own) {
            // Somebody else lives there; without limits it is all the same where the container does.
            Err(rocker_cgroup::Error::Occupied { .. }) if limits == Limits::default() => {
                return Ok(None);
            }
            made => made?,
        };
        place::note(container.run_dir(), hierarchy)?;
    }
    let parent = container.options().cgroup_parent.as_deref();
    let (parent, name) = (parent.unwrap_or(CGROUP_PARENT), cgroup_name(container.id()));
    let made = Cgroup::create_if_delegated(hierarchy, parent, &name, &limits, Compat::Require);
    match made {
        Ok((cgroup, applied)) => {
            if let Some(refused) = refused_device(container, &applied) {
                return Err(refused.into());
            }
            if cgroup.is_none() {
                place::forget(container.run_dir());
            }
            Ok(cgroup)
        }
        Err(source) => match limited(&limits) {
            wanted if !wanted.is_empty() && rootless::in_user_namespace()? => Err(Error::NoLimit {
                limits: wanted,
                source,
            }),
            _ => Err(source.into()),
        },
    }
}

/// The error for a device that somebody has asked for, and that stays forbidden, since the cgroup above does not have it.
fn refused_device(container: &Container, applied: &Applied) -> Option<rocker_cgroup::Error> {
    let asked = &container.options().device_rules;
    let skipped = applied.skipped.iter();
    let mut refused = skipped.filter(|one| one.reason == SkipReason::NotAllowed);
    let write = &refused
        .find(|one| {
            let Ok(rule) = one.write.value.parse::<DeviceRule>() else {
                return true;
            };
            asked.iter().any(|asked| {
                asked.allow
                    && (asked.kind == rule.kind || asked.kind == DeviceKind::All)
                    && (asked.major, asked.minor) == (rule.major, rule.minor)
            })
        })?
        .write;
    let parent = container.cgroup_parent();
    Some(rocker_cgroup::Error::DeviceNotAllowed {
        above: parent.unwrap_or_else(|| "/".to_owned()).into(),
        rule: write.value.clone(),
    })
}

/// Whether the kernel can be asked to keep a container to its devices.
///
/// Nobody but the machine's root can have it do so; and in a user namespace no device node can be made, and none opens but those that its
/// maker may open anyway. Where the controller is missing on a host with v1, that all file systems are `nodev` but for rocker's own
/// nodes has to do, unless somebody asks for rules.
fn has_device_rules(hierarchy: &Hierarchy, asked: bool) -> Result<bool> {
    if rootless::in_user_namespace()? {
        return match asked {
            true => Err(Error::bad_value(
                "--device-cgroup-rule",
                "a rule",
                "the machine's root: an ordinary user has no say in which devices may be used",
            )),
            false => Ok(false),
        };
    }
    Ok(asked || hierarchy.is_v2(Controller::Devices).is_some())
}

/// What is limited, in words.
fn limited(limits: &Limits) -> String {
    let io = limits.io_weight.is_some() || !limits.io.is_empty();
    let memory = limits.memory_bytes.is_some()
        || limits.memory_reservation_bytes.is_some()
        || limits.memory_swappiness.is_some()
        || limits.oom_kill_disable.is_some();
    let cpuset = limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some();
    let all = [
        (memory, "memory"),
        (limits.memory_swap_bytes.is_some(), "swap"),
        (
            limits.cpu.is_some() || limits.cpu_shares.is_some() || cpuset,
            "CPUs",
        ),
        (limits.pids.is_some(), "processes"),
        (io, "block devices"),
        (!limits.unified.is_empty(), "what --cgroup-conf names"),
    ];
    let set: Vec<_> = all.iter().filter(|one| one.0).map(|one| one.1).collect();
    set.join(", ")
}

/// Tells the host's number of the container's first process where the caller wants to find it.
fn write_pid(container: &Container, pid: u32) -> Result<()> {
    let Some(path) = &container.options().pid_file else {
        return Ok(());
    };
    let why = "so that the caller finds the container's first process";
    let text = format!("{pid}\n");
    disk::write(path, text.as_bytes(), why).map_err(disk::failed("write", path))
}
