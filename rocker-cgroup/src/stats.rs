//! What a cgroup uses, and has used.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::directory::{self, Directory};
use crate::{Cgroup, Controller, Error, Max, Result, file};

/// What a cgroup uses at a moment, with those below it; None where the host does not count it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The CPU time used so far, by all processes ever in it, of all CPUs together.
    pub cpu_usage: Option<Duration>,
    /// The part of it that was spent in programs,
    pub cpu_user: Option<Duration>,
    /// and in the kernel for them.
    pub cpu_system: Option<Duration>,
    /// How many periods of CPU bandwidth there were in which it had something to do,
    pub cpu_periods: Option<u64>,
    /// in how many of them it used up its quota,
    pub cpu_throttled_periods: Option<u64>,
    /// and how long it had to wait then.
    pub cpu_throttled: Option<Duration>,
    /// The memory in use, in bytes, page cache included.
    pub memory_bytes: Option<u64>,
    /// The part of it that is page cache nobody has used lately, in bytes: what Docker takes off for the memory "in use".
    pub memory_inactive_file_bytes: Option<u64>,
    /// The part of it that is memory of the programs' own, in bytes.
    pub memory_anonymous_bytes: Option<u64>,
    /// The part of it that is page cache, in bytes.
    pub memory_file_bytes: Option<u64>,
    /// The most memory that was in use, in bytes; on v2 since Linux 5.19.
    pub memory_peak_bytes: Option<u64>,
    /// The most it may use, in bytes.
    pub memory_limit: Option<Max>,
    /// The swap in use, in bytes.
    pub memory_swap_bytes: Option<u64>,
    /// The number of processes and threads.
    pub pids: Option<u64>,
    /// The most there may be.
    pub pids_limit: Option<Max>,
    /// What was read and written, by block device.
    pub io: Vec<IoStats>,
    /// The memory in huge pages, in bytes, by their size.
    pub hugetlb_bytes: BTreeMap<String, u64>,
    /// How long its processes had to wait for a CPU, for memory and for block devices. v2, and a kernel with PSI that is on.
    pub cpu_pressure: Option<Pressure>,
    /// See [`Stats::cpu_pressure`].
    pub memory_pressure: Option<Pressure>,
    /// See [`Stats::cpu_pressure`].
    pub io_pressure: Option<Pressure>,
}

/// What was read from and written to a block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoStats {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// How long processes had to wait for something: see [PSI](https://docs.kernel.org/accounting/psi.html).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Pressure {
    /// While some of them waited.
    pub some: Stall,
    /// While all of them did; of CPUs since Linux 5.13.
    pub full: Option<Stall>,
}

/// The share of time that was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Stall {
    /// Of the last 10 s, in percent,
    pub avg10: f64,
    /// of the last minute,
    pub avg60: f64,
    /// of the last five,
    pub avg300: f64,
    /// and how much it was in all.
    pub total: Duration,
}

impl Stats {
    /// The memory in use as Docker counts it: without the page cache that nobody has used lately.
    #[must_use]
    pub fn memory_in_use_bytes(&self) -> Option<u64> {
        let cache = self.memory_inactive_file_bytes.unwrap_or(0);
        Some(self.memory_bytes?.saturating_sub(cache))
    }
}

impl Cgroup {
    /// What the cgroup and those below it use now.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Content`].
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        if let Some(dir) = self.directory_of(Controller::Cpuacct) {
            read_usage(dir, &mut stats)?;
        }
        if let Some(dir) = self.directory_of(Controller::Cpu) {
            read_throttling(dir, &mut stats)?;
        }
        if let Some(dir) = self.directory_of(Controller::Memory) {
            read_memory(dir, &mut stats)?;
        }
        if let Some(dir) = self.directory_of(Controller::Pids) {
            stats.pids = number_in(dir, "pids.current")?;
            stats.pids_limit = bound_in(dir, "pids.max")?;
        }
        if let Some(dir) = self.directory_of(Controller::Io) {
            stats.io = read_io(dir)?;
        }
        if let Some(dir) = self.directory_of(Controller::Hugetlb) {
            read_hugetlb(dir, &mut stats)?;
        }
        if let Some(dir) = self.directories.iter().find(|dir| dir.is_v2()) {
            stats.cpu_pressure = pressure(dir, "cpu.pressure");
            stats.memory_pressure = pressure(dir, "memory.pressure");
            stats.io_pressure = pressure(dir, "io.pressure");
        }
        Ok(stats)
    }
}

fn read_usage(dir: &Directory, stats: &mut Stats) -> Result<()> {
    if !dir.is_v2() {
        let nanos = |name| Ok(number_in(dir, name)?.map(Duration::from_nanos));
        stats.cpu_usage = nanos("cpuacct.usage")?;
        stats.cpu_user = nanos("cpuacct.usage_user")?;
        stats.cpu_system = nanos("cpuacct.usage_sys")?;
        return Ok(());
    }
    let text = dir.read("cpu.stat", "so that the CPU time used so far is known")?;
    let micros = |name| value_of(&text, name).map(Duration::from_micros);
    stats.cpu_usage = Some(micros("usage_usec").ok_or_else(|| Error::Content {
        path: dir.path.join("cpu.stat"),
        text: text.clone(),
        expected: "a list of times with usage_usec",
    })?);
    (stats.cpu_user, stats.cpu_system) = (micros("user_usec"), micros("system_usec"));
    Ok(())
}

fn read_throttling(dir: &Directory, stats: &mut Stats) -> Result<()> {
    let why = "so that it is known how often its CPU time was used up";
    let Some(text) = read_if_there(dir, "cpu.stat", why)? else {
        return Ok(());
    };
    stats.cpu_periods = value_of(&text, "nr_periods");
    stats.cpu_throttled_periods = value_of(&text, "nr_throttled");
    let v1 = value_of(&text, "throttled_time").map(Duration::from_nanos);
    stats.cpu_throttled = v1.or(value_of(&text, "throttled_usec").map(Duration::from_micros));
    Ok(())
}

fn read_memory(dir: &Directory, stats: &mut Stats) -> Result<()> {
    let v2 = dir.is_v2();
    let name = |v1, of_v2| if v2 { of_v2 } else { v1 };
    stats.memory_bytes = number_in(dir, name("memory.usage_in_bytes", "memory.current"))?;
    stats.memory_peak_bytes = number_in(dir, name("memory.max_usage_in_bytes", "memory.peak"))?;
    stats.memory_limit = bound_in(dir, name("memory.limit_in_bytes", "memory.max"))?;
    let why = "so that memory that could be had back at once is not taken for memory in use";
    let Some(text) = read_if_there(dir, "memory.stat", why)? else {
        return Ok(());
    };
    // What begins with `total_` is v1's for all below as well.
    let value = |v1, of_v2| value_of(&text, name(v1, of_v2));
    stats.memory_inactive_file_bytes = value("total_inactive_file", "inactive_file");
    stats.memory_anonymous_bytes = value("total_rss", "anon");
    stats.memory_file_bytes = value("total_cache", "file");
    stats.memory_swap_bytes = match v2 {
        true => number_in(dir, "memory.swap.current")?,
        false => value_of(&text, "total_swap"),
    };
    Ok(())
}

fn read_io(dir: &Directory) -> Result<Vec<IoStats>> {
    let why = "so that it is known what was read from and written to block devices";
    if dir.is_v2() {
        let text = read_if_there(dir, "io.stat", why)?;
        return Ok(io_of_v2(&text.unwrap_or_default()));
    }
    let read = |name: &str| Ok::<_, Error>(read_if_there(dir, name, why)?.unwrap_or_default());
    // On many kernels the throttle counts only what it has a limit for, and the scheduler BFQ only what goes through it: the
    // one that has seen more is right.
    let mut all: BTreeMap<(u32, u32), IoStats> = BTreeMap::new();
    for who in ["throttle", "bfq"] {
        let bytes = read(&format!("blkio.{who}.io_service_bytes_recursive"))?;
        let operations = read(&format!("blkio.{who}.io_serviced_recursive"))?;
        for one in io_of_v1(&bytes, &operations) {
            let known = all.entry((one.major, one.minor)).or_insert(one);
            if known.read_bytes + known.write_bytes < one.read_bytes + one.write_bytes {
                *known = one;
            }
        }
    }
    Ok(all.into_values().collect())
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn io_of_v2(text: &str) -> Vec<IoStats> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = device(words.next()?)?;
        let mut stats = IoStats {
            major,
            minor,
            ..IoStats::default()
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => stats.read_bytes = value,
                "wbytes" => stats.write_bytes = value,
                "rios" => stats.reads = value,
                "wios" => stats.writes = value,
                _ => {}
            }
        }
        Some(stats)
    };
    text.lines().filter_map(line).collect()
}

fn io_of_v1(bytes: &str, operations: &str) -> Vec<IoStats> {
    let mut all: BTreeMap<(u32, u32), IoStats> = BTreeMap::new();
    for (text, are_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let &[numbers, what, value] = &words[..] else {
                continue;
            };
            let (Some((major, minor)), Ok(value)) = (device(numbers), value.parse()) else {
                continue;
            };
            let stats = all.entry((major, minor)).or_default();
            (stats.major, stats.minor) = (major, minor);
            match (what, are_bytes) {
                ("Read", true) => stats.read_bytes = value,
                ("Write", true) => stats.write_bytes = value,
                ("Read", false) => stats.reads = value,
                ("Write", false) => stats.writes = value,
                _ => {}
            }
        }
    }
    all.into_values().collect()
}

fn read_hugetlb(dir: &Directory, stats: &mut Stats) -> Result<()> {
    // The kernel's own list of the sizes is the names of its files.
    let (suffix, start) = match dir.is_v2() {
        true => (".current", "hugetlb."),
        false => (".usage_in_bytes", "hugetlb."),
    };
    for path in directory::files(&dir.path, "so that the sizes of huge pages are known")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let size = name
            .strip_prefix(start)
            .and_then(|name| name.strip_suffix(suffix));
        let Some(size) = size.filter(|size| !size.contains('.')) else {
            continue;
        };
        if let Some(bytes) = number_in(dir, &name)? {
            stats.hugetlb_bytes.insert(size.to_owned(), bytes);
        }
    }
    Ok(())
}

/// None where the kernel does not count it, or has it switched off, which an error says.
fn pressure(dir: &Directory, name: &str) -> Option<Pressure> {
    let why = "so that it is known how long its processes had to wait";
    let text = dir.read(name, why).ok()?;
    Some(Pressure {
        some: stall(&text, "some")?,
        full: stall(&text, "full"),
    })
}

/// One line of a file of PSI: `some avg10=0.12 avg60=0.00 avg300=0.00 total=1234`.
fn stall(text: &str, which: &str) -> Option<Stall> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(which)?.strip_prefix(' '))?;
    let value = |key: &str| {
        let mut words = line.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let percent = |key| value(key)?.parse().ok();
    Some(Stall {
        avg10: percent("avg10")?,
        avg60: percent("avg60")?,
        avg300: percent("avg300")?,
        total: Duration::from_micros(value("total")?.parse().ok()?),
    })
}

/// The text of a file; None when there is none, as of a controller that is not enabled.
pub(crate) fn read_if_there(
    dir: &Directory,
    name: &str,
    why: &'static str,
) -> Result<Option<String>> {
    let telling = "so that a missing file can be told from a missing cgroup";
    match dir.read(name, why) {
        Err(error) if error.is_vanished() && file::is_dir(&dir.path, telling) => Ok(None),
        text => text.map(Some),
    }
}

/// The number that is all of a file; None when there is none.
fn number_in(dir: &Directory, name: &str) -> Result<Option<u64>> {
    let why = "so that what the cgroup uses now is known";
    let Some(text) = read_if_there(dir, name, why)? else {
        return Ok(None);
    };
    let number = text.trim_end().parse();
    number.map(Some).map_err(|_| Error::Content {
        path: dir.path.join(name),
        text,
        expected: "a number",
    })
}

/// The same of a file that may say that there is no bound.
fn bound_in(dir: &Directory, name: &str) -> Result<Option<Max>> {
    let why = "so that what the cgroup may use is known";
    let Some(text) = read_if_there(dir, name, why)? else {
        return Ok(None);
    };
    match text.trim_end() {
        "max" => Ok(Some(Max::Unlimited)),
        number => match number.parse::<u64>() {
            // v1's word for none: as many whole pages as fit into a signed number.
            Ok(bound) if bound > i64::MAX as u64 - (1 << 20) => Ok(Some(Max::Unlimited)),
            Ok(bound) => Ok(Some(Max::At(bound))),
            Err(_) => Err(Error::Content {
                path: dir.path.join(name),
                text,
                expected: "a number or max",
            }),
        },
    }
}

/// The value of `name` in lines `NAME VALUE`.
pub(crate) fn value_of(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim_end()
            .parse()
            .ok()
    };
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests;
