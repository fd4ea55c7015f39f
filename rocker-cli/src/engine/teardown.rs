//! The one way in which a container ends.

use rocker_cgroup::Cgroup;

use super::container::{self, Container, ids, is_held};
use super::record::State;
use super::{CGROUP_PARENT, Engine};
use crate::{Error, Result};

impl Engine {
    /// Undoes all that exists for a running container, in reverse, by its id alone. What is gone already is fine; an
    /// error does not keep the rest from being undone.
    ///
    /// Its mounts, namespaces and devices are the kernel's to undo: they were only ever visible inside.
    pub(crate) fn teardown(&self, container: &Container) -> Result<()> {
        let id = container.id();
        let mut errors = Vec::new();
        let mut note = |result: Result<()>| {
            if let Err(error) = result {
                errors.push(error.chain());
            }
        };
        // First, since it also ends whatever process is left.
        note(
            self.hierarchy()
                .and_then(|hierarchy| Ok(Cgroup::remove_by_name(&hierarchy, CGROUP_PARENT, id)?)),
        );
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

    /// Takes down the containers whose supervisor died, so that every command after it sees things as they are.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directories cannot be read, [`Error::Teardown`] for what could not be undone.
    pub fn reconcile(&self) -> Result<()> {
        for id in ids(&self.roots().running())? {
            if is_held(&self.roots().running().join(&id))? {
                continue;
            }
            match self.record(&id) {
                Ok(Some(record)) => {
                    if let Some(mut container) = Container::adopt(self, record)? {
                        // What was read before the lock was held may be old.
                        if let Some(record) = self.record(&id)? {
                            container.record = record;
                            self.bury(&mut container)?;
                        }
                    }
                }
                // Without a readable record, all that can be known by the id is undone.
                Ok(None) | Err(Error::Damaged { .. }) => self.bury_unknown(&id)?,
                Err(error) => return Err(error),
            }
        }
        // A reboot leaves records of containers that run, and no trace of anybody who looks after them.
        for id in ids(&self.roots().containers())? {
            if let Ok(Some(record)) = self.record(&id)
                && !matches!(record.state, State::Exited { .. })
                && !is_held(&self.roots().running().join(&id))?
                && let Some(mut container) = Container::adopt(self, record)?
                && let Some(record) = self.record(&id)?
            {
                container.record = record;
                self.bury(&mut container)?;
            }
        }
        Ok(())
    }

    /// Takes down a container whose supervisor died, and notes that it has ended.
    fn bury(&self, container: &mut Container) -> Result<()> {
        let oom_killed = self.oom_killed(container.id());
        self.teardown(container)?;
        if container.record.remove || container.record.state == State::Starting {
            return container.forget();
        }
        if let State::Running { .. } = container.record.state {
            // Nobody saw its exit status: it was killed with the one who would have.
            container.record.state = State::Exited {
                code: 137,
                finished: container::now(),
                oom_killed,
            };
            container.save()?;
        }
        Ok(())
    }

    fn bury_unknown(&self, id: &str) -> Result<()> {
        let record = super::record::Record {
            id: id.to_owned(),
            name: String::new(),
            image: String::new(),
            manifest: String::new(),
            command: Vec::new(),
            created: 0,
            remove: false,
            bridged: true,
            state: State::Starting,
        };
        match Container::adopt(self, record)? {
            Some(container) => self.teardown(&container),
            None => Ok(()),
        }
    }

    /// Whether the kernel killed a process of the container for lack of memory.
    pub(crate) fn oom_killed(&self, id: &str) -> bool {
        let kills = self
            .hierarchy()
            .and_then(|hierarchy| Ok(Cgroup::open(&hierarchy, CGROUP_PARENT, id)?))
            .map(Cgroup::keep)
            .and_then(|cgroup| Ok(cgroup.oom_kills()?));
        kills.is_ok_and(|kills| kills > 0)
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
        let dir = self.roots().containers().join(&found.id);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::State {
                operation: "remove",
                path: dir,
                source: error,
            }),
            _ => Ok(found.id),
        }
    }

    /// Kills a running container and waits until the one who looks after it has taken it down.
    fn kill(&self, container: &super::ContainerSummary) -> Result<()> {
        if let Some(record) = self.record(&container.id)?
            && let State::Running {
                pid, start_time, ..
            } = record.state
            && let Some(process) = rocker_ns::Process::open(pid, start_time)?
        {
            process.signal(SIGKILL)?;
        }
        let path = self.roots().running().join(&container.id).join("lock");
        let wait = std::fs::File::open(&path).and_then(|lock| lock.lock());
        match wait {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::State {
                operation: "lock",
                path,
                source: error,
            }),
            _ => self.reconcile(),
        }
    }
}

/// The signal that cannot be caught; the same number on every Linux.
const SIGKILL: i32 = 9;
