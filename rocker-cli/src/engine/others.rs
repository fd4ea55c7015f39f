//! Other containers that one shares namespaces with.

use std::os::fd::OwnedFd;

use oci_spec::runtime::Spec;
use rocker_ns::{Command, Namespace, Process};

use super::options::{RunOptions, Share};
use super::record::{self, CONFIG, State};
use super::{Engine, parts};
use crate::{Error, Result};

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
            true => Err(Error::bad_value(
                "--pid",
                format!("container:{name}"),
                "a container without CAP_SYS_PTRACE: one with it could take over the process that sets this one up",
            )),
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
