//! Resource limits of a process, see getrlimit(2).

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A limit of a process, which the processes that it makes inherit; see
/// [getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html).
///
/// It is written as Docker's `--ulimit` has it: `NAME=SOFT[:HARD]`, without `HARD` for both, `-1` or `unlimited` for
/// none.
///
/// ```
/// use rocker_ns::Rlimit;
///
/// let limit: Rlimit = "nofile=1024:4096".parse()?;
/// assert_eq!((limit.name(), limit.soft, limit.hard), ("nofile", 1024, 4096));
/// assert!("nofile=2:1".parse::<Rlimit>().is_err());
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    resource: &'static Resource,
    /// What counts now; in the resource's own unit, which is bytes, seconds or a number of things.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// A resource, as the kernel and people know it.
#[derive(Debug, PartialEq, Eq)]
struct Resource {
    number: u32,
    /// As in the manual page.
    constant: &'static str,
    /// As people write it.
    name: &'static str,
    /// The line of proc_pid_limits(5).
    line: &'static str,
}

macro_rules! resources {
    ($($constant:ident $name:literal $line:literal;)*) => {
        const RESOURCES: &[Resource] = &[$(Resource {
            number: libc::$constant as u32,
            constant: stringify!($constant),
            name: $name,
            line: $line,
        }),*];
    };
}

resources! {
    RLIMIT_AS         "as"         "Max address space";
    RLIMIT_CORE       "core"       "Max core file size";
    RLIMIT_CPU        "cpu"        "Max cpu time";
    RLIMIT_DATA       "data"       "Max data size";
    RLIMIT_FSIZE      "fsize"      "Max file size";
    RLIMIT_LOCKS      "locks"      "Max file locks";
    RLIMIT_MEMLOCK    "memlock"    "Max locked memory";
    RLIMIT_MSGQUEUE   "msgqueue"   "Max msgqueue size";
    RLIMIT_NICE       "nice"       "Max nice priority";
    RLIMIT_NOFILE     "nofile"     "Max open files";
    RLIMIT_NPROC      "nproc"      "Max processes";
    RLIMIT_RSS        "rss"        "Max resident set";
    RLIMIT_RTPRIO     "rtprio"     "Max realtime priority";
    RLIMIT_RTTIME     "rttime"     "Max realtime timeout";
    RLIMIT_SIGPENDING "sigpending" "Max pending signals";
    RLIMIT_STACK      "stack"      "Max stack size";
}

impl Rlimit {
    /// No limit.
    pub const UNLIMITED: u64 = u64::MAX;

    /// A limit of the resource of that name: `nofile` or `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// [`Error::BadRlimit`] for a name that the kernel does not have, or a soft limit above the hard one.
    pub fn new(name: &str, soft: u64, hard: u64) -> Result<Self> {
        let called = |one: &&Resource| one.name == name || one.constant == name;
        let bad = |why| Error::BadRlimit {
            text: name.to_owned(),
            why,
        };
        let resource = RESOURCES.iter().find(called);
        let resource = resource.ok_or_else(|| bad("no resource has this name"))?;
        if soft > hard {
            return Err(bad("its soft limit is above the hard one"));
        }
        Ok(Self {
            resource,
            soft,
            hard,
        })
    }

    /// The resource, such as `nofile`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.resource.name
    }

    /// The resource as the manual page and the OCI runtime specification have it, such as `RLIMIT_NOFILE`.
    #[must_use]
    pub fn constant(&self) -> &'static str {
        self.resource.constant
    }

    pub(crate) fn number(&self) -> u32 {
        self.resource.number
    }

    /// The same limit as the text of proc_pid_limits(5) has it.
    pub(crate) fn found_in(&self, limits: &str) -> Option<Self> {
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(self.resource.line))?;
        let mut numbers = line.split_whitespace().map(|text| match text {
            "unlimited" => Some(Self::UNLIMITED),
            number => number.parse::<u64>().ok(),
        });
        Some(Self {
            resource: self.resource,
            soft: numbers.next()??,
            hard: numbers.next()??,
        })
    }
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |limit: u64| match limit {
            Self::UNLIMITED => "unlimited".to_owned(),
            limit => limit.to_string(),
        };
        let (name, soft, hard) = (self.name(), shown(self.soft), shown(self.hard));
        write!(f, "{name}={soft}:{hard}")
    }
}

impl FromStr for Rlimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why| Error::BadRlimit {
            text: text.to_owned(),
            why,
        };
        let number = |digits: &str| match digits {
            "-1" | "unlimited" => Ok(Self::UNLIMITED),
            digits => digits
                .parse::<u64>()
                .map_err(|_| bad("a limit is a whole number, or -1")),
        };
        let (name, limits) = text
            .split_once('=')
            .ok_or_else(|| bad("a limit is written NAME=SOFT[:HARD]"))?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Self::new(name, number(soft)?, number(hard)?).map_err(|error| match error {
            Error::BadRlimit { why, .. } => bad(why),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_with_docker() {
        for (text, shown) in [
            ("nofile=1024", "nofile=1024:1024"),
            ("nofile=1024:-1", "nofile=1024:unlimited"),
            ("core=unlimited", "core=unlimited:unlimited"),
            ("RLIMIT_STACK=0", "stack=0:0"),
        ] {
            assert_eq!(text.parse::<Rlimit>().unwrap().to_string(), shown);
        }
        for text in [
            "nofile",
            "nofile=",
            "nofile=x",
            "files=1",
            "nofile=2:1",
            "nofile=-2",
            "nofile=1:2:3",
        ] {
            let error = text.parse::<Rlimit>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_limit_is_found_in_the_kernels_own_list() {
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        for resource in RESOURCES {
            let limit = Rlimit::new(resource.name, 0, 0).unwrap();
            assert!(limit.found_in(&own).is_some(), "{}", resource.name);
        }
    }
}
