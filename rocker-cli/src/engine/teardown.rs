//! The one way in which a container ends.

use std::thread;
use std::time::{Duration, Instant};

use rocker_cgroup::{Cgroup, Hierarchy};
use rocker_ns::Process;

use super::container::{self, Container, FORGET, ids};
use super::lock::{is_held, wake_supervisor};
use super::record::{Record, State};
use super::{CGROUP_PARENT, Engine, disk};
use crate::{Error, Result};

impl Engine {
    /// Undoes all that exists for a running container, in reverse, by its id alone. What is gone already is fine; an
    /// error does not keep the rest from being undone.
    ///
    /// Its mounts, namespaces and devices are the kernel's to undo: they were only ever visible inside.
    pub(crate) fn teardown(&self, container: &Container, hierarchy: &Hierarchy) -> Result<()> {
        let id = container.id();
        let mut errors = Vec::new();
        let mut note = |result: Result<()>| {
            if let Err(error) = result {
                errors.push(error.chain());
            }
        };
        // First, since it also ends whatever process is left.
        note(Cgroup::remove_by_name(hierarchy, CGROUP_PARENT, id).map_err(Error::from));
        if container.record.bridged {
            note(self.network().and_then(|network| Ok(network.detach(id)?)));
        }
        note(container.remove_run_dir());
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Teardown {
                id: id.to_owned(),
                errors,
            })
        }
    }

    /// Takes down the containers whose supervisor died, so that every command after it sees things as they are. What
    /// cannot be undone of one is a warning: the others go on.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directories cannot be read.
    pub fn reconcile(&self) -> Result<()> {
        let mut orphans = ids(&self.roots().running())?;
        // A reboot leaves records of containers that run, and no trace of anybody who looks after them.
        for id in ids(&self.roots().containers())? {
            let goes_on = |record: Record| !matches!(record.state, State::Exited { .. });
            let record = self.record(&id);
            if !orphans.contains(&id) && record.is_ok_and(|record| record.is_some_and(goes_on)) {
                orphans.push(id);
            }
        }
        container::sweep(&self.roots().running())?;
        for id in orphans {
            let buried = is_held(&self.roots().running().join(&id))
                .and_then(|held| if held { Ok(()) } else { self.bury(&id) });
            if let Err(error) = buried {
                tracing::warn!("container {}: {}", &id[..12], error.chain());
            }
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
        let oom_killed = oom_killed(&hierarchy, id);
        match container.record.state {
            State::Exited { .. } => {}
            State::Running { .. } if !container.record.remove => {
                // Nobody saw its exit status: it was killed with the one who would have.
                container.record.state = State::Exited {
                    code: 137,
                    finished: container::now(),
                    oom_killed,
                };
                container.save()?;
            }
            _ => container.forget()?,
        }
        self.teardown(&container, &hierarchy)
    }

    /// Removes a container and all that it wrote. With `force`, a running one is killed first.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::StillRunning`], [`Error::Teardown`], [`Error::State`].
    pub fn remove(&self, name: &str, force: bool) -> Result<String> {
        let found = self.container(name)?;
        if is_held(&self.roots().running().join(&found.id))? {
            if !force {
                return Err(Error::StillRunning { name: found.name });
            }
            self.kill(&found)?;
        }
        disk::remove_dir(&self.roots().containers().join(&found.id), FORGET)?;
        Ok(found.id)
    }

    /// Kills a running container and waits until the one who looks after it has taken it down.
    fn kill(&self, container: &super::ContainerSummary) -> Result<()> {
        let run = self.roots().running().join(&container.id);
        let limit = Instant::now() + KILL_PATIENCE;
        while is_held(&run)? {
            if let Ok(Some(record)) = self.record(&container.id)
                && let State::Running {
                    pid, start_time, ..
                } = record.state
                && let Some(process) = Process::open(pid, start_time)?
            {
                process.signal(SIGKILL)?;
            }
            wake_supervisor(&run);
            if Instant::now() > limit {
                return Err(Error::StillRunning {
                    name: container.name.clone(),
                });
            }
            // Its supervisor sees the end at once, and takes some milliseconds to undo things.
            thread::sleep(Duration::from_millis(2));
        }
        self.reconcile()
    }
}

/// Whether the kernel killed a process of the container for lack of memory.
pub(crate) fn oom_killed(hierarchy: &Hierarchy, id: &str) -> bool {
    let cgroup = Cgroup::open(hierarchy, CGROUP_PARENT, id).map(Cgroup::keep);
    cgroup
        .and_then(|cgroup| cgroup.oom_kills())
        .is_ok_and(|kills| kills > 0)
}

/// How long a killed container may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(15);
/// The signal that cannot be caught; the same number on every Linux.
const SIGKILL: i32 = 9;
