//! The messages of NETLINK_ROUTE that this crate sends, and the answers that it reads.
//!
//! Messages are built with rtnetlink's message types. Of the answers only the attributes that are needed are read, so
//! that a newer kernel with attributes of another size cannot make the rest unreadable.
//! <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>

mod answer;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NetlinkSerializable,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::{Connection, Request};
use crate::{Error, Result, Subnet};

pub(crate) use answer::read_ip;
use answer::{read_address, read_link, read_own_address, read_route};

/// What is known of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    /// Whether it is ready to send: a bridge is when one of its ports is.
    pub(crate) running: bool,
    pub(crate) name: String,
    /// `veth`, `bridge`, …; empty for hardware.
    pub(crate) kind: String,
    pub(crate) mac: Vec<u8>,
    pub(crate) mtu: u32,
    /// The number by which the packet filter can name several interfaces at once; 0 if nobody gave one.
    pub(crate) group: u32,
    /// With veth, the index of the other end in its own namespace.
    pub(crate) peer: Option<u32>,
    /// The index of the bridge that it is plugged into.
    pub(crate) bridge: Option<u32>,
    /// Whether packets of IPv4 that come in by it are passed on, if the kernel says so.
    pub(crate) forwards: Option<bool>,
}

/// What is known of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Subnet,
    /// Whether it leads to neighbours, rather than to the host itself, to everybody (broadcast) or to nowhere.
    pub(crate) unicast: bool,
    /// Whether it leads to the host itself: the destination is an address of its own.
    pub(crate) local: bool,
    /// The indices of the interfaces it leaves by; several with a multipath route.
    pub(crate) interfaces: Vec<u32>,
}

/// One of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn number(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

fn request(
    message: &RouteNetlinkMessage,
    kind: &'static str,
    flags: u16,
    operation: &'static str,
    object: String,
) -> Request {
    let mut body = vec![0; message.buffer_len()];
    message.serialize(&mut body);
    Request {
        kind: (message.message_type(), kind),
        flags,
        body,
        operation,
        object,
        module: None,
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn set_up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

/// Asks for a bridge of this name, up and in this group, if there is none.
pub(crate) fn create_bridge(name: &str, mac: [u8; 6], group: u32, mtu: Option<u32>) -> Request {
    let mut message = named(name);
    set_up(&mut message);
    message
        .attributes
        .push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.push(LinkAttribute::Group(group));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
            InfoKind::Bridge,
        )]));
    let message = RouteNetlinkMessage::NewLink(message);
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut request = request(
        &message,
        "RTM_NEWLINK",
        flags,
        "create",
        format!("bridge {name}"),
    );
    request.module = Some("bridge");
    request
}

/// The two ends of a veth pair to be.
#[derive(Debug)]
pub(crate) struct VethPair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) container_name: &'a str,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: Option<u32>,
    pub(crate) bridge: &'a Link,
}

/// Asks for a veth pair: one end here, up and on the bridge, the other in the namespace from the beginning.
pub(crate) fn create_veth(pair: &VethPair<'_>) -> Request {
    let mut peer = named(pair.container_name);
    peer.attributes
        .push(LinkAttribute::NetNsFd(pair.netns.as_raw_fd()));
    peer.attributes
        .extend(pair.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    peer.attributes.extend(pair.mtu.map(LinkAttribute::Mtu));
    let mut message = named(pair.host_name);
    set_up(&mut message);
    message
        .attributes
        .push(LinkAttribute::Controller(pair.bridge.index));
    message.attributes.extend(pair.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let VethPair {
        host_name,
        container_name,
        netns,
        bridge,
        ..
    } = pair;
    let object = format!(
        "veth {host_name} peer {container_name} netns {} master {}",
        netns.as_raw_fd(),
        bridge.name
    );
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let message = RouteNetlinkMessage::NewLink(message);
    let mut request = request(&message, "RTM_NEWLINK", flags, "create", object);
    request.module = Some("veth");
    request
}

/// A question about interfaces, but not for what they have counted (Linux 4.7): to put that together takes the kernel longer than all the
/// rest, and nobody reads it here.
fn question(mut about: LinkMessage) -> RouteNetlinkMessage {
    let mask = vec![LinkExtentMask::SkipStats];
    about.attributes.push(LinkAttribute::ExtMask(mask));
    RouteNetlinkMessage::GetLink(about)
}

/// Asks for what is known of the interface. The answer is acknowledgement enough.
pub(crate) fn get_link(name: &str) -> Request {
    let message = question(named(name));
    request(
        &message,
        "RTM_GETLINK",
        0,
        "look up",
        format!("interface {name}"),
    )
}

/// Asks for all interfaces.
fn get_links() -> Request {
    let message = question(LinkMessage::default());
    request(
        &message,
        "RTM_GETLINK",
        NLM_F_DUMP,
        "list",
        "interfaces".to_owned(),
    )
}

/// Asks for the interface to be up, and to have this MTU if one is given.
pub(crate) fn set_link_up(name: &str, mtu: Option<u32>) -> Request {
    let mut message = named(name);
    set_up(&mut message);
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    let message = RouteNetlinkMessage::SetLink(message);
    request(
        &message,
        "RTM_SETLINK",
        NLM_F_ACK,
        "set up",
        format!("{name} up"),
    )
}

/// Asks for a port of a bridge to be isolated: the bridge passes nothing between two such ports (Linux 4.18).
///
/// Only a port that there is can be told; the kernel reads no settings of a port when it makes the interface.
pub(crate) fn isolate_port(name: &str) -> Request {
    let mut message = named(name);
    let port = InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)]);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(port),
    ]));
    let message = RouteNetlinkMessage::NewLink(message);
    request(
        &message,
        "RTM_NEWLINK",
        NLM_F_ACK,
        "isolate",
        format!("{name} isolated on"),
    )
}

/// Asks for the interface to be in this group.
pub(crate) fn set_link_group(name: &str, group: u32) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(group));
    let message = RouteNetlinkMessage::SetLink(message);
    request(
        &message,
        "RTM_SETLINK",
        NLM_F_ACK,
        "set group of",
        format!("{name} group {group}"),
    )
}

/// Asks for the interface to be removed.
pub(crate) fn delete_link(link: &Link) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    let message = RouteNetlinkMessage::DelLink(message);
    request(
        &message,
        "RTM_DELLINK",
        NLM_F_ACK,
        "remove",
        format!("{} {}", link.kind, link.name),
    )
}

/// Asks for the interface to have the address; having it already is fine. One of IPv6 can be used at once: nobody else on the
/// link can have it, so that the kernel need not spend a second on asking (duplicate address detection).
pub(crate) fn add_address(link: &Link, address: IpAddr, subnet: &Subnet) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = subnet.prefix_len();
    message.header.index = link.index;
    message.attributes.push(AddressAttribute::Address(address));
    message.attributes.push(AddressAttribute::Local(address));
    if address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    if let (IpAddr::V4(broadcast), 0..=30) = (subnet.last(), subnet.prefix_len()) {
        message
            .attributes
            .push(AddressAttribute::Broadcast(broadcast));
    }
    let object = format!("{address}/{} dev {}", subnet.prefix_len(), link.name);
    let message = RouteNetlinkMessage::NewAddress(message);
    request(
        &message,
        "RTM_NEWADDR",
        NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        "add address",
        object,
    )
}

/// Asks for a default route by `gateway`.
pub(crate) fn add_default_route(link: &Link, gateway: IpAddr) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
        .attributes
        .push(RouteAttribute::Gateway(gateway.into()));
    message.attributes.push(RouteAttribute::Oif(link.index));
    let object = format!("default via {gateway} dev {}", link.name);
    let message = RouteNetlinkMessage::NewRoute(message);
    request(
        &message,
        "RTM_NEWROUTE",
        NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        "add route",
        object,
    )
}

/// The interface of this name, if there is one.
pub(crate) fn find_link(
    host: &mut Connection,
    why: &'static str,
    name: &str,
) -> Result<Option<Link>> {
    let requests = [get_link(name)];
    let reply = host.exchange(why, &requests)?.remove(0);
    match reply.outcome {
        Ok(()) => read_reply(&reply.messages, &requests[0]).map(Some),
        Err(refusal) if refusal.is(libc::ENODEV) => Ok(None),
        Err(refusal) => Err(refusal.of(&requests[0])),
    }
}

/// The interfaces of these indices, in one go. One that is gone is left out.
pub(crate) fn links_at(
    host: &mut Connection,
    why: &'static str,
    indices: impl IntoIterator<Item = u32>,
) -> Result<Vec<Link>> {
    let ask = |index: u32| {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let message = question(message);
        let object = format!("interface {index}");
        request(&message, "RTM_GETLINK", 0, "look up", object)
    };
    let requests: Vec<_> = indices.into_iter().map(ask).collect();
    let mut links = Vec::new();
    if requests.is_empty() {
        return Ok(links);
    }
    for (reply, request) in host.exchange(why, &requests)?.into_iter().zip(&requests) {
        match reply.outcome {
            Ok(()) => links.push(read_reply(&reply.messages, request)?),
            Err(refusal) if refusal.is(libc::ENODEV) => {}
            Err(refusal) => return Err(refusal.of(request)),
        }
    }
    Ok(links)
}

/// The link in the answer to [`get_link`].
pub(crate) fn read_reply(messages: &[Vec<u8>], request: &Request) -> Result<Link> {
    messages
        .iter()
        .find_map(|message| read_link(message))
        .ok_or_else(|| Error::Answer {
            operation: request.operation,
            object: request.object.clone(),
            missing: "the interface",
        })
}

/// All interfaces of the namespace.
pub(crate) fn links(host: &mut Connection, why: &'static str) -> Result<Vec<Link>> {
    Ok(host
        .dump(why, get_links())?
        .iter()
        .filter_map(|message| read_link(message))
        .collect())
}

/// All routes of this family in the namespace, of all tables.
pub(crate) fn routes(
    host: &mut Connection,
    why: &'static str,
    family: Family,
) -> Result<Vec<Route>> {
    let mut message = RouteMessage::default();
    message.header.address_family = family.number();
    let message = RouteNetlinkMessage::GetRoute(message);
    let request = request(
        &message,
        "RTM_GETROUTE",
        NLM_F_DUMP,
        "list",
        format!("{} routes", family.name()),
    );
    Ok(host
        .dump(why, request)?
        .iter()
        .filter_map(|message| read_route(message))
        .collect())
}

/// All addresses of this family in the namespace, each with its subnet and the index of its interface.
pub(crate) fn addresses(
    host: &mut Connection,
    why: &'static str,
    family: Family,
) -> Result<Vec<(Subnet, u32)>> {
    let all = host.dump(why, get_addresses(family))?;
    Ok(all
        .iter()
        .filter_map(|message| read_address(message))
        .collect())
}

/// The namespace's own addresses of this family.
pub(crate) fn own_addresses(
    host: &mut Connection,
    why: &'static str,
    family: Family,
) -> Result<Vec<IpAddr>> {
    let all = host.dump(why, get_addresses(family))?;
    Ok(all
        .iter()
        .filter_map(|message| read_own_address(message))
        .collect())
}

fn get_addresses(family: Family) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family.number();
    let message = RouteNetlinkMessage::GetAddress(message);
    request(
        &message,
        "RTM_GETADDR",
        NLM_F_DUMP,
        "list",
        format!("{} addresses", family.name()),
    )
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => Family::V4.number(),
        IpAddr::V6(_) => Family::V6.number(),
    }
}
