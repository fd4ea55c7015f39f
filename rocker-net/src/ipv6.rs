//! What the kernel does of itself about IPv6 on an interface, and is told not to.
//!
//! An interface with IPv6 listens to router advertisements, by which any neighbour can give it addresses and a default route
//! (CVE-2020-13401). So on a network without IPv6 there is none of it, not even a link-local address, and on one with IPv6 nobody listens.
//! There is no netlink message for either, only the files of `/proc/sys/net/ipv6/conf`, see
//! <https://docs.kernel.org/networking/ip-sysctl.html>.

use std::io;
use std::path::Path;

use crate::{Error, Result, file};

/// Shows the settings of the network namespace of the thread that opens them.
const CONF: &str = "/proc/sys/net/ipv6/conf";
/// Stands for all interfaces that are made from now on.
const TO_COME: &str = "default";

/// Has interfaces that are made from here on in the calling thread's network namespace be ready for IPv6, or have none.
pub(crate) fn prepare(wanted: bool) -> Result<()> {
    set_up(TO_COME, wanted)
}

/// Has an interface be ready for IPv6, or have none.
pub(crate) fn set_up(interface: &str, wanted: bool) -> Result<()> {
    if !wanted {
        let why = "so that no neighbour can give it addresses and routes by IPv6, which the network does not have";
        return match set(interface, "disable_ipv6", "1", why) {
            // The kernel has no IPv6 at all, or the interface is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            set => set.map_err(|error| failed(interface, error)),
        };
    }
    let why = "so that IPv6 works on it, whatever the host's default is";
    set(interface, "disable_ipv6", "0", why).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Unsupported {
            operation: "use",
            object: "IPv6".to_owned(),
            module: "ipv6",
            source: error,
        },
        _ => failed(interface, error),
    })?;
    let why = "so that no neighbour can give it addresses and routes by a router advertisement";
    set(interface, "accept_ra", "0", why).map_err(|error| failed(interface, error))?;
    // By it the kernel asks for neighbours on behalf of others whose packets it passes on: for as long as it asks whether somebody has it,
    // a second or two, nothing from elsewhere would get through.
    let why = "so that the link's own address is used at once, which follows from a MAC address that nobody else has";
    set(interface, "accept_dad", "0", why).map_err(|error| failed(interface, error))
}

fn set(interface: &str, setting: &str, value: &str, why: &'static str) -> io::Result<()> {
    file::set(&Path::new(CONF).join(interface).join(setting), value, why)
}

fn failed(interface: &str, error: io::Error) -> Error {
    Error::file("set up IPv6 by", Path::new(CONF).join(interface), error)
}
