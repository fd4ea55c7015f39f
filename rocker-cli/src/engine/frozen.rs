//! A container that stands still while its files are read.

use std::fs::File;
use std::path::PathBuf;

use rocker_cgroup::Cgroup;

use super::{Engine, cgroup_of, disk, lock};
use crate::Result;

/// The file of the run directory that says that the container was made to stand still. Who has done that holds its lock.
const FROZEN: &str = "frozen";

/// A container whose processes stand still, until this is dropped. If this process is killed, the next command lets them go on.
#[derive(Debug)]
#[must_use = "dropping it lets the container go on"]
pub(crate) struct Frozen {
    cgroup: Cgroup,
    note: File,
    path: PathBuf,
}

impl Engine {
    /// Makes all processes of a container that runs stand still, when nobody else has them stand still any more.
    pub(crate) fn freeze(&self, id: &str) -> Result<Frozen> {
        let cgroup = cgroup_of(&self.hierarchy()?, id)?;
        let path = self.roots().running().join(id).join(FROZEN);
        let note = lock::wait(&path)?;
        let why = "so that whoever finds this lock free knows that the container is to go on";
        disk::overwrite(&note, "frozen\n", why).map_err(disk::failed("write", &path))?;
        // From here on the way back is the same, also if only some of them stand still.
        let frozen = Frozen { cgroup, note, path };
        frozen.cgroup.freeze()?;
        Ok(frozen)
    }

    /// Lets a container go on that somebody made stand still who was killed.
    pub(crate) fn thaw_if_forgotten(&self, id: &str) -> Result<()> {
        let path = self.roots().running().join(id).join(FROZEN);
        let why = "so that one knows whether somebody made the container stand still";
        if !disk::is_filled(&path, why) {
            return Ok(());
        }
        let failed = disk::failed("lock", &path);
        let note =
            disk::open_lock(&path, "so that one can see whether he lives").map_err(&failed)?;
        let why = "so that nobody lets it go on whom its maker still wants to stand still";
        if disk::try_lock(&note, why).map_err(failed)? {
            let cgroup = cgroup_of(&self.hierarchy()?, id)?;
            drop(Frozen { cgroup, note, path });
        }
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thawed = self.cgroup.thaw();
        // One that has ended meanwhile has no cgroup any more.
        match thawed {
            Ok(()) | Err(rocker_cgroup::Error::NotFound { .. }) => {
                let why = "so that the container counts as one that goes on";
                if let Err(error) = disk::overwrite(&self.note, "", why) {
                    tracing::warn!(%error, "{} cannot be emptied", self.path.display());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the container stands still, and cannot be let go on")
            }
        }
    }
}
