//! What a network is to be, and how somebody is attached to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Error, LeaseOptions, Result, Subnet};

/// What [`Network::open`](super::Network::open) is to open, or [`Network::create`](super::Network::create) to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkOptions {
    /// The network's name, which its directory and its nf_tables table (`rocker-NAME`) are named after.
    pub name: String,
    /// The name of its bridge on the host, up to 15 bytes.
    pub bridge: String,
    /// Its subnet of IPv4; `None` for one that collides with no route or address of the host.
    pub subnet: Option<Subnet>,
    /// The host's own address in it; `None` for the first.
    pub gateway: Option<Ipv4Addr>,
    /// The part of it that addresses are given from; `None` for all of it.
    pub range: Option<Subnet>,
    /// Whether there is IPv6 too.
    pub ipv6: bool,
    /// Its subnet of IPv6; `None` for a private one that is drawn by lot.
    pub subnet6: Option<Subnet>,
    /// The host's own address in it; `None` for the first.
    pub gateway6: Option<Ipv6Addr>,
    /// The part of it that addresses are given from; `None` for all of it.
    pub range6: Option<Subnet>,
    /// Whether there is no way out: neither translation nor forwarding nor a default route.
    pub internal: bool,
    /// Whether containers on it cannot reach each other.
    pub isolated: bool,
    /// The largest packet in bytes; `None` is the kernel's 1500.
    pub mtu: Option<u32>,
    /// What the caller wants to find it by.
    pub labels: BTreeMap<String, String>,
    /// What the caller wants to remember beside, for itself.
    pub notes: BTreeMap<String, String>,
}

impl Default for NetworkOptions {
    /// The network `bridge` on the bridge `rocker0`, with whatever subnet is free.
    fn default() -> Self {
        Self::new("bridge", "rocker0")
    }
}

impl NetworkOptions {
    /// A network called `name`, on a bridge called `bridge`.
    pub fn new(name: impl Into<String>, bridge: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bridge: bridge.into(),
            subnet: None,
            gateway: None,
            range: None,
            ipv6: false,
            subnet6: None,
            gateway6: None,
            range6: None,
            internal: false,
            isolated: false,
            mtu: None,
            labels: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Insists on this subnet, of IPv4 or IPv6.
    #[must_use]
    pub fn subnet(mut self, subnet: Subnet) -> Self {
        match subnet.network() {
            IpAddr::V4(_) => self.subnet = Some(subnet),
            IpAddr::V6(_) => {
                self.subnet6 = Some(subnet);
                self.ipv6 = true;
            }
        }
        self
    }

    /// Has the host have this address in the subnet of its family.
    #[must_use]
    pub fn gateway(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.gateway = Some(address),
            IpAddr::V6(address) => self.gateway6 = Some(address),
        }
        self
    }

    /// Gives addresses from this part of the subnet of its family alone.
    #[must_use]
    pub fn range(mut self, range: Subnet) -> Self {
        match range.network() {
            IpAddr::V4(_) => self.range = Some(range),
            IpAddr::V6(_) => self.range6 = Some(range),
        }
        self
    }

    /// Has IPv6 too, or not.
    #[must_use]
    pub fn ipv6(mut self, ipv6: bool) -> Self {
        self.ipv6 = ipv6;
        self
    }

    /// Has no way out.
    #[must_use]
    pub fn internal(mut self, internal: bool) -> Self {
        self.internal = internal;
        self
    }

    /// Keeps containers from each other.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// Gives bridge and endpoints this MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Checks what does not depend on the host: that gateways and ranges lie in their subnets, and there is room in those.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |rule: String| {
            let network = self.name.clone();
            Err(Error::InvalidNetwork { network, rule })
        };
        if self
            .mtu
            .is_some_and(|mtu| mtu < 68 || self.ipv6 && mtu < 1280)
        {
            return wrong("the MTU is at least 68 bytes, and 1280 with IPv6".to_owned());
        }
        let six = [self.subnet6, self.range6];
        if !self.ipv6 && (six.iter().any(Option::is_some) || self.gateway6.is_some()) {
            return wrong(
                "a subnet, gateway or range of IPv6 needs IPv6 to be asked for".to_owned(),
            );
        }
        for (subnet, gateway, range) in [
            (self.subnet, self.gateway.map(IpAddr::V4), self.range),
            (self.subnet6, self.gateway6.map(IpAddr::V6), self.range6),
        ] {
            let Some(subnet) = subnet else {
                match (gateway, range) {
                    (None, None) => continue,
                    _ => {
                        return wrong(
                            "a gateway or range needs the subnet that it lies in".to_owned(),
                        );
                    }
                }
            };
            if subnet.hosts().nth(1).is_none() {
                return wrong(format!(
                    "{subnet} has no room for a gateway and a container"
                ));
            }
            if let Some(gateway) = gateway.filter(|gateway| !subnet.has_host(*gateway)) {
                return wrong(format!(
                    "the gateway {gateway} is no address of a host in {subnet}"
                ));
            }
            let lies_within = |range: Subnet| {
                subnet.contains(range.network()) && range.prefix_len() >= subnet.prefix_len()
            };
            if let Some(range) = range.filter(|range| !lies_within(*range)) {
                return wrong(format!("the range {range} does not lie in {subnet}"));
            }
        }
        Ok(())
    }
}

/// A subnet of a network, and what the addresses in it are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkSubnet {
    /// The subnet.
    pub subnet: Subnet,
    /// The host's own address in it.
    pub gateway: IpAddr,
    /// The part that containers' addresses are given from; `None` for all of it.
    pub range: Option<Subnet>,
}

impl NetworkSubnet {
    /// A lease in it.
    pub(super) fn lease(&self, address: Option<IpAddr>) -> LeaseOptions {
        LeaseOptions::new(self.subnet)
            .gateway(self.gateway)
            .range(self.range)
            .address(address)
    }
}

/// How somebody is to be attached by [`Network::attach_with`](super::Network::attach_with).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachOptions {
    /// The name of the interface in the container.
    pub interface: String,
    /// The address of IPv4; `None` for whichever is free.
    pub address: Option<Ipv4Addr>,
    /// The address of IPv6; `None` for whichever is free.
    pub address6: Option<Ipv6Addr>,
    /// The MAC address of the interface; `None` for one that follows the address of IPv4.
    pub mac: Option<[u8; 6]>,
    /// Whether what is for no subnet goes this way. On an internal network there is no way out in any case.
    pub default_route: bool,
}

impl Default for AttachOptions {
    /// As `eth0`, with whatever addresses are free, and the way out.
    fn default() -> Self {
        Self {
            interface: "eth0".to_owned(),
            address: None,
            address6: None,
            mac: None,
            default_route: true,
        }
    }
}

impl AttachOptions {
    /// As the interface `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            interface: name.into(),
            ..Self::default()
        }
    }

    /// With this address.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.address = Some(address),
            IpAddr::V6(address) => self.address6 = Some(address),
        }
        self
    }

    /// With this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = Some(mac);
        self
    }

    /// With or without the way out.
    #[must_use]
    pub fn default_route(mut self, default_route: bool) -> Self {
        self.default_route = default_route;
        self
    }
}

/// How a container is connected, from [`Network::attach`](super::Network::attach).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The container's address.
    pub address: IpAddr,
    /// The length of the network part of `address`, in bits.
    pub prefix_len: u8,
    /// The host's address on the bridge, by which the container's default route leads.
    pub gateway: IpAddr,
    /// The container's address of IPv6, and the length of its network part in bits.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// The host's address of IPv6 on the bridge.
    pub gateway6: Option<Ipv6Addr>,
    /// The MAC address of the container's interface: the one that follows its address, unless it was attached with another one.
    pub mac: Option<[u8; 6]>,
    /// The name of the host's end of the cable.
    pub host_interface: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let subnet = |text: &str| text.parse::<Subnet>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let net = || NetworkOptions::new("n", "br-n").subnet(subnet("10.1.0.0/24"));
        let bare = || NetworkOptions::new("n", "br-n");
        assert!(net().check().is_ok());
        assert!(
            net()
                .gateway(address("10.1.0.9"))
                .range(subnet("10.1.0.128/25"))
                .check()
                .is_ok()
        );
        assert!(
            net()
                .subnet(subnet("fd00:1::/64"))
                .gateway(address("fd00:1::9"))
                .check()
                .is_ok()
        );
        for (options, part) in [
            (
                net().gateway(address("10.2.0.1")),
                "no address of a host in 10.1.0.0/24",
            ),
            (net().gateway(address("10.1.0.255")), "no address of a host"),
            (
                net().range(subnet("10.1.1.0/25")),
                "does not lie in 10.1.0.0/24",
            ),
            (
                net().range(subnet("10.1.0.0/16")),
                "does not lie in 10.1.0.0/24",
            ),
            (bare().gateway(address("10.1.0.1")), "needs the subnet"),
            (bare().range(subnet("10.1.0.0/25")), "needs the subnet"),
            (net().gateway(address("fd00::1")), "needs IPv6"),
            (bare().subnet(subnet("10.1.0.0/32")), "no room"),
            (net().mtu(67), "at least 68"),
            (net().ipv6(true).mtu(1279), "1280 with IPv6"),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
