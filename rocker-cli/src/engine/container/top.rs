//! The processes of a container, as the kernel describes them: no program is run for it, neither the container's nor the host's.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::record::{Running, State};
use crate::engine::{Engine, cgroup_around, disk};
use crate::{Error, Result};

/// How many of the kernel's ticks a second has for programs: USER_HZ, on every machine that rocker runs on.
const TICKS: u64 = 100;

/// What the kernel says of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFacts {
    /// Its number on the host,
    pub pid: u32,
    /// and that of its parent.
    pub parent: u32,
    /// The number of its process group,
    pub group: u32,
    /// and of its session.
    pub session: u32,
    /// The effective user id on the host.
    pub uid: u32,
    /// `R`, `S`, `D`, `Z` and so on.
    pub state: char,
    /// The number of its terminal; 0 for none.
    pub terminal: u32,
    /// How nice it is.
    pub nice: i32,
    /// How many threads it has.
    pub threads: u32,
    /// The address space, in bytes.
    pub virtual_bytes: u64,
    /// The memory that is in use of it, in bytes.
    pub resident_bytes: u64,
    /// The CPU time that it has used.
    pub cpu: Duration,
    /// For how long it has been running.
    pub elapsed: Duration,
    /// When it was started.
    pub started: Option<SystemTime>,
    /// The name of its program, cut to 15 characters.
    pub name: String,
    /// Its command line.
    pub command: String,
}

impl Engine {
    /// The processes of a container that runs, in the order of their numbers.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], and [`Error::Cgroup`] where it has no cgroup, as one of an ordinary user may.
    pub fn processes(&self, name: &str) -> Result<Vec<ProcessFacts>> {
        let found = self.container(name)?;
        let Some(State::Running(Running { pid, .. })) = self.state(&found.id)? else {
            return Err(Error::NotRunning { name: found.name });
        };
        let parent = self.cgroup_parent(&found.id);
        let cgroup = cgroup_around(&self.hierarchy()?, parent.as_deref(), &found.id, pid)?;
        let uptime = uptime()?;
        let now = SystemTime::now();
        // Those that end meanwhile are not there any more.
        let all = cgroup
            .procs()?
            .into_iter()
            .filter_map(|pid| facts(pid, uptime, now));
        Ok(all.collect())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let why = "so that what runs in the container is known, by the kernel's own word";
    let text = disk::read(path, why)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn uptime() -> Result<Duration> {
    let path = Path::new("/proc/uptime");
    let text = read(path).map_err(disk::failed("read", path))?;
    let seconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Ok(Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default())
}

fn facts(pid: u32, uptime: Duration, now: SystemTime) -> Option<ProcessFacts> {
    let file = |name: &str| read(&PathBuf::from(format!("/proc/{pid}/{name}"))).ok();
    let mut facts = parse(&file("stat")?, uptime)?;
    facts.pid = pid;
    facts.started = now.checked_sub(facts.elapsed);
    let status = file("status")?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    facts.uid = line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let resident =
        line("VmRSS:").and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    facts.resident_bytes = resident.unwrap_or(0) << 10;
    let words = file("cmdline").unwrap_or_default();
    let words = words.trim_end_matches('\0').replace('\0', " ");
    facts.command = match words.is_empty() {
        // A zombie has no more than its name.
        true => format!("[{}]", facts.name),
        false => words,
    };
    Some(facts)
}

/// What stands in `/proc/PID/stat`, see proc_pid_stat(5).
fn parse(stat: &str, uptime: Duration) -> Option<ProcessFacts> {
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // The first of them is the third of the file.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    let small = |at: usize| {
        field(at)?
            .parse::<i64>()
            .ok()
            .and_then(|number| u32::try_from(number).ok())
    };
    let ticks = |count: u64| Duration::from_millis(count * 1000 / TICKS);
    Some(ProcessFacts {
        state: field(3)?.chars().next()?,
        parent: small(4)?,
        group: small(5).unwrap_or(0),
        session: small(6).unwrap_or(0),
        terminal: small(7).unwrap_or(0),
        cpu: ticks(number(14)? + number(15)?),
        nice: field(19)?.parse().ok()?,
        threads: small(20)?,
        elapsed: uptime.saturating_sub(ticks(number(22)?)),
        virtual_bytes: number(23)?,
        name: head.split_once('(')?.1.to_owned(),
        ..ProcessFacts::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_a_name() {
        let stat = "7 (a) b) S 1 7 6 34816 7 4194560 1 2 3 4 150 50 0 0 20 5 3 0 1000 8192 9 1 1";
        let facts = parse(stat, Duration::from_secs(100)).unwrap();
        assert_eq!(
            (facts.name.as_str(), facts.state, facts.parent),
            ("a) b", 'S', 1)
        );
        assert_eq!((facts.group, facts.session, facts.terminal), (7, 6, 34816));
        assert_eq!(
            (facts.cpu, facts.elapsed),
            (Duration::from_secs(2), Duration::from_secs(90))
        );
        assert_eq!(
            (facts.nice, facts.threads, facts.virtual_bytes),
            (5, 3, 8192)
        );
        for text in ["", "7 (a", "7 (a) S", "7 (a) S x"] {
            assert_eq!(parse(text, Duration::ZERO), None, "{text:?}");
        }
    }
}
