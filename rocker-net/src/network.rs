//! A network: bridge, addresses, NAT and forwarding together, for as long as a container is attached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::bridge::{check_interface_name, is_ours, mac};
use crate::forwarding::Forwarding;
use crate::ipam::check_name;
use crate::lock::Lock;
use crate::netlink::{Connection, Protocol};
use crate::netns::connect_in;
use crate::rtnl::Link;
use crate::{Bridge, BridgeOptions, Endpoint, EndpointOptions, Error, Ipam, Result, Subnet};
use crate::{file, pool, rtnl, state};

mod firewall;
mod ports;
mod rules;

pub use rules::RuleLine;

/// Below the state directory.
const NETWORKS: &str = "networks";
/// Below a network's directory.
const CONFIG: &str = "config.json";

/// What [`Network::open`] is to open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkOptions {
    /// The network's name, which its directory and its nf_tables table (`rocker-NAME`) are named after.
    pub name: String,
    /// The name of its bridge on the host, up to 15 bytes.
    pub bridge: String,
    /// Its subnet; `None` for one that collides with no route or address of the host.
    pub subnet: Option<Subnet>,
    /// The largest packet in bytes; `None` is the kernel's 1500.
    pub mtu: Option<u32>,
}

impl Default for NetworkOptions {
    /// The network `bridge` on the bridge `rocker0`, with whatever subnet is free.
    fn default() -> Self {
        Self {
            name: "bridge".to_owned(),
            bridge: "rocker0".to_owned(),
            subnet: None,
            mtu: None,
        }
    }
}

impl NetworkOptions {
    /// A network called `name`, on a bridge called `bridge`.
    pub fn new(name: impl Into<String>, bridge: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bridge: bridge.into(),
            ..Self::default()
        }
    }

    /// Insists on this subnet.
    #[must_use]
    pub fn subnet(mut self, subnet: Subnet) -> Self {
        self.subnet = Some(subnet);
        self
    }

    /// Gives bridge and endpoints this MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }
}

/// How a container is connected, from [`Network::attach`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The container's address.
    pub address: IpAddr,
    /// The length of the network part of `address`, in bits.
    pub prefix_len: u8,
    /// The host's address on the bridge, by which the container's default route leads.
    pub gateway: IpAddr,
    /// The MAC address of the container's `eth0`.
    pub mac: Option<[u8; 6]>,
    /// The name of the host's end of the cable.
    pub host_interface: String,
}

/// A network of containers that reach each other, and the world under the host's address.
///
/// It exists on the host exactly as long as somebody is attached: the first [`attach`](Network::attach) makes bridge,
/// table and forwarding, the last [`detach`](Network::detach) removes them. What is remembered lies in
/// `STATE_DIR/networks/NAME/`, under a lock, so that any number of processes can share a network.
#[derive(Clone, Debug)]
pub struct Network {
    /// `STATE_DIR/networks`.
    networks: PathBuf,
    dir: PathBuf,
    options: NetworkOptions,
    ipam: Ipam,
    forwarding: Forwarding,
}

/// The content of `config.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    subnet: String,
}

impl Network {
    /// Opens the network; nothing is done to the host yet.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::Family`] if an IPv6 subnet is asked for (not yet), [`Error::File`] if the
    /// directory cannot be created.
    pub fn open(state_dir: impl AsRef<Path>, options: &NetworkOptions) -> Result<Self> {
        check_name("network name", &options.name)?;
        check_interface_name(&options.bridge)?;
        if let Some(subnet) = options.subnet.filter(|subnet| subnet.network().is_ipv6()) {
            return Err(Error::Family {
                address: subnet.network(),
                rule: "a network's subnet is IPv4",
            });
        }
        let networks = state_dir.as_ref().join(NETWORKS);
        let dir = networks.join(&options.name);
        let ipam = Ipam::open(dir.join("leases"))?;
        let forwarding = Forwarding::open(&networks);
        Ok(Self {
            networks,
            dir,
            options: options.clone(),
            ipam,
            forwarding,
        })
    }

    /// Connects the network namespace `netns` on behalf of `owner`, which is best a container's ID: leases an address,
    /// makes what the host lacks of bridge, NAT and forwarding, and plugs the namespace in as `eth0`.
    ///
    /// To be called in the host's network namespace. After an error `owner` is [detached](Network::detach) again,
    /// unless the error is that it is attached already: then it stays so.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if `netns` is not a network namespace, [`Error::NameTaken`] if the namespace has an `eth0`
    /// or `owner` is attached already, [`Error::SubnetFull`], [`Error::SubnetCollides`], [`Error::NoFreeSubnet`],
    /// [`Error::SubnetDiffers`], [`Error::Permission`] without root's privileges, [`Error::Unsupported`] for a kernel
    /// that lacks a module, [`Error::File`] for the state directory and sysctls, [`Error::Netlink`] for the rest.
    pub fn attach(&self, owner: &str, netns: BorrowedFd<'_>) -> Result<Attachment> {
        check_name("owner", owner)?;
        let is_attached = |error: &Error| matches!(error, Error::NameTaken { name, .. } if *name == self.host_interface(owner));
        self.try_attach(owner, netns).inspect_err(|error| {
            if !is_attached(error)
                && let Err(left) = self.detach(owner)
            {
                tracing::warn!(error = %left, owner, "undoing a failed attachment failed too");
            }
        })
    }

    fn try_attach(&self, owner: &str, netns: BorrowedFd<'_>) -> Result<Attachment> {
        // The first to be opened is the last to be closed: that waits until the kernel has freed what a transaction replaced (an
        // RCU grace period, some milliseconds), and the cable is made meanwhile.
        let mut netfilter = Connection::open(Protocol::Netfilter)?;
        let mut inside = connect_in(netns, Protocol::Route)?;
        let mut host = Connection::open(Protocol::Route)?;
        let (subnet, address, bridge) = self.ensure(&mut host, &mut netfilter, owner)?;
        // From here on the lease alone keeps the network in being, and others need not wait.
        let gateway = subnet.gateway();
        let mac = mac(address);
        let mut endpoint =
            EndpointOptions::new(self.host_interface(owner), address, subnet.prefix_len())
                .gateway(gateway)
                .mac(mac);
        endpoint.mtu = self.options.mtu;
        let endpoint = Endpoint::create_by(&mut host, &mut inside, netns, &bridge, &endpoint)?;
        Ok(Attachment {
            address,
            prefix_len: subnet.prefix_len(),
            gateway,
            mac: Some(mac),
            host_interface: endpoint.host_name().to_owned(),
        })
    }

    /// Disconnects `owner` and takes its address back; with the last owner bridge, table and forwarding go too.
    ///
    /// Fine at any time: for one that never was attached or only half, that is detached already, or whose network
    /// namespace is gone. It goes on after an error, but keeps the address of a cable that cannot be removed.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`] without root's privileges, [`Error::File`], [`Error::Netlink`]; [`Error::Incomplete`]
    /// if several steps failed.
    pub fn detach(&self, owner: &str) -> Result<()> {
        self.unplug(owner)?;
        let mut errors = Vec::new();
        let lock = self.lock();
        errors.extend(self.ipam.release(owner).err());
        errors.extend(lock.and_then(|_lock| self.take_down_if_idle()).err());
        Error::gather("detach", owner, errors)
    }

    /// Disconnects `owner` and takes its address back; the network stays, for those who come next. [`Network::tidy`] removes it then.
    ///
    /// It takes the kernel some 20 ms to remove a cable, unless that has gone with its network namespace, and more to remove a
    /// bridge: whoever attaches and detaches in quick succession saves them.
    ///
    /// # Errors
    ///
    /// As [`Network::detach`].
    pub fn release(&self, owner: &str) -> Result<()> {
        self.unplug(owner)?;
        self.ipam.release(owner)
    }

    /// Removes bridge, table and forwarding, if nobody is attached.
    ///
    /// # Errors
    ///
    /// As [`Network::detach`].
    pub fn tidy(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.take_down_if_idle()
    }

    /// When somebody was attached or released last; none if nobody ever was.
    #[must_use]
    pub fn last_use(&self) -> Option<SystemTime> {
        self.ipam.last_use()
    }

    /// Removes the cable of `owner`: as long as that is there, somebody may use the address.
    fn unplug(&self, owner: &str) -> Result<()> {
        check_name("owner", owner)?;
        let unpublished = self.unpublish(owner);
        let removed = Endpoint::remove_by_name(&self.host_interface(owner));
        unless_foreign(removed).map_or(Ok(()), Err)?;
        self.forget_member(owner)?;
        unpublished
    }

    /// Under the lock.
    fn take_down_if_idle(&self) -> Result<()> {
        match self.ipam.leases()?.is_empty() {
            true => Error::gather("take down", &self.options.name, self.take_down()),
            false => Ok(()),
        }
    }

    /// How `owner` is attached; none if it is not.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the state directory cannot be read.
    pub fn attachment(&self, owner: &str) -> Result<Option<Attachment>> {
        let leases = self.ipam.leases()?;
        let found = leases.into_iter().find(|(other, _)| other == owner);
        let (Some((_, address)), Some(subnet)) = (found, read_subnet(&self.dir)?) else {
            return Ok(None);
        };
        Ok(Some(Attachment {
            address,
            prefix_len: subnet.prefix_len(),
            gateway: subnet.gateway(),
            mac: Some(mac(address)),
            host_interface: self.host_interface(owner),
        }))
    }

    /// Everyone who has an address, in the order of the addresses.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the leases cannot be read.
    pub fn owners(&self) -> Result<Vec<String>> {
        Ok(self
            .ipam
            .leases()?
            .into_iter()
            .map(|(owner, _)| owner)
            .collect())
    }

    /// The name of the interface on the host for `owner`: its beginning, to be recognised, and a hash of both names,
    /// to be unique.
    fn host_interface(&self, owner: &str) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        // FNV-1a, 64 bits: stable for ever, other than the standard library's hashes.
        let hash = [self.options.name.as_bytes(), b"/", owner.as_bytes()]
            .concat()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let digits = (0..7).map(|digit| char::from(ALPHABET[(hash >> (5 * digit)) as usize % 32]));
        "rk".chars()
            .chain(owner.chars().take(6))
            .chain(digits)
            .collect()
    }

    /// Everything on the host that is not of `owner` alone, and its lease, under the lock.
    fn ensure(
        &self,
        host: &mut Connection,
        netfilter: &mut Connection,
        owner: &str,
    ) -> Result<(Subnet, IpAddr, Bridge)> {
        let NetworkOptions { bridge, mtu, .. } = &self.options;
        let _lock = self.lock()?;
        let subnet = self.subnet(host)?;
        let address = self.ipam.lease(owner, &subnet, &[])?;
        let mut options = BridgeOptions::new(bridge, subnet);
        options.mtu = *mtu;
        let made = Bridge::ensure_by(host, &options)?;
        let ways = ways_out(host)?;
        let claim = self.forwarding.claim(&self.options.name, ways.keys())?;
        let nat = self.nat(subnet, claim.guarded(), &ways);
        // The guard is up before anything forwards, or is plugged in.
        self.protect(netfilter, &nat, &self.member(owner, address))?;
        self.forwarding.enable_own(bridge)?;
        claim.switch_on()?;
        Ok((subnet, address, made))
    }

    /// What [`Network::ensure`] made, in reverse; under the lock.
    fn take_down(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(self.forwarding.release(&self.options.name).err());
        let used = Connection::open(Protocol::Route)
            .and_then(|mut host| Bridge::is_in_use(&mut host, &self.options.bridge));
        match used {
            Ok(false) => {}
            // By containers of another network or state directory, whose it then is.
            Ok(true) => return errors,
            Err(error) => errors.push(error),
        }
        // Closed when the bridge is gone, see `Network::try_attach`.
        let netfilter = self.unprotect();
        let _netfilter = netfilter.map_err(|error| errors.push(error));
        match read_subnet(&self.dir) {
            Ok(subnet) => errors.extend(self.remove_bridge(subnet)),
            Err(error) => errors.push(error),
        }
        errors
    }

    /// Removes the bridge that was made for `subnet`. One of the same name with another address is somebody else's.
    fn remove_bridge(&self, subnet: Option<Subnet>) -> Option<Error> {
        unless_foreign(Bridge::remove_with_address(
            &self.options.bridge,
            subnet?.gateway(),
        ))
    }

    /// The network's subnet: that of its owners, or with none yet, one that is free.
    fn subnet(&self, host: &mut Connection) -> Result<Subnet> {
        let config = read_subnet(&self.dir)?;
        let wanted = self.options.subnet;
        if let (Some(current), false) = (config, self.ipam.leases()?.is_empty()) {
            return match wanted.filter(|wanted| *wanted != current) {
                None => Ok(current),
                Some(requested) => Err(Error::SubnetDiffers {
                    network: self.options.name.clone(),
                    current,
                    requested,
                }),
            };
        }
        // With no lease nothing of ours is on the bridge. What is there has its address from another network or state
        // directory, and this one would give that address a second time.
        if Bridge::is_in_use(host, &self.options.bridge)? {
            return Err(Error::NameTaken {
                name: self.options.bridge.clone(),
                wanted: "a bridge without containers of another network or state directory",
            });
        }
        let why = "so that two networks that choose at the same time do not choose the same subnet";
        let _lock = Lock::acquire(&self.networks.join(".subnets.lock"), why)?;
        let mut used = pool::in_use(host, Some(&self.options.bridge))?;
        used.extend(self.subnets_of_others()?);
        let subnet = pool::choose(wanted, config, &used)?;
        if config != Some(subnet) {
            // A crash may have left the bridge, with the gateway's address of the old subnet.
            self.remove_bridge(config).map_or(Ok(()), Err)?;
            let why = "so that the network has the same subnet next time";
            state::write(
                &self.dir.join(CONFIG),
                &Config {
                    subnet: subnet.to_string(),
                },
                why,
            )?;
        }
        Ok(subnet)
    }

    /// The subnets of the other networks, which need not be on the host at the moment.
    fn subnets_of_others(&self) -> Result<Vec<Subnet>> {
        let failed = |error| Error::file("read", &self.networks, error);
        let mut subnets = Vec::new();
        let why = "so that the subnets of other networks are known, and are not taken twice";
        for name in file::names(&self.networks, why).map_err(failed)? {
            let dir = self.networks.join(name);
            let why = "so that other files between the networks' directories are passed over";
            if dir != self.dir && file::is_dir(&dir, why) {
                subnets.extend(read_subnet(&dir)?);
            }
        }
        Ok(subnets)
    }

    fn table(&self) -> String {
        format!("rocker-{}", self.options.name)
    }

    fn lock(&self) -> Result<Lock> {
        let why = "so that the first container makes the network and the last one removes it, one at a time";
        Lock::acquire(&self.dir.join("lock"), why)
    }
}

fn read_subnet(dir: &Path) -> Result<Option<Subnet>> {
    let why = "so that a network keeps the subnet that it has";
    let config: Option<Config> = state::read(&dir.join(CONFIG), why)?;
    config.map(|config| config.subnet.parse()).transpose()
}

/// The error, unless it is that something foreign has the name: that is not ours to remove.
fn unless_foreign(removed: Result<()>) -> Option<Error> {
    removed
        .err()
        .filter(|error| !matches!(error, Error::NameTaken { .. }))
}

/// The interfaces by which the host reaches others, by name: what answers to containers come in by.
fn ways_out(host: &mut Connection) -> Result<BTreeMap<String, Link>> {
    let why = "so that the interfaces are known by which answers to containers come in";
    let routes = rtnl::routes(host, why)?.into_iter();
    let ways: BTreeSet<u32> = routes
        .filter(|route| route.unicast)
        .flat_map(|route| route.interfaces)
        .collect();
    let links = rtnl::links(host, why)?.into_iter();
    Ok(links
        .filter(|link| ways.contains(&link.index) && !link.loopback && !is_ours(link))
        .map(|link| (link.name.clone(), link))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_interfaces_are_recognisable_distinct_and_short_enough() {
        let dir = tempfile::tempdir().unwrap();
        let network =
            |name: &str| Network::open(dir.path(), &NetworkOptions::new(name, "rocker0")).unwrap();
        let (one, two) = (network("one"), network("two"));
        let names: Vec<_> = ["3f9a2cd41d07", "3f9a2cd41d08", "x"]
            .iter()
            .flat_map(|id| [one.host_interface(id), two.host_interface(id)])
            .collect();
        assert_eq!(
            names.iter().collect::<BTreeSet<_>>().len(),
            names.len(),
            "{names:?}"
        );
        assert!(
            names.iter().all(|name| check_interface_name(name).is_ok()),
            "{names:?}"
        );
        assert!(names[0].starts_with("rk3f9a2c"));
    }

    #[test]
    fn an_ipv6_subnet_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let options = NetworkOptions::default().subnet("fd00::/64".parse().unwrap());
        assert!(matches!(
            Network::open(dir.path(), &options),
            Err(Error::Family { .. })
        ));
    }
}
