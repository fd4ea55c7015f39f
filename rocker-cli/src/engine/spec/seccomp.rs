//! Profiles of system calls: read from the files that Docker takes, written to and read from the container's specification.

mod convert;
mod profile;
#[cfg(test)]
mod tests;

use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use rocker_ns::{Capabilities, Seccomp};

use crate::{Error, Result};

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompFault {
    /// Not JSON, or not a profile.
    #[error("not a seccomp profile")]
    Json {
        /// Where it stops making sense, and why.
        source: serde_json::Error,
    },
    /// A value that is none, or that rocker has no use for.
    #[error("{field} is {value}; expected {expected}")]
    Value {
        /// Where it stands, such as `syscalls[3].action`.
        field: String,
        /// What stands there.
        value: String,
        /// What may.
        expected: &'static str,
    },
    /// Two fields of which there can be one.
    #[error("{one} and {other} say the same thing; a profile has one of them")]
    Both {
        /// The first.
        one: String,
        /// The second.
        other: &'static str,
    },
}

/// Reads a profile as Docker and Podman have them, or that of an OCI runtime specification, and decides what in it depends on the
/// container's capabilities, on the machine, and on its kernel.
///
/// # Errors
/// [`Error::Seccomp`] with the line or the field that makes no sense.
pub(crate) fn read_profile(
    path: &Path,
    text: &str,
    capabilities: Capabilities,
    kernel: (u32, u32),
) -> Result<LinuxSeccomp> {
    profile::read(text, capabilities, kernel).map_err(of(path))
}

/// The profile of a specification, in the words of rocker-ns. `path` is the specification's, for errors.
///
/// # Errors
/// [`Error::Seccomp`] with the field that rocker has no use for.
pub(crate) fn profile_of(path: &Path, profile: &LinuxSeccomp) -> Result<Seccomp> {
    convert::from_oci(profile).map_err(of(path))
}

/// A profile of rocker-ns in the words of the specification. `path` is the specification's, for errors.
///
/// # Errors
/// [`Error::Seccomp`] with the rule that the specification has no words for.
pub(crate) fn specified(path: &Path, profile: &Seccomp) -> Result<LinuxSeccomp> {
    convert::to_oci(profile).map_err(of(path))
}

fn of(path: &Path) -> impl FnOnce(SeccompFault) -> Error {
    let path = path.to_owned();
    move |source| Error::Seccomp { path, source }
}
