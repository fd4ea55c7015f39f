//! What a container finds around it: what is not its own, and who its users are.

use std::path::PathBuf;

use rocker_ns::{IdMap, Namespace, Process};

use super::others::Others;
use crate::engine::options::{Network, RunOptions, Share, Users};
use crate::engine::rootless;
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
    /// The process whose network it shares.
    pub(crate) network: Option<u32>,
    /// Where that one's files about names are.
    pub(crate) network_files: Option<PathBuf>,
    /// What that one is called.
    pub(crate) hostname: Option<String>,
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

impl Surroundings {
    /// Whether there can be such a container at all, before anything is made for it.
    pub(crate) fn check(options: &RunOptions<'_>) -> Result<()> {
        let is_user = options.users != Users::Host || rootless::in_user_namespace()?;
        if options.cgroup == Share::Host && is_user {
            // Which only their owner could mount.
            let expected =
                "private for a container with users of its own, and for one of an ordinary user";
            return Err(Error::bad_value("--cgroupns", "host", expected));
        }
        Ok(())
    }

    /// What a container with these options finds.
    pub(crate) fn of(
        options: &RunOptions<'_>,
        others: &Others,
        users: Option<Maps>,
    ) -> Result<Self> {
        let foreign = |shared: bool, kind| -> Result<bool> {
            Ok(shared
                && (users.is_some() || rootless::in_user_namespace()? && !rocker_ns::owns(kind)?))
        };
        let groups = match rootless::in_user_namespace()? {
            true => Some(rocker_ns::own_gid_map()?),
            false => None,
        };
        // What belongs to another user namespace is not to be entered from one that is new.
        for (flag, share) in [("--pid", &options.pid), ("--ipc", &options.ipc)] {
            if let (Share::Container(name), true) = (share, users.is_some()) {
                let value = format!("container:{name}");
                let expected = "host or private for a container with users of its own";
                return Err(Error::bad_value(flag, value, expected));
            }
        }
        if let (Network::Container(_), true) = (&options.network, users.is_some()) {
            let value = options.network.to_string();
            let expected = "host, none or a network for a container with users of its own";
            return Err(Error::bad_value("--network", value, expected));
        }
        let surroundings = Self {
            foreign: Foreign {
                ipc: foreign(options.ipc == Share::Host, Namespace::Ipc)?,
                pid: foreign(options.pid == Share::Host, Namespace::Pid)?,
                network: foreign(options.network == Network::Host, Namespace::Net)?,
            },
            pid: others.pid.as_ref().map(Process::id),
            ipc: others.ipc.as_ref().map(Process::id),
            network: others.network.as_ref().map(Process::id),
            network_files: others.network_files.clone(),
            hostname: others.hostname.clone(),
            users,
            groups,
        };
        match options.group_add.first() {
            Some(group) if surroundings.has_one_user() => {
                let expected =
                    "a user with subordinate ids, see subgid(5): there are no other groups";
                Err(Error::bad_value("--group-add", group.clone(), expected))
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
