//! Containers on disk: who they are, who looks after them, and what became of them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use oci_spec::runtime::Spec;

use super::record::{self, CONFIG, Record, STATE, State};
use super::{Engine, disk, lock, name};
use crate::{Error, Result};

/// A container that this process looks after. The lock says so to all others, and the kernel lets go of it when this
/// process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) record: Record,
    data: PathBuf,
    run: PathBuf,
    _lock: File,
}

/// What the run directory of a container is called while it is removed: this and its id.
const GONE: &str = ".gone-";

/// Why its directory of the store is removed.
pub(crate) const FORGET: &str = "so that nothing is left of the container and of what it wrote";

/// What there is to know about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Where in its life it is.
    pub status: Status,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It is being put together.
    Starting,
    /// It runs.
    Running {
        /// Its first process, as the host numbers it.
        pid: u32,
        /// Since when, in seconds since 1970.
        since: u64,
    },
    /// It has ended.
    Exited {
        /// Its exit status, 0 to 255.
        code: u8,
        /// When, in seconds since 1970.
        at: u64,
        /// Whether the kernel killed one of its processes for lack of memory.
        oom_killed: bool,
    },
    /// Its record cannot be read; it can only be removed.
    Damaged,
}

impl Container {
    /// Makes a container of `record`, with the lock held before anybody else can see it.
    pub(crate) fn create(
        engine: &Engine,
        mut record: Record,
        wanted_name: Option<&str>,
    ) -> Result<Self> {
        let roots = engine.roots();
        let (data, run) = (
            roots.containers().join(&record.id),
            roots.running().join(&record.id),
        );
        // Held until others can see the container as somebody's: by its lock and its record.
        let making = engine.making()?;
        record.name = choose_name(engine, wanted_name)?;
        disk::make_dir(
            &run,
            "so that what exists only while the container runs has a place",
        )?;
        let lock = lock::take(&run)?;
        let container = Self {
            record,
            data,
            run,
            _lock: lock,
        };
        let dirs = [
            (
                container.data.clone(),
                "so that what outlives a run has a place",
            ),
            (
                container.upper(),
                "so that what the container changes is kept apart from its image",
            ),
            (
                container.work(),
                "so that overlayfs can prepare a file before it shows it",
            ),
        ];
        let made = dirs
            .iter()
            .try_for_each(|(dir, why)| disk::make_dir(dir, why));
        // The upper directory is the container's `/`, which everybody in it may enter; those above it keep outsiders out.
        let upper = container.upper();
        let made = made.and_then(|()| {
            let why = "so that every user of the container can enter its root directory";
            disk::chmod(&upper, 0o755, why).map_err(disk::failed("change the mode of", &upper))
        });
        if let Err(error) = made.and_then(|()| container.save()) {
            let _ = container.forget().and(container.remove_run_dir());
            return Err(error);
        }
        drop(making);
        Ok(container)
    }

    /// Takes over a container that nobody looks after; none if somebody does. Where its record cannot be read, all that
    /// is known of it is its id, and whatever it could have is taken to be there.
    pub(crate) fn adopt(engine: &Engine, id: &str) -> Result<Option<Self>> {
        let roots = engine.roots();
        let (data, run) = (roots.containers().join(id), roots.running().join(id));
        disk::make_dir(
            &run,
            "so that there is a lock to take, also where a boot has emptied /run",
        )?;
        let Some(lock) = lock::try_take(&run)? else {
            return Ok(None);
        };
        let record = match engine.record(id) {
            Ok(Some(record)) => record,
            Ok(None) => Record::unknown(id, State::Starting),
            Err(Error::Damaged { .. }) => Record::unknown(
                id,
                State::Exited {
                    code: 255,
                    finished: 0,
                    oom_killed: false,
                },
            ),
            Err(error) => return Err(error),
        };
        Ok(Some(Self {
            record,
            data,
            run,
            _lock: lock,
        }))
    }

    /// Writes down what is known now.
    pub(crate) fn save(&self) -> Result<()> {
        record::write(&self.data.join(STATE), &self.record)
    }

    pub(crate) fn id(&self) -> &str {
        &self.record.id
    }

    /// The OCI runtime specification.
    pub(crate) fn config(&self) -> PathBuf {
        self.data.join(CONFIG)
    }

    /// What the container changes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.data.join("upper")
    }

    /// The overlay's own directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.data.join("work")
    }

    /// A file that is made for the container, such as `hosts`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Removes what exists only while the container runs; at once, as others see it, so that nobody finds it half gone.
    pub(crate) fn remove_run_dir(&self) -> Result<()> {
        let aside = self.run.with_file_name(format!("{GONE}{}", self.record.id));
        let why = "so that it is gone at once for everybody else, and nobody finds it half removed";
        match disk::rename(&self.run, &aside, why) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(disk::failed("rename", &self.run)(error))
            }
            _ => disk::remove_dir(&aside, "so that nothing of the run is left"),
        }
    }

    /// Removes what outlives a run: its record and all that it wrote.
    pub(crate) fn forget(&self) -> Result<()> {
        disk::remove_dir(&self.data, FORGET)
    }
}

impl Engine {
    /// The containers, the newest first. Those whose supervisor died are taken down before.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directory cannot be read.
    pub fn containers(&self) -> Result<Vec<ContainerSummary>> {
        self.reconcile()?;
        let mut all = Vec::new();
        for id in ids(&self.roots().containers())? {
            match self.record(&id) {
                Ok(Some(record)) => all.push(record.summary()),
                // It is being made, or removed.
                Ok(None) => {}
                Err(Error::Damaged { .. }) => all.push(ContainerSummary {
                    name: id.chars().take(12).collect(),
                    id,
                    image: "?".to_owned(),
                    command: Vec::new(),
                    created: 0,
                    status: Status::Damaged,
                }),
                Err(error) => return Err(error),
            }
        }
        all.sort_by(|one, other| {
            other
                .created
                .cmp(&one.created)
                .then_with(|| one.id.cmp(&other.id))
        });
        Ok(all)
    }

    /// The one container that has this name, this ID, or an ID that begins so.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Ambiguous`].
    pub fn container(&self, name: &str) -> Result<ContainerSummary> {
        let all = self.containers()?;
        if let Some(found) = all
            .iter()
            .find(|container| container.name == name || container.id == name)
        {
            return Ok(found.clone());
        }
        let found: Vec<_> = all
            .iter()
            .filter(|container| !name.is_empty() && container.id.starts_with(name))
            .collect();
        match found[..] {
            [] => Err(Error::NoContainer {
                name: name.to_owned(),
            }),
            [one] => Ok(one.clone()),
            _ => {
                let ids: Vec<_> = found.iter().map(|container| &container.id[..12]).collect();
                Err(Error::Ambiguous {
                    prefix: name.to_owned(),
                    ids: ids.join(", "),
                })
            }
        }
    }

    /// Waits until nobody makes a container, and keeps others from it for as long as the file is open.
    pub(crate) fn making(&self) -> Result<File> {
        lock::wait(&self.roots().containers().join(".lock"))
    }

    /// Waits until nobody makes a container that shares another one's processes, and keeps others from it for as long as the file is
    /// open. It is a lock of its own, since those processes may keep such a container from ever being ready.
    pub(crate) fn sharing(&self) -> Result<File> {
        lock::wait(&self.roots().containers().join(".sharing"))
    }

    /// The specification that a container was made by; none where it has not come so far.
    pub(crate) fn spec_of(&self, id: &str) -> Result<Option<Spec>> {
        record::read(&self.roots().containers().join(id).join(CONFIG))
    }

    pub(crate) fn record(&self, id: &str) -> Result<Option<Record>> {
        let path = self.roots().containers().join(id).join(STATE);
        let record: Option<Record> = record::read(&path)?;
        match record {
            Some(record) if record.id != id => {
                let source = serde::de::Error::custom("it is the record of another container");
                Err(Error::Damaged { path, source })
            }
            record => Ok(record),
        }
    }
}

impl Record {
    fn unknown(id: &str, state: State) -> Self {
        Self {
            id: id.to_owned(),
            name: String::new(),
            image: String::new(),
            manifest: String::new(),
            command: Vec::new(),
            created: 0,
            remove: false,
            bridged: true,
            state,
        }
    }

    pub(crate) fn summary(self) -> ContainerSummary {
        let status = match self.state {
            State::Starting => Status::Starting,
            State::Running { pid, started, .. } => Status::Running {
                pid,
                since: started,
            },
            State::Exited {
                code,
                finished,
                oom_killed,
            } => Status::Exited {
                code,
                at: finished,
                oom_killed,
            },
        };
        ContainerSummary {
            id: self.id,
            name: self.name,
            image: self.image,
            command: self.command,
            created: self.created,
            status,
        }
    }
}

/// The ids of which there is a directory in `dir`.
pub(crate) fn ids(dir: &Path) -> Result<Vec<String>> {
    let why = "so that rocker knows which containers there are";
    let mut names = match disk::names(dir, why) {
        // There was none yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(disk::failed("read", dir))?,
    };
    names.retain(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(names)
}

/// Removes what those left who died while they removed a run directory.
pub(crate) fn sweep(running: &Path) -> Result<()> {
    let why = "so that what a process was removing when it died is found";
    for name in disk::names(running, why).unwrap_or_default() {
        if name.starts_with(GONE) {
            let why = "so that a removal is finished that another process began";
            disk::remove_dir(&running.join(name), why)?;
        }
    }
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn choose_name(engine: &Engine, wanted: Option<&str>) -> Result<String> {
    let mut taken = Vec::new();
    for id in ids(&engine.roots().containers())? {
        if let Ok(Some(record)) = engine.record(&id) {
            taken.push((record.name, id));
        }
    }
    let owner = |name: &str| {
        taken
            .iter()
            .find(|(taken, _)| taken == name)
            .map(|(_, id)| id[..12].to_owned())
    };
    if let Some(name) = wanted {
        name::check(name)?;
        return match owner(name) {
            Some(id) => Err(Error::NameTaken {
                name: name.to_owned(),
                id,
            }),
            None => Ok(name.to_owned()),
        };
    }
    let mut name = name::new_name(false)?;
    while owner(&name).is_some() {
        name = name::new_name(true)?;
    }
    Ok(name)
}
