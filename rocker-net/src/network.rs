//! A network: bridge, addresses, NAT and forwarding together, for as long as a container is attached.

mod config;
mod firewall;
mod macs;
mod made;
mod names;
mod options;
mod ports;
mod rules;
mod subnets;
mod ways;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bridge::{check_interface_name, mac};
use crate::endpoint::open_inside;
use crate::forwarding::Forwarding;
use crate::ipam::check_name;
use crate::lock::Lock;
use crate::netlink::{Connection, Protocol};
use crate::rtnl::Family;
use crate::{Bridge, BridgeOptions, Endpoint, EndpointOptions, Error, Ipam, Result, rtnl};

use config::{Config, Made, Subnets};
use subnets::{gateway6, read_subnets};
use ways::{Guards, WAYS};

pub use names::HostNames;
pub use options::{AttachOptions, Attachment, NetworkOptions, NetworkSubnet};
pub use rules::RuleLine;

/// Below the state directory.
pub(crate) const NETWORKS: &str = "networks";

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
    forwarding6: Forwarding,
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
            forwarding6: forwarding.of_ipv6(),
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
        // The first to be opened is the last to be closed: that waits until the kernel has freed what a transaction replaced (an
        // RCU grace period, some milliseconds), and the cable is made meanwhile.
        let mut netfilter = Connection::open(Protocol::Netfilter)?;
        let mut inside = open_inside(netns, self.options.ipv6)?;
        let mut host = Connection::open(Protocol::Route)?;
        let (attachment, bridge) = self.ensure(&mut host, &mut netfilter, owner, options)?;
        // From here on the lease alone keeps the network in being, and others need not wait.
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

    /// How `owner` is attached who has these addresses, and this MAC address, if it is not the one that follows from them.
    fn described(
        &self,
        owner: &str,
        subnets: &Subnets,
        addresses: &[IpAddr],
        own_mac: Option<[u8; 6]>,
    ) -> Attachment {
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
            mac: own_mac.or_else(|| Some(mac(address))),
            host_interface: self.host_interface(owner),
        }
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
        errors.extend(self.note_mac(owner, None).err());
        // One whose lease cannot be taken back is still there.
        let others = self.ipam.give_back(owner);
        let is_last = matches!(others, Ok(false));
        errors.extend(others.err());
        match lock {
            Ok(_lock) if is_last => errors.extend(self.take_down()),
            lock => errors.extend(lock.err()),
        }
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
        self.forget_mac(owner)?;
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
        let macs = self.macs()?;
        let described = |(owner, addresses): (String, Vec<IpAddr>)| {
            let mac = macs.get(&owner).copied();
            let attachment = self.described(&owner, &subnets, &addresses, mac);
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
    ) -> Result<(Attachment, Bridge)> {
        let NetworkOptions { bridge, mtu, .. } = &self.options;
        let _lock = self.lock()?;
        let leasing = self.ipam.begin()?;
        let subnets = self.choose_subnets(host, leasing.is_none())?;
        let mut leases = vec![subnets.v4.lease(wanted.address.map(IpAddr::V4))];
        leases.extend(
            subnets
                .v6
                .map(|v6| v6.lease(wanted.address6.map(IpAddr::V6))),
        );
        let addresses = leasing.lease_each(owner, &leases)?;
        self.note_mac(owner, wanted.mac)?;
        let mut options = BridgeOptions::new(bridge, subnets.v4.subnet).address(subnets.v4.gateway);
        if let (Some(v6), Some(gateway)) = (subnets.v6, subnets.v6.and_then(gateway6)) {
            options = options.ipv6(gateway, v6.subnet.prefix_len());
        }
        options.mtu = *mtu;
        // Of one that is internal nothing leads anywhere.
        let routes = match self.options.internal {
            true => Vec::new(),
            false => rtnl::routes(host, WAYS, Family::V4)?,
        };
        let made = Bridge::ensure_by(host, &options, &routes)?;
        let attachment = self.described(owner, &subnets, &addresses, wanted.mac);
        let member = self.member(owner, &attachment);
        if self.options.internal {
            let nat = self.nat(&subnets, Guards::default());
            self.protect(netfilter, &nat, &member)?;
            return Ok((attachment, made));
        }
        let claims = self.claim(host, &subnets, Some(made.index()), routes)?;
        let nat = self.nat(&subnets, claims.guards());
        // The guard is up before anything forwards, or is plugged in.
        self.protect(netfilter, &nat, &member)?;
        claims.switch_on(made.link())?;
        Ok((attachment, made))
    }

    /// What [`Network::ensure`] made, in reverse; under the lock.
    fn take_down(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(self.forwarding.release(&self.options.name).err());
        if self.options.ipv6 {
            errors.extend(self.forwarding6.release(&self.options.name).err());
        }
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

    fn table(&self) -> String {
        format!("rocker-{}", self.options.name)
    }

    fn lock(&self) -> Result<Lock> {
        let why = "so that the first container makes the network and the last one removes it, one at a time";
        let path = self.dir.join("lock");
        loop {
            let lock = Lock::acquire(&path, why)?;
            // Whoever held it may have removed the network, and somebody made one of the same name.
            if lock.is_in_place() {
                return Ok(lock);
            }
        }
    }
}

/// The error, unless it is that something foreign has the name: that is not ours to remove.
fn unless_foreign(removed: Result<()>) -> Option<Error> {
    removed
        .err()
        .filter(|error| !matches!(error, Error::NameTaken { .. }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
