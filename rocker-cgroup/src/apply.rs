//! Putting limits in force: what was rendered is written, and read back.

use std::io;
use std::os::fd::AsFd;

use crate::directory::Directory;
use crate::file::Writer;
use crate::render::DEVICE_PROGRAM;
use crate::{
    Applied, Cgroup, Compat, Controller, DeviceRule, Error, Limits, Result, Write, bpf, device,
    file,
};

impl Cgroup {
    /// Puts limits in force, also while processes run: each value is written and read back. What `limits` does not set
    /// stays as it is.
    ///
    /// Lowering the memory limit below what is in use makes v2 reclaim and then kill; v1 refuses it with EBUSY.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`] before anything is written. [`Error::MissingController`], [`Error::NotDelegated`] and
    /// [`Error::MissingFile`] and [`Error::FileOfV2`] with [`Compat::Require`]. [`Error::Limit`] when the kernel refuses a value, [`Error::NotInForce`] when it reads back
    /// as another; what was written before stays.
    pub fn apply(&self, limits: &Limits, compat: Compat) -> Result<Applied> {
        limits.validate()?;
        let mut applied = Applied::default();
        let mut refused = Vec::new();
        let mut files = Writer::default();
        for write in limits.render(&self.hierarchy) {
            match self.put(&mut files, &write, limits) {
                Err(Error::Limit { source, .. })
                    if source.kind() == io::ErrorKind::InvalidInput =>
                {
                    refused.push(write);
                }
                outcome => applied.record(write, outcome, compat)?,
            }
        }
        // On v1 the memory limit and that of memory+swap, or quota and period, and on both quota and burst, bound each other,
        // so that one may be refused only because its partner still had its old value.
        for write in refused {
            let outcome = self.put(&mut files, &write, limits);
            applied.record(write, outcome, compat)?;
        }
        if let Some(rules) = &limits.devices {
            self.check_devices(rules)?;
        }
        Ok(applied)
    }

    /// Makes one write, or the one that stands in for it, and returns what the file reads then.
    fn put(&self, files: &mut Writer, write: &Write, limits: &Limits) -> Result<String> {
        let controller = write.controller;
        let dir = match self.directory_of(controller) {
            Some(dir) if write.is_raw && !dir.is_v2() => {
                return Err(Error::FileOfV2 {
                    controller,
                    file: write.file.clone(),
                });
            }
            Some(dir) => dir,
            None => return Err(self.hierarchy.unavailable(controller, write.file.clone())),
        };
        if write.file == DEVICE_PROGRAM {
            return self.guard_devices(dir, write, limits);
        }
        let path = dir.path.join(&*write.file);
        if let Err(source) = files.write(&path, &write.value, write.why) {
            if source.kind() == io::ErrorKind::NotFound {
                return match &write.otherwise {
                    Some(otherwise) => self.put(files, otherwise, limits),
                    None => Err(self.no_file(dir, write)),
                };
            }
            // What the cgroup above does not allow cannot be allowed here: the device stays forbidden, so that nothing
            // that was to be prevented is not.
            if write.file == "devices.allow" && source.kind() == io::ErrorKind::PermissionDenied {
                return Err(Error::DeviceNotAllowed {
                    above: dir.path.parent().unwrap_or(&dir.path).to_owned(),
                    rule: write.value.clone(),
                });
            }
            return Err(Error::at("write", &path, source, |path, source| {
                Error::Limit {
                    controller,
                    path,
                    value: write.value.clone(),
                    source,
                }
            }));
        }
        if controller == Controller::Devices {
            // These two can only be written to; see `check_devices`.
            return Ok(write.value.clone());
        }
        let why = "so that it is known which value is in force: the kernel may have rounded it";
        let path = match controller {
            // v2 takes whatever CPUs the machine could have, and gives those of them that the cgroup above has.
            Controller::Cpuset if dir.is_v2() && !write.is_raw => {
                dir.path.join(format!("{}.effective", write.file))
            }
            _ => path,
        };
        let found = match file::read(&path, why) {
            Ok(found) => found.trim_end().to_owned(),
            // One that can only be written to.
            Err(_) if write.is_raw => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        if !write.is_raw && !write.is_in_force(&found) {
            return Err(Error::NotInForce {
                controller,
                path,
                asked: write.value.clone(),
                found,
            });
        }
        Ok(found)
    }

    /// The error for a file that is not there, or a cgroup that is not.
    fn no_file(&self, dir: &Directory, write: &Write) -> Error {
        let why = "so that a missing file can be told from a missing cgroup";
        match file::is_dir(&dir.path, why) {
            true => Error::MissingFile {
                controller: write.controller,
                path: dir.path.join(&*write.file),
            },
            false => Error::NotFound {
                path: dir.path.clone(),
            },
        }
    }

    /// Has a program decide on devices, as v2 wants it.
    fn guard_devices(&self, dir: &Directory, write: &Write, limits: &Limits) -> Result<String> {
        let controller = Controller::Devices;
        let rules = limits.devices.as_deref().unwrap_or_default();
        let why = "so that a program can be attached to this cgroup, by its descriptor";
        let opened = file::open(&dir.path, why).map_err(|source| Error::Read {
            path: dir.path.clone(),
            source,
        })?;
        match bpf::guard(opened.as_fd(), rules) {
            Ok(()) => Ok(write.value.clone()),
            Err(source) if source.raw_os_error() == Some(libc::ENOSYS) => {
                Err(Error::MissingController {
                    controller,
                    file: write.file.clone(),
                })
            }
            Err(source) => {
                let path = dir.path.join(&*write.file);
                Err(Error::at(
                    "attach a program to",
                    &path,
                    source,
                    |path, source| Error::Limit {
                        controller,
                        path,
                        value: write.value.clone(),
                        source,
                    },
                ))
            }
        }
    }

    /// Looks whether v1 has taken the rules as they were meant: it says nothing of those that it has left as they were.
    fn check_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let controller = Controller::Devices;
        let Some(dir) = self.directory_of(controller).filter(|dir| !dir.is_v2()) else {
            return Ok(());
        };
        let why = "so that it is known which devices may be used now";
        let list = dir.read("devices.list", why)?;
        match device::contradicted(rules, &list) {
            None => Ok(()),
            Some(rule) => Err(Error::NotInForce {
                controller,
                path: dir.path.join("devices.list"),
                asked: format!("deny {rule}"),
                found: list.trim_end().to_owned(),
            }),
        }
    }
}
