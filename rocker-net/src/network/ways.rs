//! The ways out: of the host, and of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::Network;
use crate::bridge::is_ours;
use crate::endpoint::default_routes;
use crate::nat::Guarded;
use crate::netlink::{Connection, Protocol};
use crate::netns::connect_in;
use crate::rtnl::{Family, Link};
use crate::{Bridge, Error, Result, Subnet, rtnl};

impl Network {
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
}

/// What is to be guarded of the ways out.
pub(super) fn guarded(
    names: &BTreeSet<String>,
    ways: &BTreeMap<String, Link>,
) -> BTreeSet<Guarded> {
    let one = |name: &String| Guarded {
        name: name.clone(),
        is_bridge: ways.get(name).is_some_and(|link| link.kind == "bridge"),
    };
    names.iter().map(one).collect()
}

/// The interfaces by which the host reaches others, by name: what answers to containers come in by.
pub(super) fn ways_out(
    host: &mut Connection,
    family: Family,
    own: &Bridge,
) -> Result<BTreeMap<String, Link>> {
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
