//! Having the processes of a container stand still, and go on.
//!
//! The kernel knows whether they do; a file in the run directory says that it was somebody's wish, so that not each look at
//! a container has to ask the kernel. It is written before the first process stops, and goes when the last one has gone on: whoever
//! dies in between leaves a wish without effect, which counts for nothing. Whose files are read at the moment stands still for that,
//! too ([`super::frozen`]): who pauses it, or lets it go on, waits until that is over.

use std::path::Path;

use rocker_cgroup::Cgroup;

use super::record::{Record, Running, State};
use crate::engine::{Engine, cgroup_around, disk};
use crate::{Error, Result};

/// The file of the run directory that says that a container is to stand still.
const PAUSED: &str = "paused";

impl Engine {
    /// Has all processes of a container stand still. They cannot notice it.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], [`Error::Paused`], and [`Error::Cgroup`] where it has no cgroup, or a
    /// process does not stop.
    pub fn pause(&self, name: &str) -> Result<()> {
        let (record, cgroup) = self.frozen_or_not(name)?;
        let _still = self.still(&record.id)?;
        if self.is_paused(&record) {
            return Err(Error::Paused {
                name: record.name,
                expected: "it is paused already",
            });
        }
        let path = self.roots().running().join(&record.id).join(PAUSED);
        let why = "so that whoever looks at the container knows that it is to stand still";
        disk::write(&path, b"", why).map_err(disk::failed("write", &path))?;
        if let Err(error) = cgroup.freeze() {
            // Half a pause would be none that anybody could see.
            let _ = cgroup.thaw();
            let _ = disk::remove_file(&path, "so that it does not seem to be paused");
            return Err(error.into());
        }
        self.tell(&record, "pause", &[]);
        Ok(())
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], [`Error::NotPaused`].
    pub fn unpause(&self, name: &str) -> Result<()> {
        let (record, cgroup) = self.frozen_or_not(name)?;
        let _still = self.still(&record.id)?;
        if !self.is_paused(&record) {
            return Err(Error::NotPaused { name: record.name });
        }
        cgroup.thaw()?;
        self.no_longer_paused(&record.id);
        self.tell(&record, "unpause", &[]);
        Ok(())
    }

    /// A container that runs, and its cgroup.
    fn frozen_or_not(&self, name: &str) -> Result<(Record, Cgroup)> {
        let found = self.container(name)?;
        let not_running = || Error::NotRunning {
            name: found.name.clone(),
        };
        let record = self.record(&found.id)?.ok_or_else(not_running)?;
        let Some(State::Running(Running { pid, .. })) = self.state(&found.id)? else {
            return Err(not_running());
        };
        let parent = record.options.cgroup_parent.as_deref();
        let cgroup = cgroup_around(&self.hierarchy()?, parent, &found.id, pid)?;
        Ok((record, cgroup))
    }

    /// Whether a container that runs stands still, since somebody wants it to.
    pub(crate) fn is_paused(&self, record: &Record) -> bool {
        if !is_wished(&self.roots().running().join(&record.id)) {
            return false;
        }
        let cgroup = self.own_cgroup(&record.id);
        cgroup.is_ok_and(|cgroup| cgroup.is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false)))
    }

    /// Lets a container go on that is to end: what stands still does not die on v1, and does not hear a signal on either version. Whose
    /// files are read at the moment goes on when that is done; or at once if it is `killed`, since it does nothing any more.
    pub(crate) fn let_go_on(&self, id: &str, killed: bool) -> Result<()> {
        let is_paused = is_wished(&self.roots().running().join(id));
        if self.is_frozen(id) && !killed {
            if is_paused {
                self.no_longer_paused(id);
            }
            // Otherwise whoever reads them has seen that it was paused, and has left it as it is.
            if self.is_frozen(id) || !is_paused {
                return Ok(());
            }
        } else if !is_paused && !self.is_frozen(id) {
            return Ok(());
        }
        if let Some(cgroup) = self.own_cgroup(id)? {
            cgroup.thaw()?;
        }
        self.no_longer_paused(id);
        Ok(())
    }

    /// The cgroup of a container that runs; none where it has none, or has ended.
    fn own_cgroup(&self, id: &str) -> Result<Option<Cgroup>> {
        let Some(State::Running(Running { pid, .. })) = self.state(id)? else {
            return Ok(None);
        };
        let parent = self.cgroup_parent(id);
        match cgroup_around(&self.hierarchy()?, parent.as_deref(), id, pid) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(Error::Cgroup(rocker_cgroup::Error::NotFound { .. })) => Ok(None),
            // Its first process has just ended, and all others end with it.
            Err(Error::State { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the wish away that a container stand still.
    pub(crate) fn no_longer_paused(&self, id: &str) {
        let path = self.roots().running().join(id).join(PAUSED);
        // One that stays is a wish without effect.
        let _ = disk::remove_file(&path, "so that it is not taken for one that stands still");
    }
}

/// Whether somebody wants the container with this run directory to stand still.
pub(crate) fn is_wished(run: &Path) -> bool {
    let why = "so that one knows whether somebody wants the container to stand still";
    disk::exists(&run.join(PAUSED), why)
}
