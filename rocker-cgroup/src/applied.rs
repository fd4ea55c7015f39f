//! What came of applying limits, and what to do about those that cannot be.

use std::fmt;

use crate::{Error, Result, Write};

/// What to do about a limit that this host has no means to enforce.
///
/// A value that the kernel refuses is an error either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compat {
    /// It is an error.
    #[default]
    Require,
    /// The rest is applied, and [`Applied::skipped`] says what was not.
    BestEffort,
}

/// What came of applying [`Limits`](crate::Limits).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// What was written, with what the kernel made of it.
    pub in_force: Vec<InForce>,
    /// What this host cannot enforce; with [`Compat::Require`] that is an error, and here are only devices that a cgroup above forbids,
    /// which are no less forbidden for it ([`SkipReason::NotAllowed`]).
    pub skipped: Vec<Skipped>,
}

/// A limit that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InForce {
    /// What was written.
    pub write: Write,
    /// What the file reads afterwards: numbers of bytes are cut to pages, for example.
    pub reads: String,
}

/// A limit that is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// What could not be written.
    pub write: Write,
    /// Why not.
    pub reason: SkipReason,
}

/// Why a limit could not be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// The host has no such controller.
    MissingController,
    /// The host has it, and this user may not use it: [`Hierarchy::undelegated`](crate::Hierarchy::undelegated) says why.
    NotDelegated,
    /// The controller has no such file, such as that for swap on a kernel without swap accounting.
    MissingFile,
    /// The file is of v2, and the host has the controller on v1.
    FileOfV2,
    /// A cgroup above does not allow the device, so that it stays forbidden (v1).
    NotAllowed,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Skipped { write, reason } = self;
        match reason {
            SkipReason::MissingController => write!(
                f,
                "{write}: this host has no {} controller",
                write.controller
            ),
            SkipReason::NotDelegated => write!(
                f,
                "{write}: the {} controller is not delegated to this user",
                write.controller
            ),
            SkipReason::FileOfV2 => write!(
                f,
                "{write}: the {} controller is on cgroup v1 here, and this is a file of v2",
                write.controller
            ),
            SkipReason::NotAllowed => {
                write!(f, "{write}: the cgroup above does not allow this device")
            }
            SkipReason::MissingFile => {
                write!(
                    f,
                    "{write}: the {} controller of this host has no such file",
                    write.controller
                )
            }
        }
    }
}

impl Applied {
    /// Takes down what came of one write; what is not tolerated comes back.
    pub(crate) fn record(
        &mut self,
        write: Write,
        outcome: Result<String>,
        compat: Compat,
    ) -> Result<()> {
        let reason = match outcome {
            Ok(reads) => {
                self.in_force.push(InForce { write, reads });
                return Ok(());
            }
            Err(Error::MissingController { .. }) if compat == Compat::BestEffort => {
                SkipReason::MissingController
            }
            Err(Error::NotDelegated { .. }) if compat == Compat::BestEffort => {
                SkipReason::NotDelegated
            }
            Err(Error::MissingFile { .. }) if compat == Compat::BestEffort => {
                SkipReason::MissingFile
            }
            Err(Error::FileOfV2 { .. }) if compat == Compat::BestEffort => SkipReason::FileOfV2,
            Err(Error::DeviceNotAllowed { .. }) => SkipReason::NotAllowed,
            Err(error) => return Err(error),
        };
        self.skipped.push(Skipped { write, reason });
        Ok(())
    }
}
