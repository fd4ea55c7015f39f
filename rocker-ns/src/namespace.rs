//! The kinds of namespaces, see namespaces(7).

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;

use crate::trace::traced;
use crate::{Error, Result};

/// A kind of Linux namespace, see [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// The view of the cgroup hierarchies (Linux 4.6).
    #[doc(alias = "CLONE_NEWCGROUP")]
    Cgroup,
    /// System V IPC and POSIX message queues.
    #[doc(alias = "CLONE_NEWIPC")]
    Ipc,
    /// The mount table.
    #[doc(alias = "CLONE_NEWNS")]
    Mount,
    /// Network devices, addresses, routes, ports and firewall rules.
    #[doc(alias = "CLONE_NEWNET")]
    Net,
    /// Process ids; the first process in it is its init.
    #[doc(alias = "CLONE_NEWPID")]
    Pid,
    /// The clocks since boot (Linux 5.6).
    #[doc(alias = "CLONE_NEWTIME")]
    Time,
    /// User and group ids and capabilities.
    #[doc(alias = "CLONE_NEWUSER")]
    User,
    /// Host name and domain name.
    #[doc(alias = "CLONE_NEWUTS")]
    Uts,
}

impl Namespace {
    /// Every kind, in alphabetical order.
    pub const ALL: [Self; 8] = [
        Self::Cgroup,
        Self::Ipc,
        Self::Mount,
        Self::Net,
        Self::Pid,
        Self::Time,
        Self::User,
        Self::Uts,
    ];

    /// The file in `/proc/PID/ns` that stands for the namespace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    /// The kernel that has the kind, and its configuration.
    pub(crate) const fn needs(self) -> &'static str {
        match self {
            Self::Cgroup => "Linux 4.6 with CONFIG_CGROUPS",
            Self::Ipc => "CONFIG_IPC_NS",
            Self::Mount => "Linux 2.4.19",
            Self::Net => "CONFIG_NET_NS",
            Self::Pid => "CONFIG_PID_NS",
            Self::Time => "Linux 5.6 with CONFIG_TIME_NS, and clone3(2)",
            Self::User => "CONFIG_USER_NS",
            Self::Uts => "CONFIG_UTS_NS",
        }
    }

    /// The flag of `clone(2)`, and its name.
    pub(crate) const fn flag(self) -> (u64, &'static str) {
        let (flag, name) = match self {
            Self::Cgroup => (libc::CLONE_NEWCGROUP, "CLONE_NEWCGROUP"),
            Self::Ipc => (libc::CLONE_NEWIPC, "CLONE_NEWIPC"),
            Self::Mount => (libc::CLONE_NEWNS, "CLONE_NEWNS"),
            Self::Net => (libc::CLONE_NEWNET, "CLONE_NEWNET"),
            Self::Pid => (libc::CLONE_NEWPID, "CLONE_NEWPID"),
            Self::Time => (0x80, "CLONE_NEWTIME"),
            Self::User => (libc::CLONE_NEWUSER, "CLONE_NEWUSER"),
            Self::Uts => (libc::CLONE_NEWUTS, "CLONE_NEWUTS"),
        };
        (flag as u64, name)
    }

    /// The namespace of this kind that a process is in, by file descriptor. The namespace lives for as long as the
    /// descriptor is open.
    ///
    /// # Errors
    /// [`Error::Proc`] when the process is gone or its namespaces may not be looked at (ptrace access is needed).
    pub fn of(self, pid: u32) -> Result<OwnedFd> {
        let path = format!("/proc/{pid}/ns/{}", self.name());
        let why = "so that the namespace can be acted on from outside";
        let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC");
        let opened = traced("openat", why, args, || Ok(File::open(&path)?.into()));
        match opened {
            Ok(fd) => Ok(fd),
            Err(source) => Err(Error::Proc {
                operation: "open",
                path,
                source,
            }),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The flags of several kinds, and their names joined as C would write them.
pub(crate) fn flags(namespaces: &[Namespace]) -> (u64, String) {
    let mut value = 0;
    let mut names = Vec::new();
    for namespace in namespaces {
        let (flag, name) = namespace.flag();
        value |= flag;
        names.push(name);
    }
    (
        value,
        if names.is_empty() {
            "0".to_owned()
        } else {
            names.join("|")
        },
    )
}
