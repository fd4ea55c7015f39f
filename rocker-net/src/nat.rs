//! What a network has in the packet filter: a table of its own.

use std::collections::BTreeSet;

use crate::bridge::GROUP;
use crate::netlink::{Connection, Protocol};
use crate::nft::{Base, Chain, ChainKind, Expr, Family, Hook, Meta, Rule, Table, interface};
use crate::{Error, Result, Subnet, firewall};

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
pub(crate) const IPV4: u8 = 2;
pub(crate) const IPV6: u8 = 10;
/// `established` and `related` of a connection's state bits.
const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
/// `IPS_DST_NAT` of what has been done to a connection.
pub(crate) const DNAT: u32 = 1 << 5;
/// The priorities that nft calls `filter` and `srcnat`.
const PRIORITY_FILTER: i32 = 0;
pub(crate) const PRIORITY_SRCNAT: i32 = 100;

/// What [`Nat::ensure`] is to translate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatOptions {
    /// The name of the table, of family `inet`; nothing else may use it.
    pub table: String,
    /// The bridge that the subnet lies behind.
    pub bridge: String,
    /// The addresses to hide behind the host's.
    pub subnet: Subnet,
    /// Others to hide, of IPv6.
    pub subnet6: Option<Subnet>,
    /// Whether there is no way out: nothing is hidden, and nothing passes between the bridge and elsewhere.
    pub internal: bool,
    /// Whether nothing is passed on from the bridge to itself, by which isolated ports would reach each other all the same.
    pub isolated: bool,
    /// Interfaces that forward for the sake of the bridges alone.
    pub(crate) guarded: BTreeSet<Guarded>,
    /// The same for IPv6.
    pub(crate) guarded6: BTreeSet<Guarded>,
}

impl NatOptions {
    /// Translates `subnet`, which lies behind `bridge`, by rules in `table`.
    pub fn new(table: impl Into<String>, bridge: impl Into<String>, subnet: Subnet) -> Self {
        Self {
            table: table.into(),
            bridge: bridge.into(),
            subnet,
            subnet6: None,
            internal: false,
            isolated: false,
            guarded: BTreeSet::new(),
            guarded6: BTreeSet::new(),
        }
    }
}

/// An interface on which the host would not forward if it were not for containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Guarded {
    pub(crate) name: String,
    /// Whether it is a bridge, between whose ports frames may pass.
    pub(crate) is_bridge: bool,
}

/// The nf_tables table of a network: its containers reach the world under the host's address (masquerade), and nobody
/// but the host reaches them unasked.
///
/// Foreign tables are neither read nor changed. The table stays when this value is dropped; see [`Nat::remove`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    table: String,
}

impl Nat {
    /// Puts the table there, in one transaction, or leaves it alone if it is there as it should be.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Unsupported`] if the kernel lacks nf_tables, its NAT or
    /// its connection tracking, [`Error::Netlink`] for the rest.
    #[doc(alias = "nftables")]
    #[doc(alias = "iptables")]
    pub fn ensure(options: &NatOptions) -> Result<Self> {
        let mut netfilter = Connection::open(Protocol::Netfilter)?;
        let table = table(options);
        let chains = firewall::chains(&mut netfilter)?;
        if !table.is_among(&chains) {
            let why = "so that packets from containers leave under the host's address, in one transaction";
            firewall::commit(&mut netfilter, why, table.put_among(&chains))?;
        }
        Ok(Self { table: table.name })
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Removes the table named `table` with all that is in it. That there is none is fine.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Netlink`] for the rest.
    pub fn remove(table: &str) -> Result<()> {
        let mut netfilter = match Connection::open(Protocol::Netfilter) {
            Ok(netfilter) => netfilter,
            // A kernel without nf_tables has no table.
            Err(Error::Unsupported { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let why = "so that no rule of the network is left";
        firewall::remove_tables(&mut netfilter, why, &[(Family::INET, table.to_owned())])
    }
}

/// The rules, in nft's language: see the comments.
pub(crate) fn table(options: &NatOptions) -> Table {
    let NatOptions {
        table,
        bridge,
        subnet,
        subnet6,
        internal,
        isolated,
        guarded,
        guarded6,
    } = options;
    // oifname != BRIDGE masquerade
    let masquerade = [Some(subnet), subnet6.as_ref()]
        .into_iter()
        .flatten()
        .map(|subnet| {
            let mut expressions = from_subnet(subnet);
            expressions.extend([
                Expr::Meta(Meta::OifName),
                Expr::NotEqual(interface(bridge)),
                Expr::Masquerade,
            ]);
            let comment = format!("rocker: {subnet} leaves under the host's address");
            Rule::new(comment, expressions)
        });
    // iifname != BRIDGE oifname BRIDGE ct state ! established,related ct status ! dnat drop
    let unasked = vec![
        Expr::Meta(Meta::IifName),
        Expr::NotEqual(interface(bridge)),
        Expr::Meta(Meta::OifName),
        Expr::Equal(interface(bridge)),
        Expr::CtState,
        Expr::Mask(ESTABLISHED_OR_RELATED.to_ne_bytes().to_vec()),
        Expr::Equal(vec![0; 4]),
        Expr::CtStatus,
        Expr::Mask(DNAT.to_ne_bytes().to_vec()),
        Expr::Equal(vec![0; 4]),
        Expr::Drop,
    ];
    let mut forward = Vec::new();
    if *internal {
        let rules = no_way(bridge).into_iter();
        forward.extend(rules.map(|(comment, expressions)| Rule::new(comment, expressions)));
    }
    if *isolated {
        let (comment, expressions) = no_detour(bridge);
        forward.push(Rule::new(comment, expressions));
    }
    let comment =
        format!("rocker: nobody outside reaches {bridge} unasked, but by published ports");
    forward.push(Rule::new(comment, unasked));
    forward.extend(guarded.iter().map(|one| guard(one, IPV4)));
    forward.extend(guarded6.iter().map(|one| guard(one, IPV6)));
    Table {
        family: Family::INET,
        name: table.clone(),
        sets: Vec::new(),
        chains: vec![
            Chain {
                name: "postrouting",
                why: "containers reach the world under the host's address",
                kind: ChainKind::Nat,
                hook: Hook::Postrouting,
                priority: PRIORITY_SRCNAT,
                rules: match internal {
                    true => Vec::new(),
                    false => masquerade.collect(),
                },
            },
            Chain {
                name: "forward",
                why: "the host passes on what is for containers, and no more than before",
                kind: ChainKind::Filter,
                hook: Hook::Forward,
                priority: PRIORITY_FILTER,
                rules: forward,
            },
        ],
    }
}

/// Lets nothing pass between the bridge of an internal network and elsewhere, whatever routes somebody has and whatever the host
/// forwards for others.
fn no_way(bridge: &str) -> [(String, Vec<Expr>); 2] {
    let other = |from: Meta, to: Meta| {
        vec![
            Expr::Meta(from),
            Expr::Equal(interface(bridge)),
            Expr::Meta(to),
            Expr::NotEqual(interface(bridge)),
            Expr::Drop,
        ]
    };
    [
        // iifname BRIDGE oifname != BRIDGE drop
        (
            format!("rocker: there is no way out of {bridge}"),
            other(Meta::IifName, Meta::OifName),
        ),
        // oifname BRIDGE iifname != BRIDGE drop
        (
            format!("rocker: there is no way into {bridge}"),
            other(Meta::OifName, Meta::IifName),
        ),
    ]
}

/// Keeps isolated ports of a bridge from reaching each other by way of the host, which would send back what it gets.
fn no_detour(bridge: &str) -> (String, Vec<Expr>) {
    // iifname BRIDGE oifname BRIDGE drop
    let expressions = vec![
        Expr::Meta(Meta::IifName),
        Expr::Equal(interface(bridge)),
        Expr::Meta(Meta::OifName),
        Expr::Equal(interface(bridge)),
        Expr::Drop,
    ];
    let comment = format!("rocker: containers on {bridge} do not reach each other");
    (comment, expressions)
}

/// Keeps the neighbours on an interface from networks that they could not reach by the host before.
///
/// A packet that one table drops is lost for all, so the rule must spare what is not its business: the bridges of other
/// networks and state directories, which are all in one group, and the protocol for which nothing was switched on.
fn guard(guarded: &Guarded, protocol: u8) -> Rule {
    let name = &guarded.name;
    // meta nfproto PROTOCOL iifname INTERFACE oifgroup != GROUP drop
    let mut expressions = vec![
        Expr::Meta(Meta::Nfproto),
        Expr::Equal(vec![protocol]),
        Expr::Meta(Meta::IifName),
        Expr::Equal(interface(name)),
        Expr::Meta(Meta::OifGroup),
        Expr::NotEqual(GROUP.to_ne_bytes().to_vec()),
    ];
    let ipv6 = if protocol == IPV6 { " by IPv6" } else { "" };
    let mut comment =
        format!("rocker: what comes in by {name}{ipv6} is passed on to containers alone");
    if guarded.is_bridge {
        // oifname != INTERFACE: with br_netfilter even what a bridge passes from port to port comes by here.
        expressions.extend([Expr::Meta(Meta::OifName), Expr::NotEqual(interface(name))]);
        comment.push_str(", or stays on it");
    }
    expressions.push(Expr::Drop);
    Rule::new(comment, expressions)
}

/// `ip saddr SUBNET`, or `ip6 saddr SUBNET`.
pub(crate) fn from_subnet(subnet: &Subnet) -> Vec<Expr> {
    let (protocol, offset, network) = match subnet.network() {
        std::net::IpAddr::V4(network) => (IPV4, 12, network.octets().to_vec()),
        std::net::IpAddr::V6(network) => (IPV6, 8, network.octets().to_vec()),
    };
    let bits = usize::from(subnet.prefix_len());
    let mask = (0..network.len()).map(|byte| {
        let ones = bits.saturating_sub(8 * byte).min(8) as u32;
        0xff_u8.checked_shl(8 - ones).unwrap_or(0)
    });
    vec![
        Expr::Meta(Meta::Nfproto),
        Expr::Equal(vec![protocol]),
        Expr::Payload {
            base: Base::Network,
            offset,
            len: network.len() as u32,
        },
        Expr::Mask(mask.collect()),
        Expr::Equal(network),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_has_as_many_ones_as_the_prefix_is_long() {
        for (subnet, expected) in [
            ("10.0.0.0/8", [255, 0, 0, 0]),
            ("10.88.0.0/20", [255, 255, 240, 0]),
            ("10.0.0.7/32", [255; 4]),
            ("0.0.0.0/0", [0; 4]),
        ] {
            let expressions = from_subnet(&subnet.parse().unwrap());
            assert!(
                expressions.contains(&Expr::Mask(expected.to_vec())),
                "{subnet}: {expressions:?}"
            );
        }
        let v6 = from_subnet(&"fd00:8000::/17".parse().unwrap());
        assert!(v6.contains(&Expr::Payload {
            base: Base::Network,
            offset: 8,
            len: 16
        }));
    }
}
