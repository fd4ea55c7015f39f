//! A container that stands still while its files are read.
//!
//! There are two reasons for that to stand still: somebody paused it ([`super::pause`]), or its files are read. Who has it
//! do so, or go on, for either of them holds the lock of the file `frozen`; and it goes on when neither is left.

use std::fs::File;
use std::path::PathBuf;

use rocker_cgroup::Cgroup;

use super::pause;
use crate::Result;
use crate::engine::{Engine, cgroup_of, disk, lock};

/// The file of the run directory that says that the container was made to stand still for its files. Who has done that holds its lock.
const FROZEN: &str = "frozen";

/// A container whose processes stand still, until this is dropped. If this process is killed, the next command lets them go on.
#[derive(Debug)]
#[must_use = "dropping it lets the container go on"]
pub(crate) struct Frozen {
    cgroup: Cgroup,
    note: File,
    run: PathBuf,
}

impl Engine {
    /// Makes all processes of a container that runs stand still, when nobody else has them stand still any more.
    pub(crate) fn freeze(&self, id: &str) -> Result<Frozen> {
        let cgroup = cgroup_of(
            &self.hierarchy_of(id)?,
            self.cgroup_parent(id).as_deref(),
            id,
        )?;
        let run = self.roots().running().join(id);
        let (path, note) = (run.join(FROZEN), self.still(id)?);
        let why = "so that whoever finds this lock free knows that the container is to go on";
        if pause::is_wished(&run) && !cgroup.is_frozen()? {
            // Whoever wanted it to stand still was killed before it did, or after it went on: it is to go on afterwards.
            self.no_longer_paused(id);
        }
        disk::overwrite(&note, "frozen\n", why).map_err(disk::failed("write", &path))?;
        // From here on the way back is the same, also if only some of them stand still.
        let frozen = Frozen { cgroup, note, run };
        frozen.cgroup.freeze()?;
        Ok(frozen)
    }

    /// The lock of whoever has a container stand still or go on.
    pub(crate) fn still(&self, id: &str) -> Result<File> {
        lock::wait(&self.roots().running().join(id).join(FROZEN))
    }

    /// Whether somebody has a container stand still to read its files, or died when he did.
    pub(crate) fn is_frozen(&self, id: &str) -> bool {
        let path = self.roots().running().join(id).join(FROZEN);
        let why = "so that one knows whether somebody made the container stand still";
        disk::is_filled(&path, why)
    }

    /// Lets a container go on that somebody made stand still who was killed.
    pub(crate) fn thaw_if_forgotten(&self, id: &str) -> Result<()> {
        if !self.is_frozen(id) {
            return Ok(());
        }
        let run = self.roots().running().join(id);
        let path = run.join(FROZEN);
        let failed = disk::failed("lock", &path);
        let note =
            disk::open_lock(&path, "so that one can see whether he lives").map_err(&failed)?;
        let why = "so that nobody lets it go on whom its maker still wants to stand still";
        if disk::try_lock(&note, why).map_err(failed)? {
            let cgroup = cgroup_of(
                &self.hierarchy_of(id)?,
                self.cgroup_parent(id).as_deref(),
                id,
            )?;
            drop(Frozen { cgroup, note, run });
        }
        Ok(())
    }
}

impl Frozen {
    /// Lets it go on, unless somebody has paused it.
    fn go_on(&self) -> bool {
        if pause::is_wished(&self.run) {
            return true;
        }
        match self.cgroup.thaw() {
            // One that has ended meanwhile has no cgroup any more.
            Ok(()) | Err(rocker_cgroup::Error::NotFound { .. }) => true,
            Err(error) => {
                tracing::warn!(%error, "the container stands still, and cannot be let go on");
                false
            }
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.go_on() {
            return;
        }
        let why = "so that the container counts as one that goes on";
        if let Err(error) = disk::overwrite(&self.note, "", why) {
            let path = self.run.join(FROZEN);
            tracing::warn!(%error, "{} cannot be emptied", path.display());
        }
        // Whoever ends a container does not wait for this lock, and may have taken the pause away since.
        self.go_on();
    }
}
