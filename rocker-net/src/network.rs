//! A network: bridge, addresses, NAT and forwarding together, for as long as a container is attached.

mod config;
mod made;
mod names;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bridge::{check_interface_name, is_ours, mac};
use crate::endpoint::{default_routes, open_inside};
use crate::forwarding::Forwarding;
use crate::ipam::check_name;
use crate::lock::Lock;
use crate::nat::Guarded;
use crate::netlink::{Connection, Protocol};
use crate::netns::connect_in;
use crate::rtnl::{Family, Link};
use crate::{
    Bridge, BridgeOptions, Endpoint, EndpointOptions, Error, Ipam, Nat, NatOptions, Result, Subnet,
};
use crate::{file, pool, rtnl};

use config::{Config, Made, Subnets};
use names::Names;

pub use names::HostNames;
pub use options::{AttachOptions, Attachment, NetworkOptions, NetworkSubnet};

/// Below the state directory.
const NETWORKS: &str = "networks";

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
    /// When it was made, by name.
    created: Option<SystemTime>,
}

impl Network {
    /// Opens the network; nothing is done to the host yet. One that somebody has [made](Network::create) is opened by
    /// [`Network::find`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::InvalidNetwork`], [`Error::File`] if the directory cannot be created.
    pub fn open(state_dir: impl AsRef<Path>, options: &NetworkOptions) -> Result<Self> {
        check_name("network name", &options.name)?;
        check_interface_name(&options.bridge)?;
        options.check()?;
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
            created: None,
        })
    }

    /// What the network was opened with.
    #[must_use]
    pub fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// Its subnets, that of IPv4 first; none as long as none is chosen.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the state directory cannot be read.
    pub fn subnets(&self) -> Result<Vec<NetworkSubnet>> {
        let subnets = read_subnets(&self.dir)?;
        let all = subnets.map(|Subnets { v4, v6 }| [Some(v4), v6].into_iter().flatten());
        Ok(all.into_iter().flatten().collect())
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
        self.attach_with(owner, netns, &AttachOptions::default())
    }

    /// The same, with what `options` ask for.
    ///
    /// # Errors
    ///
    /// As [`Network::attach`]; [`Error::AddressTaken`] and [`Error::AddressOutside`] for an address that is asked for,
    /// [`Error::InvalidNetwork`] for one of IPv6 on a network that has none.
    pub fn attach_with(
        &self,
        owner: &str,
        netns: BorrowedFd<'_>,
        options: &AttachOptions,
    ) -> Result<Attachment> {
        check_name("owner", owner)?;
        let is_attached = |error: &Error| matches!(error, Error::NameTaken { name, .. } if *name == self.host_interface(owner));
        self.try_attach(owner, netns, options).inspect_err(|error| {
            if !is_attached(error)
                && let Err(left) = self.detach(owner)
            {
                tracing::warn!(error = %left, owner, "undoing a failed attachment failed too");
            }
        })
    }

    fn try_attach(
        &self,
        owner: &str,
        netns: BorrowedFd<'_>,
        options: &AttachOptions,
    ) -> Result<Attachment> {
        if options.address6.is_some() && !self.options.ipv6 {
            return Err(Error::InvalidNetwork {
                network: self.options.name.clone(),
                rule: "it has no IPv6, so nobody can have an address of it there".to_owned(),
            });
        }
        // The first to be opened is the last to be closed, see `Nat::ensure_by`: the cable is made meanwhile.
        let mut netfilter = Connection::open(Protocol::Netfilter)?;
        let mut inside = open_inside(netns, self.options.ipv6)?;
        let mut host = Connection::open(Protocol::Route)?;
        let (subnets, addresses, bridge) =
            self.ensure(&mut host, &mut netfilter, owner, options)?;
        // From here on the lease alone keeps the network in being, and others need not wait.
        let mut attachment = self.described(owner, &subnets, &addresses);
        if options.mac.is_some() {
            attachment.mac = options.mac;
        }
        let mut endpoint = EndpointOptions::new(
            &attachment.host_interface,
            attachment.address,
            attachment.prefix_len,
        )
        .container_name(&options.interface)
        .isolated(self.options.isolated);
        endpoint.mac = attachment.mac;
        endpoint.ipv6 = attachment.ipv6;
        endpoint.mtu = self.options.mtu;
        if options.default_route && !self.options.internal {
            endpoint.gateway = Some(attachment.gateway);
            endpoint.gateway6 = attachment.gateway6;
        }
        Endpoint::create_by(&mut host, &mut inside, netns, &bridge, &endpoint)?;
        Ok(attachment)
    }

    /// How `owner` is attached who has these addresses.
    fn described(&self, owner: &str, subnets: &Subnets, addresses: &[IpAddr]) -> Attachment {
        let of = |family: fn(&&IpAddr) -> bool| addresses.iter().copied().find(|one| family(&one));
        let address = of(|one| one.is_ipv4()).unwrap_or(subnets.v4.subnet.network());
        let six = subnets.v6.and_then(|v6| match of(|one| one.is_ipv6())? {
            IpAddr::V6(address) => Some((address, v6.subnet.prefix_len())),
            IpAddr::V4(_) => None,
        });
        Attachment {
            address,
            prefix_len: subnets.v4.subnet.prefix_len(),
            gateway: subnets.v4.gateway,
            ipv6: six,
            gateway6: subnets.v6.and_then(gateway6),
            mac: Some(mac(address)),
            host_interface: self.host_interface(owner),
        }
    }

    /// Sends by this network what is for no subnet of `owner`'s in `netns`, as far as it goes nowhere yet: for one that was attached
    /// without a default route, or has lost the network that it had it by. By an internal network nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Error::NotAttached`], [`Error::Namespace`] if `netns` is not a network namespace or may not be entered, [`Error::Permission`]
    /// without CAP_NET_ADMIN over it, [`Error::File`], [`Error::Netlink`] for the rest.
    pub fn default_route(&self, owner: &str, netns: BorrowedFd<'_>) -> Result<()> {
        if self.options.internal {
            return Ok(());
        }
        let not_attached = || Error::NotAttached {
            network: self.options.name.clone(),
            owner: owner.to_owned(),
        };
        let attachment = self.attachment(owner)?.ok_or_else(not_attached)?;
        let mut host = Connection::open(Protocol::Route)?;
        let why = "so that it is known which interface of the container is at the other end";
        let cable = rtnl::find_link(&mut host, why, &attachment.host_interface)?;
        let index = cable.and_then(|link| link.peer).ok_or_else(not_attached)?;
        let far_end = Link {
            index,
            name: format!("interface {index}"),
            ..Link::default()
        };
        let six = attachment.ipv6.and(attachment.gateway6);
        let gateways = [Some(attachment.gateway), six.map(IpAddr::V6)];
        let mut inside = connect_in(netns, Protocol::Route)?;
        default_routes(&mut inside, &far_end, gateways.into_iter().flatten())
    }

    /// Calls `owner`, who is attached, by these names on the network, in place of those that it had: each of the owners with names
    /// finds them in its hosts file, with the address, in a section of ours, and `owner` theirs. With its
    /// [detachment](Network::detach) they are gone.
    ///
    /// What others have written into such a file is kept; it is changed in place, since it is mounted somewhere.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`] for what is no name in a hosts file, [`Error::File`].
    pub fn set_names(&self, owner: &str, names: &HostNames) -> Result<()> {
        check_name("owner", owner)?;
        self.names().set(owner, names)
    }

    /// Lets nobody find `owner` by its names any more, who is still attached.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn remove_names(&self, owner: &str) -> Result<()> {
        match self.has_names() {
            true => self.names().remove(owner),
            false => Ok(()),
        }
    }

    fn names(&self) -> Names<'_> {
        Names {
            dir: &self.dir,
            network: &self.options.name,
            ipam: &self.ipam,
        }
    }

    /// Whether anybody on the network was ever given names. Networks that nobody has made are spared the question.
    fn has_names(&self) -> bool {
        let why = "so that names are taken away only where there are any";
        self.created.is_some() && file::exists(&self.dir.join(names::TABLE), why)
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
        let mut errors = Vec::new();
        errors.extend(self.remove_names(owner).err());
        self.unplug(owner)?;
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
        let unnamed = self.remove_names(owner);
        self.unplug(owner)?;
        self.ipam.release(owner)?;
        unnamed
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
        let removed = Endpoint::remove_by_name(&self.host_interface(owner));
        unless_foreign(removed).map_or(Ok(()), Err)
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
        Ok(self.attachments()?.remove(owner))
    }

    /// How each owner is attached.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the state directory cannot be read.
    pub fn attachments(&self) -> Result<BTreeMap<String, Attachment>> {
        let mut addresses: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for (owner, address) in self.ipam.leases()? {
            addresses.entry(owner).or_default().push(address);
        }
        let subnets = match addresses.is_empty() {
            true => None,
            false => read_subnets(&self.dir)?,
        };
        let Some(subnets) = subnets else {
            return Ok(BTreeMap::new());
        };
        let described = |(owner, addresses): (String, Vec<IpAddr>)| {
            let attachment = self.described(&owner, &subnets, &addresses);
            (owner, attachment)
        };
        Ok(addresses.into_iter().map(described).collect())
    }

    /// Everyone who has an address, in the order of the addresses.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the leases cannot be read.
    pub fn owners(&self) -> Result<Vec<String>> {
        let mut owners: Vec<String> = Vec::new();
        for (owner, _) in self.ipam.leases()? {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        Ok(owners)
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

    /// Everything on the host that is not of `owner` alone, and its leases, under the lock.
    fn ensure(
        &self,
        host: &mut Connection,
        netfilter: &mut Connection,
        owner: &str,
        wanted: &AttachOptions,
    ) -> Result<(Subnets, Vec<IpAddr>, Bridge)> {
        let NetworkOptions {
            bridge,
            mtu,
            internal,
            isolated,
            ..
        } = &self.options;
        let _lock = self.lock()?;
        let subnets = self.choose_subnets(host)?;
        let mut leases = vec![subnets.v4.lease(wanted.address.map(IpAddr::V4))];
        leases.extend(
            subnets
                .v6
                .map(|v6| v6.lease(wanted.address6.map(IpAddr::V6))),
        );
        let addresses = self.ipam.lease_each(owner, &leases)?;
        let mut options = BridgeOptions::new(bridge, subnets.v4.subnet).address(subnets.v4.gateway);
        if let (Some(v6), Some(gateway)) = (subnets.v6, subnets.v6.and_then(gateway6)) {
            options = options.ipv6(gateway, v6.subnet.prefix_len());
        }
        options.mtu = *mtu;
        let made = Bridge::ensure_by(host, &options)?;
        let mut nat = NatOptions::new(self.table(), bridge, subnets.v4.subnet);
        nat.subnet6 = subnets.v6.map(|v6| v6.subnet);
        nat.internal = *internal;
        nat.isolated = *isolated;
        if *internal {
            Nat::ensure_by(netfilter, &nat)?;
            return Ok((subnets, addresses, made));
        }
        let ways = ways_out(host, Family::V4, &made)?;
        let claim = self.forwarding.claim(&self.options.name, ways.keys())?;
        nat.guarded = guarded(claim.guarded(), &ways);
        let six = self.forwarding.of_ipv6();
        let claim6 = match subnets.v6 {
            Some(_) => {
                let ways = ways_out(host, Family::V6, &made)?;
                six.warn_if_impossible(bridge)?;
                let claim = six.claim(&self.options.name, ways.keys())?;
                nat.guarded6 = guarded(claim.guarded(), &ways);
                Some(claim)
            }
            None => None,
        };
        // The guard is up before anything forwards.
        Nat::ensure_by(netfilter, &nat)?;
        self.forwarding.enable_own(bridge)?;
        claim.switch_on()?;
        if let Some(claim) = claim6 {
            six.enable_own(bridge)?;
            claim.switch_on()?;
        }
        Ok((subnets, addresses, made))
    }

    /// What [`Network::ensure`] made, in reverse; under the lock.
    fn take_down(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(self.forwarding.release(&self.options.name).err());
        if self.options.ipv6 {
            let six = self.forwarding.of_ipv6();
            errors.extend(six.release(&self.options.name).err());
        }
        let used = Connection::open(Protocol::Route)
            .and_then(|mut host| Bridge::is_in_use(&mut host, &self.options.bridge));
        match used {
            Ok(false) => {}
            // By containers of another network or state directory, whose it then is.
            Ok(true) => return errors,
            Err(error) => errors.push(error),
        }
        // Closed when the bridge is gone, see `Nat::ensure_by`.
        let netfilter = Nat::withdraw(&self.table());
        let _netfilter = netfilter.map_err(|error| errors.push(error));
        match read_subnets(&self.dir) {
            Ok(subnets) => errors.extend(self.remove_bridge(subnets)),
            Err(error) => errors.push(error),
        }
        errors
    }

    /// Removes the bridge that was made for these subnets. One of the same name with another address is somebody else's.
    fn remove_bridge(&self, subnets: Option<Subnets>) -> Option<Error> {
        unless_foreign(Bridge::remove_with_address(
            &self.options.bridge,
            subnets?.v4.gateway,
        ))
    }

    /// The network's subnets: those of its owners, or with none yet, some that are free.
    fn choose_subnets(&self, host: &mut Connection) -> Result<Subnets> {
        let config = Config::read(&self.dir)?.unwrap_or_default();
        let current = config.subnets()?;
        if let (Some(current), false) = (current, self.ipam.leases()?.is_empty()) {
            return self.check_current(current);
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
        let chosen = self.free_subnets(host, current)?;
        let chosen_config = Config::new(&chosen, config.made.clone());
        if config != chosen_config {
            // A crash may have left the bridge, with the gateway's address of the old subnet.
            self.remove_bridge(current).map_or(Ok(()), Err)?;
            chosen_config.write(&self.dir)?;
        }
        Ok(chosen)
    }

    /// Whether the subnets of those who are attached are those that are asked for.
    fn check_current(&self, current: Subnets) -> Result<Subnets> {
        let wanted = [self.options.subnet, self.options.subnet6];
        let actual = [Some(current.v4), current.v6];
        for (wanted, actual) in wanted.into_iter().zip(actual) {
            match (wanted, actual.map(|one| one.subnet)) {
                (Some(requested), Some(current)) if requested != current => {
                    return Err(Error::SubnetDiffers {
                        network: self.options.name.clone(),
                        current,
                        requested,
                    });
                }
                _ => {}
            }
        }
        match self.options.ipv6 == current.v6.is_some() {
            true => Ok(current),
            false => Err(Error::InvalidNetwork {
                network: self.options.name.clone(),
                rule: "whether it has IPv6 cannot change while somebody is attached".to_owned(),
            }),
        }
    }

    /// Subnets that collide with nothing; those of before, if they still do not. Under the lock of subnets.
    fn free_subnets(&self, host: &mut Connection, before: Option<Subnets>) -> Result<Subnets> {
        let options = &self.options;
        let others = self.subnets_of_others()?;
        let mut used = pool::in_use(host, Some(&options.bridge), Family::V4)?;
        used.extend(&others);
        let v4 = pool::choose(options.subnet, before.map(|one| one.v4.subnet), &used)?;
        let v6 = match options.ipv6 {
            true => {
                let mut used = pool::in_use(host, Some(&options.bridge), Family::V6)?;
                used.extend(&others);
                let before = before.and_then(|one| Some(one.v6?.subnet));
                Some(pool::choose6(options.subnet6, before, &used)?)
            }
            false => None,
        };
        Ok(Subnets {
            v4: NetworkSubnet {
                subnet: v4,
                gateway: options.gateway.map_or_else(|| v4.gateway(), IpAddr::V4),
                range: options.range,
            },
            v6: v6.map(|v6| NetworkSubnet {
                subnet: v6,
                gateway: options.gateway6.map_or_else(|| v6.gateway(), IpAddr::V6),
                range: options.range6,
            }),
        })
    }

    /// The subnets of the other networks, which need not be on the host at the moment.
    fn subnets_of_others(&self) -> Result<Vec<Subnet>> {
        let mut subnets = Vec::new();
        for name in made::directories(&self.networks)? {
            let dir = self.networks.join(name);
            if dir != self.dir
                && let Some(Subnets { v4, v6 }) = read_subnets(&dir)?
            {
                subnets.extend([Some(v4), v6].into_iter().flatten().map(|one| one.subnet));
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

fn read_subnets(dir: &Path) -> Result<Option<Subnets>> {
    Config::read(dir)?.map_or(Ok(None), |config| config.subnets())
}

/// The gateway of a subnet of IPv6.
fn gateway6(subnet: NetworkSubnet) -> Option<Ipv6Addr> {
    match subnet.gateway {
        IpAddr::V6(gateway) => Some(gateway),
        IpAddr::V4(_) => None,
    }
}

/// What is to be guarded of the ways out.
fn guarded(names: &BTreeSet<String>, ways: &BTreeMap<String, Link>) -> BTreeSet<Guarded> {
    let one = |name: &String| Guarded {
        name: name.clone(),
        is_bridge: ways.get(name).is_some_and(|link| link.kind == "bridge"),
    };
    names.iter().map(one).collect()
}

/// The error, unless it is that something foreign has the name: that is not ours to remove.
fn unless_foreign(removed: Result<()>) -> Option<Error> {
    removed
        .err()
        .filter(|error| !matches!(error, Error::NameTaken { .. }))
}

/// The interfaces by which the host reaches others, by name: what answers to containers come in by.
fn ways_out(host: &mut Connection, family: Family, own: &Bridge) -> Result<BTreeMap<String, Link>> {
    let why = "so that the interfaces are known by which answers to containers come in";
    let routes = rtnl::routes(host, why, family)?.into_iter();
    let ways: BTreeSet<u32> = routes
        .filter(|route| route.unicast && !is_link_local(&route.destination))
        .flat_map(|route| route.interfaces)
        .filter(|index| *index != own.index())
        .collect();
    // Not all there are: with many containers, there are as many cables.
    let links = rtnl::links_at(host, why, ways)?.into_iter();
    Ok(links
        .filter(|link| !link.loopback && !is_ours(link))
        .map(|link| (link.name.clone(), link))
        .collect())
}

/// Whether the destination is a neighbour on the very link, which every interface with IPv6 has a route to.
fn is_link_local(destination: &Subnet) -> bool {
    match destination.network() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => matches!(address.segments()[0] & 0xffc0, 0xfe80 | 0xff00),
    }
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
}
