//! The choice of a subnet that nothing else on this host uses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::netlink::Connection;
use crate::rtnl::Family;
use crate::{Error, Result, Subnet, file, rtnl};

/// Routes with a shorter prefix stand for the rest of the world, not for a network: the default route, and the halves
/// and quarters of it by which VPN software overrides it.
const SHORTEST_PREFIX: u8 = 4;

/// The private subnets that networks are made of, in order of preference (RFC 1918).
fn candidates() -> impl Iterator<Item = Subnet> {
    let tens = (88..=127).map(|second| ([10, second, 0, 0], 16));
    let hundreds = (20..=31).map(|second| ([172, second, 0, 0], 16));
    let smalls = (100..=254).map(|third| ([192, 168, third, 0], 24));
    tens.chain(hundreds)
        .chain(smalls)
        .filter_map(|(octets, len)| Subnet::new(Ipv4Addr::from(octets).into(), len).ok())
}

/// Private subnets of IPv6 that nobody else is likely to have: their first 40 bits behind `fd` are drawn by lot (RFC 4193).
fn candidates6(lot: [u8; 5]) -> impl Iterator<Item = Subnet> {
    (0..=255_u8).filter_map(move |number| {
        let mut bytes = [0; 16];
        bytes[0] = 0xfd;
        bytes[1..6].copy_from_slice(&lot);
        bytes[7] = number;
        Subnet::new(Ipv6Addr::from(bytes).into(), 64).ok()
    })
}

/// Draws such a lot.
fn lot() -> Result<[u8; 5]> {
    let path = Path::new("/dev/urandom");
    let why = "so that the network's IPv6 subnet is nobody else's, see RFC 4193";
    let mut lot = [0; 5];
    file::read_exact(path, &mut lot, why).map_err(|error| Error::file("read", path, error))?;
    Ok(lot)
}

/// The subnets of the host's addresses and routes, other than those of `bridge`, which are the network's own.
pub(crate) fn in_use(
    host: &mut Connection,
    bridge: Option<&str>,
    family: Family,
) -> Result<Vec<Subnet>> {
    let why = "so that the network gets a subnet that collides with nothing";
    let own = match bridge {
        Some(bridge) => rtnl::find_link(host, why, bridge)?.map(|link| link.index),
        None => None,
    };
    let addresses = rtnl::addresses(host, why, family)?.into_iter();
    let addresses = addresses
        .filter(|(_, index)| Some(*index) != own)
        .map(|(subnet, _)| subnet);
    let routes = rtnl::routes(host, why, family)?.into_iter();
    let routes = routes
        .filter(|route| route.destination.prefix_len() >= SHORTEST_PREFIX)
        .filter(|route| {
            route.interfaces.is_empty() || route.interfaces.iter().any(|index| Some(*index) != own)
        })
        .map(|route| route.destination);
    Ok(addresses.chain(routes).collect())
}

/// The subnet `wanted` if nothing in `used` overlaps it, or without one the first free of `preferred` and the pool.
pub(crate) fn choose(
    wanted: Option<Subnet>,
    preferred: Option<Subnet>,
    used: &[Subnet],
) -> Result<Subnet> {
    choose_of(wanted, preferred.into_iter().chain(candidates()), used)
}

/// The same for IPv6.
pub(crate) fn choose6(
    wanted: Option<Subnet>,
    preferred: Option<Subnet>,
    used: &[Subnet],
) -> Result<Subnet> {
    let is_free = |subnet: &Subnet| !used.iter().any(|used| used.overlaps(subnet));
    if let Some(subnet) = preferred.filter(|preferred| wanted.is_none() && is_free(preferred)) {
        return Ok(subnet);
    }
    match wanted {
        Some(_) => choose_of(wanted, std::iter::empty(), used),
        None => choose_of(None, candidates6(lot()?), used),
    }
}

fn choose_of(
    wanted: Option<Subnet>,
    mut candidates: impl Iterator<Item = Subnet>,
    used: &[Subnet],
) -> Result<Subnet> {
    let collision = |subnet: &Subnet| used.iter().find(|used| used.overlaps(subnet)).copied();
    match wanted {
        Some(subnet) => match collision(&subnet) {
            Some(with) => Err(Error::SubnetCollides { subnet, with }),
            None => Ok(subnet),
        },
        None => candidates
            .find(|subnet| collision(subnet).is_none())
            .ok_or(Error::NoFreeSubnet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: Option<&str>, preferred: Option<&str>, used: &[&str]) -> Result<String> {
        let parse = |text: &str| text.parse::<Subnet>().unwrap();
        let used: Vec<_> = used.iter().map(|text| parse(text)).collect();
        choose(wanted.map(parse), preferred.map(parse), &used).map(|subnet| subnet.to_string())
    }

    #[test]
    fn the_first_subnet_that_collides_with_nothing_is_chosen() {
        assert_eq!(chosen(None, None, &[]).unwrap(), "10.88.0.0/16");
        assert_eq!(
            chosen(None, None, &["10.88.5.0/24"]).unwrap(),
            "10.89.0.0/16"
        );
        assert_eq!(
            chosen(None, None, &["10.0.0.0/8"]).unwrap(),
            "172.20.0.0/16"
        );
        assert_eq!(
            chosen(None, None, &["10.0.0.0/8", "172.16.0.0/12"]).unwrap(),
            "192.168.100.0/24"
        );
    }

    #[test]
    fn the_subnet_of_before_is_kept_unless_it_collides_now() {
        assert_eq!(
            chosen(None, Some("10.99.0.0/16"), &[]).unwrap(),
            "10.99.0.0/16"
        );
        assert_eq!(
            chosen(None, Some("10.99.0.0/16"), &["10.99.0.0/24"]).unwrap(),
            "10.88.0.0/16"
        );
    }

    #[test]
    fn a_wish_that_cannot_be_granted_is_an_error_that_says_what_is_there() {
        let error = chosen(Some("10.5.0.0/16"), None, &["10.5.3.0/24"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("10.5.0.0/16") && error.contains("10.5.3.0/24"),
            "{error}"
        );
        let all = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
        assert!(matches!(chosen(None, None, &all), Err(Error::NoFreeSubnet)));
    }

    #[test]
    fn a_subnet_of_ipv6_is_private_and_drawn_by_lot() {
        let parse = |text: &str| text.parse::<Subnet>().unwrap();
        let (one, other) = (
            choose6(None, None, &[]).unwrap(),
            choose6(None, None, &[]).unwrap(),
        );
        assert_ne!(one, other);
        for subnet in [one, other] {
            assert!(
                parse("fd00::/8").overlaps(&subnet) && subnet.prefix_len() == 64,
                "{subnet}"
            );
        }
        let first = candidates6([1, 2, 3, 4, 5]).next().unwrap();
        assert_eq!(first.to_string(), "fd01:203:405::/64");
        let next = choose_of(None, candidates6([1, 2, 3, 4, 5]), &[first]).unwrap();
        assert_eq!(next.to_string(), "fd01:203:405:1::/64");
        let error = choose6(
            Some(parse("fd00:1::/48")),
            None,
            &[parse("fd00:1:0:2::/64")],
        );
        assert!(matches!(error, Err(Error::SubnetCollides { .. })));
    }
}
