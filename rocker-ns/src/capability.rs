//! Sets of capabilities, see capabilities(7).

use std::fmt;
use std::str::FromStr;

use caps::{CapSet, Capability};

use crate::{Error, Result, kernel_file};

/// A set of capabilities, see [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html).
///
/// ```
/// use rocker_ns::Capabilities;
///
/// let set = Capabilities::container_default().without("NET_RAW")?.with("CAP_NET_ADMIN")?;
/// assert!(set.contains("net_admin") && !set.contains("net_raw"));
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u64);

/// What Docker leaves to a container that asks for nothing.
const CONTAINER_DEFAULT: [Capability; 14] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// All that have a name, in the order of their numbers.
const ALL: [Capability; 41] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETPCAP,
    Capability::CAP_LINUX_IMMUTABLE,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_BROADCAST,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_IPC_OWNER,
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SYS_PACCT,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_BOOT,
    Capability::CAP_SYS_NICE,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_SYS_TIME,
    Capability::CAP_SYS_TTY_CONFIG,
    Capability::CAP_MKNOD,
    Capability::CAP_LEASE,
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_AUDIT_CONTROL,
    Capability::CAP_SETFCAP,
    Capability::CAP_MAC_OVERRIDE,
    Capability::CAP_MAC_ADMIN,
    Capability::CAP_SYSLOG,
    Capability::CAP_WAKE_ALARM,
    Capability::CAP_BLOCK_SUSPEND,
    Capability::CAP_AUDIT_READ,
    Capability::CAP_PERFMON,
    Capability::CAP_BPF,
    Capability::CAP_CHECKPOINT_RESTORE,
];

impl Capabilities {
    /// No capability at all.
    pub const NONE: Self = Self(0);

    /// The fourteen that Docker leaves to the root user of a container.
    #[must_use]
    pub fn container_default() -> Self {
        Self(
            CONTAINER_DEFAULT
                .iter()
                .fold(0, |mask, capability| mask | capability.bitmask()),
        )
    }

    /// All that the calling thread could hand on: its permitted set.
    ///
    /// # Errors
    /// [`Error::Proc`] when the kernel does not tell.
    pub fn permitted() -> Result<Self> {
        let set = caps::read(None, CapSet::Permitted).map_err(|error| Error::Proc {
            operation: "read",
            path: "the capabilities of this thread".to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self(
            set.iter()
                .fold(0, |mask, capability| mask | capability.bitmask()),
        ))
    }

    /// The set with one more. `ALL` stands for every capability of the calling thread.
    ///
    /// # Errors
    /// [`Error::UnknownCapability`] for a name that capabilities(7) does not know.
    pub fn with(self, name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("ALL") {
            return Self::permitted();
        }
        Ok(Self(self.0 | parse(name)?.bitmask()))
    }

    /// The set with one less. `ALL` stands for every capability.
    ///
    /// # Errors
    /// [`Error::UnknownCapability`] for a name that capabilities(7) does not know.
    pub fn without(self, name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("ALL") {
            return Ok(Self::NONE);
        }
        Ok(Self(self.0 & !parse(name)?.bitmask()))
    }

    /// Whether the capability of that name is in the set; `CAP_` in front and the case do not matter.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        parse(name).is_ok_and(|capability| self.0 & capability.bitmask() != 0)
    }

    /// The names of the set's capabilities, such as `CAP_CHOWN`, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = String> {
        ALL.iter()
            .filter(move |capability| self.0 & capability.bitmask() != 0)
            .map(|capability| capability.to_string())
    }

    /// Every capability that is not in the set: its number and its name.
    pub(crate) fn missing(self) -> impl Iterator<Item = (u8, String)> {
        let name = |number: u8| match ALL.get(usize::from(number)) {
            Some(capability) => capability.to_string(),
            None => format!("CAP_{number}"),
        };
        (0..=last())
            .filter(move |number| self.0 >> number & 1 == 0)
            .map(move |number| (number, name(number)))
    }

    /// One bit a capability, by its number.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The highest number that this kernel knows, which may be newer than the names here.
fn last() -> u8 {
    let text = kernel_file::read("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    text.trim()
        .parse()
        .ok()
        .filter(|last| *last < 64)
        .unwrap_or(63)
}

fn parse(name: &str) -> Result<Capability> {
    let mut upper = name.to_ascii_uppercase();
    if !upper.starts_with("CAP_") {
        upper.insert_str(0, "CAP_");
    }
    Capability::from_str(&upper).map_err(|_| Error::UnknownCapability {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_dockers() {
        // The mask that `grep CapBnd /proc/1/status` shows in a container of Docker.
        assert_eq!(Capabilities::container_default().bits(), 0xa804_25fb);
    }

    #[test]
    fn all_have_the_place_of_their_number() {
        for (place, capability) in ALL.iter().enumerate() {
            assert_eq!(usize::from(capability.index()), place, "{capability}");
        }
        assert_eq!(ALL.len(), caps::all().len());
    }

    #[test]
    fn names_are_taken_with_and_without_prefix_in_any_case() {
        let set = Capabilities::NONE.with("sys_admin").unwrap();
        assert_eq!(set, Capabilities::NONE.with("CAP_SYS_ADMIN").unwrap());
        assert_eq!(set.names().collect::<Vec<_>>(), ["CAP_SYS_ADMIN"]);
        assert_eq!(set.without("ALL").unwrap(), Capabilities::NONE);
        assert!(matches!(
            set.with("root"),
            Err(Error::UnknownCapability { .. })
        ));
    }
}
