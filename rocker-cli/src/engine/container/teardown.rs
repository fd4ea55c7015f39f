//! The one way in which a container ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rocker_cgroup::{Cgroup, Hierarchy};

use super::Container;
use super::record::{Ended, State};
use crate::engine::lock::{is_free, is_held};
use crate::engine::{CGROUP_PARENT, Engine, cgroup_name, cgroup_of, disk};
use crate::{Error, Result};

/// The file of the run directory that says that somebody has looked, since the machine started, for containers that did not see it
/// stop.
const LOOKED: &str = ".looked";

/// As often as those who start containers look for others that nobody looks after: beside five hundred a look takes a fifth of a
/// start.
pub(crate) const GLANCE: Duration = Duration::from_millis(100);

impl Engine {
    /// Undoes all that exists for a running container, in reverse, by its id alone. What is gone already is fine; an
    /// error does not keep the rest from being undone.
    ///
    /// Its mounts, namespaces and devices are the kernel's to undo: they were only ever visible inside.
    pub(crate) fn teardown(&self, container: &Container, hierarchy: &Hierarchy) -> Result<()> {
        let mut errors = self.release(container, hierarchy);
        if let Err(error) = container.remove_run_dir() {
            errors.push(error.chain());
        }
        all_gone(container, errors)
    }

    /// The same for a container that has come to its end in good order: its place on the network may be taken back later.
    pub(crate) fn teardown_ended(
        &self,
        container: &Container,
        hierarchy: &Hierarchy,
    ) -> Result<()> {
        let mut errors = end_processes(container, hierarchy);
        if container.is_bridged() && container.options().publishes() {
            // At once, and while they are still held: whoever takes a port next must not find it leading here.
            let taken_back = self.networks_of(container).and_then(|networks| {
                let mut all = networks.iter();
                Ok(all.try_for_each(|network| network.unpublish(container.id()))?)
            });
            errors.extend(taken_back.err().map(|error| error.chain()));
        }
        let left = match (self.tidier, container.is_bridged()) {
            (_, false) => Ok(()),
            (None, true) => self.disconnect(container),
            // Nobody is to find it by its names from here on.
            (Some(tidier), true) => self
                .unname(container)
                .and_then(|()| self.leave_for_later(tidier))
                // Where nothing can be written down, as on a full run directory, nobody would know of it later.
                .or_else(|_| self.disconnect(container)),
        };
        errors.extend(left.err().map(|error| error.chain()));
        errors.extend(container.remove_run_dir().err().map(|error| error.chain()));
        all_gone(container, errors)
    }

    /// Takes down what of a container is left when its end could not be written down, as on a full disk. The run directory stays: by
    /// that the next command finds it, and tries again.
    pub(crate) fn teardown_unnoted(&self, container: &Container, hierarchy: &Hierarchy) {
        if let Err(error) = self.teardown_run(container, hierarchy) {
            tracing::warn!("{}", error.chain());
        }
    }

    /// The same for a container that is about to be started again: who looks after it, and where others find it, stays.
    pub(crate) fn teardown_run(&self, container: &Container, hierarchy: &Hierarchy) -> Result<()> {
        all_gone(container, self.release(container, hierarchy))
    }

    fn release(&self, container: &Container, hierarchy: &Hierarchy) -> Vec<String> {
        let mut errors = end_processes(container, hierarchy);
        if container.is_bridged() {
            errors.extend(self.disconnect(container).err().map(|error| error.chain()));
        }
        errors
    }

    /// Takes a container off all its networks; it goes on after an error, and returns the first one.
    fn disconnect(&self, container: &Container) -> Result<()> {
        let mut outcome = Ok(());
        for network in self.networks_of(container)? {
            let detached = network.detach(container.id());
            outcome = outcome.and(detached.map_err(Error::from));
        }
        outcome
    }

    /// Lets nobody find a container by its names; on the default network nobody can.
    fn unname(&self, container: &Container) -> Result<()> {
        let places = container.options().places();
        for place in places.iter().filter(|place| !place.is_default()) {
            if let Some(network) = self.find_network(&place.network)? {
                network.remove_names(container.id())?;
            }
        }
        Ok(())
    }

    /// The networks of a container, as far as they still are; all, where it is not known which.
    fn networks_of(&self, container: &Container) -> Result<Vec<rocker_net::Network>> {
        if container.is_unknown() {
            return self.networks();
        }
        let mut networks = Vec::new();
        for place in container.options().places() {
            networks.extend(self.find_network(&place.network)?);
        }
        Ok(networks)
    }

    /// Takes down the containers whose supervisor died, so that every command after it sees things as they are, and puts
    /// back rules of the network that somebody has flushed. What
    /// cannot be undone of one is a warning: the others go on.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directories cannot be read.
    pub fn reconcile(&self) -> Result<()> {
        self.reconcile_leaving_rules()?;
        self.restore_network();
        Ok(())
    }

    /// The same without a look at the packet filter.
    pub(crate) fn reconcile_leaving_rules(&self) -> Result<()> {
        self.reconcile_by(|run| is_held(run).map(|held| !held))?;
        // Those of containers that were to be removed are among it, and nobody names them.
        self.sweep_volumes()
    }

    /// The same at a glance, for those who start a container and need no other: somebody who died this very moment may be left to
    /// the next command, and where somebody has looked just now, nobody looks again.
    pub(crate) fn reconcile_at_a_glance(&self) -> Result<()> {
        let looked = self.looked();
        let why = "so that not every start of many looks for containers that nobody looks after";
        if disk::age(&looked, why).is_some_and(|age| age < GLANCE) {
            return Ok(());
        }
        self.reconcile_by(is_free)?;
        // As long as there is something left to be looked for, there is no such file.
        let _ = disk::touch(&looked, "so that others know when that was");
        Ok(())
    }

    fn looked(&self) -> PathBuf {
        self.roots().run().join(LOOKED)
    }

    fn reconcile_by(&self, is_orphan: impl Fn(&Path) -> Result<bool>) -> Result<()> {
        let running = self.roots().running();
        let mut orphans = super::sweep(&running, |_| Ok(()))?;
        let known = super::sweep(&self.roots().containers(), |id| self.finish_leaving(id))?;
        let looked = self.looked();
        let why = "so that one knows whether the machine has just started";
        let is_first = !disk::exists(&looked, why);
        if is_first {
            // A reboot leaves containers that run, as they say, and no trace of anybody who looks after them.
            for id in known {
                let ends = matches!(self.state(&id), Ok(Some(State::Created | State::Exited(_))));
                if !ends && !orphans.contains(&id) {
                    orphans.push(id);
                }
            }
        }
        let mut all = true;
        for id in orphans {
            let buried = is_orphan(&running.join(&id)).and_then(|orphan| match orphan {
                true => self.bury(&id),
                false => self.thaw_if_forgotten(&id),
            });
            if let Err(error) = buried {
                all = false;
                tracing::warn!("container {}: {}", &id[..12], error.chain());
            }
        }
        if let Err(error) = self.tidy_if_forgotten() {
            tracing::warn!("the network: {}", error.chain());
        }
        if is_first && all {
            let why = "so that nobody looks again until the machine starts anew";
            disk::write(&looked, b"", why).map_err(disk::failed("write", &looked))?;
        }
        Ok(())
    }

    /// Takes down a container that nobody looks after, and notes that it has ended.
    fn bury(&self, id: &str) -> Result<()> {
        // Somebody may be about to make it.
        let making = self.making()?;
        let Some(mut container) = Container::adopt(self, id)? else {
            return Ok(());
        };
        drop(making);
        let hierarchy = self.hierarchy_of(id)?;
        let remove = container.options().remove;
        let oom = oom_level(&hierarchy, &container);
        let noted = match container.state.clone() {
            Some(State::Running(running)) if !remove => {
                // Nobody saw its exit status: it was killed with the one who would have.
                let noted = container.enter(State::Exited(Ended {
                    code: 137,
                    started: running.started,
                    finished: SystemTime::now(),
                    oom_killed: oom.is_some(),
                    oom_level: oom,
                    restarts: running.restarts,
                    stopped: false,
                    error: None,
                    health: running.health,
                }));
                if noted.is_ok() {
                    self.tell(&container.record, "die", &[("exitCode", "137".to_owned())]);
                }
                noted
            }
            Some(State::Restarting(ended)) if !remove => container.enter(State::Exited(ended)),
            // It was made and not started, or has ended, and whoever tried to start it again died.
            Some(State::Created | State::Exited(_)) => Ok(()),
            Some(State::Running(_) | State::Restarting(_)) | None => {
                let existed = !container.record.name.is_empty();
                let forgotten = container.forget_with_volumes(self);
                if existed && forgotten.is_ok() {
                    self.tell(&container.record, "destroy", &[]);
                }
                forgotten
            }
        };
        match &noted {
            Ok(()) => self.teardown(&container, &hierarchy),
            Err(_) => {
                self.teardown_unnoted(&container, &hierarchy);
                noted
            }
        }
    }
}

/// Ends whatever process is left, and removes the cgroup.
fn end_processes(container: &Container, hierarchy: &Hierarchy) -> Vec<String> {
    let parent = container.cgroup_parent();
    let parent = parent.as_deref().unwrap_or(CGROUP_PARENT);
    let removed = Cgroup::remove_by_name(hierarchy, parent, &cgroup_name(container.id()));
    let error = removed.map_err(Error::from).err();
    error.iter().map(Error::chain).collect()
}

fn all_gone(container: &Container, errors: Vec<String>) -> Result<()> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::Teardown {
            id: container.id().to_owned(),
            errors,
        }),
    }
}

/// Whose memory was used up, in words, if the kernel killed a process of the container for lack of it.
pub(crate) fn oom_level(hierarchy: &Hierarchy, container: &Container) -> Option<String> {
    let parent = container.cgroup_parent();
    let cgroup = cgroup_of(hierarchy, parent.as_deref(), container.id());
    let level = cgroup.and_then(|cgroup| cgroup.oom_level()).ok()??;
    Some(level.to_string())
}
