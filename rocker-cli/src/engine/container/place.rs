//! Where a container has its cgroup, for those who look for it from elsewhere.
//!
//! On v2 an ordinary user has cgroups where some have been delegated: each of the user's sessions and units may be in another place, and
//! find its containers there. So whoever makes a container's cgroup notes that place in the run directory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rocker_cgroup::Hierarchy;

use crate::Result;
use crate::engine::{Engine, disk};

/// The file of the run directory that says below which directory of v2 the container's cgroup is.
const PLACE: &str = "cgroup-place";

impl Engine {
    /// The host's cgroups, with the place in which a container has its own.
    ///
    /// # Errors
    /// Those of finding cgroups, and [`Error::State`](crate::Error::State) when the note cannot be read.
    pub(crate) fn hierarchy_of(&self, id: &str) -> Result<Hierarchy> {
        let hierarchy = self.hierarchy()?;
        let Some(place) = self.place_of(id)? else {
            return Ok(hierarchy);
        };
        if hierarchy.base() == Some(&*place) {
            return Ok(hierarchy);
        }
        match hierarchy.clone().with_base(place) {
            // The unit is gone, and the container's cgroup with it.
            Err(rocker_cgroup::Error::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(hierarchy)
            }
            found => Ok(found?),
        }
    }

    /// The place that was noted, if any was.
    pub(crate) fn place_of(&self, id: &str) -> Result<Option<PathBuf>> {
        let path = self.roots().running().join(id).join(PLACE);
        let why = "so that its cgroup is found where it was made, maybe in another session";
        match disk::read(&path, why) {
            Ok(place) => Ok(Some(PathBuf::from(OsStr::from_bytes(&place)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk::failed("read", &path)(error)),
        }
    }
}

/// Notes in a run directory below which directory of v2 the container is going to have its cgroup. It comes first, so that none is
/// made that nobody finds.
pub(crate) fn note(run: &Path, hierarchy: &Hierarchy) -> Result<()> {
    let Some(base) = hierarchy.base() else {
        return Ok(());
    };
    let path = run.join(PLACE);
    let why = "so that the container's cgroup is found from another session, too";
    disk::write(&path, base.as_os_str().as_bytes(), why).map_err(disk::failed("write", &path))
}

/// Takes the note back: no cgroup has come.
pub(crate) fn forget(run: &Path) {
    let why = "so that no cgroup is looked for that there is not";
    // One that stays has somebody look in vain.
    let _ = disk::remove_file(&run.join(PLACE), why);
}
