//! Changing what a container may use, also while it runs.

use oci_spec::runtime::LinuxResources;
use rocker_cgroup::{Compat, Limits};

use super::options::Restart;
use super::record::{self, CONFIG, RECORD, Running, State};
use super::{Engine, cgroup_around, parts};
use crate::{Error, Result};

impl Engine {
    /// Has `change` change the limits of a container, and when it is started again. One that runs is held to them from now on; all that
    /// the kernel refuses is refused before anything is written down.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::BadValue`], whatever `change` finds wrong, and [`Error::Cgroup`] where the kernel does not
    /// take a value; it has the old ones then.
    pub fn update(
        &self,
        name: &str,
        restart: Option<Restart>,
        change: impl FnOnce(&mut Limits) -> Result<()>,
    ) -> Result<()> {
        let found = self.container(name)?;
        // Its record is not written by anybody else meanwhile.
        let _making = self.making()?;
        let no_container = || Error::NoContainer {
            name: name.to_owned(),
        };
        let mut record = self.record(&found.id)?.ok_or_else(no_container)?;
        let options = &mut record.options;
        if let Some(restart) = restart {
            if options.remove && restart != Restart::No {
                let expected = "no: the container is to be removed when it ends";
                return Err(Error::bad_value("--restart", restart.to_string(), expected));
            }
            options.restart = restart;
        }
        let before = options.limits.clone();
        change(&mut options.limits)?;
        let after = options.limits.clone();
        if let Some(State::Running(Running { pid, .. })) = self.state(&found.id)?
            && after != before
        {
            let parent = options.cgroup_parent.as_deref();
            let cgroup = cgroup_around(&self.hierarchy()?, parent, &found.id, pid)?;
            if let Err(error) = cgroup.apply(&changed(&before, &after), Compat::Require) {
                // Of several the first may have been taken.
                let _ = cgroup.apply(&changed(&after, &before), Compat::BestEffort);
                return Err(error.into());
            }
        }
        let data = self.roots().containers().join(&found.id);
        record::write(&data.join(RECORD), &record)?;
        if let Some(mut spec) = self.spec_of(&found.id)? {
            let devices = parts::limits(&spec)?.devices;
            let mut limits = after;
            limits.devices = devices;
            if let Some(linux) = spec.linux_mut() {
                linux.set_resources(Some(LinuxResources::try_from(&limits)?));
            }
            record::write(&data.join(CONFIG), &spec)?;
        }
        self.tell(&record, "update", &[]);
        Ok(())
    }
}

/// Those of the limits `after` that are not as `before`. What is no longer limited is no limit.
fn changed(before: &Limits, after: &Limits) -> Limits {
    fn of<T: PartialEq + Clone>(before: &Option<T>, after: &Option<T>) -> Option<T> {
        after.clone().filter(|_| before != after)
    }
    let mut changed = Limits::default();
    changed.cpu = of(&before.cpu, &after.cpu);
    changed.cpu_shares = of(&before.cpu_shares, &after.cpu_shares);
    changed.cpuset_cpus = of(&before.cpuset_cpus, &after.cpuset_cpus);
    changed.cpuset_mems = of(&before.cpuset_mems, &after.cpuset_mems);
    changed.pids = of(&before.pids, &after.pids);
    changed.io_weight = of(&before.io_weight, &after.io_weight);
    let reservation = of(
        &before.memory_reservation_bytes,
        &after.memory_reservation_bytes,
    );
    changed.memory_reservation_bytes = reservation;
    // v2 counts swap alone, so that each of the two changes what the other one means.
    let memory = |limits: &Limits| (limits.memory_bytes, limits.memory_swap_bytes);
    if memory(before) != memory(after) {
        (changed.memory_bytes, changed.memory_swap_bytes) = memory(after);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_not_written_again_and_memory_goes_with_swap() {
        let before = Limits::default()
            .pids(7_u64)
            .memory_bytes(64_u64)
            .memory_swap_bytes(96_u64)
            .cpu_shares(9);
        let mut after = before.clone().pids(8_u64);
        assert_eq!(changed(&before, &after), Limits::default().pids(8_u64));
        after = after.memory_swap_bytes(128_u64);
        let expected = Limits::default()
            .pids(8_u64)
            .memory_bytes(64_u64)
            .memory_swap_bytes(128_u64);
        assert_eq!(changed(&before, &after), expected);
    }
}
