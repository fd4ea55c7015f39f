//! The choice of a subnet that nothing else on this host uses.

use std::net::Ipv4Addr;

use crate::netlink::Connection;
use crate::{Error, Result, Subnet, rtnl};

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

/// The subnets of the host's addresses and routes, other than those of `bridge`, which are the network's own.
pub(crate) fn in_use(host: &mut Connection, bridge: Option<&str>) -> Result<Vec<Subnet>> {
    let why = "so that the network gets a subnet that collides with nothing";
    let own = match bridge {
        Some(bridge) => rtnl::find_link(host, why, bridge)?.map(|link| link.index),
        None => None,
    };
    let addresses = rtnl::addresses(host, why)?.into_iter();
    let addresses = addresses
        .filter(|(_, index)| Some(*index) != own)
        .map(|(subnet, _)| subnet);
    let routes = rtnl::routes(host, why)?.into_iter();
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
    let collision = |subnet: &Subnet| used.iter().find(|used| used.overlaps(subnet)).copied();
    match wanted {
        Some(subnet) => match collision(&subnet) {
            Some(with) => Err(Error::SubnetCollides { subnet, with }),
            None => Ok(subnet),
        },
        None => {
            let mut all = preferred.into_iter().chain(candidates());
            all.find(|subnet| collision(subnet).is_none())
                .ok_or(Error::NoFreeSubnet)
        }
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
}
