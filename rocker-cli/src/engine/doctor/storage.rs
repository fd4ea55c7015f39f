//! Where rocker's data are, and whether overlays can be made of them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rocker_fs::{FileSystem, Overlay, XattrNamespace};

use super::Check;
use crate::advice::Advice;
use crate::engine::host::{Host, HostMount};
use crate::engine::{Engine, disk};
use crate::table::size;
use crate::{Error, Result};

/// Less room than this is too little for any image but the smallest.
const LITTLE: u64 = 64 << 20;
/// The check that mounts one.
pub(super) const OVERLAY: &str = "overlay";
/// Fewer files than this cannot be unpacked.
const FEW: u64 = 1000;

/// That this user may not look; the same number on every Linux.
const EACCES: i32 = 13;

/// Directories to try something in, which are removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Below the directory `root`, or the one nearest above it that exists: nothing that lasts is made.
    pub(super) fn below(root: &Path) -> Result<Self> {
        let dir = existing(root).join(format!(".rocker-doctor-{}", std::process::id()));
        let scratch = Self(dir);
        for name in ["lower", "upper", "work", "root", "files"] {
            let why = "so that something can be tried without touching what is there";
            disk::make_dir(&scratch.0.join(name), why)?;
        }
        Ok(scratch)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An overlay as a container has it, of an empty layer.
    pub(super) fn overlay(&self) -> Result<rocker_fs::OverlayMount> {
        let mut overlay =
            Overlay::new([self.path("lower")]).upper(self.path("upper"), self.path("work"));
        if rocker_ns::in_user_namespace()? {
            overlay = overlay.xattr_namespace(XattrNamespace::User);
        }
        Ok(overlay.mount()?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let why = "so that nothing is left of what was tried";
        if let Err(error) = disk::remove_dir(&self.0, why) {
            tracing::warn!("what was tried could not be removed: {}", error.chain());
        }
    }
}

/// The nearest directory above that exists.
fn existing(root: &Path) -> &Path {
    let is_there = |dir: &&Path| dir.is_dir();
    root.ancestors().find(is_there).unwrap_or(Path::new("/"))
}

pub(super) fn checks(engine: &Engine, host: &Host, is_root: bool) -> Vec<Check> {
    let root = engine.roots().data();
    let file_system = match look(root) {
        Err(error) if !is_root && error.errno() == Some(EACCES) => {
            return ["data", "room", OVERLAY].map(Check::untried).into();
        }
        looked => looked,
    };
    let mut checks = vec![
        run_dir(engine, host),
        data(root, host, &file_system),
        room(root, host, &file_system),
    ];
    checks.push(match is_root {
        true => overlay(root, host),
        false => Check::untried(OVERLAY),
    });
    checks
}

fn look(root: &Path) -> Result<FileSystem> {
    let dir = existing(root);
    let dir = File::open(dir).map_err(disk::failed("open", dir))?;
    Ok(FileSystem::of(dir)?)
}

/// Where what lasts as long as a container is; a directory on any file system does.
fn run_dir(engine: &Engine, host: &Host) -> Check {
    let name = "run directory";
    let running = engine.roots().running();
    let dir = running.parent().unwrap_or(&running);
    match look(dir) {
        Ok(file_system) if file_system.read_only => Check::problem(
            name,
            format!("{} is read-only", dir.display()),
            Some(Advice::new(
                "the file system is mounted read-only",
                "ROCKER_RUN=DIR on a tmpfs",
            )),
        ),
        Ok(_) => Check::ok(name, dir.display().to_string()),
        Err(error) => Check::failed(name, host, &error),
    }
}

/// What kind of file system it is, and how it is mounted.
fn data(root: &Path, host: &Host, file_system: &Result<FileSystem>) -> Check {
    let name = "data";
    let file_system = match file_system {
        Ok(file_system) => file_system,
        Err(error) => return Check::failed(name, host, error),
    };
    let mount = host.mount_of(root);
    let kind = mount
        .as_ref()
        .map_or("an unknown file system", |mount| &mount.fstype);
    let flags = [
        (file_system.read_only, "ro"),
        (file_system.no_exec, "noexec"),
        (file_system.no_suid, "nosuid"),
        (file_system.no_dev, "nodev"),
    ];
    let flags: Vec<_> = flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect();
    let mut found = format!("{} on {kind}", root.display());
    if !flags.is_empty() {
        found.push_str(&format!(" ({})", flags.join(",")));
    }
    let elsewhere = "ROCKER_ROOT=DIR on ext4, xfs, btrfs or tmpfs; in a container, a volume there";
    let cause = match mount.as_ref().and_then(HostMount::bad_for_changes) {
        // A run does without, and takes longer.
        _ if file_system.is_overlay => {
            let cause =
                "an overlay cannot keep its changes on another overlay, so that images are copied";
            return Check {
                advice: Some(Advice::new(cause, elsewhere)),
                ..Check::note(name, found)
            };
        }
        _ if file_system.read_only => "the file system is mounted read-only",
        // Whether it does all the same, is tried below.
        Some(cause) => {
            return Check {
                advice: Some(Advice::new(cause, elsewhere)),
                ..Check::note(name, found)
            };
        }
        // A program's mount is the overlay, which has none of the flags of what it is made of.
        None => return Check::ok(name, found),
    };
    Check::problem(name, found, Some(Advice::new(cause, elsewhere)))
}

fn room(root: &Path, host: &Host, file_system: &Result<FileSystem>) -> Check {
    let name = "room";
    let file_system = match file_system {
        Ok(file_system) => file_system,
        Err(error) => return Check::failed(name, host, error),
    };
    let inodes = file_system.free_inodes;
    let files = inodes.map_or(String::new(), |count| format!(" and {count} files"));
    let found = format!("{}{files} free for images", size(file_system.free_bytes));
    if file_system.free_bytes >= LITTLE && inodes.is_none_or(|count| count >= FEW) {
        return Check::ok(name, found);
    }
    let little = Advice::new(
        format!("the file system of {} is nearly full", root.display()),
        "rocker rm and rocker rmi free what is not needed, or ROCKER_ROOT=DIR elsewhere",
    );
    Check::problem(name, found, Some(little))
}

/// An overlay where a container would have it, through which a file is written.
fn overlay(root: &Path, host: &Host) -> Check {
    let tried = Scratch::below(root).and_then(|scratch| {
        let mount = scratch.overlay()?;
        write_through(mount).map_err(disk::failed("write", &scratch.path("upper")))?;
        let is_upper = fs::exists(scratch.path("upper").join("tried"));
        match is_upper {
            Ok(true) => Ok("mounted, written to and unmounted"),
            Ok(false) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(error),
        }
        .map_err(disk::failed(
            "find what was written in",
            &scratch.path("upper"),
        ))
    });
    let goes_without = matches!(&tried, Err(Error::Fs(error)) if error.is_unfit());
    let check = Check::of(OVERLAY, host, tried);
    match goes_without {
        // Images are copied instead.
        true => check.dispensable(),
        false => check,
    }
}

fn write_through(mount: rocker_fs::OverlayMount) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let root = std::os::fd::OwnedFd::from(mount);
    let file = format!("/proc/self/fd/{}/tried", root.as_raw_fd());
    fs::write(file, "so that a change goes where it should")
}
