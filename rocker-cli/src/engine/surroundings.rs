//! What a container finds around it: what is not its own, and who its users are.

use std::os::fd::OwnedFd;

use oci_spec::runtime::Spec;
use rocker_ns::{Command, IdMap, Namespace, Process};

use super::Engine;
use super::options::{Network, RunOptions, Share};
use super::parts;
use super::record::{self, CONFIG, State};
use crate::{Error, Result};

/// What a container is put into, beside what it has of its own.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Which of the file systems that show a namespace it cannot mount.
    pub(crate) foreign: Foreign,
    /// The process whose PID namespace it shares.
    pub(crate) pid: Option<u32>,
    /// The process whose IPC namespace it shares.
    pub(crate) ipc: Option<u32>,
    /// Who its users are outside; none where they are the same.
    pub(crate) users: Option<Maps>,
    /// The groups that there are where rocker runs; none where there are all.
    groups: Option<Vec<IdMap>>,
}

/// The namespaces that belong to another user namespace than the container's: what they hold can be looked at where it is
/// mounted already, and not be mounted anew.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Foreign {
    pub(crate) ipc: bool,
    pub(crate) pid: bool,
    pub(crate) network: bool,
}

/// What each run of ids is outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) uids: Vec<IdMap>,
    pub(crate) gids: Vec<IdMap>,
}

/// The processes of other containers whose namespaces are shared, by descriptor: what they are numbered cannot change meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Others {
    pub(crate) pid: Option<Process>,
    pub(crate) ipc: Option<Process>,
}

impl Others {
    /// Finds those that the options name.
    pub(crate) fn find(engine: &Engine, options: &RunOptions<'_>) -> Result<Self> {
        let find = |share: &Share| match share {
            Share::Container(name) => engine.process_of(name).map(Some),
            Share::Own | Share::Host => Ok(None),
        };
        if let Share::Container(name) = &options.pid {
            engine.refuse_tracer(name)?;
        }
        Ok(Self {
            pid: find(&options.pid)?,
            ipc: find(&options.ipc)?,
        })
    }

    /// Puts a process into what it shares.
    pub(crate) fn share_with(&self, command: &mut Command) -> Result<()> {
        if let Some(process) = &self.ipc {
            command.join(Namespace::Ipc, of(process, Namespace::Ipc)?);
        }
        if let Some(process) = &self.pid {
            command.enter(process.to_fd()?, [Namespace::Pid]);
        }
        Ok(())
    }
}

/// A namespace of a process that has not ended, and so is the one that its number says.
fn of(process: &Process, kind: Namespace) -> Result<OwnedFd> {
    let found = kind.of(process.id())?;
    match process.is_alive() {
        true => Ok(found),
        false => Err(rocker_ns::Error::Gone.into()),
    }
}

fn refused(flag: &'static str, value: String, expected: &str) -> Error {
    Error::BadValue {
        flag,
        value,
        expected: expected.to_owned(),
    }
}

impl Surroundings {
    /// What a container with these options finds.
    pub(crate) fn of(
        options: &RunOptions<'_>,
        others: &Others,
        users: Option<Maps>,
    ) -> Result<Self> {
        let foreign = |shared: bool, kind| -> Result<bool> {
            Ok(shared
                && (users.is_some() || rocker_ns::in_user_namespace()? && !rocker_ns::owns(kind)?))
        };
        let groups = match rocker_ns::in_user_namespace()? {
            true => Some(rocker_ns::own_gid_map()?),
            false => None,
        };
        // What belongs to another user namespace is not to be entered from one that is new.
        for (flag, share) in [("--pid", &options.pid), ("--ipc", &options.ipc)] {
            if let (Share::Container(name), true) = (share, users.is_some()) {
                let value = format!("container:{name}");
                let expected = "host or private for a container with users of its own";
                return Err(refused(flag, value, expected));
            }
        }
        let surroundings = Self {
            foreign: Foreign {
                ipc: foreign(options.ipc == Share::Host, Namespace::Ipc)?,
                pid: foreign(options.pid == Share::Host, Namespace::Pid)?,
                network: foreign(options.network == Network::Host, Namespace::Net)?,
            },
            pid: others.pid.as_ref().map(Process::id),
            ipc: others.ipc.as_ref().map(Process::id),
            users,
            groups,
        };
        match options.group_add.first() {
            Some(group) if surroundings.has_one_user() => {
                let expected =
                    "a user with subordinate ids, see subgid(5): there are no other groups";
                Err(refused("--group-add", group.clone(), expected))
            }
            _ => Ok(surroundings),
        }
    }

    /// Whether there is nobody but the caller in the user namespace that rocker is in.
    pub(crate) fn has_one_user(&self) -> bool {
        let groups = self.groups.as_ref();
        groups.is_some_and(|groups| groups.iter().map(|run| run.count).sum::<u32>() == 1)
    }

    /// Whether there is a group of that number in the container.
    pub(crate) fn has_group(&self, group: u32) -> bool {
        let has = |maps: &Vec<IdMap>| {
            maps.iter().any(|map| {
                group
                    .checked_sub(map.inside)
                    .is_some_and(|offset| offset < map.count)
            })
        };
        match (&self.users, &self.groups) {
            (Some(maps), _) => has(&maps.gids),
            (None, Some(groups)) => has(groups),
            (None, None) => true,
        }
    }
}

impl Engine {
    /// Refuses to share the processes of a container that may trace others: it could take over the process that sets this container up, and
    /// that still is the host's.
    fn refuse_tracer(&self, name: &str) -> Result<()> {
        let found = self.container(name)?;
        let config = self.roots().containers().join(&found.id).join(CONFIG);
        let spec: Option<Spec> = record::read(&config)?;
        let may_trace = spec
            .map(|spec| parts::capabilities(&spec))
            .transpose()?
            .is_none_or(|held| held.contains("SYS_PTRACE"));
        match may_trace {
            false => Ok(()),
            true => Err(Error::BadValue {
                flag: "--pid",
                value: format!("container:{name}"),
                expected: "a container without CAP_SYS_PTRACE: one with it could take over the process that sets this one up"
                    .to_owned(),
            }),
        }
    }

    /// The first process of a container that runs.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`].
    pub(crate) fn process_of(&self, name: &str) -> Result<Process> {
        let found = self.container(name)?;
        let not_running = || Error::NotRunning {
            name: found.name.clone(),
        };
        let Some(State::Running {
            pid, start_time, ..
        }) = self.record(&found.id)?.map(|record| record.state)
        else {
            return Err(not_running());
        };
        Process::open(pid, start_time)?.ok_or_else(not_running)
    }
}
