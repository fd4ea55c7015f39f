//! The way back from a change: what the files of some limits held before they were written.

use std::path::PathBuf;

use crate::{Cgroup, Controller, Error, Limits, Result, Write, file};

/// What the files of some limits held: see [`Cgroup::former`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "it is for `restore`, should what is changed next be taken back"]
pub struct Former {
    /// The files, with what is to be written to them.
    values: Vec<(Controller, PathBuf, String)>,
}

impl Cgroup {
    /// Reads what is in force now in the place of `limits`, before they are [applied](Self::apply), so that the way back is known also
    /// where nothing was limited. A file that is not there has none.
    ///
    /// Rules on devices, and files of many lines that are only known by their name ([`Limits::unified`]), have no way back.
    pub fn former(&self, limits: &Limits) -> Former {
        let mut former = Former::default();
        for write in limits.render(&self.hierarchy) {
            let mut candidate = Some(&write);
            while let Some(write) = candidate {
                candidate = write.otherwise.as_deref();
                let controller = write.controller;
                let Some(dir) = self
                    .directory_of(controller)
                    .filter(|dir| dir.is_v2() || !write.is_raw)
                else {
                    continue;
                };
                let path = dir.path.join(&*write.file);
                let why = "so that it can be put back if a change fails half-way";
                // What has no such file has nothing to be put back: whoever applies the limits says so. And some are only written to.
                let Ok(found) = file::read(&path, why) else {
                    continue;
                };
                if let Some(value) = value_of(write, found.trim_end()) {
                    former.values.push((controller, path, value));
                }
                break;
            }
        }
        former
    }

    /// Writes back what was in force. It goes on after an error.
    ///
    /// # Errors
    ///
    /// The first one: [`Error::Limit`], such as EBUSY on v1 where the memory is in use meanwhile.
    pub fn restore(&self, former: &Former) -> Result<()> {
        let put_back = |value: &&(Controller, PathBuf, String)| {
            let (controller, path, value) = value;
            let why = "so that what was in force before is so again";
            file::write(path, value, why).map_err(|source| {
                Error::at("write", path, source, |path, source| Error::Limit {
                    controller: *controller,
                    path,
                    value: value.clone(),
                    source,
                })
            })
        };
        let values = former.values.iter().rev();
        let refused: Vec<_> = values.filter(|value| put_back(value).is_err()).collect();
        // Some bound each other, so that one may be refused only because its partner still has its new value.
        let mut outcome = Ok(());
        for value in refused {
            outcome = outcome.and(put_back(&value));
        }
        outcome
    }
}

/// What to write so that a file reads `found` again, as far as `write` changes it.
fn value_of(write: &Write, found: &str) -> Option<String> {
    let device = write.value.split(' ').next().unwrap_or_default();
    match write.controller {
        Controller::Devices => None,
        Controller::Memory if write.file == "memory.oom_control" => found
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill_disable "))
            .map(str::to_owned),
        // A limit or a weight of one device is a line among others.
        Controller::Io | Controller::Rdma
            if device.contains(':') || write.controller == Controller::Rdma =>
        {
            let prefix = format!("{device} ");
            let line = found.lines().find(|line| line.starts_with(&prefix));
            Some(line.map_or_else(|| without_limit(write, device), str::to_owned))
        }
        Controller::Io => {
            // "default 100" comes before the weights of single devices; v1 has the number alone.
            let weight = found.lines().next()?;
            match device {
                "default" => Some(weight.to_owned()),
                _ => Some(weight.trim_start_matches("default ").to_owned()),
            }
        }
        _ if found.lines().count() > 1 => None,
        // An empty list of CPUs is whatever the cgroup above has; nothing at all would not be written.
        _ if found.is_empty() => Some("\n".to_owned()),
        _ => Some(found.to_owned()),
    }
}

/// What takes away the limits, or the weight, of one device.
fn without_limit(write: &Write, device: &str) -> String {
    let words = write.value.split(' ').skip(1).map(|word| {
        match (word.split_once('='), write.file.contains("weight")) {
            (Some((key, _)), _) => format!("{key}=max"),
            (None, true) if write.file.starts_with("io.") => "default".to_owned(),
            // v1 has 0 for no limit, and for no weight.
            (None, _) => "0".to_owned(),
        }
    });
    let words: Vec<_> = [device.to_owned()].into_iter().chain(words).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(
        controller: Controller,
        file: &'static str,
        value: &str,
        found: &str,
    ) -> Option<String> {
        value_of(&Write::new(controller, file, value, ""), found)
    }

    #[test]
    fn what_a_file_reads_becomes_what_is_written_to_it() {
        use Controller::{Cpu, Cpuset, Devices, Io, Memory, Rdma};
        let table = [
            (Cpu, "cpu.max", "5 10", "max 100000", Some("max 100000")),
            (Cpuset, "cpuset.cpus", "0", "", Some("\n")),
            (
                Memory,
                "memory.oom_control",
                "1",
                "oom_kill_disable 0\nunder_oom 0",
                Some("0"),
            ),
            (Memory, "memory.stat", "1", "a 1\nb 2", None),
            (
                Io,
                "io.weight",
                "default 7",
                "default 100\n8:0 5",
                Some("default 100"),
            ),
            (Io, "io.bfq.weight", "7", "default 100", Some("100")),
            (Io, "blkio.weight", "7", "500", Some("500")),
            (
                Io,
                "io.max",
                "8:0 rbps=1 wiops=2",
                "8:0 rbps=max wbps=9",
                Some("8:0 rbps=max wbps=9"),
            ),
            (
                Io,
                "io.max",
                "8:0 rbps=1 wiops=2",
                "8:16 rbps=5",
                Some("8:0 rbps=max wiops=max"),
            ),
            (Io, "io.weight", "8:0 5", "default 100", Some("8:0 default")),
            (
                Io,
                "blkio.throttle.read_bps_device",
                "8:0 5",
                "",
                Some("8:0 0"),
            ),
            (
                Rdma,
                "rdma.max",
                "mlx hca_handle=1",
                "",
                Some("mlx hca_handle=max"),
            ),
            (Devices, "devices.allow", "a", "", None),
        ];
        for (controller, file, value, found, expected) in table {
            assert_eq!(
                back(controller, file, value, found).as_deref(),
                expected,
                "{file}: {found}"
            );
        }
    }
}
