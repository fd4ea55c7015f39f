//! Kernel parameters that a container can have for itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::lookup::Opened;
use crate::plan::{MUST, Plan, Resolution, structure};
use crate::step::Arg;

/// The longest value, in bytes: the kernel takes a page of most, with the NUL behind it.
const MAX_VALUE: usize = 4095;

/// Those of an IPC namespace beneath kernel.*.
const OF_IPC: [&str; 8] = [
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "shmall",
    "shmmax",
    "shmmni",
    "shm_rmid_forced",
];

bitflags::bitflags! {
    /// Namespaces that have kernel parameters of their own.
    ///
    /// See [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct SysctlNamespaces: u8 {
        /// The IPC namespace: the limits of System V IPC, and fs.mqueue.*.
        const IPC = 1;
        /// The network namespace: net.*.
        const NET = 2;
        /// The UTS namespace: kernel.domainname.
        const UTS = 4;
    }
}

/// A kernel parameter of a namespace's own, and its value.
///
/// A name is written as sysctl(8) knows it, with dots or with slashes: whichever comes first separates. So
/// `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` are the same.
///
/// See [sysctl(8)](https://man7.org/linux/man-pages/man8/sysctl.8.html).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sysctl {
    /// Beneath /proc/sys.
    path: String,
    value: String,
    namespace: SysctlNamespaces,
}

impl Sysctl {
    /// The parameter `name` with the value `value`, which the kernel will judge.
    ///
    /// # Errors
    /// [`Error::HostSysctl`] for one that no namespace has for itself; [`Error::BadSysctl`] for what no name or value
    /// can be, and for the host name.
    pub fn new(name: &str, value: &str) -> Result<Self> {
        let bad = |why| Error::BadSysctl {
            name: name.to_owned(),
            why,
        };
        let path = path(name).map_err(bad)?;
        let namespace = match path.split_once('/') {
            Some(("kernel", "hostname")) => return Err(bad("a host name is set in another way")),
            Some(("kernel", "domainname")) => SysctlNamespaces::UTS,
            Some(("kernel", last)) if OF_IPC.contains(&last) => SysctlNamespaces::IPC,
            Some(("fs", rest)) if rest.starts_with("mqueue/") => SysctlNamespaces::IPC,
            Some(("net", _)) => SysctlNamespaces::NET,
            _ => {
                return Err(Error::HostSysctl {
                    name: name.to_owned(),
                });
            }
        };
        // The kernel itself separates the numbers of a list by tabs.
        if value.chars().any(|part| part.is_control() && part != '\t') {
            return Err(bad("a control character in its value"));
        }
        if value.is_empty() {
            return Err(bad("no value"));
        }
        if value.len() > MAX_VALUE {
            return Err(bad("a value of more than 4095 bytes"));
        }
        Ok(Self {
            path,
            value: value.to_owned(),
            namespace,
        })
    }

    /// Its name, separated by dots.
    pub fn name(&self) -> String {
        swapped(&self.path)
    }

    /// Its value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The namespace that has it.
    pub fn namespace(&self) -> SysctlNamespaces {
        self.namespace
    }

    /// Whether a container with these namespaces of its own can have it, and no other is concerned.
    ///
    /// # Errors
    /// [`Error::SharedSysctl`] with the namespace that is lacking.
    pub fn check(&self, own: SysctlNamespaces) -> Result<()> {
        if own.contains(self.namespace) {
            return Ok(());
        }
        Err(Error::SharedSysctl {
            name: self.name(),
            namespace: match self.namespace {
                SysctlNamespaces::IPC => "IPC",
                SysctlNamespaces::NET => "network",
                _ => "UTS",
            },
        })
    }

    /// Where it is in a file system of type proc.
    fn file(&self) -> PathBuf {
        Path::new("sys").join(&self.path)
    }
}

/// Reads `NAME=VALUE`.
impl FromStr for Sysctl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((name, value)) => Self::new(name, value),
            None => Err(Error::BadSysctl {
                name: text.to_owned(),
                why: "no `=` and value behind it",
            }),
        }
    }
}

/// As sysctl(8) reads it: `net.ipv4.ip_forward=1`.
impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name(), self.value)
    }
}

/// The path of a parameter, or what is wrong with its name.
fn path(name: &str) -> std::result::Result<String, &'static str> {
    let path = match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('.') => swapped(name),
        _ => name.to_owned(),
    };
    if !path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'=')
    {
        return Err("a character in its name that none has");
    }
    for part in path.split('/') {
        match part {
            "" => return Err("an empty part in its name"),
            "." | ".." => return Err("`.` or `..` as a part of its name"),
            _ => {}
        }
    }
    Ok(path)
}

/// With dots for slashes, and slashes for dots.
fn swapped(name: &str) -> String {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// Writes parameters through `proc`, the container's own file system of that type: no path of the image's is on the way,
/// and nothing that is mounted over it.
pub(crate) fn add_sysctls(plan: &mut Plan, proc: &Arg, sysctls: &[Sysctl]) -> Result<()> {
    for sysctl in sysctls {
        let name = sysctl.name();
        let why = format!("so that {name} is found in the container's own /proc and nowhere else");
        let (file, resolution) = (sysctl.file(), Resolution::NoSymlinksNorMounts);
        let file = plan.open(proc, &file, Opened::ToWrite, resolution, MUST, why)?;
        let value = structure(sysctl.value.as_bytes(), format!("{:?}", sysctl.value));
        let size = Arg::Int(sysctl.value.len() as i64);
        let why = format!("so that the container has {name} as asked");
        plan.add("write", vec![file.clone(), value, size], MUST, why);
        plan.close(&file, MUST);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl(text: &str) -> Sysctl {
        text.parse().unwrap()
    }

    #[test]
    fn both_spellings_are_one_name() {
        for (text, path, name) in [
            (
                "net.core.somaxconn=1",
                "net/core/somaxconn",
                "net.core.somaxconn",
            ),
            (
                "net/core/somaxconn=1",
                "net/core/somaxconn",
                "net.core.somaxconn",
            ),
            (
                "net.ipv4.conf.eth0/1.forwarding=1",
                "net/ipv4/conf/eth0.1/forwarding",
                "net.ipv4.conf.eth0/1.forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding=1",
                "net/ipv4/conf/eth0.1/forwarding",
                "net.ipv4.conf.eth0/1.forwarding",
            ),
        ] {
            assert_eq!(sysctl(text).path, path, "{text}");
            assert_eq!(sysctl(text).to_string(), format!("{name}=1"));
        }
        assert_eq!(
            sysctl("kernel.sem=250 32000\t100 128").value(),
            "250 32000\t100 128"
        );
        assert_eq!(sysctl("net.core.x=a=b").value(), "a=b");
    }

    #[test]
    fn a_parameter_needs_the_namespace_that_has_it() {
        use SysctlNamespaces as Of;
        for (name, of) in [
            ("kernel.msgmax", Of::IPC),
            ("kernel.shm_rmid_forced", Of::IPC),
            ("fs.mqueue.msg_max", Of::IPC),
            ("net.ipv4.ip_forward", Of::NET),
            ("kernel.domainname", Of::UTS),
        ] {
            let sysctl = Sysctl::new(name, "1").unwrap();
            assert_eq!(sysctl.namespace(), of);
            assert!(sysctl.check(of).is_ok() && sysctl.check(Of::all()).is_ok());
            let refused = sysctl.check(Of::all() - of).unwrap_err();
            assert!(
                matches!(&refused, Error::SharedSysctl { name: found, .. } if found == name),
                "{refused}"
            );
        }
    }

    #[test]
    fn parameters_of_the_whole_host_are_refused() {
        for name in [
            "kernel.core_pattern",
            "kernel.msgmax.x",
            "kernel/sem/x",
            "kernel",
            "net",
            "fs.mqueue",
            "fs.file-max",
            "vm.swappiness",
            "user.max_user_namespaces",
            "abi.x",
        ] {
            let refused = Sysctl::new(name, "1").unwrap_err();
            assert!(
                matches!(refused, Error::HostSysctl { .. }),
                "{name}: {refused}"
            );
        }
    }

    #[test]
    fn cve_2022_0811_nothing_can_be_smuggled_in_a_value_or_a_name() {
        for bad in [
            "kernel.shm_rmid_forced=1\nkernel.core_pattern=|/evil",
            "net.core.x=1\0",
            "net.core.x=\u{1b}[2J",
            "net.core.x=\u{85}",
            "net.core.x=",
            "net.core.x",
            "net..core=1",
            ".net.core=1",
            "/net/core=1",
            "net/core/=1",
            "net/../kernel/core_pattern=1",
            "net/./core=1",
            "net.//.kernel.core_pattern=1",
            "net.core .x=1",
            "net.core.é=1",
            "=1",
            "kernel.hostname=x",
        ] {
            let refused = bad.parse::<Sysctl>().unwrap_err();
            assert!(
                matches!(refused, Error::BadSysctl { .. }),
                "{bad:?}: {refused}"
            );
            assert!(!refused.to_string().contains(char::is_control), "{bad:?}");
        }
        // With runc this became two lines of a file; here it is what is written to one.
        let smuggled = "kernel.shm_rmid_forced=1+kernel.core_pattern=x";
        assert_eq!(sysctl(smuggled).path, "kernel/shm_rmid_forced");
        assert_eq!(sysctl(smuggled).value(), "1+kernel.core_pattern=x");
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_stays_beneath_its_directory(name in "(net|kernel|fs|[./]|[.]{2}|x|=|sem|mqueue){0,8}", value in ".*") {
            if let Ok(sysctl) = Sysctl::new(&name, &value) {
                let file = sysctl.file();
                proptest::prop_assert!(file.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                proptest::prop_assert!(["sys/net/", "sys/kernel/", "sys/fs/mqueue/"].iter().any(|dir| file.to_str().unwrap().starts_with(dir)));
                proptest::prop_assert_eq!(sysctl.to_string().parse::<Sysctl>().unwrap(), sysctl);
            }
        }
    }
}
