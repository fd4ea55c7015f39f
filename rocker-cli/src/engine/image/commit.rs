//! An image made of a container.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::SystemTime;

use oci_spec::image::Config;
use rocker_image::{Image, Reference};
use serde_json::{Map, Value, json};

use super::configuration;
use crate::engine::container::frozen::Frozen;
use crate::engine::container::record::Record;
use crate::engine::interrupted::{check, interruptible};
use crate::engine::rootfs::diff::Changed;
use crate::engine::rootfs::packing::Packing;
use crate::engine::{Engine, disk, lock, options, time};
use crate::{Error, Result};

/// What the image is like that [`Engine::commit`] makes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// Its name; none leaves it without one.
    pub name: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What its history says of it.
    pub message: Option<String>,
    /// Lines of a Dockerfile that say what to run: `CMD ["/bin/sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// Whether the container's processes stand still while its files are read. Without a word they do where they can, and a
    /// warning says where they cannot.
    pub pause: Option<bool>,
}

impl Engine {
    /// Makes an image of the image of a container and what the container has changed of it. It is run as the container was,
    /// and what the options change about that. The container may run or not.
    ///
    /// A signal that would end this process ends this instead. If it is killed while the container stands still, the next
    /// command of rocker's lets the container go on.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::BadValue`] for a change or a name that is none, [`Error::Interrupted`], [`Error::Fs`],
    /// [`Error::Image`]. Nothing is kept then.
    pub fn commit(&self, container: &str, options: &CommitOptions) -> Result<Image> {
        let name = options.name.as_deref().map(str::parse::<Reference>);
        let name = name.transpose()?;
        if let Some(named) = name.as_ref().filter(|name| name.digest().is_some()) {
            let expected = "a name with a tag: digests are not given but computed";
            return Err(Error::bad_value("REPOSITORY", named.to_string(), expected));
        }
        let changed = self.changed(container)?;
        let Some(image) = changed.base.image() else {
            return Err(Error::NoImageBelow {
                name: changed.record.name,
            });
        };
        let document = self.document(&changed.record, image, options)?;
        let committed = interruptible(|stop| {
            let image = self.extend(&changed, image, &document, name.as_ref(), options, stop);
            // In whatever words it says so.
            image.or_else(|error| check(stop).and(Err(error)))
        });
        match committed {
            Ok(image) => {
                let id = image.config_digest().to_string();
                self.tell(&changed.record, "commit", &[("imageID", id)]);
                Ok(image)
            }
            Err(error) => {
                if let Err(error) = self.remove_unneeded() {
                    tracing::warn!(%error, "what was committed in vain could not be removed");
                }
                Err(error)
            }
        }
    }

    fn extend(
        &self,
        changed: &Changed,
        below: &Image,
        document: &[u8],
        name: Option<&Reference>,
        options: &CommitOptions,
        stop: &AtomicBool,
    ) -> Result<Image> {
        let (store, layers) = (self.store()?, self.layers()?);
        let frozen = self.stand_still(&changed.record, options.pause)?;
        thread::scope(|scope| {
            let (tree, as_layer) = (changed.tree.as_fd(), changed.as_layer()?);
            let after = move || {
                drop(frozen);
                changed.check()
            };
            let layer = Packing::begin(scope, tree, as_layer, after, stop)?;
            let image = store.extend(below, document, layer, name, &self.sink(&layers));
            Ok(image?)
        })
    }

    /// Makes a container stand still that runs, if that is wanted.
    fn stand_still(&self, record: &Record, pause: Option<bool>) -> Result<Option<Frozen>> {
        if pause == Some(false) || !lock::is_held(&self.roots().running().join(&record.id))? {
            return Ok(None);
        }
        match self.freeze(&record.id) {
            Ok(frozen) => Ok(Some(frozen)),
            Err(error) if pause == Some(true) => Err(error),
            Err(error) => {
                tracing::warn!(
                    "{}; the container goes on while its files are read",
                    error.chain()
                );
                Ok(None)
            }
        }
    }

    /// The new image's configuration: the old one's, with how the container was run, and the changes.
    fn document(&self, record: &Record, image: &Image, options: &CommitOptions) -> Result<Vec<u8>> {
        let file = self.store()?.open_blob(image.config_digest())?;
        let damaged = |source| Error::Spec {
            source: oci_spec::OciSpecError::SerDe(source),
        };
        let mut document: Map<String, Value> =
            serde_json::from_reader(std::io::BufReader::new(file)).map_err(damaged)?;
        // How the old one was made.
        for key in ["container", "container_config", "id", "parent"] {
            document.remove(key);
        }
        let mut config = match document.remove("config") {
            Some(Value::Object(config)) => config,
            _ => Map::new(),
        };
        configuration::change(&mut config, |config| {
            run_as(config, record);
            Ok(())
        })?;
        if record.options.health != options::HealthOptions::default() {
            let check = configuration::of_check(record.health.as_ref());
            config.insert("Healthcheck".to_owned(), check);
        }
        let is = |line: &String, wanted: &str| {
            let word = line.split_whitespace().next().unwrap_or_default();
            word.eq_ignore_ascii_case(wanted)
        };
        let sets = |wanted| options.changes.iter().any(|line| is(line, wanted));
        // Arguments for the old one.
        if sets("ENTRYPOINT") && !sets("CMD") {
            config.remove("Cmd");
        }
        for line in &options.changes {
            configuration::apply(&mut config, line)?;
        }
        let now = time::text(SystemTime::now());
        let mut entry = json!({"created": now, "created_by": record.command.join(" ")});
        for (key, text) in [("author", &options.author), ("comment", &options.message)] {
            if let Some(text) = text {
                entry[key] = json!(text);
            }
        }
        match document.get_mut("history") {
            Some(Value::Array(history)) => history.push(entry),
            _ => {
                // One entry a layer, as OCI has it.
                let unknown = image.layers().iter().map(|_| json!({}));
                let history = unknown.chain([entry]).collect();
                document.insert("history".to_owned(), history);
            }
        }
        document.insert("created".to_owned(), json!(now));
        match &options.author {
            Some(author) => document.insert("author".to_owned(), json!(author)),
            None => document.remove("author"),
        };
        document.insert("config".to_owned(), Value::Object(config));
        serde_json::to_vec(&document).map_err(|error| {
            disk::failed("write", "the image's configuration".as_ref())(error.into())
        })
    }
}

/// What the container's options say over the image's configuration, as Docker has it.
fn run_as(config: &mut Config, record: &Record) {
    let own = &record.options;
    if let Some(program) = &own.entrypoint {
        let program = Some(vec![program.clone()]).filter(|program| !program[0].is_empty());
        config.set_entrypoint(program);
        config.set_cmd(None);
    }
    if !own.command.is_empty() {
        config.set_cmd(Some(own.command.clone()));
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env = config.env().clone().unwrap_or_default();
    for variable in &own.env {
        env.retain(|other| name(other) != name(variable));
        if variable.contains('=') {
            env.push(variable.clone());
        }
    }
    config.set_env(Some(env).filter(|env| !env.is_empty()));
    let given = |text: &&String| !text.is_empty();
    if let Some(user) = own.user.as_ref().filter(given) {
        config.set_user(Some(user.clone()));
    }
    if let Some(dir) = own.workdir.as_ref().filter(given) {
        config.set_working_dir(Some(dir.clone()));
    }
    if let Some(signal) = &own.stop_signal {
        config.set_stop_signal(Some(signal.clone()));
    }
    if !own.labels.is_empty() {
        config.set_labels(Some(own.labels.clone().into_iter().collect()));
    }
    let mut ports = config.exposed_ports().clone().unwrap_or_default();
    for forward in &own.ports {
        for port in 0..forward.count {
            let number = forward.container_port.saturating_add(port);
            let port = format!("{number}/{}", forward.transport);
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    config.set_exposed_ports(Some(ports).filter(|ports| !ports.is_empty()));
}
