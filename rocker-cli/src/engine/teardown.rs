//! The one way in which a container ends.

use std::time::SystemTime;

use rocker_cgroup::{Cgroup, Hierarchy};

use super::container::{self, Container, ids};
use super::lock::is_held;
use super::record::{Ended, State};
use super::{CGROUP_PARENT, Engine, disk};
use crate::{Error, Result};

/// The file of the run directory that says that somebody has looked, since the machine started, for containers that did not see it
/// stop.
const LOOKED: &str = ".looked";

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

    /// The same after its end was, or was not, written down. Where it was not, as on a full disk, the run directory stays: by that the
    /// next command finds it, and tries again.
    pub(crate) fn teardown_noted(
        &self,
        container: &Container,
        hierarchy: &Hierarchy,
        noted: Result<()>,
    ) -> Result<()> {
        match noted {
            Ok(()) => self.teardown(container, hierarchy),
            Err(error) => {
                let undone = self.teardown_run(container, hierarchy);
                if let Err(error) = undone {
                    tracing::warn!("{}", error.chain());
                }
                Err(error)
            }
        }
    }

    /// The same for a container that is about to be started again: who looks after it, and where others find it, stays.
    pub(crate) fn teardown_run(&self, container: &Container, hierarchy: &Hierarchy) -> Result<()> {
        all_gone(container, self.release(container, hierarchy))
    }

    fn release(&self, container: &Container, hierarchy: &Hierarchy) -> Vec<String> {
        let id = container.id();
        let mut errors = Vec::new();
        let mut note = |result: Result<()>| {
            if let Err(error) = result {
                errors.push(error.chain());
            }
        };
        // First, since it also ends whatever process is left.
        note(Cgroup::remove_by_name(hierarchy, CGROUP_PARENT, id).map_err(Error::from));
        if container.is_bridged() {
            note(self.network().and_then(|network| Ok(network.detach(id)?)));
        }
        errors
    }

    /// Takes down the containers whose supervisor died, so that every command after it sees things as they are. What
    /// cannot be undone of one is a warning: the others go on.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directories cannot be read.
    pub fn reconcile(&self) -> Result<()> {
        let mut orphans = ids(&self.roots().running())?;
        let looked = self.roots().run().join(LOOKED);
        let is_first = !disk::exists(
            &looked,
            "so that one knows whether the machine has just started",
        );
        if is_first {
            // A reboot leaves containers that run, as they say, and no trace of anybody who looks after them.
            for id in ids(&self.roots().containers())? {
                let ends = matches!(self.state(&id), Ok(Some(State::Created | State::Exited(_))));
                if !ends && !orphans.contains(&id) {
                    orphans.push(id);
                }
            }
        }
        container::sweep(&self.roots().running());
        container::sweep(&self.roots().containers());
        let mut all = true;
        for id in orphans {
            let buried = is_held(&self.roots().running().join(&id))
                .and_then(|held| if held { Ok(()) } else { self.bury(&id) });
            if let Err(error) = buried {
                all = false;
                tracing::warn!("container {}: {}", &id[..12], error.chain());
            }
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
        let hierarchy = self.hierarchy()?;
        let remove = container.options().remove;
        let noted = match container.state.clone() {
            Some(State::Running(running)) if !remove => {
                // Nobody saw its exit status: it was killed with the one who would have.
                let noted = container.enter(State::Exited(Ended {
                    code: 137,
                    started: running.started,
                    finished: SystemTime::now(),
                    oom_killed: oom_killed(&hierarchy, id),
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
                let forgotten = container.forget(self);
                if existed && forgotten.is_ok() {
                    self.tell(&container.record, "destroy", &[]);
                }
                forgotten
            }
        };
        self.teardown_noted(&container, &hierarchy, noted)
    }
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

/// Whether the kernel killed a process of the container for lack of memory.
pub(crate) fn oom_killed(hierarchy: &Hierarchy, id: &str) -> bool {
    let cgroup = Cgroup::open(hierarchy, CGROUP_PARENT, id).map(Cgroup::keep);
    cgroup
        .and_then(|cgroup| cgroup.oom_kills())
        .is_ok_and(|kills| kills > 0)
}
