//! Stopping all processes of a cgroup, and letting them go on.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::directory::Directory;
use crate::kill;
use crate::{Cgroup, Controller, Error, Result};

/// A process in an uninterruptible sleep freezes when that ends; after this long it is an error.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process of the cgroup and below it, and returns when all of them stand still. They cannot notice it,
    /// and no signal is involved.
    ///
    /// # Errors
    ///
    /// [`Error::MissingController`] on v1 without the freezer, [`Error::TimedOut`] when a process does not stop
    /// within 10 s (the rest stays frozen), [`Error::CallerInside`], [`Error::PermissionDenied`], [`Error::Write`].
    #[doc(alias = "cgroup.freeze")]
    #[doc(alias = "pause")]
    pub fn freeze(&self) -> Result<()> {
        let dir = self.freezer()?;
        kill::refuse_caller("freeze", std::slice::from_ref(dir), &dir.procs()?)?;
        freeze(dir, PATIENCE)
    }

    /// Lets the processes go on; fine to call when they are not frozen.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::freeze`], but it never waits.
    #[doc(alias = "unpause")]
    pub fn thaw(&self) -> Result<()> {
        thaw(self.freezer()?)
    }

    /// Whether its processes stand still, or are about to.
    ///
    /// # Errors
    ///
    /// [`Error::MissingController`] on v1 without the freezer, [`Error::Read`].
    pub fn is_frozen(&self) -> Result<bool> {
        let dir = self.freezer()?;
        let why = "so that it is known whether its processes stand still";
        let text = match dir.is_v2() {
            true => dir.read("cgroup.freeze", why)?,
            false => dir.read("freezer.state", why)?,
        };
        Ok(matches!(text.trim_end(), "1" | "FROZEN" | "FREEZING"))
    }

    fn freezer(&self) -> Result<&Directory> {
        let controller = Controller::Freezer;
        let missing = Error::MissingController {
            controller,
            file: "freezer.state".into(),
        };
        self.directory_of(controller).ok_or(missing)
    }
}

/// Freezes what is in `dir` and below it.
pub(crate) fn freeze(dir: &Directory, patience: Duration) -> Result<()> {
    let why = "so that all its processes stop together";
    let looking = "so that we see whether every process has stopped";
    let mut backoff = Backoff::new(patience);
    if dir.is_v2() {
        dir.write("cgroup.freeze", "1", why)?;
    }
    loop {
        let frozen = if dir.is_v2() {
            dir.read("cgroup.events", looking)?
                .lines()
                .any(|line| line == "frozen 1")
        } else {
            // Written again each time, as v1 forgets processes that were forked while it froze their parents.
            dir.write("freezer.state", "FROZEN", why)?;
            dir.read("freezer.state", looking)?.trim_end() == "FROZEN"
        };
        if frozen {
            return Ok(());
        }
        if !backoff.pause() {
            return Err(Error::TimedOut {
                operation: "freeze",
                path: dir.path.clone(),
                limit: patience,
            });
        }
    }
}

/// Thaws what is in `dir` and below it.
pub(crate) fn thaw(dir: &Directory) -> Result<()> {
    let why = "so that its processes go on";
    if dir.is_v2() {
        dir.write("cgroup.freeze", "0", why)
    } else {
        dir.write("freezer.state", "THAWED", why)
    }
}
