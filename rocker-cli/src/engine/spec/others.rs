//! Other containers that one shares namespaces with.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rocker_ns::{Command, Namespace, Process};

use super::parts;
use crate::engine::container::record::{Running, State};
use crate::engine::options::{Network, RunOptions, Share};
use crate::engine::{Engine, disk};
use crate::{Error, Result};

/// The processes of other containers whose namespaces are shared. They are asked whether they are alive when all that goes by their
/// numbers is open: then the numbers were theirs.
#[derive(Debug, Default)]
pub(crate) struct Others {
    pub(crate) pid: Option<Process>,
    pub(crate) ipc: Option<Process>,
    pub(crate) network: Option<Process>,
    /// The directory with the files about names of the one who has the network.
    pub(crate) network_files: Option<PathBuf>,
    /// The host name of that one.
    pub(crate) hostname: Option<String>,
}

impl Others {
    /// Finds those that the options name. To be called while no other one comes to share processes, see [`Engine::sharing`].
    pub(crate) fn find(engine: &Engine, options: &RunOptions<'_>) -> Result<Self> {
        let find = |share: &Share| match share {
            Share::Container(name) => engine.process_of(name).map(Some),
            Share::Own | Share::Host => Ok(None),
        };
        if let Share::Container(name) = &options.pid {
            engine.refuse_tracers(name)?;
        }
        let mut others = Self {
            pid: find(&options.pid)?,
            ipc: find(&options.ipc)?,
            ..Self::default()
        };
        if let Network::Container(name) = &options.network {
            others.network = Some(engine.process_of(name)?);
            others.find_names(engine, name)?;
        }
        Ok(others)
    }

    /// Finds the files about names of the one whose network a container has that has the network of another one.
    fn find_names(&mut self, engine: &Engine, name: &str) -> Result<()> {
        let mut next = name.to_owned();
        // One that is gone meanwhile, and whose network lives on in those that share it, has taken its files with it.
        while let Ok(found) = engine.lookup(&next)
            && let Some(record) = engine.record(&found.id)?
        {
            if let Network::Container(further) = record.options.network {
                next = further;
                continue;
            }
            let spec = engine.spec_of(&found.id)?;
            self.hostname = spec.and_then(|spec| spec.hostname().clone());
            let files = engine.roots().containers().join(&found.id);
            let why = "so that names mean the same for all that share a network";
            self.network_files = disk::exists(&files.join("hosts"), why).then_some(files);
            break;
        }
        Ok(())
    }

    /// Puts a process into what it shares.
    pub(crate) fn share_with(&self, command: &mut Command) -> Result<()> {
        if let Some(process) = &self.ipc {
            command.join(Namespace::Ipc, of(process, Namespace::Ipc)?);
        }
        if let Some(process) = &self.network {
            command.join(Namespace::Net, of(process, Namespace::Net)?);
        }
        if let Some(process) = &self.pid {
            command.enter(process.to_fd()?, [Namespace::Pid]);
        }
        Ok(())
    }
}

/// A namespace of a process that has not ended, and so is the one that its number says.
pub(crate) fn of(process: &Process, kind: Namespace) -> Result<OwnedFd> {
    let found = kind.of(process.id())?;
    match process.is_alive() {
        true => Ok(found),
        false => Err(rocker_ns::Error::Gone.into()),
    }
}

impl Engine {
    /// Refuses to share processes among which there is a container that may trace others: it could take over the process that sets this
    /// container up, and that still is the host's.
    fn refuse_tracers(&self, name: &str) -> Result<()> {
        let identity = |process: &Process| -> Result<(u64, u64)> {
            let namespace = File::from(of(process, Namespace::Pid)?);
            let found = namespace.metadata();
            let found = found.map_err(disk::failed("look at", Path::new("/proc/PID/ns/pid")))?;
            Ok((found.dev(), found.ino()))
        };
        let shared = identity(&self.process_of(name)?)?;
        for other in self.containers()? {
            // One that has ended traces nobody.
            let Ok(process) = self.process_of(&other.id) else {
                continue;
            };
            let is_there = identity(&process).is_ok_and(|found| found == shared);
            if is_there && self.may_trace(&other.id)? {
                return Err(Error::bad_value(
                    "--pid",
                    format!("container:{name}"),
                    format!(
                        "a container among whose processes nobody has CAP_SYS_PTRACE, as {} has: it could take over the process that \
                         sets this one up",
                        other.name
                    ),
                ));
            }
        }
        Ok(())
    }

    fn may_trace(&self, id: &str) -> Result<bool> {
        let held = self
            .spec_of(id)?
            .map(|spec| parts::capabilities(&spec))
            .transpose()?;
        Ok(held.is_none_or(|held| held.contains("SYS_PTRACE")))
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
        let Some(State::Running(Running {
            pid, start_time, ..
        })) = self.state(&found.id)?
        else {
            return Err(not_running());
        };
        Process::open(pid, start_time)?.ok_or_else(not_running)
    }
}
