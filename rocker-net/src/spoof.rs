//! Containers speak for themselves alone: what a container sends under the address of another one, of the host or of a
//! router is dropped at the port of the bridge that it comes in by.

use std::net::{IpAddr, Ipv6Addr};

use crate::nft::{
    Base, Chain, ChainKind, Element, Expr, Family, Hook, Meta, Rule, Set, Table, Type, interface,
};

/// Which ports of bridges are judged, and by which addresses they may send: of IPv4, of IPv6.
pub(crate) const SETS: [&str; 3] = ["ports", "addresses4", "addresses6"];
const PORTS: &str = SETS[0];
const ADDRESSES4: &str = SETS[1];
const ADDRESSES6: &str = SETS[2];
/// What nft calls `filter` for bridges.
const PRIORITY_FILTER: i32 = -200;

const ICMPV6: u8 = 58;
const UDP: u8 = 17;
/// Types of ICMPv6.
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Ports from which addresses are given out: DHCP, and DHCP of IPv6.
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;

/// A container on a bridge, and what it may call itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) owner: String,
    /// The host's end of its cable.
    pub(crate) interface: String,
    pub(crate) mac: [u8; 6],
    pub(crate) addresses: Vec<IpAddr>,
}

impl Member {
    /// Its elements of each of [`SETS`].
    pub(crate) fn elements(&self) -> [Vec<Element>; 3] {
        let port = Element::new(format!("rocker: {}", short(&self.owner)))
            .key(&interface(&self.interface));
        let element = |address: &[u8]| port.clone().key(&self.mac).key(address);
        let mut all = [vec![port.clone()], Vec::new(), Vec::new()];
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => all[1].push(element(&address.octets())),
                IpAddr::V6(address) => all[2].push(element(&address.octets())),
            }
        }
        all[2].push(element(&link_local(self.mac).octets()));
        all
    }
}

/// The beginning of an owner's name, which recognises a container.
pub(crate) fn short(owner: &str) -> &str {
    owner.get(..12).unwrap_or(owner)
}

/// The address that the kernel gives an interface with this MAC address by itself: RFC 4291, appendix A.
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// The table of the bridge's family, with what `members` may send.
pub(crate) fn table<'a>(
    name: &str,
    bridge: &str,
    members: impl IntoIterator<Item = &'a Member>,
) -> Table {
    let mut elements = [Vec::new(), Vec::new(), Vec::new()];
    for member in members {
        for (all, own) in elements.iter_mut().zip(member.elements()) {
            all.extend(own);
        }
    }
    let [ports, four, six] = elements;
    Table {
        family: Family::BRIDGE,
        name: name.to_owned(),
        sets: vec![
            Set {
                name: PORTS,
                why: "which ports of bridges are those of this network's containers",
                key: &[Type::IfName],
                data: &[],
                elements: ports,
            },
            Set {
                name: ADDRESSES4,
                why: "which port of the bridge may send by which MAC address and address of IPv4",
                key: &[Type::IfName, Type::Ether, Type::Ipv4],
                data: &[],
                elements: four,
            },
            Set {
                name: ADDRESSES6,
                why: "which port of the bridge may send by which MAC address and address of IPv6",
                key: &[Type::IfName, Type::Ether, Type::Ipv6],
                data: &[],
                elements: six,
            },
        ],
        chains: vec![Chain {
            name: "prerouting",
            why: "containers speak for themselves alone",
            kind: ChainKind::Filter,
            hook: Hook::Prerouting,
            priority: PRIORITY_FILTER,
            rules: rules(bridge),
        }],
    }
}

/// The rules, in nft's language: see the comments. Each says what may pass; what is left is dropped.
fn rules(bridge: &str) -> Vec<Rule> {
    // iifname != @ports accept
    let others = vec![Expr::Meta(Meta::IifName), Expr::NotIn(PORTS), Expr::Accept];
    // ether type ip iifname . ether saddr . ip saddr @addresses4 accept
    let four = [is(IP), sender(Base::Link, 6, 12, 4), accept(ADDRESSES4)].concat();
    // ether type arp, what the frame says, and what the message says: @addresses4 accept
    let arp = [
        is(ARP),
        sender(Base::Link, 6, 14, 4),
        vec![Expr::In(ADDRESSES4)],
        sender(Base::Network, 8, 14, 4),
        accept(ADDRESSES4),
    ]
    .concat();
    // ether type ip6 iifname . ether saddr . ip6 saddr @addresses6 accept
    let six = [is(IP6), sender(Base::Link, 6, 8, 16), accept(ADDRESSES6)].concat();
    // icmpv6 type nd-neighbor-advert, by its own address, of its own address: accept
    let neighbour = [
        icmpv6(NEIGHBOUR_ADVERTISEMENT),
        sender(Base::Link, 6, 8, 16),
        vec![Expr::In(ADDRESSES6)],
        target(),
        accept(ADDRESSES6),
    ]
    .concat();
    // ip6 saddr :: icmpv6 type nd-neighbor-solicit, whether somebody else has its own address: accept
    let is_unique = [
        icmpv6(NEIGHBOUR_SOLICITATION),
        vec![payload(Base::Network, 8, 16), Expr::Equal(vec![0; 16])],
        target(),
        accept(ADDRESSES6),
    ]
    .concat();
    let drop = |mut what: Vec<Expr>| {
        what.push(Expr::Drop);
        what
    };
    vec![
        Rule::new(
            "rocker: what comes in elsewhere is no concern of this network",
            others,
        ),
        Rule::new(
            "rocker: no container gives out addresses (DHCP)",
            drop(from_port(IP, DHCP_SERVER)),
        ),
        Rule::new("rocker: IPv4 by the container's own addresses", four),
        Rule::new("rocker: ARP about the container's own addresses", arp),
        Rule::new(
            "rocker: no container is a router (router advertisement)",
            drop(icmpv6(ROUTER_ADVERTISEMENT)),
        ),
        Rule::new(
            "rocker: no container shows other ways (redirect)",
            drop(icmpv6(REDIRECT)),
        ),
        Rule::new(
            "rocker: no container gives out addresses (DHCPv6)",
            drop(from_port(IP6, DHCPV6_SERVER)),
        ),
        Rule::new(
            "rocker: neighbour advertisements about the container's own addresses",
            neighbour,
        ),
        Rule::new(
            "rocker: and about no others",
            drop(icmpv6(NEIGHBOUR_ADVERTISEMENT)),
        ),
        Rule::new("rocker: IPv6 by the container's own addresses", six),
        Rule::new(
            "rocker: the question whether its own address is taken",
            is_unique,
        ),
        Rule::new(
            format!("rocker: nothing else comes from a container on {bridge}"),
            vec![Expr::Drop],
        ),
    ]
}

const IP: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IP6: [u8; 2] = [0x86, 0xdd];

/// `meta protocol KIND`
fn is(kind: [u8; 2]) -> Vec<Expr> {
    vec![Expr::Meta(Meta::Protocol), Expr::Equal(kind.to_vec())]
}

fn payload(base: Base, offset: u32, len: u32) -> Expr {
    Expr::Payload { base, offset, len }
}

/// The port, a MAC address of the link's header or of the message, and an address of `len` bytes, to be looked up.
fn sender(mac: Base, mac_offset: u32, offset: u32, len: u32) -> Vec<Expr> {
    vec![
        Expr::Meta(Meta::IifName),
        payload(mac, mac_offset, 6),
        payload(Base::Network, offset, len),
    ]
}

/// The same with the address that a message of neighbour discovery is about.
fn target() -> Vec<Expr> {
    vec![
        Expr::Meta(Meta::IifName),
        payload(Base::Link, 6, 6),
        payload(Base::Transport, 8, 16),
    ]
}

fn accept(set: &'static str) -> Vec<Expr> {
    vec![Expr::In(set), Expr::Accept]
}

fn icmpv6(kind: u8) -> Vec<Expr> {
    let mut all = is(IP6);
    all.extend([
        Expr::Meta(Meta::L4proto),
        Expr::Equal(vec![ICMPV6]),
        payload(Base::Transport, 0, 1),
        Expr::Equal(vec![kind]),
    ]);
    all
}

fn from_port(kind: [u8; 2], port: u16) -> Vec<Expr> {
    let mut all = is(kind);
    all.extend([
        Expr::Meta(Meta::L4proto),
        Expr::Equal(vec![UDP]),
        payload(Base::Transport, 0, 2),
        Expr::Equal(port.to_be_bytes().to_vec()),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_an_element_for_each_address_and_for_the_one_that_the_kernel_gives() {
        let member = Member {
            owner: "3f9a2cd41d07ffff".to_owned(),
            interface: "rk3f9a2cabcdefg".to_owned(),
            mac: [2, 0x72, 10, 88, 0, 2],
            addresses: vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        };
        let table = table("rocker-x", "rocker0", [&member]);
        let said: Vec<_> = table
            .sets
            .iter()
            .flat_map(|set| set.elements.iter().map(|element| set.element(element)))
            .collect();
        assert_eq!(
            said,
            [
                "\"rk3f9a2cabcdefg\"",
                "\"rk3f9a2cabcdefg\" . 02:72:0a:58:00:02 . 10.88.0.2",
                "\"rk3f9a2cabcdefg\" . 02:72:0a:58:00:02 . fd00::2",
                "\"rk3f9a2cabcdefg\" . 02:72:0a:58:00:02 . fe80::72:aff:fe58:2",
            ]
        );
        assert_eq!(table.sets[0].elements[0].comment, "rocker: 3f9a2cd41d07");
        assert_eq!(
            table.chains[0].rules[3].text(),
            "meta protocol arp iifname . ether saddr . arp saddr ip @addresses4 \
             iifname . arp saddr ether . arp saddr ip @addresses4 accept"
        );
    }
}
