//! The network of a container whose maker is not root on the host.

mod arguments;
mod helper;

use std::env;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::bridge::check_interface_name;
use crate::netlink::{Connection, Protocol};
use crate::rtnl::Family;
use crate::{Error, PortForward, Result, Subnet};
use crate::{free_port, pool, resolver};
use arguments::Plan;
use helper::Helper;

/// Where the host's name servers stand, for pasta too.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What [`Pasta::start`] is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastaOptions {
    /// The program; `None` for the one that [`Pasta::find`] finds.
    pub program: Option<PathBuf>,
    /// The interface in the container, up to 15 bytes.
    pub interface: String,
    /// The subnet in which the container has its address, its gateway and its name server; `None` for one that
    /// collides with no route or address of the host. Nobody but the container ever sees it.
    pub subnet: Option<Subnet>,
    /// The largest packet in bytes; `None` is pasta's own, which is as large as can be, since no cable lies in between.
    pub mtu: Option<u32>,
    /// The ports that are published.
    pub forwards: Vec<PortForward>,
    /// Whether the container reaches what listens on the host's loopback, by the gateway's address.
    pub host_loopback: bool,
}

impl Default for PastaOptions {
    /// `eth0` with whatever subnet is free, no ports, and nothing of the host's loopback.
    fn default() -> Self {
        Self {
            program: None,
            interface: "eth0".to_owned(),
            subnet: None,
            mtu: None,
            forwards: Vec::new(),
            host_loopback: false,
        }
    }
}

impl PastaOptions {
    /// Starts this program.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Gives the interface in the container this name.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.interface = name.into();
        self
    }

    /// Insists on this subnet, which has room for three.
    #[must_use]
    pub fn subnet(mut self, subnet: Subnet) -> Self {
        self.subnet = Some(subnet);
        self
    }

    /// Gives the interface this MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// Publishes ports, besides those that are published already.
    #[must_use]
    pub fn forward(mut self, forward: PortForward) -> Self {
        self.forwards.push(forward);
        self
    }

    /// Lets the container reach what listens on the host's loopback, by the gateway's address. Much that listens there
    /// takes whoever gets through for somebody who is logged in.
    #[must_use]
    pub fn host_loopback(mut self, reached: bool) -> Self {
        self.host_loopback = reached;
        self
    }
}

/// Outbound access and published ports for a network namespace, by the program `pasta`: it takes packets from a tap
/// device in there, and does with sockets of the host what they ask for. So it needs no privilege over the host's
/// network, where [`Network`](crate::Network) needs CAP_NET_ADMIN.
///
/// It runs as long as this value lives, and no longer than this process, however that ends.
/// See [pasta(1)](https://passt.top/builds/latest/web/passt.1.html).
#[derive(Debug)]
#[must_use = "the namespace is connected until this is dropped"]
pub struct Pasta {
    helper: Helper,
    plan: Plan,
}

impl Pasta {
    /// Where the program is: the first in `PATH` that can be executed.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        find_in(&env::var_os("PATH")?)
    }

    /// Connects `netns`, and returns when it is connected: loopback, address and default route are there, and the ports
    /// are listened on.
    ///
    /// To be called in the host's network namespace, as root of the user namespace that owns `netns`. The program has
    /// its own copy of the descriptor, and keeps the namespace in being.
    ///
    /// # Errors
    ///
    /// [`Error::NoPasta`], [`Error::PortInUse`] and its kind, [`Error::InvalidPorts`], [`Error::Family`] for IPv6,
    /// [`Error::NoFreeSubnet`], [`Error::SubnetCollides`], [`Error::SubnetFull`] for one without room for three,
    /// [`Error::File`] for `/etc/resolv.conf`, [`Error::PastaFailed`] with its own words if it does not come up (`netns` is
    /// no network namespace, or somebody else's; there is no `/dev/net/tun`), [`Error::PastaTooOld`],
    /// [`Error::PastaSlow`], [`Error::Pasta`].
    #[doc(alias = "slirp4netns")]
    pub fn start(netns: BorrowedFd<'_>, options: &PastaOptions) -> Result<Self> {
        check_interface_name(&options.interface)?;
        let program = options.program.clone().or_else(Self::find);
        let program = program.ok_or(Error::NoPasta { source: None })?;
        let used = pool::in_use(&mut Connection::open(Protocol::Route)?, None, Family::V4)?;
        let subnet = pool::choose(options.subnet, None, &used)?;
        let plan = Plan::new(subnet, &resolver::servers(Path::new(RESOLV_CONF))?, options)?;
        let arguments = plan.arguments(options)?;
        for forward in &options.forwards {
            free_port::check(forward)?;
        }
        let helper = Helper::start(&program, &arguments, netns)?;
        match helper.ready() {
            Err(Error::PastaFailed { says, .. }) if says.contains(arguments::NEWER) => {
                let turned = arguments::turned_back(options).map(PortForward::to_string);
                let ports = turned.collect::<Vec<_>>().join(", ");
                Err(Error::PastaTooOld { ports, program })
            }
            ready => Ok(Self {
                helper: ready?,
                plan,
            }),
        }
    }

    /// The process that it runs as.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.helper.id()
    }

    /// The container's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.plan.address
    }

    /// The length of the network part of the address, in bits.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.plan.subnet.prefix_len()
    }

    /// By which the container's default route leads. Nobody has this address: what is sent to it goes nowhere, unless
    /// [`PastaOptions::host_loopback`] was asked for.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.plan.gateway
    }

    /// The name servers for the container's resolv.conf: those of IPv4 that the host has. For one on the host's loopback,
    /// where it is the first, an address stands in that leads there, for questions by UDP.
    #[must_use]
    pub fn dns(&self) -> &[IpAddr] {
        &self.plan.dns
    }

    /// Ends the program: the namespace is cut off, and the ports are free.
    ///
    /// # Errors
    ///
    /// [`Error::Pasta`] if it cannot be killed or waited for.
    pub fn remove(self) -> Result<()> {
        self.helper.remove()
    }
}

fn find_in(path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("pasta"))
        .find(|program| is_executable(program))
}

fn is_executable(path: &Path) -> bool {
    let status = path.metadata();
    status.is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn the_first_executable_of_the_path_is_found_and_none_in_a_directory_that_depends_on_ours() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for (dir, mode) in [(&one, 0o644), (&two, 0o755)] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("pasta"), "").unwrap();
            fs::set_permissions(dir.join("pasta"), Permissions::from_mode(mode)).unwrap();
        }
        let path = env::join_paths([&one, &two]).unwrap();
        assert_eq!(find_in(&path), Some(two.join("pasta")));
        assert_eq!(find_in(one.as_os_str()), None);
        assert_eq!(find_in(OsStr::new("")), None);
    }
}
