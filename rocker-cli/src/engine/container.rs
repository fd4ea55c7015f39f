//! A container on disk, in the hands of the one who looks after it.

pub(super) mod attached;
pub(super) mod attest;
pub(super) mod exec;
pub(super) mod frozen;
pub(super) mod inspect;
pub(super) mod keeper;
pub(super) mod life;
pub(super) mod name;
pub(super) mod pause;
pub(super) mod place;
pub(super) mod probe;
pub(super) mod process;
pub(super) mod record;
pub(super) mod run;
pub(super) mod signal;
pub(super) mod stats;
pub(super) mod stop;
pub(super) mod summary;
pub(super) mod supervisor;
pub(super) mod teardown;
pub(super) mod top;
pub(super) mod update;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use oci_spec::runtime::Spec;

use self::record::{CONFIG, RECORD, Record, STATE, State};
use crate::engine::options::{Network, VolumeSource};
use crate::engine::spec::parts;
use crate::engine::{Engine, disk, lock};
use crate::{Error, Result, RunOptions};

/// A container that this process looks after. The lock says so to all others, and the kernel lets go of it when this
/// process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) record: Record,
    /// What the file of the record said when this process wrote or read it last.
    text: Vec<u8>,
    /// None while it is put together.
    pub(crate) state: Option<State>,
    data: PathBuf,
    run: PathBuf,
    _lock: File,
}

/// What a directory of a container is called while it is removed: this and its id.
const GONE: &str = ".gone-";

/// The same while its volumes are removed, which comes first.
const LEAVING: &str = ".leaving-";

/// How long the one who looked after a container may take to let go of it when it has ended.
const LETTING_GO: Duration = Duration::from_secs(5);

/// The directory of what it changes, beside its record.
pub(crate) const UPPER: &str = "upper";

/// The files of its `/etc` that are made for it, beside its record.
pub(crate) const ETC: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// Why its directory of the store is removed.
pub(crate) const FORGET: &str = "so that nothing is left of the container and of what it wrote";

/// The file by which somebody tells the one who looks after a container that its end is wanted.
const STOP: &str = "stop";

/// What is to become of a container whose end somebody has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ends, and that is that.
    ForGood,
    /// It is started again by whoever asked: it is kept, also where it was to be removed.
    ToRestart,
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
        disk::make_dir(
            &run,
            "so that what exists only while the container runs has a place",
        )?;
        let lock = lock::take(&run)?;
        record.name = match engine.take_name(wanted_name, &record.id) {
            Ok(name) => name,
            Err(error) => {
                let _ = remove_run_dir(&run);
                return Err(error);
            }
        };
        let mut container = Self {
            record,
            text: Vec::new(),
            state: None,
            data,
            run,
            _lock: lock,
        };
        if let Err(error) = container.furnish() {
            let _ = container
                .forget(engine)
                .and_then(|()| container.remove_run_dir());
            return Err(error);
        }
        drop(making);
        Ok(container)
    }

    /// Makes its directories and writes down who it is.
    fn furnish(&mut self) -> Result<()> {
        let upper = self.upper();
        disk::make_dir(&self.data, "so that what outlives a run has a place")?;
        disk::make_dir(
            &upper,
            "so that what the container changes is kept apart from its image",
        )?;
        disk::make_dir(
            &self.work(),
            "so that overlayfs can prepare a file before it shows it",
        )?;
        // The upper directory is the container's `/`, which everybody in it may enter; those above it keep outsiders out.
        let why = "so that every user of the container can enter its root directory";
        disk::chmod(&upper, 0o755, why).map_err(disk::failed("change the mode of", &upper))?;
        let path = self.data.join(RECORD);
        self.text = record::text(&path, &self.record)?;
        record::write_text(&path, &self.text)
    }

    /// Takes over a container that nobody looks after; none if somebody does. Where its record cannot be read, all that
    /// is known of it is its id, and whatever it could have is taken to be there.
    pub(crate) fn adopt(engine: &Engine, id: &str) -> Result<Option<Self>> {
        let roots = engine.roots();
        let run = roots.running().join(id);
        let why = "so that there is a lock to take, also where a boot has emptied /run";
        let lock = loop {
            disk::make_dir(&run, why)?;
            match lock::try_take(&run)? {
                None => return Ok(None),
                Some(lock) if lock::is_that_of(&lock, &run) => break lock,
                // Who had it has just removed the directory, and the lock with it.
                Some(_) => {}
            }
        };
        Self::known(engine, id, lock).map(Some)
    }

    /// What there is to know of a container, for the one who holds `lock`.
    fn known(engine: &Engine, id: &str, lock: File) -> Result<Self> {
        let roots = engine.roots();
        let (data, run) = (roots.containers().join(id), roots.running().join(id));
        let record = match engine.record(id) {
            Ok(Some(record)) => record,
            Ok(None) | Err(Error::Damaged { .. }) => Record::unknown(id),
            Err(error) => return Err(error),
        };
        let state = match engine.state(id) {
            // All that one knows is that it is to be kept until somebody removes it.
            Err(Error::Damaged { .. }) => Some(State::Created),
            state => state?,
        };
        Ok(Self {
            record,
            text: Vec::new(),
            state,
            data,
            run,
            _lock: lock,
        })
    }

    /// A container that does not run, for whoever works on its files: until this is dropped nobody starts, removes or mounts it, and those who want to
    /// wait. Nobody takes it for one that runs. None where somebody looks after it by now.
    ///
    /// # Errors
    /// [`Error::NoContainer`] where somebody has just removed it.
    pub(crate) fn for_its_files(engine: &Engine, id: &str, name: &str) -> Result<Option<Self>> {
        let files = lock::files(&engine.roots().containers().join(id))?;
        let files = files.ok_or_else(|| Error::NoContainer {
            name: name.to_owned(),
        })?;
        // Whoever takes it over from here on sees that its files are in use.
        match lock::is_held(&engine.roots().running().join(id))? {
            true => Ok(None),
            false => Self::known(engine, id, files).map(Some),
        }
    }

    /// Takes over a container for something that cannot be done while it runs, or while its files are copied, which is waited for.
    ///
    /// # Errors
    /// [`Error::StillRunning`]; [`Error::NoContainer`] where somebody has just removed it.
    pub(crate) fn adopt_idle(engine: &Engine, id: &str, name: &str) -> Result<Self> {
        let mut limit = Instant::now() + LETTING_GO;
        let data = engine.roots().containers().join(id);
        loop {
            // Nobody makes or removes it meanwhile.
            let making = engine.making()?;
            if let Some(container) = Self::adopt(engine, id)? {
                let why = "so that what somebody has just removed is not taken for a container";
                let is_there = disk::exists(&container.data, why);
                // Whoever begins to work on its files from here on sees that it is looked after.
                if is_there && !lock::are_in_use(&data)? {
                    return Ok(container);
                }
                container.remove_run_dir()?;
                if is_there {
                    drop((container, making));
                    engine.wait_for_files(id)?;
                    limit = Instant::now() + LETTING_GO;
                    continue;
                }
                let name = name.to_owned();
                return Err(Error::NoContainer { name });
            }
            drop(making);
            // Its end is written down, and whoever waited for it knows: what is left takes some milliseconds.
            let has_ended = matches!(engine.state(id), Ok(Some(State::Exited(_))));
            if !has_ended || Instant::now() > limit {
                return Err(Error::StillRunning {
                    name: name.to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Notes where in its life it is now.
    pub(crate) fn enter(&mut self, state: State) -> Result<()> {
        record::write(&self.data.join(STATE), &state)?;
        self.state = Some(state);
        Ok(())
    }

    pub(crate) fn id(&self) -> &str {
        &self.record.id
    }

    pub(crate) fn options(&self) -> &RunOptions<'static> {
        &self.record.options
    }

    /// The cgroup in which it has its own, if it is in one.
    pub(crate) fn cgroup_parent(&self) -> Option<String> {
        // Where its record cannot be read, what was made for it is found by its specification.
        let specified = || -> Option<String> {
            let spec: Option<Spec> = record::read(&self.config()).ok()?;
            parts::cgroup_parent(&spec?)
        };
        let own = self.options().cgroup_parent.clone();
        match self.record.manifest.is_empty() {
            true => own.or_else(specified),
            false => own,
        }
    }

    /// Whether it is on networks, and not on somebody else's.
    pub(crate) fn is_bridged(&self) -> bool {
        matches!(self.options().network, Network::Bridge | Network::Default)
    }

    /// Whether all that is known of it is its id.
    pub(crate) fn is_unknown(&self) -> bool {
        self.record.name.is_empty() && self.record.options.image.is_empty()
    }

    /// The OCI runtime specification.
    pub(crate) fn config(&self) -> PathBuf {
        self.data.join(CONFIG)
    }

    /// What the container changes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.data.join(UPPER)
    }

    /// The overlay's own directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.data.join("work")
    }

    /// Where all is that outlives a run.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Where all is that exists only while it runs.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run
    }

    /// One of [`ETC`]. Whoever is in the container can fill it, so it is kept with all else that he writes, and not in memory.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// A file that is there only while it runs.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Whether somebody has asked for its end, and what for.
    pub(crate) fn asked_to_stop(&self) -> Option<Stop> {
        let why = "so that a container that somebody has stopped is not started again";
        let text = disk::read(&self.file(STOP), why).ok()?;
        match &text[..] {
            b"restart" => Some(Stop::ToRestart),
            _ => Some(Stop::ForGood),
        }
    }

    /// Removes what exists only while the container runs; at once, as others see it, so that nobody finds it half gone.
    pub(crate) fn remove_run_dir(&self) -> Result<()> {
        remove_run_dir(&self.run)
    }

    /// Takes note of what somebody has changed about it meanwhile: its name, its limits, when it is started again, and its networks.
    pub(crate) fn learn_changes(&mut self) {
        let path = self.data.join(RECORD);
        let Ok(Some(text)) = record::read_text(&path) else {
            return;
        };
        // Nearly always it is as this process wrote or found it, and need not be understood once more.
        if text == self.text {
            return;
        }
        if let Ok(record) = own_record(&path, &text, self.id()) {
            self.text = text;
            self.record.name = record.name;
            self.record.other_name = record.other_name;
            self.record.options.limits = record.options.limits;
            self.record.options.restart = record.options.restart;
            self.record.options.network = record.options.network;
            self.record.options.endpoints = record.options.endpoints;
        }
    }

    /// Removes what outlives a run: its record and all that it wrote.
    pub(crate) fn forget(&self, engine: &Engine) -> Result<()> {
        engine.unmount_at_last(self.id());
        remove_at_once(&self.data, FORGET)?;
        self.free_names(engine)
    }

    /// The same, and with it the volumes that were made for it and nobody named, unless another container has them. At no time is there a container
    /// without its volumes, and what a crash leaves of either is [swept](sweep).
    pub(crate) fn forget_with_volumes(&self, engine: &Engine) -> Result<()> {
        if !self.record.has_anonymous_volumes() {
            return self.forget(engine);
        }
        engine.unmount_at_last(self.id());
        // Nobody sweeps it meanwhile.
        let _files = lock::files(&self.data)?;
        let leaving = self.data.with_file_name(format!("{LEAVING}{}", self.id()));
        let why = "so that the container is gone before its volumes are, and whoever sweeps knows that they are to go";
        match disk::rename(&self.data, &leaving, why) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(disk::failed("rename", &self.data)(error));
            }
            _ => {}
        }
        engine.remove_anonymous(&self.record);
        disk::remove_dir(&leaving, FORGET)?;
        self.free_names(engine)
    }

    fn free_names(&self, engine: &Engine) -> Result<()> {
        if let Some(other) = &self.record.other_name {
            engine.free_name(other, self.id())?;
        }
        engine.free_name(&self.record.name, self.id())
    }
}

/// The record of the container `id`, by the text of its file.
fn own_record(path: &Path, text: &[u8], id: &str) -> Result<Record> {
    let record: Record = record::understand(path, text)?;
    if record.id == id {
        return Ok(record);
    }
    let source = serde::de::Error::custom("it is the record of another container");
    Err(Error::Damaged {
        path: path.to_owned(),
        source,
    })
}

fn remove_run_dir(run: &Path) -> Result<()> {
    remove_at_once(run, "so that nothing of the run is left")
}

/// Removes a directory of a container: whoever dies meanwhile leaves it whole, or to be [swept](sweep).
fn remove_at_once(dir: &Path, why: &'static str) -> Result<()> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.with_file_name(format!("{GONE}{name}"));
    let at_once = "so that it is gone at once for everybody else, and nobody finds it half removed";
    match disk::rename(dir, &aside, at_once) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(disk::failed("rename", dir)(error))
        }
        _ => disk::remove_dir(&aside, why),
    }
}

impl Engine {
    /// Waits until nobody makes a container, and keeps others from it for as long as the file is open.
    pub(crate) fn making(&self) -> Result<File> {
        lock::wait(&self.roots().containers().join(".lock"))
    }

    /// Waits until nobody makes a container that shares another one's processes, and keeps others from it for as long as the file is
    /// open. It is a lock of its own, since those processes may keep such a container from ever being ready.
    pub(crate) fn sharing(&self) -> Result<File> {
        lock::wait(&self.roots().containers().join(".sharing"))
    }

    /// Waits until nobody works on the files of a container that does not run.
    pub(crate) fn wait_for_files(&self, id: &str) -> Result<()> {
        lock::files(&self.roots().containers().join(id)).map(drop)
    }

    /// Asks the one who looks after a container to take its next end for one that is wanted.
    pub(crate) fn ask_to_stop(&self, id: &str, stop: Stop) -> Result<()> {
        let path = self.roots().running().join(id).join(STOP);
        let text: &[u8] = match stop {
            // For which there is room on a full disk too.
            Stop::ForGood => b"",
            Stop::ToRestart => b"restart",
        };
        let why = "so that the one who looks after the container knows that its end is wanted";
        match disk::write(&path, text, why) {
            // It has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(disk::failed("write", &path)),
        }
    }

    /// Finishes the removal of a container and its volumes that somebody began who was killed.
    pub(crate) fn finish_leaving(&self, id: &str) -> Result<()> {
        let leaving = self.roots().containers().join(format!("{LEAVING}{id}"));
        if lock::are_in_use(&leaving)? {
            return Ok(());
        }
        // Where it cannot be read any more, the volumes were gone.
        let record: Option<Record> = record::read(&leaving.join(RECORD)).ok().flatten();
        if let Some(record) = record.filter(|record| record.id == id) {
            self.remove_anonymous(&record);
        }
        disk::remove_dir(&leaving, FORGET)
    }

    /// The specification that a container was last started by; none where it never was.
    pub(crate) fn spec_of(&self, id: &str) -> Result<Option<Spec>> {
        record::read(&self.roots().containers().join(id).join(CONFIG))
    }

    /// The cgroup in which a container was to have its own, by whichever of its files can still be read.
    pub(crate) fn cgroup_parent(&self, id: &str) -> Option<String> {
        match self.record(id) {
            Ok(Some(record)) => record.options.cgroup_parent,
            _ => parts::cgroup_parent(&self.spec_of(id).ok()??),
        }
    }

    /// Who a container is; none where there is none of that id.
    pub(crate) fn record(&self, id: &str) -> Result<Option<Record>> {
        let path = self.roots().containers().join(id).join(RECORD);
        let text = record::read_text(&path)?;
        text.map(|text| own_record(&path, &text, id)).transpose()
    }

    /// Where in its life a container is; none while it is put together.
    pub(crate) fn state(&self, id: &str) -> Result<Option<State>> {
        record::read(&self.roots().containers().join(id).join(STATE))
    }
}

impl Record {
    /// Whether it has volumes that were made for it and nobody named.
    fn has_anonymous_volumes(&self) -> bool {
        let mut volumes = self.options.volumes.iter();
        volumes.any(|volume| matches!(volume.source, VolumeSource::Anonymous(_)))
    }

    /// All that is known of a container whose record cannot be read.
    fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: String::new(),
            other_name: None,
            manifest: String::new(),
            command: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            stop_signal: None,
            health: None,
            options: RunOptions::new(""),
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
    names.retain(|name| is_id(name));
    Ok(names)
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The same; what those left there who died while they removed a directory of a container is removed on the way. What cannot be
/// removed is a warning. Those that were to be removed with their volumes are for `finish`.
pub(crate) fn sweep(dir: &Path, finish: impl Fn(&str) -> Result<()>) -> Result<Vec<String>> {
    let why = "so that rocker knows which containers there are, and what somebody was removing when he died";
    let mut names = disk::names(dir, why).map_err(disk::failed("read", dir))?;
    for name in &names {
        let finished = match name.strip_prefix(LEAVING) {
            Some(id) => finish(id),
            None if name.starts_with(GONE) => {
                let why = "so that a removal is finished that another process began";
                disk::remove_dir(&dir.join(name), why)
            }
            None => Ok(()),
        };
        if let Err(error) = finished {
            tracing::warn!("{}", error.chain());
        }
    }
    names.retain(|name| is_id(name));
    Ok(names)
}
