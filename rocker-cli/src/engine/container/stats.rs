//! What a container uses right now.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rocker_cgroup::Stats;

use super::record::{Running, State};
use crate::engine::options::Network;
use crate::engine::{Engine, cgroup_around, disk};
use crate::{Error, Result};

/// What a container that runs has used at a moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContainerStats {
    /// When that was.
    pub at: Instant,
    /// CPU time, memory, block devices, processes.
    pub used: Stats,
    /// Bytes that came in through its own network devices; none are its own where it shares the host's.
    pub received_bytes: u64,
    /// Bytes that it sent through them.
    pub sent_bytes: u64,
}

impl Engine {
    /// What a container uses; none where it does not run.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Cgroup`] where it has no cgroup, as one of an ordinary user may.
    pub fn stats(&self, name: &str) -> Result<Option<ContainerStats>> {
        let found = self.lookup(name)?;
        let Some(State::Running(Running { pid, .. })) = self.state(&found.id)? else {
            return Ok(None);
        };
        let parent = self.cgroup_parent(&found.id);
        let cgroup = cgroup_around(&self.hierarchy()?, parent.as_deref(), &found.id, pid);
        let used = cgroup.and_then(|cgroup| Ok(cgroup.stats()?));
        let used = match used {
            // It has ended meanwhile, or is about to.
            Err(Error::State { .. }) => return Ok(None),
            Err(_) if !matches!(self.state(&found.id), Ok(Some(State::Running(_)))) => {
                return Ok(None);
            }
            used => used?,
        };
        let (received_bytes, sent_bytes) = match found.network == Network::Host.to_string() {
            true => (0, 0),
            false => traffic_of(pid),
        };
        Ok(Some(ContainerStats {
            at: Instant::now(),
            used,
            received_bytes,
            sent_bytes,
        }))
    }

    /// The memory of the machine, in bytes.
    ///
    /// # Errors
    /// [`Error::State`] without /proc.
    pub fn memory_of_machine(&self) -> Result<u64> {
        let path = Path::new("/proc/meminfo");
        let why = "so that it is known how much memory there is for those that have no limit";
        let text = disk::read(path, why).map_err(disk::failed("read", path))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kibibytes = total.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
        Ok(kibibytes.unwrap_or(0) << 10)
    }
}

/// What came in and went out through the network devices that the process sees, but for the loopback one.
fn traffic_of(pid: u32) -> (u64, u64) {
    let path = PathBuf::from(format!("/proc/{pid}/net/dev"));
    let why = "so that it is known what the container has sent and received";
    // One that has just ended has no network.
    let text = disk::read(&path, why).unwrap_or_default();
    traffic(&String::from_utf8_lossy(&text))
}

fn traffic(text: &str) -> (u64, u64) {
    let device = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        (name.trim() != "lo").then_some((*numbers.first()?, *numbers.get(8)?))
    };
    let all = text.lines().filter_map(device);
    all.fold((0, 0), |(received, sent), (more, out)| {
        (received + more, sent + out)
    })
}

/// Whether the error says that a container has no cgroup to be looked at.
pub(crate) fn is_uncounted(error: &Error) -> bool {
    matches!(error, Error::Cgroup(rocker_cgroup::Error::NotFound { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traffic_of_all_devices_but_the_loopback_one_counts() {
        let text = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs\n\
            \x20   lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n\
            \x20 eth0: 2000 9 0 0 0 0 0 0 30 4 0 0 0 0 0 0\n eth1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (2005, 36));
        assert_eq!(traffic("nonsense"), (0, 0));
    }
}
