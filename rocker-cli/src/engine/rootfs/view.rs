//! The files that a container's program would see, looked at after it could not be started: what the image has, what
//! the volumes lay over it, or what a running container sees.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rocker_fs::{Access, FileSystem, Overlay, open_beneath};

use crate::engine::container::record::{Running, State};
use crate::engine::spec::PATH;
use crate::engine::{Engine, RunOptions, Volume, VolumeSource, disk, image};

/// How much of a program is looked at.
const HEAD: u64 = 64 << 10;

/// A container's tree of files.
#[derive(Debug)]
pub(crate) struct View {
    root: OwnedFd,
    volumes: Vec<Volume>,
    /// Where relative paths begin.
    pub(crate) workdir: PathBuf,
    /// Where a program is looked for that has no path.
    pub(crate) search: Vec<PathBuf>,
    /// What to look around in: the image or container, as on the command line.
    pub(crate) name: String,
    /// Whether it is a container that runs.
    pub(crate) is_container: bool,
}

/// A file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its permissions and type, see inode(7).
    pub(crate) mode: u32,
    pub(crate) is_directory: bool,
    pub(crate) is_regular: bool,
    /// Whether its mount forbids to execute it.
    pub(crate) no_exec: bool,
    /// Its first bytes.
    pub(crate) head: Vec<u8>,
}

impl View {
    /// What a container of these options would see; none where the image is not there.
    pub(crate) fn of_image(engine: &Engine, options: &RunOptions<'_>) -> Option<Self> {
        let image = image::find(engine.store().ok()?, &options.image).ok()??;
        let config = image.config().config().as_ref();
        let of_image = || config?.working_dir().clone();
        let variables = config.and_then(|config| config.env().as_deref());
        let variables = variables.unwrap_or_default().iter().chain(&options.env);
        let search = variables
            .filter_map(|one| one.strip_prefix("PATH="))
            .next_back();
        let workdir = options.workdir.clone().or_else(of_image);
        // Without an upper directory, nothing of it can be changed.
        let root = Overlay::new(engine.lower_dirs(&image).ok()?).mount().ok()?;
        Some(Self {
            root: root.into(),
            volumes: options.volumes.clone(),
            search: directories(search.unwrap_or(PATH)),
            workdir: Path::new("/").join(workdir.unwrap_or_default()),
            name: options.image.clone(),
            is_container: false,
        })
    }

    /// What the processes of a running container see.
    pub(crate) fn of_container(engine: &Engine, name: &str) -> Option<Self> {
        let id = engine.container(name).ok()?.id;
        let Some(State::Running(Running { pid, .. })) = engine.state(&id).ok()? else {
            return None;
        };
        let why = "so that it can be looked at what the container has in place of the program";
        let root = disk::open(&PathBuf::from(format!("/proc/{pid}/root")), why).ok()?;
        Some(Self {
            root: root.into(),
            volumes: Vec::new(),
            search: directories(PATH),
            workdir: "/".into(),
            name: name.to_owned(),
            is_container: true,
        })
    }

    /// The file at `path`, which a symbolic link may lead to; none where there is none.
    pub(crate) fn find(&self, path: &Path) -> Option<Found> {
        let path = self.workdir.join(path);
        let over = self
            .volumes
            .iter()
            .filter(|volume| path.starts_with(&volume.destination));
        let nearest = over.max_by_key(|volume| volume.destination.as_os_str().len());
        let Some(volume) = nearest else {
            return found(open_beneath(self.root.as_fd(), &path, Access::Path).ok()?);
        };
        let rest = path.strip_prefix(&volume.destination).ok()?;
        let why = "so that it can be looked at what the volume has in place of the program";
        let VolumeSource::Bind(source) = &volume.source else {
            return None;
        };
        let metadata = fs::metadata(source).ok()?;
        if !metadata.is_dir() && !metadata.is_file() {
            return None;
        }
        if rest.as_os_str().is_empty() {
            return found(disk::open(source, why).ok()?.into());
        }
        let root = disk::open(source, why).ok()?;
        found(open_beneath(root.as_fd(), rest, Access::Path).ok()?)
    }
}

/// The directories of a search path.
fn directories(path: &str) -> Vec<PathBuf> {
    path.split(':').map(PathBuf::from).collect()
}

/// What is known of an open file.
fn found(place: OwnedFd) -> Option<Found> {
    let no_exec = FileSystem::of(&place).ok()?.no_exec;
    let place = File::from(place);
    let metadata = place.metadata().ok()?;
    let mut head = Vec::new();
    if metadata.is_file() {
        // The very inode that was looked at: a device or fifo notices nothing.
        let again = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
        let why = "so that it is seen what kind of program it is, if it is one";
        let file = disk::open(&again, why).ok()?;
        file.take(HEAD).read_to_end(&mut head).ok()?;
    }
    Some(Found {
        mode: metadata.mode(),
        is_directory: metadata.is_dir(),
        is_regular: metadata.is_file(),
        no_exec,
        head,
    })
}
