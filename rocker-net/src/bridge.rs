//! The bridge that a network's containers are plugged into.

use std::net::{IpAddr, Ipv6Addr};

use crate::netlink::{Connection, Protocol};
use crate::rtnl::{self, Link, Route};
use crate::{Error, Result, Subnet, ipv6};

/// How the MAC address of every bridge of this crate begins: locally administered, and `r`. It is the mark by which a
/// bridge of ours is told from anybody else's of the same name; a link cannot be given an alias when it is created.
const MAC_PREFIX: [u8; 2] = [0x02, b'r'];
/// The interface group that every bridge of this crate is in (`rk`), whatever its name and whosever state directory it
/// belongs to: one rule can thus speak of them all.
pub(crate) const GROUP: u32 = 0x726b;

/// What [`Bridge::ensure`] is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeOptions {
    /// The name of the interface, up to 15 bytes.
    pub name: String,
    /// The host's own address on the bridge, which is the gateway of what is plugged in.
    pub address: IpAddr,
    /// The subnet that lies on the bridge.
    pub subnet: Subnet,
    /// The host's own address of IPv6, and the length of its network part in bits; `None` for a bridge without IPv6.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// The largest packet in bytes; `None` is the kernel's 1500.
    pub mtu: Option<u32>,
}

impl BridgeOptions {
    /// A bridge for `subnet`, with the subnet's [gateway](Subnet::gateway) as its address.
    pub fn new(name: impl Into<String>, subnet: Subnet) -> Self {
        Self {
            name: name.into(),
            address: subnet.gateway(),
            subnet,
            ipv6: None,
            mtu: None,
        }
    }

    /// Gives the bridge this address instead.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// Gives the bridge this address of IPv6 too, with so many bits of network part.
    #[must_use]
    pub fn ipv6(mut self, address: Ipv6Addr, prefix_len: u8) -> Self {
        self.ipv6 = Some((address, prefix_len));
        self
    }

    /// Gives the bridge this MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }
}

/// A bridge in the calling thread's network namespace: a switch made of software, with an address of the host on it.
///
/// It is shared by whoever plugs in, so it stays when this value is dropped; see [`Bridge::remove`].
#[derive(Clone, Debug)]
pub struct Bridge {
    link: Link,
}

impl Bridge {
    /// Makes the bridge, up and with its address, or takes the one that is there and repairs what it lacks.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`] if an interface of that name is not a bridge that this crate made for the same address,
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Unsupported`] on a kernel without bridges, [`Error::Netlink`] for the rest.
    #[doc(alias = "RTM_NEWLINK")]
    pub fn ensure(options: &BridgeOptions) -> Result<Self> {
        Self::ensure_by(&mut Connection::open(Protocol::Route)?, options, &[])
    }

    /// As [`Bridge::ensure`], by a socket that is open already. Where the host's `routes` show that it has its address, none is given to it.
    pub(crate) fn ensure_by(
        host: &mut Connection,
        options: &BridgeOptions,
        routes: &[Route],
    ) -> Result<Self> {
        let BridgeOptions {
            name,
            address,
            subnet,
            ipv6,
            mtu,
        } = options;
        check_interface_name(name)?;
        // Asking for it to be made costs no more than asking whether it is there.
        let requests = [
            rtnl::create_bridge(name, mac(*address), GROUP, *mtu),
            rtnl::get_link(name),
        ];
        let mut replies =
            host.exchange("so that containers have a switch to plug into", &requests)?;
        let (found, created) = (replies.remove(1), replies.remove(0));
        let is_new = match created.outcome {
            Ok(()) => true,
            Err(refusal) if refusal.is(libc::EEXIST) => false,
            Err(refusal) => return Err(refusal.of(&requests[0])),
        };
        found.outcome.map_err(|refusal| refusal.of(&requests[1]))?;
        let link = rtnl::read_reply(&found.messages, &requests[1])?;
        let bridge = Self::check(link, &mac(*address))?;
        let mut repairs = Vec::new();
        if !bridge.link.up || mtu.is_some_and(|mtu| mtu != bridge.link.mtu) {
            repairs.push(rtnl::set_link_up(name, *mtu));
        }
        if bridge.link.group != GROUP {
            repairs.push(rtnl::set_link_group(name, GROUP));
        }
        if !bridge.has(*address, subnet, routes) {
            repairs.push(rtnl::add_address(&bridge.link, *address, subnet));
        }
        if let Some((address, prefix_len)) = ipv6 {
            let address = IpAddr::V6(*address);
            let subnet = Subnet::new(address, *prefix_len)?;
            repairs.push(rtnl::add_address(&bridge.link, address, &subnet));
        }
        // One that is there already has been told so before.
        let prepared = match is_new {
            true => ipv6::set_up(name, ipv6.is_some() || address.is_ipv6()),
            false => Ok(()),
        };
        let completed = prepared.and_then(|()| match repairs.is_empty() {
            true => Ok(()),
            false => host.apply(
                "so that the bridge has the address which containers send everything to",
                &repairs,
            ),
        });
        if completed.is_err() && is_new {
            // The reason is what matters; that a bridge is left is the smaller trouble.
            let _ = host.apply(
                "so that no half-made bridge is left",
                &[rtnl::delete_link(&bridge.link)],
            );
        }
        completed.map(|()| bridge)
    }

    /// Whether the routes are those that the kernel makes for this address on it: one to the host itself, one to the subnet.
    fn has(&self, address: IpAddr, subnet: &Subnet, routes: &[Route]) -> bool {
        let mut own = routes
            .iter()
            .filter(|route| route.interfaces == [self.link.index]);
        let is_there = |route: &Route, destination: IpAddr, len: u8| {
            let route = (route.destination.network(), route.destination.prefix_len());
            route == (destination, len)
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let all = own.clone();
        own.any(|route| route.local && is_there(route, address, bits))
            && all
                .filter(|route| route.unicast)
                .any(|route| is_there(route, subnet.network(), subnet.prefix_len()))
    }

    /// The name of its interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// The index of its interface.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.link.index
    }

    /// What is known of its interface.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Removes the bridge. What was plugged in stays, unplugged.
    ///
    /// # Errors
    ///
    /// As [`Bridge::remove_by_name`].
    pub fn remove(self) -> Result<()> {
        Self::remove_by_name(&self.link.name)
    }

    /// Removes the bridge of this name. That there is none is fine.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`] if an interface of that name is not a bridge made by this crate, [`Error::Permission`]
    /// without CAP_NET_ADMIN, [`Error::Netlink`] for the rest.
    pub fn remove_by_name(name: &str) -> Result<()> {
        Self::remove_marked(name, &MAC_PREFIX)
    }

    /// Whether there is a bridge of this name that something is plugged into.
    pub(crate) fn is_in_use(host: &mut Connection, name: &str) -> Result<bool> {
        let why = "so that a bridge with containers of somebody else on it is left alone";
        let Some(bridge) = rtnl::find_link(host, why, name)? else {
            return Ok(false);
        };
        let links = rtnl::links(host, why)?;
        Ok(links.iter().any(|link| link.bridge == Some(bridge.index)))
    }

    /// As [`Bridge::remove_by_name`], but only the bridge that has `address`.
    pub(crate) fn remove_with_address(name: &str, address: IpAddr) -> Result<()> {
        Self::remove_marked(name, &mac(address))
    }

    fn remove_marked(name: &str, mark: &[u8]) -> Result<()> {
        let mut host = Connection::open(Protocol::Route)?;
        let why = "so that the host is left without the network's bridge";
        match rtnl::find_link(&mut host, why, name)? {
            Some(link) => delete(&mut host, why, &Self::check(link, mark)?.link),
            None => Ok(()),
        }
    }

    /// The bridge, if its MAC address begins with `mark`.
    fn check(link: Link, mark: &[u8]) -> Result<Self> {
        if is_marked(&link, mark) {
            return Ok(Self { link });
        }
        Err(Error::NameTaken {
            name: link.name,
            wanted: "the bridge that rocker made for this subnet",
        })
    }
}

/// Whether the interface is a bridge of this crate, of whatever network and state directory.
pub(crate) fn is_ours(link: &Link) -> bool {
    is_marked(link, &MAC_PREFIX)
}

fn is_marked(link: &Link, mark: &[u8]) -> bool {
    link.kind == "bridge" && link.mac.starts_with(mark)
}

/// Removes the interface. That it has gone meanwhile is fine.
pub(crate) fn delete(host: &mut Connection, why: &'static str, link: &Link) -> Result<()> {
    let requests = [rtnl::delete_link(link)];
    match host.exchange(why, &requests)?.remove(0).outcome {
        Err(refusal) if refusal.is(libc::ENODEV) => Ok(()),
        outcome => outcome.map_err(|refusal| refusal.of(&requests[0])),
    }
}

/// The MAC address that goes with an IP address. An address that comes back in another container thus means the same
/// MAC address, and no neighbour's ARP cache is ever wrong; a bridge with an address given to it keeps it, while one
/// without takes that of whatever port has the lowest.
pub(crate) fn mac(address: IpAddr) -> [u8; 6] {
    let mut mac = [MAC_PREFIX[0], MAC_PREFIX[1], 0, 0, 0, 0];
    match address {
        IpAddr::V4(address) => mac[2..].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => mac[2..].copy_from_slice(&address.octets()[12..]),
    }
    mac
}

/// Checks what the kernel would only call an invalid argument.
pub(crate) fn check_interface_name(name: &str) -> Result<()> {
    let bad = |byte: u8| {
        byte == b'/' || byte == b':' || byte == b'%' || byte.is_ascii_whitespace() || byte == 0
    };
    // In /proc/sys, `all` and `default` stand for settings of the whole host.
    let reserved = matches!(name, "" | "." | ".." | "all" | "default");
    if !reserved && name.len() <= 15 && !name.bytes().any(bad) {
        return Ok(());
    }
    let rule = "1 to 15 bytes, without '/', ':', '%' and blanks, and neither 'all' nor 'default'";
    Err(Error::InvalidName {
        kind: "interface name",
        name: name.to_owned(),
        rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_that_the_kernel_refuses_are_refused_by_name() {
        for name in ["", "sixteen-bytes-ab", "a b", "a/b", "..", "a:1", "all"] {
            assert!(
                matches!(check_interface_name(name), Err(Error::InvalidName { .. })),
                "{name}"
            );
        }
        assert!(check_interface_name("fifteen-bytes-a").is_ok());
    }

    #[test]
    fn a_mac_address_is_unicast_locally_administered_and_follows_the_address() {
        let mac = mac("10.88.0.2".parse().unwrap());
        assert_eq!(mac, [0x02, 0x72, 10, 88, 0, 2]);
        assert_eq!(mac[0] & 0b11, 0b10);
    }
}
