//! The composition: what Docker's daemon does, as functions.

mod as_text;
mod boot;
mod container;
mod disk;
pub(crate) mod doctor;
mod events;
pub(crate) mod host;
pub(crate) mod image;
mod interrupted;
mod lock;
mod log;
mod network;
mod options;
pub(crate) mod rootfs;
mod rootless;
mod roots;
pub(crate) mod spec;
pub(crate) mod time;
mod usage;
mod volume;
mod watch;

use std::sync::OnceLock;

use rocker_cgroup::{Cgroup, Hierarchy};
use rocker_fs::Layers;
use rocker_image::Store;

use crate::{Error, Result};

pub use container::exec::ExecOptions;
pub use container::life::{Exit, StartOptions};
pub use container::record::HealthStatus;
pub use container::stats::ContainerStats;
pub(crate) use container::stats::is_uncounted;
pub use container::summary::{ContainerSummary, Status};
pub use container::top::ProcessFacts;
pub use events::{Actor, Event, Events};
pub use image::commit::CommitOptions;
pub use image::import::ImportOptions;
pub use image::prune::ImagePrune;
pub use log::logs::{LogLine, LogQuery, Logs};
pub(crate) use network::tidy::Tidier;
pub use network::{NetworkRequest, NetworkSummary};
pub use options::{
    Beneath, BindPropagation, DeviceNode, HealthCheck, HealthOptions, Io, LogDriver, LogOptions,
    MountIds, Network, NetworkEndpoint, PullPolicy, Restart, RootDirectory, RunOptions,
    SeccompProfile, Share, StorageDriver, StorageOptions, Tmpfs, Users, Volume, VolumeSource,
    VolumesFrom,
};
pub use rootfs::copy::{Copied, CopyEnd, CopyOptions, CopyStream};
pub(crate) use rootfs::etc::check_gateway;
pub use rootfs::mounted::Mounted;
pub(crate) use rootfs::view::View;
pub(crate) use rootless::become_root;
pub use roots::Roots;
pub use usage::Usage;
pub use volume::{VolumeOptions, VolumeSummary};

/// The cgroup below which all containers have theirs: the place itself where they may live. One of rocker's own between would be
/// made and removed, in each tree of v1, by every container that has no other one beside it, which takes a tenth of a run.
const CGROUP_PARENT: &str = "";

/// The name of a container's cgroup.
fn cgroup_name(id: &str) -> String {
    format!("rocker-{id}")
}

/// A container's cgroup, to look at, or to kill what is in it: in `parent`, where it was to be in one.
///
/// # Errors
/// [`rocker_cgroup::Error::NotFound`].
fn cgroup_of(
    hierarchy: &Hierarchy,
    parent: Option<&str>,
    id: &str,
) -> rocker_cgroup::Result<Cgroup> {
    let parent = parent.unwrap_or(CGROUP_PARENT);
    Cgroup::open(hierarchy, parent, &cgroup_name(id)).map(Cgroup::keep)
}

/// The same of a container of which a process is known. An ordinary user's may have been made in a place that was delegated to another
/// of the user's sessions.
fn cgroup_around(
    hierarchy: &Hierarchy,
    parent: Option<&str>,
    id: &str,
    pid: u32,
) -> Result<Cgroup> {
    match cgroup_of(hierarchy, parent, id) {
        Err(rocker_cgroup::Error::NotFound { path }) => {
            let file = std::path::PathBuf::from(format!("/proc/{pid}/cgroup"));
            let why = "so that the container's cgroup is found where it was made";
            let text = disk::read(&file, why).map_err(disk::failed("read", &file))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let parent_or_all = parent.unwrap_or(CGROUP_PARENT);
            let hierarchy = hierarchy.clone();
            let found = hierarchy.with_base_of(&text, parent_or_all, &cgroup_name(id))?;
            match cgroup_of(&found, parent, id) {
                Err(rocker_cgroup::Error::NotFound { .. }) => {
                    Err(rocker_cgroup::Error::NotFound { path }.into())
                }
                found => Ok(found?),
            }
        }
        found => Ok(found?),
    }
}

/// A container engine over its directories. It holds nothing open: any number of them, in any number of processes, work
/// on the same directories.
///
/// ```no_run
/// use rocker_cli::{Engine, Roots, RunOptions};
///
/// let engine = Engine::open(Roots::from_env())?;
/// let exit = engine.run(&RunOptions::new("debian:12-slim"))?;
/// assert_eq!(exit.code, 0);
/// # Ok::<(), rocker_cli::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    roots: Roots,
    /// Who takes back a little later what ended containers leave on the network; without, it is taken back at once.
    tidier: Option<Tidier>,
    /// Where the images are, once somebody has looked whether it is such a place.
    store: OnceLock<Store>,
    max_image_bytes: u64,
}

impl Engine {
    /// An engine over `roots`, whose directories are made if they are absent.
    ///
    /// # Errors
    /// [`Error::NotRoot`], and [`Error::State`] when a directory cannot be made.
    pub fn open(roots: Roots) -> Result<Self> {
        Self::check_root()?;
        for dir in [roots.containers(), roots.running()] {
            // Nobody else may look into them: images hold setuid programs.
            disk::make_dir(&dir, "so that rocker has a place for its containers")?;
        }
        Ok(Self {
            roots,
            tidier: None,
            store: OnceLock::new(),
            max_image_bytes: Store::MAX_IMAGE_BYTES,
        })
    }

    /// Sets how many bytes the layers of one image may have, uncompressed and all together, for it to be pulled, loaded or imported;
    /// each of its layers may have as many, the holes of sparse files included. Default: [`Store::MAX_IMAGE_BYTES`], 64 GiB.
    #[must_use]
    pub fn max_image_bytes(self, bytes: u64) -> Self {
        Self {
            max_image_bytes: bytes,
            ..self
        }
    }

    /// Has `tidier` take back what ended containers leave on the network, so that nobody waits for that.
    pub(crate) fn tidied_by(mut self, tidier: Option<Tidier>) -> Self {
        self.tidier = tidier;
        self
    }

    /// An engine that only looks, at what there is in `roots`: it needs no privileges, and makes no directories. Of what it
    /// can do, [`Engine::plan`] is made for that.
    #[must_use]
    pub fn look(roots: Roots) -> Self {
        Self {
            roots,
            tidier: None,
            store: OnceLock::new(),
            max_image_bytes: Store::MAX_IMAGE_BYTES,
        }
    }

    /// Whether this process may run containers.
    pub(crate) fn check_root() -> Result<()> {
        match roots::own_user() {
            0 => Ok(()),
            _ => Err(Error::NotRoot),
        }
    }

    /// The directories that the engine works in.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    fn store(&self) -> Result<&Store> {
        match self.store.get() {
            Some(store) => Ok(store),
            None => {
                let store = Store::open(self.roots.images())?;
                let store = store.max_image_bytes(self.max_image_bytes);
                Ok(self.store.get_or_init(|| store))
            }
        }
    }

    fn layers(&self) -> Result<Layers> {
        Ok(Layers::open(self.roots.layers())?)
    }

    fn hierarchy(&self) -> Result<Hierarchy> {
        Ok(Hierarchy::detect()?)
    }
}
