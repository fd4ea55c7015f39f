//! Where things are on disk.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The variable that says where data are.
pub(crate) const DATA: &str = "ROCKER_ROOT";
/// The variable that says where locks are.
pub(crate) const RUN: &str = "ROCKER_RUN";

/// The two directories of an engine: one that lasts, and one that is empty after a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    data: PathBuf,
    run: PathBuf,
}

impl Roots {
    /// `/var/lib/rocker` and `/run/rocker`, for an ordinary user `rocker` in the directories of the XDG base directory specification; or what
    /// `ROCKER_ROOT` and `ROCKER_RUN` say.
    #[must_use]
    pub fn from_env() -> Self {
        let asked = |name| env::var_os(name).map(PathBuf::from);
        let (data, run) = match own_user() {
            0 => (
                PathBuf::from("/var/lib/rocker"),
                PathBuf::from("/run/rocker"),
            ),
            user => of_user(user, |name| env::var_os(name).map(PathBuf::from)),
        };
        // Whoever goes on in the background does so elsewhere.
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let (data, run) = (asked(DATA).unwrap_or(data), asked(RUN).unwrap_or(run));
        Self::new(whole(data), whole(run))
    }

    /// Directories of one's own.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            run: run.into(),
        }
    }

    /// What lasts: images, layers, containers.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What is empty after a boot: locks, and the files of containers that run.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// Where containers and images are mounted to be looked at on the host.
    pub(crate) fn mounts(&self) -> PathBuf {
        self.run.join("mounts")
    }

    /// The containers that have, or had, somebody to look after them since the machine started.
    pub(crate) fn running(&self) -> PathBuf {
        self.run.join("containers")
    }
}

/// The user that this process is, as it is known where it is.
pub(crate) fn own_user() -> u32 {
    fs::metadata("/proc/self").map_or(0, |own| own.uid())
}

/// The directories of an ordinary user, by what the environment says.
fn of_user(user: u32, variable: impl Fn(&str) -> Option<PathBuf>) -> (PathBuf, PathBuf) {
    // Relative ones are to be ignored.
    let directory = |name: &str| variable(name).filter(|path| path.is_absolute());
    let home = || directory("HOME").map(|home| home.join(".local/share"));
    let data = directory("XDG_DATA_HOME").or_else(home);
    let session = PathBuf::from(format!("/run/user/{user}"));
    let run = directory("XDG_RUNTIME_DIR").or_else(|| session.is_dir().then_some(session));
    let fallback = |purpose: &str| PathBuf::from(format!("/tmp/rocker-{user}{purpose}"));
    (
        data.map_or_else(|| fallback("-data"), |dir| dir.join("rocker")),
        run.map_or_else(|| fallback(""), |dir| dir.join("rocker")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_has_directories_of_its_own() {
        let with = |set: &'static [(&str, &str)]| {
            of_user(4_000_000, move |name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        let both = |data: &str, run: &str| (PathBuf::from(data), PathBuf::from(run));
        assert_eq!(
            with(&[("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/a")]),
            both("/home/a/.local/share/rocker", "/run/a/rocker")
        );
        assert_eq!(
            with(&[("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")]),
            both("/data/rocker", "/tmp/rocker-4000000")
        );
        assert_eq!(
            with(&[("HOME", "relative")]),
            both("/tmp/rocker-4000000-data", "/tmp/rocker-4000000")
        );
    }
}
