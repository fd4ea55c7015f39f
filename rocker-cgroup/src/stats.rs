//! What a cgroup uses, and whether the kernel had to kill in it.

use std::time::Duration;

use crate::directory::Directory;
use crate::{Cgroup, Controller, Error, Result, file};

/// What a cgroup uses at a moment; None where the host does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The CPU time used so far, by all processes ever in it, of all CPUs together.
    pub cpu_usage: Option<Duration>,
    /// The memory in use, in bytes, page cache included.
    pub memory_bytes: Option<u64>,
    /// The number of processes and threads.
    pub pids: Option<u64>,
}

impl Cgroup {
    /// What the cgroup and those below it use now.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Content`].
    pub fn stats(&self) -> Result<Stats> {
        let number = |controller, v1, v2| match self.directory_of(controller) {
            Some(dir) => number_in(dir, if dir.is_v2() { v2 } else { v1 }),
            None => Ok(None),
        };
        let cpu_usage = match self.directory_of(Controller::Cpuacct) {
            Some(dir) if dir.is_v2() => {
                let text = dir.read("cpu.stat", "so that the CPU time used so far is known")?;
                Some(Duration::from_micros(key(
                    dir,
                    "cpu.stat",
                    &text,
                    "usage_usec",
                )?))
            }
            Some(dir) => number_in(dir, "cpuacct.usage")?.map(Duration::from_nanos),
            None => None,
        };
        Ok(Stats {
            cpu_usage,
            memory_bytes: number(
                Controller::Memory,
                "memory.usage_in_bytes",
                "memory.current",
            )?,
            pids: number(Controller::Pids, "pids.current", "pids.current")?,
        })
    }

    /// How many processes of the cgroup, and of those below it, the kernel has killed for want of memory.
    ///
    /// Ask before removing. v1 forgets those of a nested cgroup together with that cgroup; v2 does not.
    ///
    /// # Errors
    ///
    /// [`Error::MissingController`] without the memory controller, [`Error::Read`], [`Error::Content`]. On v1 the count
    /// came with Linux 4.13.
    #[doc(alias = "memory.events")]
    #[doc(alias = "memory.oom_control")]
    pub fn oom_kills(&self) -> Result<u64> {
        let controller = Controller::Memory;
        let missing = Error::MissingController {
            controller,
            file: "memory.events",
        };
        let dir = self.directory_of(controller).ok_or(missing)?;
        if dir.is_v2() {
            return key(
                dir,
                "memory.events",
                &dir.read(
                    "memory.events",
                    "so that it is known whether memory ran out",
                )?,
                "oom_kill",
            );
        }
        let why = "so that it is known how many processes died because memory ran out";
        let mut kills = 0;
        for path in dir.subtree()? {
            match file::read(&path.join("memory.oom_control"), why) {
                Ok(text) => kills += key(dir, "memory.oom_control", &text, "oom_kill")?,
                Err(error) if error.is_vanished() && path != dir.path => {}
                Err(error) => return Err(error),
            }
        }
        Ok(kills)
    }
}

/// The number that is all of a file; None when the file does not exist, as that of a controller that is not enabled.
fn number_in(dir: &Directory, name: &str) -> Result<Option<u64>> {
    let text = match dir.read(name, "so that what the cgroup uses now is known") {
        Err(error)
            if error.is_vanished()
                && file::is_dir(
                    &dir.path,
                    "so that a missing file can be told from a missing cgroup",
                ) =>
        {
            return Ok(None);
        }
        text => text?,
    };
    text.trim_end()
        .parse()
        .map(Some)
        .map_err(|_| Error::Content {
            path: dir.path.join(name),
            text,
            expected: "a number",
        })
}

/// The value of `name` in a file of lines `NAME VALUE`.
fn key(dir: &Directory, file: &str, text: &str, name: &'static str) -> Result<u64> {
    let value = |line: &str| {
        line.split_once(' ')
            .filter(|(key, _)| *key == name)?
            .1
            .trim_end()
            .parse()
            .ok()
    };
    text.lines().find_map(value).ok_or_else(|| Error::Content {
        path: dir.path.join(file),
        text: text.to_owned(),
        expected: match name {
            "oom_kill" => "a list of events with oom_kill",
            _ => "a list of times with usage_usec",
        },
    })
}
