//! Published ports in the packet filter: one map element a port, which says where it leads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::nat::{DNAT, IPV4, IPV6, NatOptions, PRIORITY_SRCNAT, from_subnet};
use crate::nft::{
    Base, Chain, ChainKind, Element, Expr, Family, Hook, Meta, Rule, Set, Table, Type, interface,
};
use crate::spoof::short;
use crate::{PortForward, Result, Transport};

/// The maps: a port at one address of the host, at all of them; of IPv4, of IPv6.
const MAPS: [&str; 4] = ["at4", "any4", "at6", "any6"];
/// What nft calls `dstnat`.
const PRIORITY_DSTNAT: i32 = -100;
/// The first byte of the addresses that never leave the host.
const LOOPBACK: u8 = 127;

/// The ports of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) owner: String,
    pub(crate) forwards: Vec<PortForward>,
    /// The container's addresses: at most one of each family is led to.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Transport {
    /// Its number in the header of IP.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl Published {
    fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    fn v6(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        })
    }

    /// Its elements of each of [`MAPS`].
    ///
    /// What is published on a loopback address has none: that is never on a wire, and what comes there is passed on by
    /// whoever holds the port. The same goes for a family of which the container has no address.
    pub(crate) fn elements(&self) -> Result<[Vec<Element>; 4]> {
        let mut all: [Vec<Element>; 4] = Default::default();
        let comment = format!("rocker: {}", short(&self.owner));
        for forward in &self.forwards {
            let protocol = [forward.transport.number()];
            let (v4, v6) = match forward.host_address {
                None => (true, true),
                Some(address) => (address.is_ipv4(), address.is_ipv6()),
            };
            let at = forward.host_address.filter(|at| !at.is_unspecified());
            if at.is_some_and(|at| at.is_loopback()) {
                continue;
            }
            for (host, inside) in forward.pairs()? {
                let (host, inside) = (host.to_be_bytes(), inside.to_be_bytes());
                let mut add = |family: usize, to: &[u8]| {
                    let element = Element::new(comment.clone());
                    let (map, element) = match at {
                        Some(IpAddr::V4(at)) => (family, element.key(&at.octets())),
                        Some(IpAddr::V6(at)) => (family, element.key(&at.octets())),
                        None => (family + 1, element),
                    };
                    let element = element.key(&protocol).key(&host).data(to).data(&inside);
                    all[map].push(element);
                };
                if let (true, Some(to)) = (v4, self.v4()) {
                    add(0, &to.octets());
                }
                if let (true, Some(to)) = (v6, self.v6()) {
                    add(2, &to.octets());
                }
            }
        }
        Ok(all)
    }
}

/// The name of the table with the ports of a network: none of another network's can have it, since those go on with `-`.
pub(crate) fn table_name(network: &str) -> String {
    format!("rocker_ports-{network}")
}

/// Names the maps together with the elements for them.
pub(crate) fn by_map(
    elements: [Vec<Element>; 4],
) -> impl Iterator<Item = (&'static str, Vec<Element>)> {
    MAPS.into_iter().zip(elements)
}

/// The table, with the ports of `all`.
pub(crate) fn table<'a>(
    name: String,
    nat: &NatOptions,
    all: impl IntoIterator<Item = &'a Published>,
) -> Result<Table> {
    let mut elements: [Vec<Element>; 4] = Default::default();
    for published in all {
        for (all, own) in elements.iter_mut().zip(published.elements()?) {
            all.extend(own);
        }
    }
    const AT4: &[Type] = &[Type::Ipv4, Type::L4proto, Type::Port];
    const AT6: &[Type] = &[Type::Ipv6, Type::L4proto, Type::Port];
    const ANY: &[Type] = &[Type::L4proto, Type::Port];
    const TO4: &[Type] = &[Type::Ipv4, Type::Port];
    const TO6: &[Type] = &[Type::Ipv6, Type::Port];
    let kinds = [
        ("where a port of one address of the host's leads", AT4, TO4),
        (
            "where a port of every address of the host's leads",
            ANY,
            TO4,
        ),
        ("where a port of one address of the host's leads", AT6, TO6),
        (
            "where a port of every address of the host's leads",
            ANY,
            TO6,
        ),
    ];
    let sets = by_map(elements).zip(kinds);
    let chain = |name, why, hook, priority, rules| Chain {
        name,
        why,
        kind: ChainKind::Nat,
        hook,
        priority,
        rules,
    };
    Ok(Table {
        family: Family::INET,
        name,
        sets: sets
            .map(|((name, elements), (why, key, data))| Set {
                name,
                why,
                key,
                data,
                elements,
            })
            .collect(),
        chains: vec![
            chain(
                "prerouting",
                "what comes to a published port from elsewhere",
                Hook::Prerouting,
                PRIORITY_DSTNAT,
                translations(false),
            ),
            chain(
                "output",
                "what the host itself sends to a published port",
                Hook::Output,
                PRIORITY_DSTNAT,
                translations(true),
            ),
            chain(
                "postrouting",
                "answers between neighbours come back by the host",
                Hook::Postrouting,
                PRIORITY_SRCNAT,
                hairpins(nat),
            ),
        ],
    })
}

/// From a port of the host to one of a container. What the host sends to its own loopback (`own`) is left alone: it could not
/// leave under that address, but with `route_localnet`, by which a bridge would take packets for 127.0.0.1 as well.
fn translations(own: bool) -> Vec<Rule> {
    let family = |number| vec![Expr::Meta(Meta::Nfproto), Expr::Equal(vec![number])];
    let payload = |base, offset, len| Expr::Payload { base, offset, len };
    let port = || vec![Expr::Meta(Meta::L4proto), payload(Base::Transport, 2, 2)];
    // fib daddr type local, and not on loopback
    let local = |not_loopback: Vec<Expr>| {
        let mut all = vec![
            Expr::DaddrType,
            Expr::Equal(2_u32.to_ne_bytes().to_vec()), // RTN_LOCAL
        ];
        all.extend(not_loopback.into_iter().filter(|_| own));
        all
    };
    let not_127 = vec![
        payload(Base::Network, 16, 1),
        Expr::NotEqual(vec![LOOPBACK]),
    ];
    let not_1 = vec![
        payload(Base::Network, 24, 16),
        Expr::NotEqual(Ipv6Addr::LOCALHOST.octets().to_vec()),
    ];
    let dnat = |map, v4| vec![Expr::Map(map), Expr::Dnat { v4 }];
    let daddr4 = vec![payload(Base::Network, 16, 4)];
    let daddr6 = vec![payload(Base::Network, 24, 16)];
    vec![
        Rule::new(
            "rocker: ports published on one address",
            [family(IPV4), daddr4, port(), dnat(MAPS[0], true)].concat(),
        ),
        Rule::new(
            "rocker: ports published on every address",
            [family(IPV4), local(not_127), port(), dnat(MAPS[1], true)].concat(),
        ),
        Rule::new(
            "rocker: ports published on one address of IPv6",
            [family(IPV6), daddr6, port(), dnat(MAPS[2], false)].concat(),
        ),
        Rule::new(
            "rocker: ports published on every address of IPv6",
            [family(IPV6), local(not_1), port(), dnat(MAPS[3], false)].concat(),
        ),
    ]
}

/// A container that talks by a published port to one of its own network, or to itself, would get the answer past the host, from
/// somebody whom it has not asked. So it talks as the host.
fn hairpins(nat: &NatOptions) -> Vec<Rule> {
    let subnets = [Some(&nat.subnet), nat.subnet6.as_ref()];
    let rules = subnets.into_iter().flatten().map(|subnet| {
        let mut expressions = from_subnet(subnet);
        expressions.extend([
            Expr::Meta(Meta::OifName),
            Expr::Equal(interface(&nat.bridge)),
            Expr::CtStatus,
            Expr::Mask(DNAT.to_ne_bytes().to_vec()),
            Expr::NotEqual(vec![0; 4]),
            Expr::Masquerade,
        ]);
        let comment = format!("rocker: {subnet} reaches its own published ports as the host does");
        Rule::new(comment, expressions)
    });
    rules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(forwards: &[&str], addresses: &[&str]) -> Vec<String> {
        let published = Published {
            owner: "c".to_owned(),
            forwards: forwards.iter().map(|text| text.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let nat = NatOptions::new("t", "rocker0", "10.88.0.0/16".parse().unwrap());
        let table = table(table_name("n"), &nat, [&published]).unwrap();
        let sets = table.sets.iter();
        sets.flat_map(|set| {
            let elements = set.elements.iter();
            elements.map(move |element| format!("{} {}", set.name, set.element(element)))
        })
        .collect()
    }

    #[test]
    fn each_port_is_one_element_of_each_family_that_the_container_has() {
        assert_eq!(
            said(&["8080-8081:80-81"], &["10.88.0.2"]),
            [
                "any4 tcp . 8080 : 10.88.0.2 . 80",
                "any4 tcp . 8081 : 10.88.0.2 . 81"
            ]
        );
        assert_eq!(
            said(&["53:53/udp"], &["10.88.0.2", "fd00::2"]),
            [
                "any4 udp . 53 : 10.88.0.2 . 53",
                "any6 udp . 53 : fd00::2 . 53"
            ]
        );
        assert_eq!(
            said(
                &["192.0.2.1:80:8080", "[2001:db8::1]:80:8080"],
                &["10.88.0.2", "fd00::2"]
            ),
            [
                "at4 192.0.2.1 . tcp . 80 : 10.88.0.2 . 8080",
                "at6 2001:db8::1 . tcp . 80 : fd00::2 . 8080"
            ]
        );
    }

    #[test]
    fn a_port_of_the_loopback_is_nothing_that_the_packet_filter_knows() {
        let loopback = ["127.0.0.1:80:80", "[::1]:80:80", "127.0.0.9:81:81/udp"];
        assert!(said(&loopback, &["10.88.0.2", "fd00::2"]).is_empty());
        assert_eq!(
            said(&["0.0.0.0:80:80"], &["10.88.0.2", "fd00::2"]),
            ["any4 tcp . 80 : 10.88.0.2 . 80"]
        );
    }

    #[test]
    fn the_rules_say_in_words_what_they_do() {
        let nat = NatOptions::new("t", "rocker0", "10.88.0.0/16".parse().unwrap());
        let table = table(table_name("n"), &nat, []).unwrap();
        let texts: Vec<_> = table
            .chains
            .iter()
            .map(|chain| chain.rules.iter().map(Rule::text).collect::<Vec<_>>())
            .collect();
        assert_eq!(
            texts[1][1],
            "meta nfproto ipv4 fib daddr type local ip daddr != 127 \
             dnat to meta l4proto . th dport map @any4"
        );
        assert_eq!(
            texts[2][0],
            "meta nfproto ipv4 ip saddr 10.88.0.0/16 oifname \"rocker0\" ct status dnat masquerade"
        );
    }
}
