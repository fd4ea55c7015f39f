//! Ending containers, and waiting for their end.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rocker_ns::{AttachEnd, AttachOptions, Attached, Process, signal_number};

use super::record::{self, RECORD, State};
use super::signal::{SIGKILL, SIGTERM};
use super::summary::{ContainerSummary, Status};
use super::supervisor::ATTACH;
use super::{Container, Stop, name};
use crate::engine::lock::{self, is_held, wake_supervisor};
use crate::engine::{Engine, cgroup_of};
use crate::{Error, Result};

/// How long a killed container may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(15);
/// How long a program may take to end that was asked to, where nobody says otherwise; as with Docker.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Until somebody who just began to look after a container can be reached.
const MOMENT: Duration = Duration::from_millis(2);

impl Engine {
    /// Asks the program of a container to end, by the signal that it wants, and kills it when it has not after `patience`; without,
    /// after its own stop timeout. Returns when it has been taken down. A container that does not run is fine.
    ///
    /// # Errors
    /// [`Error::NoContainer`], and [`Error::StillRunning`] when it does not even die.
    pub fn stop(&self, name: &str, patience: Option<Duration>) -> Result<()> {
        let found = self.container(name)?;
        self.stop_found(&found, patience, Stop::ForGood)
    }

    /// The same for a container that is going to be started again: it stays, also where it was to be removed.
    ///
    /// # Errors
    /// As [`Engine::stop`].
    pub fn stop_to_restart(&self, name: &str, patience: Option<Duration>) -> Result<()> {
        let found = self.container(name)?;
        self.stop_found(&found, patience, Stop::ToRestart)
    }

    fn stop_found(
        &self,
        found: &ContainerSummary,
        patience: Option<Duration>,
        stop: Stop,
    ) -> Result<()> {
        let run = self.run_dir(&found.id);
        if !is_held(&run)? {
            return Ok(());
        }
        let record = self.record(&found.id).ok().flatten();
        let patience = patience
            .or_else(|| record.as_ref()?.options.stop_timeout)
            .unwrap_or(STOP_PATIENCE);
        let signal = record.as_ref().and_then(|record| {
            let signal = record.stop_signal.as_ref()?;
            signal_number(signal)
        });
        self.ask_to_stop(&found.id, stop)?;
        let limit = Instant::now().checked_add(patience);
        self.signal(found, signal.unwrap_or(SIGTERM))?;
        self.let_go_on(&found.id, false)?;
        let rest = |limit: Instant| limit.saturating_duration_since(Instant::now());
        if !self.wait_until_gone(found, limit.map(rest))? {
            self.kill_for_good(found)?;
        }
        if let Some(record) = record {
            self.tell(&record, "stop", &[]);
        }
        Ok(())
    }

    /// Sends a signal, by name or number, to the program of a container that runs. One that kills it, or by which it wants to be
    /// asked to end, also means that it is not to be started again.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], [`Error::BadValue`] for a signal that there is not.
    pub fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let number = signal_number(signal).ok_or_else(|| {
            Error::bad_value("--signal", signal, "a signal such as TERM, SIGHUP or 9")
        })?;
        let found = self.container(name)?;
        if !found.status.is_up() {
            return Err(Error::NotRunning { name: found.name });
        }
        let record = self.record(&found.id).ok().flatten();
        let own = record
            .as_ref()
            .and_then(|record| signal_number(record.stop_signal.as_ref()?));
        if number == SIGKILL || number == own.unwrap_or(SIGTERM) {
            self.ask_to_stop(&found.id, Stop::ForGood)?;
        } else if matches!(found.status, Status::Restarting { .. }) {
            // There is nobody to hear it, and the one who looks after the container would take it for a wish that it ends.
            return Err(Error::NotRunning { name: found.name });
        }
        self.signal(&found, number)?;
        if number == SIGKILL || number == own.unwrap_or(SIGTERM) {
            self.let_go_on(&found.id, number == SIGKILL)?;
        }
        if let Some(record) = record {
            self.tell(&record, "kill", &[("signal", number.to_string())]);
        }
        Ok(())
    }

    /// Waits until a container ends for good, and returns its program's exit status; that of its last run, where it does not run.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; [`Error::Lost`] when the one who looked after it was killed.
    pub fn wait(&self, name: &str) -> Result<u8> {
        let found = self.container(name)?;
        let run = self.run_dir(&found.id);
        loop {
            let nothing = AttachOptions::default();
            // Whoever cannot be asked right now is waited for by his lock.
            if let Ok(Some(mut attached)) = Attached::connect(&run, ATTACH, nothing) {
                if let Some(AttachEnd::Exited(code)) = attached.wait(None)? {
                    self.wait_until_settled(&found.id)?;
                    match self.state(&found.id)? {
                        // It is going to be started again, or was.
                        Some(State::Running(_) | State::Restarting(_)) => continue,
                        _ => return Ok(code),
                    }
                }
                return self.code_of_lost(&found);
            }
            if !is_held(&run)? {
                self.reconcile()?;
                return match self.state(&found.id)? {
                    Some(State::Created) => Ok(0),
                    Some(State::Exited(ended) | State::Restarting(ended)) => Ok(ended.code),
                    // How it ended could not be written down.
                    Some(State::Running(_)) | None => Err(Error::Lost { name: found.name }),
                };
            }
            thread::sleep(MOMENT);
        }
    }

    /// The exit status of a container whose supervisor has gone without a word, as soon as it has been taken down.
    fn code_of_lost(&self, found: &ContainerSummary) -> Result<u8> {
        let run = self.run_dir(&found.id);
        let limit = Instant::now() + KILL_PATIENCE;
        loop {
            // It lets go of its lock last, or somebody else is at it.
            let is_held = is_held(&run)?;
            self.reconcile()?;
            let state = self.state(&found.id)?;
            if let Some(code) = state.and_then(|state| state.exit_code()) {
                return Ok(code);
            }
            if !is_held || Instant::now() > limit {
                let name = found.name.clone();
                return Err(Error::Lost { name });
            }
            thread::sleep(MOMENT);
        }
    }

    /// Waits until the one who has told the end of a container's program has taken it down as well, so that whoever is told can
    /// start or remove it; not of one that is started again.
    pub(crate) fn wait_until_settled(&self, id: &str) -> Result<()> {
        let run = self.roots().running().join(id);
        let limit = Instant::now() + KILL_PATIENCE;
        let goes_on = |state| matches!(state, Some(State::Running(_) | State::Restarting(_)));
        while is_held(&run)? && !goes_on(self.state(id)?) && Instant::now() < limit {
            thread::sleep(MOMENT);
        }
        Ok(())
    }

    /// Waits until a container that somebody has begun to start runs. False where nobody looks after it any more.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; [`Error::AlreadyRunning`] when it takes too long.
    pub fn comes_up(&self, name: &str) -> Result<bool> {
        let limit = Instant::now() + KILL_PATIENCE;
        loop {
            let found = self.container(name)?;
            if found.status.is_up() {
                return Ok(true);
            }
            if !is_held(&self.run_dir(&found.id))? {
                return Ok(false);
            }
            if Instant::now() > limit {
                return Err(Error::AlreadyRunning { name: found.name });
            }
            thread::sleep(MOMENT);
        }
    }

    /// Removes a container and all that it wrote. With `force`, a running one is killed first. Returns its ID.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::StillRunning`], [`Error::Teardown`], [`Error::State`].
    pub fn remove(&self, name: &str, force: bool) -> Result<String> {
        self.remove_with(name, force, false)
    }

    /// The same; with `volumes`, those go with it that were made for it and nobody named, unless another container has them.
    ///
    /// # Errors
    /// As [`Engine::remove`].
    pub fn remove_with(&self, name: &str, force: bool, volumes: bool) -> Result<String> {
        let found = self.container(name)?;
        if force && is_held(&self.run_dir(&found.id))? {
            self.ask_to_stop(&found.id, Stop::ForGood)?;
            self.kill_for_good(&found)?;
            if self.record(&found.id).is_ok_and(|record| record.is_none()) {
                // It was to be removed at its end.
                return Ok(found.id);
            }
        }
        let container = Container::adopt_idle(self, &found.id, &found.name)?;
        if !force && let Err(error) = self.unmount_unused(&found.id, &found.name) {
            container.remove_run_dir()?;
            return Err(error);
        }
        match volumes {
            true => container.forget_with_volumes(self)?,
            false => container.forget(self)?,
        }
        self.tell(&container.record, "destroy", &[]);
        container.remove_run_dir()?;
        Ok(found.id)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NameTaken`], [`Error::BadName`].
    pub fn rename(&self, old: &str, new: &str) -> Result<()> {
        name::check(new)?;
        let found = self.container(old)?;
        // Its record is not written by anybody else meanwhile.
        let _making = self.making()?;
        let no_container = || Error::NoContainer {
            name: old.to_owned(),
        };
        let mut record = self.record(&found.id)?.ok_or_else(no_container)?;
        if new == record.name {
            return Ok(());
        }
        // What somebody left who was killed here.
        if let Some(other) = record.other_name.take() {
            self.free_name(&other, &found.id)?;
        }
        let path = self.roots().containers().join(&found.id).join(RECORD);
        // Each link is noted before it is made, so that none outlives the container.
        let old = record.name.clone();
        record.other_name = Some(new.to_owned());
        record::write(&path, &record)?;
        record.name = self.take_name(Some(new), &found.id)?;
        record.other_name = Some(old.clone());
        record::write(&path, &record)?;
        self.free_name(&old, &found.id)?;
        self.tell(&record, "rename", &[("oldName", old)]);
        self.name_anew(&record)
    }

    /// Sends a signal to the program. Where there is none right now, whoever looks after the container sees soon that its end is
    /// wanted.
    fn signal(&self, found: &ContainerSummary, signal: i32) -> Result<()> {
        let state = self.state(&found.id);
        if let Ok(Some(State::Running(running))) = &state
            && let Some(process) = Process::open(running.pid, running.start_time)?
        {
            process.signal(signal)?;
        } else if signal == SIGKILL
            && (state.is_err() || lock::supervisor(&self.run_dir(&found.id)).is_none())
        {
            self.kill_unknown(&found.id)?;
        }
        wake_supervisor(&self.run_dir(&found.id));
        Ok(())
    }

    /// Kills a container of which no file says who its processes are: by its cgroup; where it has none, with the one who looks after it.
    fn kill_unknown(&self, id: &str) -> Result<()> {
        match cgroup_of(
            &self.hierarchy_of(id)?,
            self.cgroup_parent(id).as_deref(),
            id,
        ) {
            Err(rocker_cgroup::Error::NotFound { .. }) => {
                match lock::supervisor(&self.run_dir(id)) {
                    Some(supervisor) => Ok(supervisor.signal(SIGKILL)?),
                    None => Ok(()),
                }
            }
            cgroup => Ok(cgroup?.kill()?),
        }
    }

    fn run_dir(&self, id: &str) -> PathBuf {
        self.roots().running().join(id)
    }

    /// Waits until nobody looks after a container any more: then it has been taken down. False when `limit` has passed.
    fn wait_until_gone(&self, found: &ContainerSummary, limit: Option<Duration>) -> Result<bool> {
        let run = self.run_dir(&found.id);
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        // Whoever cannot be asked is waited for by his lock.
        if let Ok(Some(mut attached)) = Attached::connect(&run, ATTACH, AttachOptions::default())
            && attached.wait(limit)?.is_none()
        {
            return Ok(false);
        }
        // It has ended, or just began: what is left takes some milliseconds.
        while is_held(&run)? {
            if end
                .is_some_and(|end| Instant::now() > end + KILL_PATIENCE.min(Duration::from_secs(2)))
            {
                return Ok(false);
            }
            thread::sleep(MOMENT);
        }
        self.reconcile()?;
        Ok(true)
    }

    /// Kills a running container and waits until the one who looks after it has taken it down.
    fn kill_for_good(&self, found: &ContainerSummary) -> Result<()> {
        let run = self.run_dir(&found.id);
        let limit = Instant::now() + KILL_PATIENCE;
        while is_held(&run)? {
            self.signal(found, SIGKILL)?;
            self.let_go_on(&found.id, true)?;
            if Instant::now() > limit {
                return Err(Error::StillRunning {
                    name: found.name.clone(),
                });
            }
            // Its supervisor sees the end at once, and takes some milliseconds to undo things.
            thread::sleep(MOMENT);
        }
        self.reconcile()
    }
}

impl State {
    /// The exit status of the last run that has ended.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Exited(ended) | Self::Restarting(ended) => Some(ended.code),
            Self::Created | Self::Running(_) => None,
        }
    }

    /// Whose memory was used up in the last run that has ended, if a process died of that.
    pub(crate) fn oom_level(&self) -> Option<String> {
        match self {
            Self::Exited(ended) | Self::Restarting(ended) => ended.oom_level.clone(),
            Self::Created | Self::Running(_) => None,
        }
    }
}
