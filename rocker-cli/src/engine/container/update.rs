//! Changing what a container may use, also while it runs.

use oci_spec::runtime::{LinuxResources, Spec};
use rocker_cgroup::{Cgroup, Compat, Former, Limits};

use super::Container;
use super::record::{self, CONFIG, RECORD, Record, Running, State};
use crate::engine::options::{Restart, RunOptions};
use crate::engine::spec::parts;
use crate::engine::{Engine, cgroup_around, lock};
use crate::{Error, Result};

/// The lock in a container's directory for those who change what it may use: not that of its files, behind which others wait who make containers.
const UPDATING: &str = ".updating";

impl Engine {
    /// Has `change` change the limits of a container, and when it is started again. One that runs is held to them from now on; all that
    /// the kernel refuses is refused before anything is written down.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::BadValue`], whatever `change` finds wrong, and [`Error::Cgroup`] where the kernel does not
    /// take a value; it has the old ones then.
    pub fn update(
        &self,
        name: &str,
        restart: Option<Restart>,
        change: impl FnOnce(&mut Limits) -> Result<()>,
    ) -> Result<()> {
        let found = self.container(name)?;
        let data = self.roots().containers().join(&found.id);
        // Whoever makes another container does not wait while the kernel takes memory back.
        let _updating = lock::wait(&data.join(UPDATING))?;
        let no_container = || Error::NoContainer {
            name: name.to_owned(),
        };
        let record = self.record(&found.id)?.ok_or_else(no_container)?;
        if let Some(restart) = restart
            && record.options.remove
            && restart != Restart::No
        {
            let expected = "no: the container is to be removed when it ends";
            return Err(Error::bad_value("--restart", restart.to_string(), expected));
        }
        let mut limits = record.options.limits.clone();
        change(&mut limits)?;
        let mut change = Change {
            engine: self,
            id: &found.id,
            record: &record,
            limits: changeable(&limits),
            undo: None,
        };
        let updated = change
            .apply()
            .and_then(|()| {
                self.note_update(&found.id, |options| {
                    options.restart = restart.unwrap_or(options.restart);
                    options.limits = limits.clone();
                })
            })
            // It may have been started meanwhile with what was in force before.
            .and_then(|noted| change.apply().map(|()| noted));
        match updated {
            Ok(Some(record)) => {
                self.tell(&record, "update", &[]);
                Ok(())
            }
            Ok(None) => Err(no_container()),
            Err(error) => {
                change.take_back();
                self.note_former(&record);
                Err(error)
            }
        }
    }

    /// Writes down what a container is started with next. None if it is gone.
    fn note_update(
        &self,
        id: &str,
        change: impl FnOnce(&mut RunOptions<'static>),
    ) -> Result<Option<Record>> {
        // Its record is not written by anybody else meanwhile.
        let _making = self.making()?;
        let Some(mut record) = self.record(id)? else {
            return Ok(None);
        };
        change(&mut record.options);
        let data = self.roots().containers().join(id);
        record::write(&data.join(RECORD), &record)?;
        if let Some(mut spec) = self.spec_of(id)? {
            set_limits(&mut spec, &record.options.limits)?;
            record::write(&data.join(CONFIG), &spec)?;
        }
        Ok(Some(record))
    }

    /// Writes down again what was in force before an update that failed, as far as that has come to be written down.
    fn note_former(&self, former: &Record) {
        let options = &former.options;
        let now = self.record(&former.id).ok().flatten();
        let is_former = now.is_none_or(|now| {
            now.options.limits == options.limits && now.options.restart == options.restart
        });
        if is_former {
            return;
        }
        let noted = self.note_update(&former.id, |now| {
            now.restart = options.restart;
            now.limits.clone_from(&options.limits);
        });
        if let Err(error) = noted {
            tracing::warn!("the limits from before the update: {}", error.chain());
        }
    }

    /// Holds a container that has just begun to run to what somebody has changed since it was put together.
    pub(crate) fn catch_up(
        &self,
        container: &mut Container,
        cgroup: Option<&Cgroup>,
        spec: &mut Spec,
    ) -> Result<()> {
        let before = container.options().limits.clone();
        container.learn_changes();
        let after = &container.options().limits;
        if *after == before {
            return Ok(());
        }
        if let Some(cgroup) = cgroup {
            cgroup.apply(&changeable(after), Compat::Require)?;
        }
        set_limits(spec, after)?;
        record::write(&container.config(), spec)
    }
}

/// A change of a container that may run.
struct Change<'a> {
    engine: &'a Engine,
    id: &'a str,
    record: &'a Record,
    limits: Limits,
    /// Where the limits are in force, and what was before.
    undo: Option<(u32, Cgroup, Former)>,
}

impl Change<'_> {
    /// Puts the limits in force if the container runs, and they are not. All of them are written: what the record says need not be what
    /// the kernel has, since somebody may have been killed between the two.
    fn apply(&mut self) -> Result<()> {
        let Some(State::Running(Running { pid, .. })) = self.engine.state(self.id)? else {
            return Ok(());
        };
        if self.limits == Limits::default() || self.undo.as_ref().is_some_and(|done| done.0 == pid)
        {
            return Ok(());
        }
        let parent = self.record.options.cgroup_parent.as_deref();
        let cgroup = cgroup_around(&self.engine.hierarchy()?, parent, self.id, pid)?;
        let former = cgroup.former(&self.limits);
        let applied = cgroup.apply(&self.limits, Compat::Require);
        self.undo = Some((pid, cgroup, former));
        applied.map(drop).map_err(Error::from)
    }

    /// Puts back what was in force before.
    fn take_back(&self) {
        if let Some((_, cgroup, former)) = &self.undo
            && let Err(error) = cgroup.restore(former)
        {
            tracing::warn!(%error, "what was in force before could not be put back");
        }
    }
}

/// What a specification says of limits, anew; the rules on devices stay.
fn set_limits(spec: &mut Spec, limits: &Limits) -> Result<()> {
    let mut limits = limits.clone();
    limits.devices = parts::limits(spec)?.devices;
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(Some(LinuxResources::try_from(&limits)?));
    }
    Ok(())
}

/// Those of the limits that can be changed while a container runs.
fn changeable(all: &Limits) -> Limits {
    let mut limits = Limits::default();
    limits.cpu = all.cpu;
    limits.cpu_shares = all.cpu_shares;
    limits.cpuset_cpus.clone_from(&all.cpuset_cpus);
    limits.cpuset_mems.clone_from(&all.cpuset_mems);
    limits.memory_bytes = all.memory_bytes;
    limits.memory_swap_bytes = all.memory_swap_bytes;
    limits.memory_reservation_bytes = all.memory_reservation_bytes;
    limits.pids = all.pids;
    limits.io_weight = all.io_weight;
    limits
}
