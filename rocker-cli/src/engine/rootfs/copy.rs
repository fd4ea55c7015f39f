//! Files between a container and the host.
//!
//! Both ends are a root's descriptor, and every path is resolved by the kernel beneath it, so that no symbolic link leads out, whoever
//! exchanges what for what meanwhile. From there on it is a stream: one thread packs, the other one unpacks, and both go by
//! descriptors too. Nothing of the container is ever run or loaded.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;
use rocker_fs::{
    IdRange, Mount, Ownership, PackOptions, Place, UnpackOptions, View, pack, unpack, unpack_as,
};
use rocker_ns::IdMap;

use super::diff::range;
use super::packing::Packing;
use crate::engine::container::Container;
use crate::engine::container::record::State;
use crate::engine::options::MountIds;
use crate::engine::spec::parts;
use crate::engine::{Engine, disk, rootless, spec};
use crate::{Error, Result};

/// How long a container may take from the moment on at which somebody begins to start it until it runs.
const COMING_UP: Duration = Duration::from_secs(15);

/// How [`Engine::copy`] copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Whether files keep their owners, and all that goes with them. Otherwise they belong to the root of the container, or to the
    /// caller on the host, where they get no set-user-ID bits, file capabilities or devices.
    pub archive: bool,
    /// Whether what is copied is what a symbolic link leads to, and not the link.
    pub follow: bool,
}

/// Where files are copied from, or to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyEnd {
    /// A path in a container.
    Container {
        /// Its name, or the beginning of its ID.
        container: String,
        /// The path from its root.
        path: String,
    },
    /// A path on the host.
    Local(String),
    /// A tar archive on standard input or output.
    Stream,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Copied {
    /// How many bytes files have, in all.
    pub bytes: u64,
}

/// A root file system to copy from or to.
struct Tree {
    root: Root,
    /// What it is called in messages.
    place: String,
    /// The container's name; none for the host.
    container: Option<String>,
    /// What its users are outside.
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

/// Where its `/` is.
enum Root {
    /// A directory: the host's own, or that of a container's first process, with all that is mounted there.
    Open(OwnedFd),
    /// That of a container that does not run, which is nobody else's meanwhile.
    Mounted(
        View,
        #[expect(dead_code, reason = "it is held")] Box<Container>,
    ),
}

/// A path as it was asked for.
struct Asked {
    path: PathBuf,
    /// Whether it is said to be a directory, by a slash behind it.
    is_directory: bool,
    /// Whether it is what is in it that is meant, by `/.` behind it.
    contents: bool,
}

impl Asked {
    /// As Docker reads it: `..` takes away the name before it.
    fn parse(path: &str) -> Self {
        let mut clean = PathBuf::from("/");
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => drop(clean.pop()),
                _ => {}
            }
        }
        let contents = path == "." || path.ends_with("/.") || clean.parent().is_none();
        Self {
            path: clean,
            is_directory: contents || path.ends_with('/'),
            contents,
        }
    }
}

impl Tree {
    fn root(&self) -> BorrowedFd<'_> {
        match &self.root {
            Root::Open(root) => root.as_fd(),
            Root::Mounted(view, _) => view.as_fd(),
        }
    }

    /// Finds a path; with no such directory above it, it is an error.
    fn find(&self, asked: &Asked, follow: bool) -> Result<Place> {
        Place::find(self.root(), &asked.path, follow).map_err(|error| match error {
            rocker_fs::Error::Resolve { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                self.no_file(asked)
            }
            other => other.into(),
        })
    }

    /// Finds what is to be copied.
    fn source(&self, path: &str, options: &CopyOptions) -> Result<(Place, Asked)> {
        let asked = Asked::parse(path);
        let found = self.find(&asked, options.follow || asked.is_directory)?;
        if found.found().is_none() {
            return Err(self.no_file(&asked));
        }
        if asked.is_directory && !found.is_directory() {
            return Err(self.not_a_directory(&asked));
        }
        match &self.container {
            Some(container) if found.is_the_kernels() => Err(Error::KernelsFile {
                path: asked.path,
                container: container.clone(),
            }),
            _ => Ok((found, asked)),
        }
    }

    fn no_file(&self, asked: &Asked) -> Error {
        Error::NoFile {
            path: asked.path.clone(),
            place: self.place.clone(),
        }
    }

    fn not_a_directory(&self, asked: &Asked) -> Error {
        Error::NotADirectory {
            path: asked.path.clone(),
            place: self.place.clone(),
        }
    }

    /// How what is in it is packed.
    fn packing(&self, to_host: bool, options: &CopyOptions) -> PackOptions<'static> {
        let packing = PackOptions::files().id_maps(self.uids.clone(), self.gids.clone());
        match to_host && !options.archive {
            true => packing.harmless(),
            false => packing,
        }
    }

    /// Unpacks a stream in a directory of it.
    fn unpack(
        &self,
        tar: impl Read + Send,
        into: BorrowedFd<'_>,
        options: &CopyOptions,
    ) -> Result<()> {
        let base = match rootless::in_user_namespace()? {
            true => UnpackOptions::user_namespace(),
            false => UnpackOptions::default(),
        };
        let mut unpacking = base
            .into_tree_in_use()
            .max_bytes(u64::MAX)
            .max_entries(u64::MAX);
        unpacking = unpacking.id_maps(self.uids.clone(), self.gids.clone());
        if !options.archive {
            unpacking = unpacking.ownership(Ownership::Caller);
        }
        let root = |map: &[IdRange]| {
            map.iter()
                .find(|run| run.inside == 0)
                .map(|run| run.outside)
        };
        match (root(&self.uids), root(&self.gids)) {
            // Whoever else makes a file there is nobody whom the container knows.
            (Some(uid), Some(gid)) => unpack_as((uid, gid), tar, into, &unpacking)?,
            _ => unpack(tar, into, &unpacking)?,
        };
        Ok(())
    }
}

impl Engine {
    /// Copies files, by Docker's rules for what is there and what is not: `SRC/.` means what is in a directory; what is copied to a
    /// directory gets its name there; what is copied to something that is not there is called that. The container may run or
    /// not; one that runs sees its volumes as it is copied from and to. `stream` has the archive, of [`CopyEnd::Stream`].
    ///
    /// A directory that is there keeps its owner and mode. No file takes a directory's place, nor a directory a file's.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; [`Error::NoFile`] and its neighbours; [`Error::CopyBetween`]; [`Error::ComingUp`]; [`Error::Fs`].
    pub fn copy(
        &self,
        from: &CopyEnd,
        to: &CopyEnd,
        stream: CopyStream<'_>,
        options: &CopyOptions,
    ) -> Result<Copied> {
        match (from, to) {
            (CopyEnd::Container { .. }, CopyEnd::Container { .. }) => Err(Error::CopyBetween),
            (CopyEnd::Container { path, .. }, CopyEnd::Stream) => {
                let tree = self.tree(from)?;
                self.copy_out(&tree, path, stream.out, options)
            }
            (CopyEnd::Stream, CopyEnd::Container { path, .. }) => {
                let tree = self.tree(to)?;
                let asked = Asked::parse(path);
                let place = tree.find(&asked, true)?;
                match place.found().filter(|_| place.is_directory()) {
                    Some(into) => tree.unpack(stream.input, into, options)?,
                    None => return Err(tree.not_a_directory(&asked)),
                }
                Ok(Copied::default())
            }
            (CopyEnd::Container { path: source, .. }, CopyEnd::Local(target))
            | (CopyEnd::Local(source), CopyEnd::Container { path: target, .. }) => {
                let (from, to) = (self.tree(from)?, self.tree(to)?);
                self.copy_tree((&from, source), (&to, target), options)
            }
            _ => Err(Error::CopyNoContainer),
        }
    }

    fn copy_out(
        &self,
        tree: &Tree,
        path: &str,
        out: &mut (dyn Write + Send),
        options: &CopyOptions,
    ) -> Result<Copied> {
        let (found, asked) = tree.source(path, options)?;
        let name = match asked.contents {
            true => PathBuf::new(),
            false => PathBuf::from(asked.path.file_name().unwrap_or_default()),
        };
        // There is nobody yet to whom the files belong: that is for who unpacks them to say.
        let packing = tree.packing(false, options).root_name(name);
        let found = found.found().ok_or_else(|| tree.no_file(&asked))?;
        let packed = pack(found, out, &packing)?;
        Ok(Copied {
            bytes: packed.bytes,
        })
    }

    fn copy_tree(
        &self,
        (from, source): (&Tree, &str),
        (to, target): (&Tree, &str),
        options: &CopyOptions,
    ) -> Result<Copied> {
        let (found, asked) = from.source(source, options)?;
        let wanted = Asked::parse(target);
        let place = to.find(&wanted, true)?;
        let (into, name) = match place.found() {
            Some(into) if place.is_directory() && asked.contents => (into, PathBuf::new()),
            Some(into) if place.is_directory() => (
                into,
                PathBuf::from(asked.path.file_name().unwrap_or_default()),
            ),
            // Unpacking puts a new file in its place, and takes the old one away: everybody's /dev/null, for one.
            Some(_) if !place.is_file() => {
                return Err(Error::NeitherFileNorDirectory {
                    path: wanted.path,
                    place: to.place.clone(),
                });
            }
            Some(_) if found.is_directory() => {
                return Err(Error::CopyDirectory {
                    path: wanted.path,
                    place: to.place.clone(),
                });
            }
            Some(_) if wanted.is_directory => return Err(to.not_a_directory(&wanted)),
            None if wanted.is_directory && !found.is_directory() => {
                return Err(Error::NoDirectory {
                    path: wanted.path,
                    place: to.place.clone(),
                });
            }
            _ => (place.dir(), PathBuf::from(place.name())),
        };
        let packing = from
            .packing(to.container.is_none(), options)
            .root_name(name);
        let tree = found.found().ok_or_else(|| from.no_file(&asked))?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut tar = Packing::begin(scope, tree, packing, || Ok(()), &stop)?;
            to.unpack(&mut tar, into, options)?;
            Ok(Copied {
                bytes: tar.packed.map_or(0, |packed| packed.bytes),
            })
        })
    }

    fn tree(&self, end: &CopyEnd) -> Result<Tree> {
        match end {
            CopyEnd::Container { container, .. } => self.tree_of(container),
            CopyEnd::Local(_) | CopyEnd::Stream => {
                let path = Path::new("/");
                let why = "so that paths of the host's can be resolved";
                let root = disk::open(path, why).map_err(disk::failed("open", path))?;
                Ok(Tree {
                    root: Root::Open(root.into()),
                    place: "the host".to_owned(),
                    container: None,
                    uids: Vec::new(),
                    gids: Vec::new(),
                })
            }
        }
    }

    /// The root file system of a container as it sees it.
    fn tree_of(&self, name: &str) -> Result<Tree> {
        let found = self.container(name)?;
        let ranges = |maps: &[IdMap]| maps.iter().map(range).collect();
        let tree = |root, spec: Option<&Spec>| {
            let [uids, gids] = spec.map(parts::id_maps).unwrap_or_default();
            Tree {
                root,
                place: format!("container {}", found.name),
                container: Some(found.name.clone()),
                uids: ranges(&uids),
                gids: ranges(&gids),
            }
        };
        let limit = Instant::now() + COMING_UP;
        loop {
            if matches!(self.state(&found.id)?, Some(State::Running(_))) {
                match self.root_of_running(&found.id) {
                    // It has just ended.
                    Err(Error::NotRunning { .. }) => {}
                    root => return Ok(tree(Root::Open(root?), self.spec_of(&found.id)?.as_ref())),
                }
            }
            if let Some(idle) = Container::for_its_files(self, &found.id, &found.name)? {
                let spec = self.spec_of(&found.id)?;
                let root = self.idle_root(&idle)?.into();
                let read_only = idle.options().read_only;
                let binds = self.binds(&idle, spec.as_ref())?;
                let view = View::new(root, read_only, idle.data(), &binds)?;
                return Ok(tree(Root::Mounted(view, Box::new(idle)), spec.as_ref()));
            }
            // Somebody has begun to start it, or is about to let go of it: either takes some milliseconds.
            if Instant::now() > limit {
                return Err(Error::ComingUp { name: found.name });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What lies over the root file system of a container that does not run: its volumes, as they were in its last run, or will be in
    /// its first one.
    fn binds(&self, container: &Container, spec: Option<&Spec>) -> Result<Vec<Mount>> {
        if let Some(spec) = spec {
            return parts::binds(spec);
        }
        let mut volumes = container.options().volumes.clone();
        for volume in &mut volumes {
            // Who its users are outside is decided when it starts. Until then its root shows owners as it will see them, and so does this.
            if volume.id_map == Some(MountIds::Containers) {
                volume.id_map = None;
            }
        }
        let places = self.places(&volumes, None, None)?;
        let spec = spec::of_volumes(&volumes, &places)?;
        parts::binds(&spec)
    }

    /// The root of a container's first process: from there the kernel finds what that finds, its mounts too.
    fn root_of_running(&self, id: &str) -> Result<OwnedFd> {
        let process = self.process_of(id)?;
        let path = PathBuf::from(format!("/proc/{}/root", process.id()));
        let why = "so that the container's files can be reached as it reaches them";
        let root = disk::open(&path, why).map_err(disk::failed("open", &path))?;
        // Only then was it the one that had the number.
        match process.is_alive() {
            true => Ok(File::into(root)),
            false => Err(Error::NotRunning {
                name: id.to_owned(),
            }),
        }
    }
}

/// The archive that is copied from or to.
pub struct CopyStream<'a> {
    /// Where it comes from.
    pub input: &'a mut (dyn Read + Send),
    /// Where it goes.
    pub out: &'a mut (dyn Write + Send),
}

impl std::fmt::Debug for CopyStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyStream").finish_non_exhaustive()
    }
}
