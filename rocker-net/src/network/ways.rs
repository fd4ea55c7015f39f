//! The ways out: of the host, and of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::Network;
use super::config::Subnets;
use crate::bridge::is_ours;
use crate::endpoint::default_routes;
use crate::forwarding::{Claim, Forwarding};
use crate::nat::Guarded;
use crate::netlink::{Connection, Protocol};
use crate::netns::connect_in;
use crate::rtnl::{Family, Link, Route};
use crate::{Error, Result, Subnet, rtnl};

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

/// The interfaces that forward for the sake of containers alone, of each protocol.
#[derive(Debug, Default)]
pub(super) struct Guards {
    pub(super) v4: BTreeSet<Guarded>,
    pub(super) v6: BTreeSet<Guarded>,
}

/// What has been written down of forwarding, and is to be switched on.
pub(super) struct Claims<'a> {
    v4: Claim<'a>,
    v6: Option<Claim<'a>>,
    guards: Guards,
    forwarding: &'a Forwarding,
    forwarding6: &'a Forwarding,
}

impl Claims<'_> {
    /// What is to be guarded before it is switched on.
    pub(super) fn guards(&self) -> Guards {
        let Guards { v4, v6 } = &self.guards;
        Guards {
            v4: v4.clone(),
            v6: v6.clone(),
        }
    }

    pub(super) fn switch_on(self, bridge: &Link) -> Result<()> {
        self.forwarding.enable_own(&bridge.name, bridge.forwards)?;
        self.v4.switch_on()?;
        if let Some(claim) = self.v6 {
            self.forwarding6.enable_own(&bridge.name, None)?;
            claim.switch_on()?;
        }
        Ok(())
    }
}

impl Network {
    /// Writes down by which interfaces the network, whose bridge has the index `own`, needs the host to forward, which has these `routes` of IPv4.
    pub(super) fn claim(
        &self,
        host: &mut Connection,
        subnets: &Subnets,
        own: Option<u32>,
        routes: Vec<Route>,
    ) -> Result<Claims<'_>> {
        let (name, bridge) = (&self.options.name, &self.options.bridge);
        let mut guards = Guards::default();
        let lock = self.forwarding.lock()?;
        let ways = ways_out(host, routes, own)?;
        // The kernel has said of each interface whether it forwards, under the lock.
        let known = ways.iter().map(|(name, link)| (name, link.forwards));
        let v4 = self.forwarding.claim(lock, name, known)?;
        guards.v4 = guarded(v4.guarded(), &ways);
        let v6 = match subnets.v6 {
            Some(_) => {
                let routes = rtnl::routes(host, WAYS, Family::V6)?;
                let ways = ways_out(host, routes, own)?;
                self.forwarding6.warn_if_impossible(bridge)?;
                let lock = self.forwarding6.lock()?;
                let unknown = ways.keys().map(|name| (name, None));
                let claim = self.forwarding6.claim(lock, name, unknown)?;
                guards.v6 = guarded(claim.guarded(), &ways);
                Some(claim)
            }
            None => None,
        };
        Ok(Claims {
            v4,
            v6,
            guards,
            forwarding: &self.forwarding,
            forwarding6: &self.forwarding6,
        })
    }

    /// What is guarded now.
    pub(super) fn guards(&self) -> Result<Guards> {
        let v4 = self.forwarding.guarded(&self.options.name)?;
        let v6 = match self.options.ipv6 {
            true => self.forwarding6.guarded(&self.options.name)?,
            false => BTreeSet::new(),
        };
        let mut links = BTreeMap::new();
        if !v4.is_empty() || !v6.is_empty() {
            let mut host = Connection::open(Protocol::Route)?;
            let why = "so that it is known which of the guarded interfaces are bridges";
            let all = rtnl::links(&mut host, why)?.into_iter();
            links.extend(all.map(|link| (link.name.clone(), link)));
        }
        Ok(Guards {
            v4: guarded(&v4, &links),
            v6: guarded(&v6, &links),
        })
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

/// Why one looks at routes, and at the interfaces that they lead to.
pub(super) const WAYS: &str =
    "so that the interfaces are known by which answers to containers come in";

/// The interfaces by which the host reaches others, by name: what answers to containers come in by. That of the index `own` is none.
fn ways_out(
    host: &mut Connection,
    routes: Vec<Route>,
    own: Option<u32>,
) -> Result<BTreeMap<String, Link>> {
    let ways: BTreeSet<u32> = routes
        .into_iter()
        .filter(|route| route.unicast && !is_link_local(&route.destination))
        .flat_map(|route| route.interfaces)
        .filter(|interface| Some(*interface) != own)
        .collect();
    // Not all there are: with many containers, there are as many cables.
    let links = rtnl::links_at(host, WAYS, ways)?.into_iter();
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
