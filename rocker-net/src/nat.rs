//! What a network has in the packet filter: a table of its own.

use std::collections::BTreeSet;

use crate::bridge::GROUP;
use crate::netlink::{Connection, Protocol, Refusal, Request};
use crate::nft::{Chain, ChainKind, Expr, Hook, Meta, Rule, Table, interface};
use crate::{Error, Result, Subnet};

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `established` and `related` of a connection's state bits.
const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
/// The priorities that nft calls `filter` and `srcnat`.
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;

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
        Self::ensure_by(&mut Connection::open(Protocol::Netfilter)?, options)
    }

    /// As [`Nat::ensure`], by a socket that is open already. Closing it waits until the kernel has freed what the
    /// transaction replaced (an RCU grace period, some milliseconds), so there is time to be won by closing it late.
    pub(crate) fn ensure_by(netfilter: &mut Connection, options: &NatOptions) -> Result<Self> {
        let table = table(options);
        let why = "so that it is seen whether the network's rules are in the packet filter";
        let rules = netfilter
            .dump(why, Table::get_rules(&table.name))
            .map_err(missing_nf_tables)?;
        if !table.is_there(&rules) {
            let requests = table.replace();
            let why = "so that packets from containers leave under the host's address, in one transaction";
            for (reply, request) in netfilter
                .exchange(why, &requests)?
                .into_iter()
                .zip(&requests)
            {
                reply
                    .outcome
                    .map_err(|refusal| missing_module(refusal, request))?;
            }
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
        Self::withdraw(table).map(drop)
    }

    /// As [`Nat::remove`]; returns the socket, to be closed late, see [`Nat::ensure_by`].
    pub(crate) fn withdraw(table: &str) -> Result<Option<Connection>> {
        let mut netfilter = match Connection::open(Protocol::Netfilter) {
            Ok(netfilter) => netfilter,
            // A kernel without nf_tables has no table.
            Err(Error::Unsupported { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let requests = Table::remove(table);
        let replies = netfilter.exchange("so that no rule of the network is left", &requests)?;
        for (reply, request) in replies.into_iter().zip(&requests) {
            match reply.outcome {
                Err(refusal) if refusal.is(libc::ENOENT) || refusal.is(libc::EOPNOTSUPP) => {}
                outcome => outcome.map_err(|refusal| refusal.of(request))?,
            }
        }
        Ok(Some(netfilter))
    }
}

/// A single message to a subsystem that does not exist is answered with EINVAL (a transaction with EOPNOTSUPP).
fn missing_nf_tables(error: Error) -> Error {
    match error {
        Error::Netlink {
            operation,
            object,
            source,
            ..
        } if source.raw_os_error() == Some(libc::EINVAL) => Error::Unsupported {
            operation,
            object,
            module: "nf_tables",
            source,
        },
        error => error,
    }
}

/// Within the transaction everything that a message names exists, except what a module would have to bring.
fn missing_module(refusal: Refusal, request: &Request) -> Error {
    if !refusal.is(libc::ENOENT) {
        return refusal.of(request);
    }
    Error::Unsupported {
        operation: request.operation,
        object: request.object.clone(),
        module: if request.kind.1 == "NFT_MSG_NEWCHAIN" {
            "nft_chain_nat"
        } else {
            "nft_masq"
        },
        source: refusal.source,
    }
}

/// The rules, in nft's language: see the comments.
fn table(options: &NatOptions) -> Table {
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
    let masquerade = |subnet: &Subnet| {
        let mut expressions = from_subnet(subnet);
        expressions.extend([
            Expr::Meta(Meta::OifName),
            Expr::NotEqual(interface(bridge)),
            Expr::Masquerade,
        ]);
        Rule {
            comment: format!("rocker: {subnet} leaves under the host's address"),
            expressions,
        }
    };
    // iifname != BRIDGE oifname BRIDGE ct state ! established,related drop
    let unasked = vec![
        Expr::Meta(Meta::IifName),
        Expr::NotEqual(interface(bridge)),
        Expr::Meta(Meta::OifName),
        Expr::Equal(interface(bridge)),
        Expr::CtState,
        Expr::Mask(ESTABLISHED_OR_RELATED.to_ne_bytes().to_vec()),
        Expr::Equal(vec![0; 4]),
        Expr::Drop,
    ];
    let rule = |comment, expressions| Rule {
        comment,
        expressions,
    };
    let mut forward = Vec::new();
    if *internal {
        forward.extend(no_way(bridge).map(|(comment, expressions)| rule(comment, expressions)));
    }
    if *isolated {
        let (comment, expressions) = no_detour(bridge);
        forward.push(rule(comment, expressions));
    }
    forward.push(rule(
        format!("rocker: nobody outside reaches {bridge} unasked"),
        unasked,
    ));
    forward.extend(guarded.iter().map(|one| guard(one, IPV4)));
    forward.extend(guarded6.iter().map(|one| guard(one, IPV6)));
    let subnets = [Some(subnet), subnet6.as_ref()].into_iter().flatten();
    Table {
        name: table.clone(),
        chains: vec![
            Chain {
                name: "postrouting",
                kind: ChainKind::Nat,
                hook: Hook::Postrouting,
                priority: PRIORITY_SRCNAT,
                rules: match internal {
                    true => Vec::new(),
                    false => subnets.map(masquerade).collect(),
                },
            },
            Chain {
                name: "forward",
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
    Rule {
        comment,
        expressions,
    }
}

/// `ip saddr SUBNET`, or `ip6 saddr SUBNET`.
fn from_subnet(subnet: &Subnet) -> Vec<Expr> {
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
        Expr::NetworkHeader {
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
        assert!(v6.contains(&Expr::NetworkHeader { offset: 8, len: 16 }));
    }
}
