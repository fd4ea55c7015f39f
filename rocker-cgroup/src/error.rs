//! What can go wrong, each with the file it went wrong at and, where one is known, the remedy.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Controller, Undelegated};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No cgroup file system is mounted where this process could see it.
    #[error("no cgroup hierarchy is mounted; `mount -t cgroup2 cgroup2 /sys/fs/cgroup` mounts one")]
    NoHierarchy,

    /// A name or parent could lead outside of its place, or clash with the kernel's files.
    #[error("{name:?} cannot name a cgroup: {reason}")]
    InvalidName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A limit that no kernel could enforce, or that contradicts another.
    #[error("{limit} cannot be {value}: {reason}")]
    InvalidLimit {
        /// Which limit.
        limit: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The controller is on neither version of cgroup, so that the limit cannot be enforced.
    #[error(
        "{file}: this host has no {controller} controller; it may be compiled out, switched off on the kernel's \
         command line (cgroup_disable=), or not delegated to this cgroup"
    )]
    MissingController {
        /// The controller that is missing.
        controller: Controller,
        /// The file that was to be written.
        file: Cow<'static, str>,
    },

    /// The host has it, but it is not for this user: the controller of a limit, or with no limits a cgroup at all.
    #[error("{what}: {reason}")]
    NotDelegated {
        /// The file of the limit, or "a cgroup".
        what: Cow<'static, str>,
        /// Why not, with the remedy.
        reason: Undelegated,
    },

    /// The controller is there, but this kernel or this cgroup has no such file.
    #[error("the {controller} controller has no {}{}", path.display(), remedy(path))]
    MissingFile {
        /// The controller that the file belongs to.
        controller: Controller,
        /// The file that does not exist.
        path: PathBuf,
    },

    /// A rule that a cgroup above forbids (v1): the device stays forbidden.
    #[error("allow device {rule}: {} does not allow it itself, so that nobody below can", above.display())]
    DeviceNotAllowed {
        /// The cgroup above.
        above: PathBuf,
        /// The rule, as v1 has it.
        rule: String,
    },

    /// A file of v2, of a controller that this host has on v1.
    #[error(
        "{file}: the {controller} controller is on cgroup v1 here, and this is a file of v2; set the limit by its own name in place of the file's"
    )]
    FileOfV2 {
        /// The controller that the file belongs to.
        controller: Controller,
        /// The file that was to be written.
        file: Cow<'static, str>,
    },

    /// The kernel refused a limit.
    #[error("set the {controller} limit: write {value:?} to {}", path.display())]
    Limit {
        /// The controller that the file belongs to.
        controller: Controller,
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why the kernel refused it: EINVAL for a value, EBUSY for a limit below what is in use.
        source: io::Error,
    },

    /// The kernel took a limit and made something else of it.
    #[error("set the {controller} limit: {} reads {found:?} after {asked:?} was written", path.display())]
    NotInForce {
        /// The controller that the file belongs to.
        controller: Controller,
        /// The file.
        path: PathBuf,
        /// What was written.
        asked: String,
        /// What was read back.
        found: String,
    },

    /// Not allowed: EPERM or EACCES.
    #[error("{operation} {}: this needs root, or a cgroup that has been delegated to this user", path.display())]
    PermissionDenied {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// The cgroup file system is mounted read-only, as it is inside of most containers.
    #[error(
        "{operation} {}: cgroups are mounted read-only here; in a container, give it a writable /sys/fs/cgroup",
        path.display()
    )]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// cgroup v2 gives controllers to the children of a cgroup only while that cgroup has no processes itself.
    #[error(
        "enable the {controller} controller below {}: processes live in that cgroup itself, and cgroup v2 allows \
         them only in the leaves; move them into a child first (`mkdir init` there, and write their PIDs to \
         init/cgroup.procs)",
        path.display()
    )]
    InternalProcesses {
        /// The controller that was to be enabled.
        controller: Controller,
        /// The cgroup that has processes.
        path: PathBuf,
    },

    /// Others live in the cgroup below which containers are to have theirs, so that it can hand no controllers down.
    #[error(
        "make room in {}: other processes live there (PIDs {}; 0 is one that is not seen from here), and cgroup v2 hands \
         controllers down only from a cgroup without any; start this in one of its own: systemd-run --user --scope -p \
         Delegate=yes COMMAND",
        path.display(),
        list(pids)
    )]
    Occupied {
        /// The cgroup.
        path: PathBuf,
        /// Who lives there.
        pids: Vec<u32>,
    },

    /// There is a cgroup of this name already; [`Cgroup::remove_by_name`](crate::Cgroup::remove_by_name) removes what a
    /// crash has left.
    #[error("create cgroup {}: it exists", path.display())]
    Exists {
        /// Its directory.
        path: PathBuf,
    },

    /// There is no cgroup of this name, or no longer.
    #[error("there is no cgroup {}", path.display())]
    NotFound {
        /// Its directory.
        path: PathBuf,
    },

    /// A directory could not be made.
    #[error("create cgroup {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A directory could not be removed.
    #[error("remove cgroup {}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer; EBUSY when processes were still inside after all that time.
        source: io::Error,
    },

    /// A process could not be moved in.
    #[error("move process {pid} into cgroup: write to {}", path.display())]
    Add {
        /// The process.
        pid: u32,
        /// The `cgroup.procs` file.
        path: PathBuf,
        /// The kernel's answer; ESRCH when the process is gone.
        source: io::Error,
    },

    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A file that is no limit could not be written.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A file of the kernel holds something that this crate does not understand.
    #[error("{} holds {text:?}, which is not {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
        /// What was expected.
        expected: &'static str,
    },

    /// What happens to the cgroup could not be watched.
    #[error("watch {}", path.display())]
    Watch {
        /// The file, or the cgroup.
        path: PathBuf,
        /// The kernel's answer; EMFILE or ENOSPC when there are as many watches as there may be.
        source: io::Error,
    },

    /// A process in the cgroup could not be killed.
    #[error("kill process {pid} of cgroup {}", path.display())]
    Kill {
        /// The process.
        pid: u32,
        /// The cgroup.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// The caller is in the cgroup itself, and would freeze or kill itself.
    #[error(
        "{operation} {}: this very process is in it; move it elsewhere first, or ask from outside",
        path.display()
    )]
    CallerInside {
        /// What was tried.
        operation: &'static str,
        /// The cgroup.
        path: PathBuf,
    },

    /// The kernel did not get there in time.
    #[error("{operation} {}: not done after {limit:?}", path.display())]
    TimedOut {
        /// What was waited for.
        operation: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// For how long.
        limit: Duration,
    },
}

impl Error {
    /// The error for a failed `operation` on `path`: one of its own for EPERM, EACCES and EROFS, else what `other` makes.
    pub(crate) fn at(
        operation: &'static str,
        path: &Path,
        source: io::Error,
        other: impl FnOnce(PathBuf, io::Error) -> Error,
    ) -> Error {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Error::PermissionDenied {
                operation,
                path,
                source,
            },
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly {
                operation,
                path,
                source,
            },
            _ => other(path, source),
        }
    }

    /// Whether it comes from a cgroup that went away under our hands: its directory, or a file that we had open.
    pub(crate) fn is_vanished(&self) -> bool {
        let (Error::Create { source, .. }
        | Error::Read { source, .. }
        | Error::Write { source, .. }) = self
        else {
            return false;
        };
        matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
    }

    /// Whether this user or this mount may not change cgroups here.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Error::PermissionDenied { .. } | Error::ReadOnly { .. }
        )
    }
}

/// Numbers in a row.
fn list(pids: &[u32]) -> String {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    pids.join(", ")
}

/// What brings a missing file back, where that is known.
fn remedy(path: &Path) -> &'static str {
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if file.contains("memsw") || file.contains("swap") {
        "; swap accounting is off: boot with swapaccount=1 on a kernel that has CONFIG_SWAP"
    } else if file == "cpu.max.burst" || file == "cpu.cfs_burst_us" {
        "; it came with Linux 5.14"
    } else if file == "cpu.idle" {
        "; it came with Linux 5.15"
    } else if file.starts_with("cpu.cfs") || file == "cpu.max" {
        "; it comes with a kernel that has CONFIG_CFS_BANDWIDTH"
    } else if file == "memory.swappiness" || file == "memory.oom_control" {
        "; only cgroup v1 has it"
    } else if file == "memory.oom.group" {
        "; only cgroup v2 has it"
    } else if file.starts_with("io.weight") || file.starts_with("blkio.weight") {
        "; weights come with the BFQ scheduler (modprobe bfq), and on v2 with CONFIG_BLK_CGROUP_IOCOST too"
    } else if file.starts_with("hugetlb.") {
        "; it is no size of huge pages here, see /sys/kernel/mm/hugepages"
    } else {
        ""
    }
}
