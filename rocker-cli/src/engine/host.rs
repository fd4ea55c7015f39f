//! Facts about the machine that tell why the kernel refuses something. Each is looked up when somebody asks.

use std::fs;
use std::path::{Path, PathBuf};

mod mounts;

pub(crate) use mounts::HostMount;

/// The capability without which root can neither mount nor make namespaces, by its number.
pub(crate) const CAP_SYS_ADMIN: u32 = 21;
/// The capability that networks take.
pub(crate) const CAP_NET_ADMIN: u32 = 12;

/// The machine, as its /proc and /sys show it to this process.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    proc: PathBuf,
    sys: PathBuf,
}

/// How many of something there are, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) now: u64,
    pub(crate) limit: u64,
}

impl Host {
    /// The machine that this process runs on.
    pub(crate) fn this() -> Self {
        Self::at("/proc", "/sys")
    }

    /// The machine of which these two directories tell.
    pub(crate) fn at(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            sys: sys.into(),
        }
    }

    /// Whether there is a /proc to look into.
    pub(crate) fn has_proc(&self) -> bool {
        self.proc.join("self/status").exists()
    }

    /// The release of the kernel, such as `6.8.0-31-generic`.
    pub(crate) fn release(&self) -> Option<String> {
        self.read("sys/kernel/osrelease")
    }

    /// The first two numbers of the release.
    pub(crate) fn kernel(&self) -> Option<(u32, u32)> {
        let release = self.release()?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// A number of /proc/sys, such as `user/max_net_namespaces`.
    pub(crate) fn sysctl(&self, name: &str) -> Option<u64> {
        self.read(&format!("sys/{name}"))?.parse().ok()
    }

    /// Whether there is a firewall of legacy iptables, which nf_tables does not show.
    pub(crate) fn has_legacy_filter(&self) -> bool {
        let tables = self.read("net/ip_tables_names").unwrap_or_default();
        tables.lines().any(|table| table == "filter")
    }

    /// The security modules in force; none where securityfs is not mounted.
    pub(crate) fn security_modules(&self) -> Vec<String> {
        let list = fs::read_to_string(self.sys.join("kernel/security/lsm")).unwrap_or_default();
        let names = list.trim().split(',').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    /// The profile that confines this process, in the words of its security module; none where nothing does.
    pub(crate) fn confinement(&self) -> Option<String> {
        let label = self.read("self/attr/current")?;
        let label = label.trim_end_matches('\0');
        (!label.is_empty() && !label.starts_with("unconfined")).then(|| label.to_owned())
    }

    /// A field of this process's status.
    fn status(&self, field: &str) -> Option<String> {
        let status = self.read("self/status")?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value.trim().to_owned())
    }

    /// The user that this process acts as.
    pub(crate) fn user(&self) -> Option<u32> {
        self.status("Uid")?.split_whitespace().nth(1)?.parse().ok()
    }

    /// Whether this process holds the capability of that number; not known without /proc.
    pub(crate) fn is_capable(&self, capability: u32) -> Option<bool> {
        let held = u64::from_str_radix(&self.status("CapEff")?, 16).ok()?;
        Some(held & (1 << capability) != 0)
    }

    /// Whether the kernel knows of seccomp at all.
    pub(crate) fn has_seccomp(&self) -> bool {
        self.status("Seccomp").is_some()
    }

    /// Whether a seccomp filter decides over this process's system calls.
    pub(crate) fn is_filtered(&self) -> bool {
        self.status("Seccomp").is_some_and(|mode| mode == "2")
    }

    /// Whether the root that this process sees is not that of the machine: the first user namespace has a name of its own.
    pub(crate) fn is_in_user_namespace(&self) -> bool {
        let namespace = fs::read_link(self.proc.join("self/ns/user"));
        namespace.is_ok_and(|name| name != Path::new("user:[4026531837]"))
    }

    /// How many users there are where this process is.
    pub(crate) fn mapped_users(&self) -> u32 {
        let map = self.read("self/uid_map").unwrap_or_default();
        let runs = rocker_ns::IdMap::parse_all(&map);
        runs.iter()
            .fold(0, |sum, run| sum.saturating_add(run.count))
    }

    /// The files that this process has open, and may have.
    pub(crate) fn open_files(&self) -> Option<Used> {
        let now = fs::read_dir(self.proc.join("self/fd")).map_or(0, Iterator::count);
        Some(Used {
            // The directory itself was one of them.
            now: now.saturating_sub(1) as u64,
            limit: self.limit("Max open files")?,
        })
    }

    /// The soft limit of this name.
    pub(crate) fn limit(&self, name: &str) -> Option<u64> {
        let limits = self.read("self/limits")?;
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// The files that are open on the whole machine, and may be.
    pub(crate) fn all_files(&self) -> Option<Used> {
        let text = self.read("sys/fs/file-nr")?;
        let mut numbers = text.split_whitespace().map(str::parse);
        Some(Used {
            now: numbers.next()?.ok()?,
            limit: numbers.nth(1)?.ok()?,
        })
    }

    /// The namespaces of which the machine allows none at all, by the names of their sysctls.
    pub(crate) fn forbidden_namespaces(&self) -> Vec<&'static str> {
        const KINDS: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
        let forbidden =
            |kind: &&str| self.sysctl(&format!("user/max_{kind}_namespaces")) == Some(0);
        KINDS.into_iter().filter(forbidden).collect()
    }

    /// What keeps ordinary users from making user namespaces: the sysctl that says so.
    pub(crate) fn user_namespaces_barred_by(&self) -> Option<&'static str> {
        if self.sysctl("user/max_user_namespaces") == Some(0) {
            Some("user.max_user_namespaces=0")
        } else if self.sysctl("kernel/unprivileged_userns_clone") == Some(0) {
            Some("kernel.unprivileged_userns_clone=0")
        } else if self.sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
            Some("kernel.apparmor_restrict_unprivileged_userns=1")
        } else {
            None
        }
    }

    /// The mount that `path` is on, or would be if it were made.
    pub(crate) fn mount_of(&self, path: &Path) -> Option<HostMount> {
        let table = self.read("self/mountinfo")?;
        let mut nearest = path.ancestors().map(fs::canonicalize);
        mounts::of(&table, &nearest.find_map(std::result::Result::ok)?)
    }

    /// A small file of /proc, without the white space around it; none where it cannot be read.
    fn read(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.proc.join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine of which nothing is known but these files of /proc, or below `sys:` of /sys.
    pub(crate) fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("proc"), dir.path().join("sys"));
        for (name, text) in files {
            let path = match name.strip_prefix("sys:") {
                Some(name) => dir.path().join("sys").join(name),
                None => dir.path().join("proc").join(name),
            };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, host)
    }

    #[test]
    fn a_firewall_that_nf_tables_does_not_show_is_known_by_its_table() {
        let found = |names| {
            let (_dir, host) = with(&[("net/ip_tables_names", names)]);
            host.has_legacy_filter()
        };
        assert!(found("nat\nfilter\n"));
        assert!(!found("nat\n"));
        assert!(!with(&[]).1.has_legacy_filter());
    }

    #[test]
    fn each_fact_is_read_from_its_file() {
        let (dir, host) = with(&[
            ("sys/kernel/osrelease", "6.8.0-31-generic\n"),
            (
                "self/status",
                "Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t0000000000200000\nSeccomp:\t2\n",
            ),
            (
                "self/limits",
                "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n",
            ),
            ("self/fd/0", ""),
            ("sys/fs/file-nr", "99\t0\t100\n"),
            ("sys/user/max_net_namespaces", "0\n"),
            ("self/attr/current", "docker-default (enforce)\n"),
            ("self/uid_map", "0 100000 65536\n"),
            ("sys:kernel/security/lsm", "capability,landlock,apparmor\n"),
        ]);
        assert_eq!(host.kernel(), Some((6, 8)));
        assert_eq!(host.user(), Some(0));
        assert_eq!(host.is_capable(CAP_SYS_ADMIN), Some(true));
        assert_eq!(host.is_capable(CAP_NET_ADMIN), Some(false));
        assert!(host.is_filtered() && host.has_seccomp());
        for (namespace, other) in [("user:[4026531837]", false), ("user:[4026532201]", true)] {
            let link = dir.path().join("proc/self/ns/user");
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(namespace, &link).unwrap();
            assert_eq!(host.is_in_user_namespace(), other);
        }
        assert_eq!(
            host.open_files(),
            Some(Used {
                now: 0,
                limit: 1024
            })
        );
        assert_eq!(
            host.all_files(),
            Some(Used {
                now: 99,
                limit: 100
            })
        );
        assert_eq!(host.forbidden_namespaces(), ["net"]);
        assert_eq!(host.security_modules()[2], "apparmor");
        assert_eq!(
            host.confinement().as_deref(),
            Some("docker-default (enforce)")
        );
    }

    #[test]
    fn of_a_machine_without_proc_nothing_is_claimed() {
        let (_dir, host) = with(&[]);
        assert!(!host.has_proc() && !host.is_filtered() && !host.is_in_user_namespace());
        assert_eq!((host.kernel(), host.user()), (None, None));
        assert_eq!((host.open_files(), host.all_files()), (None, None));
        assert_eq!(host.is_capable(CAP_SYS_ADMIN), None);
        assert_eq!(host.user_namespaces_barred_by(), None);
        assert!(host.forbidden_namespaces().is_empty());
        assert!(host.mount_of(Path::new("/")).is_none());
    }

    #[test]
    fn each_sysctl_that_bars_user_namespaces_is_named() {
        for (file, value, says) in [
            ("sys/user/max_user_namespaces", "0", "max_user"),
            ("sys/kernel/unprivileged_userns_clone", "0", "clone=0"),
            (
                "sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
                "apparmor",
            ),
        ] {
            let (_dir, host) = with(&[(file, value)]);
            assert!(host.user_namespaces_barred_by().unwrap().contains(says));
        }
    }
}
