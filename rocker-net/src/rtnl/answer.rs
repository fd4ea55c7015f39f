//! What the kernel answers of links, routes and addresses: only what is needed of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Link, Route};
use crate::{Subnet, nla};

/// `sizeof(struct ifinfomsg)`, `ifaddrmsg` and `rtmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_RUNNING: u32 = 1 << 6;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
/// `AF_INET`, as an attribute.
const AF_INET: u16 = 2;
/// `AF_INET6`, as a header has it.
const AF_INET6: u8 = 10;

pub(super) fn read_link(message: &[u8]) -> Option<Link> {
    let (header, attributes) = message.split_at_checked(LINK_HEADER)?;
    let flags = nla::read_u32(&header[8..12])?;
    let mut link = Link {
        index: nla::read_u32(&header[4..8])?,
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        running: flags & IFF_RUNNING != 0,
        ..Link::default()
    };
    for (kind, value) in nla::attributes(attributes) {
        match kind {
            IFLA_ADDRESS => link.mac = value.to_vec(),
            IFLA_IFNAME => link.name = nla::read_str(value),
            IFLA_MTU => link.mtu = nla::read_u32(value)?,
            IFLA_LINK => link.peer = nla::read_u32(value),
            IFLA_GROUP => link.group = nla::read_u32(value)?,
            IFLA_MASTER => link.bridge = nla::read_u32(value),
            IFLA_LINKINFO => {
                link.kind = nla::find(value, IFLA_INFO_KIND)
                    .map(nla::read_str)
                    .unwrap_or_default();
            }
            // The settings of net.ipv4.conf, of which forwarding is the first (IPV4_DEVCONF_FORWARDING).
            IFLA_AF_SPEC => {
                let settings =
                    nla::find(value, AF_INET).and_then(|four| nla::find(four, IFLA_INET_CONF));
                let first = settings.and_then(|settings| nla::read_u32(settings.get(..4)?));
                link.forwards = first.map(|forwards| forwards != 0);
            }
            _ => {}
        }
    }
    Some(link)
}

pub(super) fn read_route(message: &[u8]) -> Option<Route> {
    let (header, attributes) = message.split_at_checked(ROUTE_HEADER)?;
    let network = match nla::find(attributes, RTA_DST) {
        Some(value) => read_ip(value)?,
        None if header[0] == AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        None => Ipv4Addr::UNSPECIFIED.into(),
    };
    let mut interfaces: Vec<u32> = nla::find(attributes, RTA_OIF)
        .and_then(nla::read_u32)
        .into_iter()
        .collect();
    if let Some(mut hops) = nla::find(attributes, RTA_MULTIPATH) {
        // struct rtnexthop: length, flags, hops, interface; attributes follow.
        while let Some((hop, _)) = hops.split_first_chunk::<8>() {
            interfaces.push(u32::from_ne_bytes([hop[4], hop[5], hop[6], hop[7]]));
            let len = usize::from(u16::from_ne_bytes([hop[0], hop[1]])).max(8);
            hops = hops.get(nla::align(len)..).unwrap_or_default();
        }
    }
    Some(Route {
        destination: Subnet::new(network, header[1]).ok()?,
        unicast: header[7] == RTN_UNICAST,
        local: header[7] == RTN_LOCAL,
        interfaces,
    })
}

pub(super) fn read_address(message: &[u8]) -> Option<(Subnet, u32)> {
    let (header, attributes) = message.split_at_checked(ADDRESS_HEADER)?;
    let address = read_ip(nla::find(attributes, IFA_ADDRESS)?)?;
    Some((
        Subnet::new(address, header[1]).ok()?,
        nla::read_u32(&header[4..8])?,
    ))
}

/// The address itself: where a link has another end, that of this one.
pub(super) fn read_own_address(message: &[u8]) -> Option<IpAddr> {
    let attributes = message.get(ADDRESS_HEADER..)?;
    let own = nla::find(attributes, IFA_LOCAL).or_else(|| nla::find(attributes, IFA_ADDRESS));
    read_ip(own?)
}

pub(crate) fn read_ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value
            .first_chunk()
            .copied()
            .map(|bytes: [u8; 4]| Ipv4Addr::from(bytes).into()),
        16 => value
            .first_chunk()
            .copied()
            .map(|bytes: [u8; 16]| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}
