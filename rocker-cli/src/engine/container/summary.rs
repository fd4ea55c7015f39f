//! Which containers there are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use rocker_net::PortForward;

use super::ids;
use super::record::{HealthStatus, Record, State};
use crate::engine::Engine;
use crate::engine::lock::is_held;
use crate::engine::network::ports;
use crate::engine::options::{Io, Volume, VolumeSource};
use crate::{Error, Result};

/// What there is to know about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// When it was made; 1970 where that is not known.
    pub created: SystemTime,
    /// Where in its life it is.
    pub status: Status,
    /// What the caller wants to find it by.
    pub labels: BTreeMap<String, String>,
    /// Ports of the host that lead into it.
    pub ports: Vec<PortForward>,
    /// What it sees of the network, as `--network` has it.
    pub network: String,
    /// What it sees of files that are not its own: the name of the volume, or the path on the host, and the place in the container.
    pub mounts: Vec<(String, PathBuf)>,
    /// Whose memory was used up, in words, if the kernel killed a process of its last run for lack of it.
    pub oom_level: Option<String>,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It is being put together.
    Starting,
    /// It is made, and was never started.
    Created,
    /// It runs.
    Running {
        /// Its first process, as the host numbers it.
        pid: u32,
        /// Since when.
        since: SystemTime,
        /// How it is, where it has a health check.
        health: Option<HealthStatus>,
        /// Whether its processes stand still, since somebody wants them to.
        paused: bool,
    },
    /// It has ended, and is about to be started again.
    Restarting {
        /// Its exit status, 0 to 255.
        code: u8,
        /// When it ended.
        at: SystemTime,
    },
    /// It has ended.
    Exited {
        /// Its exit status, 0 to 255.
        code: u8,
        /// When.
        at: SystemTime,
        /// Whether the kernel killed one of its processes for lack of memory.
        oom_killed: bool,
    },
    /// Its record cannot be read; it can only be removed.
    Damaged,
}

impl Status {
    /// Docker's word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting | Self::Created => "created",
            Self::Running { paused: true, .. } => "paused",
            Self::Running { .. } => "running",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
            Self::Damaged => "dead",
        }
    }

    /// Whether somebody looks after it: it runs, or is about to.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Restarting { .. })
    }
}

impl From<Option<&State>> for Status {
    fn from(state: Option<&State>) -> Self {
        match state {
            None => Self::Starting,
            Some(State::Created) => Self::Created,
            Some(State::Running(running)) => Self::Running {
                pid: running.pid,
                since: running.started,
                health: running.health.as_ref().map(|health| health.status),
                paused: false,
            },
            Some(State::Restarting(ended)) => Self::Restarting {
                code: ended.code,
                at: ended.finished,
            },
            Some(State::Exited(ended)) => Self::Exited {
                code: ended.code,
                at: ended.finished,
                oom_killed: ended.oom_killed,
            },
        }
    }
}

impl ContainerSummary {
    fn of(record: Record, status: Status) -> Self {
        let network = record.options.network_names();
        Self {
            id: record.id,
            name: record.name,
            network,
            image: record.options.image,
            command: record.command,
            created: record.created,
            status,
            labels: record.options.labels,
            ports: record.options.ports,
            mounts: record.options.volumes.iter().map(mounted).collect(),
            oom_level: None,
        }
    }

    /// What is left to say of a container whose record cannot be read.
    fn damaged(id: String) -> Self {
        Self {
            name: id.chars().take(12).collect(),
            id,
            image: "?".to_owned(),
            command: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            status: Status::Damaged,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            network: String::new(),
            mounts: Vec::new(),
            oom_level: None,
        }
    }

    /// The first twelve digits of its ID.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

impl Engine {
    /// The containers, the newest first. Those whose supervisor died are taken down before.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directory cannot be read.
    pub fn containers(&self) -> Result<Vec<ContainerSummary>> {
        self.reconcile()?;
        let mut all = Vec::new();
        for id in ids(&self.roots().containers())? {
            all.extend(self.summary(&id)?);
        }
        all.sort_by(|one, other| {
            other
                .created
                .cmp(&one.created)
                .then_with(|| one.id.cmp(&other.id))
        });
        Ok(all)
    }

    /// What there is to know about the container of this ID; none while it is being made, or removed.
    pub(crate) fn summary(&self, id: &str) -> Result<Option<ContainerSummary>> {
        match (self.record(id), self.state(id)) {
            (Ok(None), _) => Ok(None),
            (Ok(Some(record)), Ok(state)) => {
                let mut status = Status::from(state.as_ref());
                if let Status::Running { paused, .. } = &mut status {
                    *paused = self.is_paused(&record);
                }
                let oom_level = state.as_ref().and_then(State::oom_level);
                // Its end could not be written down, as on a full disk.
                if status.is_up() && !is_held(&self.roots().running().join(id))? {
                    status = Status::Exited {
                        code: state.and_then(|state| state.exit_code()).unwrap_or(137),
                        at: SystemTime::now(),
                        oom_killed: false,
                    };
                }
                let mut summary = ContainerSummary {
                    oom_level,
                    ..ContainerSummary::of(record, status)
                };
                if let Some(ports) = ports::found(&self.roots().running().join(id)) {
                    summary.ports = ports;
                }
                Ok(Some(summary))
            }
            (Ok(Some(record)), Err(Error::Damaged { .. })) => {
                Ok(Some(ContainerSummary::of(record, Status::Damaged)))
            }
            (Err(Error::Damaged { .. }), _) => Ok(Some(ContainerSummary::damaged(id.to_owned()))),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The one container that has this name, this ID, or an ID that begins so.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Ambiguous`].
    pub fn container(&self, name: &str) -> Result<ContainerSummary> {
        self.reconcile()?;
        self.lookup(name)
    }

    /// The same without a look at the others.
    pub(crate) fn lookup(&self, name: &str) -> Result<ContainerSummary> {
        let id = self.id_of(name)?;
        let found = self.summary(&id)?;
        found.ok_or_else(|| no_container(name))
    }

    /// How the standard streams of a container's program are connected.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Damaged`].
    pub fn io_of(&self, name: &str) -> Result<Io> {
        let found = self.container(name)?;
        let record = self.record(&found.id)?;
        record
            .map(|record| record.options.io)
            .ok_or_else(|| no_container(name))
    }

    fn id_of(&self, name: &str) -> Result<String> {
        let ids = ids(&self.roots().containers())?;
        if ids.iter().any(|id| id == name) {
            return Ok(name.to_owned());
        }
        if let Some(id) = self.owner_of(name)? {
            return Ok(id);
        }
        let mut found: Vec<_> = ids
            .into_iter()
            .filter(|id| !name.is_empty() && id.starts_with(name))
            .collect();
        match (found.pop(), &found[..]) {
            (None, _) => Err(no_container(name)),
            (Some(one), []) => Ok(one),
            (Some(last), others) => {
                let all = others.iter().chain([&last]);
                let ids: Vec<_> = all.filter_map(|id| id.get(..12)).collect();
                Err(Error::Ambiguous {
                    prefix: name.to_owned(),
                    ids: ids.join(", "),
                })
            }
        }
    }
}

/// What a volume is called, and where it is.
fn mounted(volume: &Volume) -> (String, PathBuf) {
    let source = match &volume.source {
        VolumeSource::Bind(path) => path.display().to_string(),
        VolumeSource::Named(name)
        | VolumeSource::Anonymous(name)
        | VolumeSource::Image { name, .. } => name.clone(),
    };
    (source, volume.destination.clone())
}

fn no_container(name: &str) -> Error {
    Error::NoContainer {
        name: name.to_owned(),
    }
}
