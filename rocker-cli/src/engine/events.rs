//! What happens to containers and images, one line each, in a file that is empty after a boot. Nobody has to listen, and no
//! daemon tells: each command adds its lines itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::engine::container::record::Record;
use crate::engine::log::lines::{self, Lines};
use crate::engine::watch::Watch;
use crate::engine::{Engine, disk, lock, time};

/// The file in the run directory.
const EVENTS: &str = "events";

/// At which size it is set aside. As much again is kept of what was before.
const FULL: u64 = 1 << 20;

/// Something that happened, with Docker's words for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Event {
    /// What it happened to: `container`, `image` or `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened, such as `start` or `die`.
    pub action: String,
    /// What exactly it happened to.
    pub actor: Actor,
    /// When.
    #[serde(with = "time::as_text")]
    pub time: SystemTime,
}

/// What something happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Actor {
    /// The container's ID, or the name of the image or volume.
    #[serde(rename = "ID")]
    pub id: String,
    /// Such as its name, its image, its labels, its exit status.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// The events of a time, and those to come.
#[derive(Debug)]
pub struct Events {
    lines: Lines,
    watch: Option<Watch>,
}

impl Engine {
    /// Notes that something has happened to a container. That nobody can be told does not keep it from happening.
    pub(crate) fn tell(&self, record: &Record, action: &str, more: &[(&str, String)]) {
        let options = &record.options;
        let mut attributes = options.labels.clone();
        attributes.insert("image".to_owned(), options.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        for (name, value) in more {
            attributes.insert((*name).to_owned(), value.clone());
        }
        self.note("container", action, record.id.clone(), attributes);
    }

    /// Notes that something has happened to an image.
    pub(crate) fn tell_of_image(&self, name: &str, action: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.note("image", action, name.to_owned(), attributes);
    }

    /// Notes that something has happened to a volume.
    pub(crate) fn tell_of_volume(&self, name: &str, action: &str) {
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        self.note("volume", action, name.to_owned(), attributes);
    }

    /// Notes that something has happened to a network, and to which container's place on it.
    pub(crate) fn tell_of_network(&self, network: &str, action: &str, container: Option<&str>) {
        let mut attributes = BTreeMap::from([("name".to_owned(), network.to_owned())]);
        attributes.insert("type".to_owned(), "bridge".to_owned());
        attributes.extend(container.map(|id| ("container".to_owned(), id.to_owned())));
        self.note("network", action, network.to_owned(), attributes);
    }

    fn note(&self, kind: &str, action: &str, id: String, attributes: BTreeMap<String, String>) {
        let event = Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor { id, attributes },
            time: SystemTime::now(),
        };
        let path = self.events_file();
        // Nothing of it can fail.
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        let why = "so that whoever listens learns what happens";
        if let Err(error) = disk::append(&path, &line, why) {
            tracing::warn!(%error, "{} cannot be written", path.display());
            return;
        }
        if fs::metadata(&path).is_ok_and(|file| file.len() > FULL)
            && let Err(error) = self.turn(&path)
        {
            tracing::warn!("{}", error.chain());
        }
    }

    fn turn(&self, path: &std::path::Path) -> Result<()> {
        let _turning = lock::wait(&self.roots().run().join(".events.lock"))?;
        // Somebody else may have been first.
        if fs::metadata(path).is_ok_and(|file| file.len() > FULL) {
            lines::set_aside(path, 2).map_err(disk::failed("set aside", path))?;
        }
        Ok(())
    }

    fn events_file(&self) -> PathBuf {
        self.roots().run().join(EVENTS)
    }

    /// What has happened since the machine started, as far as it is kept, the oldest first; with `follow` the iterator goes on
    /// with what happens then, and waits for it.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) when they cannot be read.
    pub fn events(&self, follow: bool) -> Result<Events> {
        let path = self.events_file();
        let watch = match follow {
            true => Some(Watch::over(self.roots().run())?),
            false => None,
        };
        let lines = Lines::open(&path).map_err(disk::failed("read", &path))?;
        Ok(Events { lines, watch })
    }
}

impl Events {
    /// The next one; none when there is no more, or `limit` has passed.
    pub fn next_before(&mut self, limit: Option<SystemTime>) -> Option<Event> {
        loop {
            // What cannot be read is the end.
            while let Some(line) = self.lines.next().ok()? {
                if let Ok(event) = serde_json::from_slice(&line) {
                    return Some(event);
                }
            }
            let rest = match limit {
                Some(limit) => limit.duration_since(SystemTime::now()).ok()?,
                None => Duration::MAX,
            };
            // Not for ever at once, since a clock may be set.
            self.watch.as_ref()?.wait(rest.min(Duration::from_secs(10)));
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_before(None)
    }
}
