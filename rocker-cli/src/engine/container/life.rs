//! A container's life: made, started, started again, ended; in the foreground or left to itself.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::{Instant, SystemTime};

use oci_spec::image::ImageConfiguration;
use rocker_ns::{DetachKeys, ExitCode, Signals};

use super::keeper::Wish;
use super::record::{Ended, Record, State};
use super::supervisor::{Caller, Supervisor};
use super::teardown::oom_level;
use super::{Container, Stop, name};
use crate::engine::image::health_of;
use crate::engine::network::connection::network_of;
use crate::engine::options::{Io, RunOptions, SETTLED, pause_before};
use crate::engine::rootfs::base::Base;
use crate::engine::spec::{command, resolved};
use crate::engine::{Engine, disk};
use crate::trace::phase;
use crate::{Error, Result};

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The exit status of its program, 0 to 255; 128 and the number of the signal that killed it.
    pub code: u8,
    /// Whether the kernel killed one of its processes for lack of memory.
    pub oom_killed: bool,
    /// Whose memory was used up then, in words: its own limit, that of a cgroup inside or above it, or the memory of the machine.
    pub oom_level: Option<String>,
}

/// How a container that exists is started.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct StartOptions<'a> {
    /// Whether its program is left to itself as soon as it runs, see [`RunOptions::detach`].
    pub detach: bool,
    /// The keys by which the person in front of the terminal leaves the program to itself, see [`RunOptions::detach_keys`].
    pub detach_keys: Option<DetachKeys>,
    /// Whether the caller's standard input is the program's, where that was made with one.
    pub interactive: bool,
    /// Who is told the container's ID when its program runs.
    pub running: Option<&'a (dyn Fn(&str) + Sync)>,
}

impl std::fmt::Debug for StartOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartOptions")
            .field("detach", &self.detach)
            .field("interactive", &self.interactive)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes a container and does not start it; [`Engine::start`] does. Returns its ID.
    ///
    /// # Errors
    /// Whatever keeps it from being made; nothing is left of it then.
    pub fn create(&self, options: &RunOptions<'_>) -> Result<String> {
        self.reconcile_at_a_glance()?;
        let base = self.base(options)?;
        let mut container = self.make(options, &base)?;
        let created = container.enter(State::Created);
        if created.is_err() {
            let _ = self.unmake(&container);
        }
        let removed = container.remove_run_dir();
        created.and(removed).map(|()| container.id().to_owned())
    }

    /// Runs a container to its end and returns how it ended.
    ///
    /// Signals to this process are passed on to the program (SIGTERM as the container's stop signal), as is, with
    /// [`Io::terminal`], the terminal of standard input. The calling thread should be the only one; the container is killed when it
    /// ends.
    ///
    /// # Errors
    /// Whatever kept the program from running; nothing is left of the container then.
    pub fn run(&self, options: &RunOptions<'_>) -> Result<Exit> {
        self.reconcile_at_a_glance()?;
        let base = self.base(options)?;
        let hierarchy = self.hierarchy()?;
        let signals = Signals::hold()?;
        let container = self.make(options, &base)?;
        let caller = Caller {
            io: options.io,
            detach: options.detach,
            detach_keys: options.detach_keys.as_ref(),
            running: options.running,
            fail_at: options.fail_at,
        };
        match Supervisor::new(self, &container, &base, &hierarchy, &signals, caller) {
            Ok(supervisor) => self.live(container, supervisor),
            Err(error) => {
                let _ = self
                    .unmake(&container)
                    .and_then(|()| container.remove_run_dir());
                Err(error)
            }
        }
    }

    /// Starts a container that was made, or has ended, and returns how it ended; the rest is as with [`Engine::run`].
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::AlreadyRunning`], and whatever kept the program from running; the container stays.
    pub fn start(&self, name: &str, options: &StartOptions<'_>) -> Result<Exit> {
        self.reconcile_at_a_glance()?;
        let found = self.lookup(name)?;
        let hierarchy = self.hierarchy()?;
        // While signals still end this process: it may take long.
        self.wait_for_files(&found.id)?;
        let signals = Signals::hold()?;
        let container = Container::adopt_idle(self, &found.id, &found.name);
        let container = container.map_err(|error| match error {
            Error::StillRunning { name } => Error::AlreadyRunning { name },
            other => other,
        })?;
        let own = container.options().io;
        let caller = Caller {
            io: Io {
                interactive: own.interactive && (options.interactive || options.detach),
                ..own
            },
            detach: options.detach,
            detach_keys: options.detach_keys.as_ref(),
            running: options.running,
            fail_at: None,
        };
        let base = match self.base_of(&container.record) {
            Ok(base) => base,
            Err(error) => {
                // As it was before.
                container.remove_run_dir()?;
                return Err(error);
            }
        };
        match Supervisor::new(self, &container, &base, &hierarchy, &signals, caller) {
            Ok(supervisor) => self.live(container, supervisor),
            Err(error) => {
                container.remove_run_dir()?;
                Err(error)
            }
        }
    }

    /// Makes a container of an image or directory, which this process looks after from then on.
    fn make(&self, options: &RunOptions<'_>, base: &Base) -> Result<Container> {
        let record = self.record_of(options, base)?;
        if let Some(path) = &options.id_file {
            let why = "so that the caller finds the container";
            disk::create_new(path, record.id.as_bytes(), why)
                .map_err(disk::failed("make", path))?;
        }
        let made = self
            .make_room(options)
            .and_then(|()| Container::create(self, record, options.name.as_deref()));
        let made = made.and_then(|container| {
            let furnished = self.furnish(&container, base);
            if furnished.is_err() {
                container.forget_with_volumes(self)?;
                container.remove_run_dir()?;
            }
            furnished.map(|()| container)
        });
        match &made {
            Ok(container) => self.tell(&container.record, "create", &[]),
            Err(_) => remove_id_file(options),
        }
        made
    }

    /// Sees to what a container needs beside its own directories, now that its record keeps others from removing that.
    fn furnish(&self, container: &Container, base: &Base) -> Result<()> {
        // Until then somebody may have.
        if let Some(image) = base.image()
            && !self.is_unpacked(image)?
        {
            return Err(Error::NoImage {
                name: container.options().image.clone(),
            });
        }
        self.check_image_volumes(container)?;
        self.furnish_volumes(container, base)
    }

    /// Removes the container that is to be replaced.
    fn make_room(&self, options: &RunOptions<'_>) -> Result<()> {
        match &options.name {
            Some(name) if options.replace && self.owner_of(name)?.is_some() => {
                self.remove(name, true).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Forgets a container of which nothing has come, as if there had been none.
    fn unmake(&self, container: &Container) -> Result<()> {
        remove_id_file(container.options());
        container.forget_with_volumes(self)
    }

    fn record_of(&self, options: &RunOptions<'_>, base: &Base) -> Result<Record> {
        let of_image = base.config().config().as_ref();
        let of_image = of_image.and_then(|config| config.stop_signal().clone());
        let health = match options.health.disabled {
            true => None,
            false => {
                let image = base.image();
                let of_image = image.map(|image| Ok::<_, Error>(health_of(self.store()?, image)));
                options
                    .health
                    .over(of_image.transpose()?.flatten().as_ref())
            }
        };
        Ok(Record {
            id: name::new_id()?,
            name: String::new(),
            other_name: None,
            manifest: base
                .image()
                .map(|image| image.manifest_digest().to_string())
                .unwrap_or_default(),
            command: command(options, base.config())?,
            created: SystemTime::now(),
            stop_signal: options.stop_signal.clone().or(of_image),
            health,
            options: RunOptions {
                network: network_of(options)?,
                endpoints: self.known_places(options)?,
                env: resolved(&options.env),
                labels: labels_over(&options.labels, base.config()),
                volumes: self.settled_volumes(options, base)?,
                progress: &(),
                running: None,
                ..options.clone()
            },
        })
    }

    /// Runs the program of a container until it has ended and is not to be started again, and takes the container down.
    fn live(&self, mut container: Container, mut supervisor: Supervisor<'_>) -> Result<Exit> {
        loop {
            let began = Instant::now();
            let is_new = container.state.is_none();
            let outcome = self.run_to_end(&mut container, &mut supervisor);
            phase("ending");
            container.learn_changes();
            let ended = self.ended(&container, &supervisor, &outcome);
            let (code, oom) = (ended.code, ended.oom_level.clone());
            let wanted = supervisor.wish.is_some() || container.asked_to_stop().is_some();
            if outcome.is_ok() {
                let code = [("exitCode", code.to_string())];
                self.tell(&container.record, "die", &code);
            }
            if began.elapsed() >= SETTLED {
                supervisor.haste = 0;
            }
            let policy = container.options().restart;
            let again = outcome.is_ok() && !wanted && policy.wants(code, supervisor.restarts);
            if again {
                if let Err(error) = container.enter(State::Restarting(ended.clone())) {
                    tracing::warn!("{}", error.chain());
                }
                supervisor.attach.farewell(code);
                // What cannot be undone now can be when it ends next, and is no reason not to start it.
                self.teardown_unnoted(&container, supervisor.hierarchy);
                // Whoever paused it paused the run that has ended.
                self.no_longer_paused(container.id());
                if supervisor.pause(&container, pause_before(supervisor.haste)) {
                    supervisor.restarts += 1;
                    supervisor.haste += 1;
                    continue;
                }
            }
            // What is remembered comes first: what a crash leaves from here on is only what the next command takes down.
            let removed =
                container.options().remove && container.asked_to_stop() != Some(Stop::ToRestart);
            let remembered = match is_new && !supervisor.has_run {
                // One that has never run is not worth to be remembered.
                true => self.unmake(&container),
                false if removed => container.forget_with_volumes(self),
                false => container.enter(State::Exited(Ended {
                    stopped: container.asked_to_stop().is_some()
                        || supervisor.wish == Some(Wish::ForGood),
                    ..ended
                })),
            };
            if remembered.is_ok() && removed {
                self.tell(&container.record, "destroy", &[]);
            }
            supervisor.attach.farewell(code);
            let undone = match remembered {
                Ok(()) => self.teardown_ended(&container, supervisor.hierarchy),
                Err(_) => {
                    self.teardown_unnoted(&container, supervisor.hierarchy);
                    remembered
                }
            };
            match outcome {
                Err(Error::Ns(source @ rocker_ns::Error::Killed { .. })) if oom.is_some() => {
                    return Err(Error::TooLittleMemory { source });
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            undone?;
            return Ok(Exit {
                code,
                oom_killed: oom.is_some(),
                oom_level: oom,
            });
        }
    }

    /// How a run has ended.
    fn ended(
        &self,
        container: &Container,
        supervisor: &Supervisor<'_>,
        outcome: &Result<ExitStatus>,
    ) -> Ended {
        let (started, health) = match &container.state {
            Some(State::Running(running)) => (running.started, running.health.clone()),
            _ => (SystemTime::now(), None),
        };
        let oom = oom_level(supervisor.hierarchy, container);
        Ended {
            code: match outcome {
                Ok(status) => status.exit_code(),
                Err(error) => error.exit_code(),
            },
            started,
            finished: SystemTime::now(),
            oom_killed: oom.is_some(),
            oom_level: oom,
            restarts: supervisor.restarts,
            stopped: false,
            error: outcome.as_ref().err().map(Error::chain),
            health,
        }
    }
}

fn remove_id_file(options: &RunOptions<'_>) {
    if let Some(path) = &options.id_file {
        let why = "so that no container is looked for that there is not";
        let _ = disk::remove_file(path, why);
    }
}

/// The caller's labels over those of the image.
fn labels_over(
    own: &BTreeMap<String, String>,
    image: &ImageConfiguration,
) -> BTreeMap<String, String> {
    let of_image = image.config().as_ref();
    let of_image = of_image.and_then(|config| config.labels().clone());
    let mut labels: BTreeMap<_, _> = of_image.unwrap_or_default().into_iter().collect();
    labels.extend(own.clone());
    labels
}
