//! An IP network and its addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::{Error, Result};

/// An IP network: an address whose host bits are zero, and the length of its prefix.
///
/// ```
/// use rocker_net::Subnet;
///
/// let subnet: Subnet = "10.88.0.0/16".parse()?;
/// assert_eq!(subnet.gateway().to_string(), "10.88.0.1");
/// assert!(subnet.contains("10.88.3.4".parse().unwrap()));
/// assert!(subnet.overlaps(&"10.88.128.0/17".parse()?));
/// # Ok::<(), rocker_net::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    network: IpAddr,
    prefix_len: u8,
}

impl Subnet {
    /// The network that `address` lies in, with `prefix_len` bits of network part; the host bits are cleared.
    ///
    /// # Errors
    ///
    /// [`Error::ParseSubnet`] if the prefix is longer than an address of this family.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self> {
        if prefix_len > width(address) {
            return Err(Error::ParseSubnet {
                text: format!("{address}/{prefix_len}"),
                reason: "the prefix is longer than the address",
            });
        }
        let network = from_bits(to_bits(address) & !host_mask(address, prefix_len), address);
        Ok(Self {
            network,
            prefix_len,
        })
    }

    /// The network's own address, the first of the range.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The length of the network part, in bits.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// The last address of the range: with IPv4, the broadcast address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        let mask = host_mask(self.network, self.prefix_len);
        from_bits(to_bits(self.network) | mask, self.network)
    }

    /// The first usable address, which rocker gives to the bridge.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        from_bits(*self.host_bits().start(), self.network)
    }

    /// Whether `address` lies in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4()
            && (to_bits(self.network)..=to_bits(self.last())).contains(&to_bits(address))
    }

    /// Whether the two networks have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The addresses that a host can have, in order: neither the network's own nor the broadcast address, except in
    /// networks so small that they have neither ([RFC 3021](https://www.rfc-editor.org/rfc/rfc3021)).
    #[must_use]
    pub fn hosts(&self) -> Hosts {
        Hosts {
            rest: self.host_bits(),
            family: self.network,
        }
    }

    /// Whether a host can have this address.
    pub(crate) fn has_host(&self, address: IpAddr) -> bool {
        self.contains(address) && self.host_bits().contains(&to_bits(address))
    }

    /// As [`Subnet::hosts`], but only those in `range`, where there is one, beginning behind `previous` and coming round to it last.
    pub(crate) fn hosts_within(
        &self,
        range: Option<Subnet>,
        previous: Option<IpAddr>,
    ) -> impl Iterator<Item = IpAddr> {
        let all = self.host_bits();
        let (first, last) = match range.filter(|range| range.overlaps(self)) {
            Some(range) => (
                to_bits(range.network).max(*all.start()),
                to_bits(range.last()).min(*all.end()),
            ),
            None => (*all.start(), *all.end()),
        };
        let previous = previous
            .filter(|address| self.contains(*address))
            .map(to_bits)
            .filter(|bits| (first..=last).contains(bits));
        // Beginning behind the last host leaves the first part empty.
        let start = previous.map_or(first, |bits| bits.saturating_add(1));
        let family = self.network;
        let behind = (start..=last).map(move |bits| from_bits(bits, family));
        behind.chain(
            (first..start.min(last.saturating_add(1))).map(move |bits| from_bits(bits, family)),
        )
    }

    fn host_bits(&self) -> RangeInclusive<u128> {
        let (first, last) = (to_bits(self.network), to_bits(self.last()));
        match (self.network, width(self.network) - self.prefix_len) {
            (_, 0 | 1) => first..=last,
            (IpAddr::V4(_), _) => first + 1..=last - 1,
            // IPv6 has no broadcast; its first address is every router's anycast address (RFC 4291 section 2.6.1).
            (IpAddr::V6(_), _) => first + 1..=last,
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    /// Reads `ADDRESS/LENGTH`. Host bits must be zero: `10.88.0.1/16` is more likely a mistake than a network.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason| Error::ParseSubnet {
            text: text.to_owned(),
            reason,
        };
        let (address, prefix_len) = text
            .split_once('/')
            .ok_or_else(|| wrong("it has no /LENGTH"))?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong("what stands before the / is no IP address"))?;
        if prefix_len.is_empty() || !prefix_len.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("what stands behind the / is no number"));
        }
        let prefix_len = prefix_len
            .parse()
            .map_err(|_| wrong("the prefix is longer than the address"))?;
        let subnet = Self::new(address, prefix_len)
            .map_err(|_| wrong("the prefix is longer than the address"))?;
        if subnet.network != address {
            return Err(wrong("the address has bits set behind the prefix"));
        }
        Ok(subnet)
    }
}

/// The usable addresses of a [`Subnet`], made by [`Subnet::hosts`].
#[derive(Clone, Debug)]
pub struct Hosts {
    rest: RangeInclusive<u128>,
    family: IpAddr,
}

impl Iterator for Hosts {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        self.rest.next().map(|bits| from_bits(bits, self.family))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn host_mask(address: IpAddr, prefix_len: u8) -> u128 {
    match width(address) - prefix_len {
        128 => u128::MAX,
        bits => (1 << bits) - 1,
    }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of the same family as `family` that `bits` stand for.
fn from_bits(bits: u128, family: IpAddr) -> IpAddr {
    match family {
        // The arithmetic above stays within the subnet, so within 32 bits.
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_subnet_is_refused_with_the_reason() {
        for (text, part) in [
            ("10.88.0.0", "no /LENGTH"),
            ("10.88.0/16", "no IP address"),
            ("10.88.0.0/x", "no number"),
            ("10.88.0.0/+8", "no number"),
            ("10.88.0.0/33", "longer"),
            ("10.88.0.0/999", "longer"),
            ("10.88.0.1/16", "bits set"),
        ] {
            let error = text.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_are_neither_network_nor_broadcast() {
        let hosts: Vec<_> = subnet("192.168.7.0/29")
            .hosts()
            .map(|a| a.to_string())
            .collect();
        assert_eq!(hosts.len(), 6);
        assert_eq!((&*hosts[0], &*hosts[5]), ("192.168.7.1", "192.168.7.6"));
        assert_eq!(subnet("10.0.0.0/31").hosts().count(), 2);
        assert_eq!(subnet("10.0.0.4/32").hosts().count(), 1);
        assert_eq!(subnet("0.0.0.0/0").gateway().to_string(), "0.0.0.1");
        assert_eq!(subnet("fd00:1::/64").gateway().to_string(), "fd00:1::1");
    }

    #[test]
    fn a_round_begins_behind_the_previous_address_and_meets_every_host_once() {
        let subnet = subnet("10.0.0.0/29");
        for previous in
            subnet
                .hosts()
                .map(Some)
                .chain([None, Some(subnet.last()), Some(subnet.network())])
        {
            let mut round: Vec<_> = subnet.hosts_within(None, previous).collect();
            if let Some(previous) =
                previous.filter(|address| subnet.hosts().any(|host| host == *address))
            {
                assert_eq!(round.last(), Some(&previous));
            }
            round.sort();
            assert_eq!(
                round,
                subnet.hosts().collect::<Vec<_>>(),
                "after {previous:?}"
            );
        }
    }

    #[test]
    fn families_never_overlap() {
        assert!(!subnet("0.0.0.0/0").overlaps(&subnet("::/0")));
        assert!(!subnet("::/0").contains("10.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn text_and_back_is_the_same(bits: u32, len in 0u8..=32) {
            let subnet = Subnet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap();
            prop_assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
            prop_assert!(subnet.contains(Ipv4Addr::from_bits(bits).into()));
        }

        #[test]
        fn overlap_is_symmetric_and_means_containment(a: u32, b: u32, x in 0u8..=32, y in 0u8..=32) {
            let (a, b) = (Ipv4Addr::from_bits(a).into(), Ipv4Addr::from_bits(b).into());
            let (a, b) = (Subnet::new(a, x).unwrap(), Subnet::new(b, y).unwrap());
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
            let inside = (a.contains(b.network()) && a.contains(b.last())) || (b.contains(a.network()) && b.contains(a.last()));
            prop_assert_eq!(a.overlaps(&b), inside);
        }
    }
}
