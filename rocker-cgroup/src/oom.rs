//! Whether the kernel had to kill for want of memory, and whose limit it was that was reached.

use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::stats::{read_if_there, value_of};
use crate::{Cgroup, Controller, Error, Result, file};

/// Whose memory was used up when processes of a cgroup were killed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OomLevel {
    /// That of a cgroup below it, which its processes have made.
    Below(PathBuf),
    /// Its own.
    Own(PathBuf),
    /// That of a cgroup above it, which it shares with others.
    Above(PathBuf),
    /// The machine's: no limit was reached.
    Machine,
}

impl std::fmt::Display for OomLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OomLevel::Below(path) => write!(f, "the limit of a cgroup inside ({})", path.display()),
            OomLevel::Own(_) => f.write_str("its own limit"),
            OomLevel::Above(path) => write!(f, "the limit of a cgroup above ({})", path.display()),
            OomLevel::Machine => f.write_str("the memory of the machine"),
        }
    }
}

/// The kernel takes memory from a limit in batches of 64 pages.
const BATCH: u64 = 64 * 4096;

/// What one cgroup says.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// How often its own limit could not be kept.
    reached: u64,
    /// How many of its processes were killed.
    kills: u64,
}

impl Cgroup {
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
        let dir = self.memory()?;
        if dir.is_v2() {
            let text = dir.read(
                "memory.events",
                "so that it is known whether memory ran out",
            )?;
            return kills(&dir.path.join("memory.events"), &text);
        }
        let why = "so that it is known how many processes died because memory ran out";
        let mut all = 0;
        for path in dir.subtree()? {
            let file = path.join("memory.oom_control");
            match file::read(&file, why) {
                Ok(text) => all += kills(&file, &text)?,
                Err(error) if error.is_vanished() && path != dir.path => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Whose limit it was that processes of this cgroup died of; None if none did. Ask before removing.
    ///
    /// v2 counts it (`memory.events.local`, Linux 5.2). v1 counts how often each limit was reached, also where no process
    /// had to die for it, so that of several limits that were all reached the innermost is named; and what is above this cgroup is
    /// looked at up to the root of the mount.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::oom_kills`].
    #[doc(alias = "memory.events.local")]
    pub fn oom_level(&self) -> Result<Option<OomLevel>> {
        if self.oom_kills()? == 0 {
            return Ok(None);
        }
        let dir = self.memory()?;
        let mut all = dir.subtree()?;
        // The innermost first, so that it is the one that is named.
        all.reverse();
        for path in all {
            let is_own = path == dir.path;
            let found = counts(dir, &path)?;
            if found.reached > 0 && (is_own || found.kills > 0) {
                return Ok(Some(if is_own {
                    OomLevel::Own(path)
                } else {
                    OomLevel::Below(path)
                }));
            }
        }
        let root = &dir.tree.mount_point;
        let above = dir.path.ancestors().skip(1);
        for path in above.take_while(|path| path.starts_with(root) && path != root) {
            if counts(dir, path)?.reached > 0 {
                return Ok(Some(OomLevel::Above(path.to_owned())));
            }
        }
        Ok(Some(OomLevel::Machine))
    }

    fn memory(&self) -> Result<&Directory> {
        let controller = Controller::Memory;
        self.directory_of(controller)
            .ok_or(Error::MissingController {
                controller,
                file: "memory.events".into(),
            })
    }
}

/// What the cgroup at `path` says of itself alone; nothing if it is gone.
fn counts(dir: &Directory, path: &Path) -> Result<Counts> {
    let why = "so that it is known whose limit was reached";
    let at = Directory {
        tree: dir.tree.clone(),
        path: path.to_owned(),
    };
    let read = |name| match read_if_there(&at, name, why) {
        Err(error) if error.is_vanished() => Ok(String::new()),
        text => text.map(Option::unwrap_or_default),
    };
    if dir.is_v2() {
        let text = read("memory.events.local")?;
        return Ok(Counts {
            reached: value_of(&text, "oom").unwrap_or(0),
            kills: value_of(&text, "oom_kill").unwrap_or(0),
        });
    }
    let number = |name| Ok::<u64, Error>(read(name)?.trim_end().parse().unwrap_or(0));
    let mut reached = number("memory.failcnt")?;
    // The limit of memory and swap together is reached first where it is no greater, and kernels of today do not count that: but
    // they keep the most that was in use.
    let limit = number("memory.memsw.limit_in_bytes")?;
    let most = number("memory.memsw.max_usage_in_bytes")?;
    reached += u64::from(limit > 0 && limit.saturating_sub(most) <= BATCH);
    Ok(Counts {
        reached,
        kills: value_of(&read("memory.oom_control")?, "oom_kill").unwrap_or(0),
    })
}

fn kills(path: &Path, text: &str) -> Result<u64> {
    value_of(text, "oom_kill").ok_or_else(|| Error::Content {
        path: path.to_owned(),
        text: text.to_owned(),
        expected: "a list of events with oom_kill",
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Hierarchy;

    /// A v2 tree whose cgroups have died as said: path, `oom` and `oom_kill` of their own.
    fn level(deaths: &[(&str, u64, u64)]) -> Option<OomLevel> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("above/one/below")).unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "memory").unwrap();
        for (path, oom, kills) in deaths {
            let text = format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kills}\n");
            fs::write(dir.path().join(path).join("memory.events.local"), &text).unwrap();
        }
        let all: u64 = deaths
            .iter()
            .filter(|one| one.0.starts_with("above/one"))
            .map(|one| one.2)
            .sum();
        fs::write(
            dir.path().join("above/one/memory.events"),
            format!("oom_kill {all}\n"),
        )
        .unwrap();
        let mountinfo = format!("1 0 0:1 / {} rw - cgroup2 c rw\n", dir.path().display());
        let hierarchy = Hierarchy::parse(&mountinfo, "0::/\n")
            .unwrap()
            .with_base(dir.path())
            .unwrap();
        let level = Cgroup::open(&hierarchy, "above", "one")
            .unwrap()
            .oom_level()
            .unwrap();
        level.map(|level| match level {
            OomLevel::Below(path) => {
                OomLevel::Below(path.strip_prefix(dir.path()).unwrap().to_owned())
            }
            OomLevel::Own(path) => OomLevel::Own(path.strip_prefix(dir.path()).unwrap().to_owned()),
            OomLevel::Above(path) => {
                OomLevel::Above(path.strip_prefix(dir.path()).unwrap().to_owned())
            }
            OomLevel::Machine => OomLevel::Machine,
        })
    }

    #[test]
    fn the_level_that_fired_is_the_one_whose_limit_was_reached() {
        assert_eq!(level(&[("above/one", 3, 0)]), None);
        assert_eq!(
            level(&[("above/one", 1, 1)]),
            Some(OomLevel::Own("above/one".into()))
        );
        assert_eq!(
            level(&[("above/one", 0, 0), ("above/one/below", 1, 1)]),
            Some(OomLevel::Below("above/one/below".into()))
        );
        assert_eq!(
            level(&[("above", 1, 0), ("above/one", 0, 1)]),
            Some(OomLevel::Above("above".into()))
        );
        assert_eq!(
            level(&[("above", 0, 0), ("above/one", 0, 1)]),
            Some(OomLevel::Machine)
        );
    }
}
