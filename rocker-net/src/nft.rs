//! nf_tables as data, and its encoding as netlink messages. Pure: nothing here talks to the kernel.
//!
//! A [`Table`] is everything that rocker has in the packet filter for one network, and replaces what was there under
//! its name in one transaction. The numbers are those of `linux/netfilter/nf_tables.h`; how the virtual machine works
//! is told in <https://wiki.nftables.org/wiki-nftables/index.php/Portal:DeveloperDocs/nftables_internals>.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP};

use crate::netlink::Request;
use crate::nla;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of the message type.
const SUBSYSTEM: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table, with NAT since Linux 5.2.
const FAMILY_INET: u8 = 1;
/// `sizeof(struct nfgenmsg)`.
const HEADER: usize = 4;
/// `NFT_REG_1`: 16 bytes wide, so that an interface name or an IPv6 address fits. No rule needs a second one.
const REGISTER: u32 = 1;
/// `NFT_REG_VERDICT`.
const REGISTER_VERDICT: u32 = 0;
/// `IFNAMSIZ`.
const NAME_BYTES: usize = 16;
const NFTA_RULE_USERDATA: u16 = 7;

/// A table of the inet family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) chains: Vec<Chain>,
}

/// A base chain: rules at a hook of the kernel's packet path. What no rule decides is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) kind: ChainKind,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
    pub(crate) rules: Vec<Rule>,
}

/// What a chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainKind {
    Filter,
    Nat,
}

/// Where in the packet path a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Forward = 2,
    Postrouting = 4,
}

/// One rule: expressions run from the left until one does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Why the rule is there; `nft list ruleset` shows it.
    pub(crate) comment: String,
    pub(crate) expressions: Vec<Expr>,
}

/// An instruction of the nf_tables virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    /// Load a property of the packet.
    Meta(Meta),
    /// Load bytes of the network header.
    NetworkHeader { offset: u32, len: u32 },
    /// Load the state of the packet's connection, as a bit set.
    CtState,
    /// Keep only the bits of the mask.
    Mask(Vec<u8>),
    /// Go on if the register holds these bytes.
    Equal(Vec<u8>),
    /// Go on if the register holds other bytes.
    NotEqual(Vec<u8>),
    /// Give the packet the source address of the interface that it leaves by.
    Masquerade,
    /// Let the packet go no further.
    Drop,
}

/// A property of a packet (`NFT_META_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    IifName = 6,
    OifName = 7,
    Nfproto = 15,
    OifGroup = 22,
}

/// An interface name as the register holds it.
pub(crate) fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

impl Rule {
    /// The comment as libnftnl stores it: type 0, length, string with its zero.
    pub(crate) fn userdata(&self) -> Vec<u8> {
        let text = &self.comment.as_bytes()[..self.comment.len().min(128)];
        let mut bytes = vec![0, text.len() as u8 + 1];
        bytes.extend_from_slice(text);
        bytes.push(0);
        bytes
    }
}

impl Table {
    /// The transaction that makes the kernel's table of this name equal to this one, whatever it was before.
    pub(crate) fn replace(&self) -> Vec<Request> {
        let mut messages = vec![batch(NFNL_MSG_BATCH_BEGIN, "NFNL_MSG_BATCH_BEGIN")];
        // Adding a table that exists is fine, and one that surely exists can be deleted.
        messages.push(new_table(&self.name));
        messages.push(delete_table(&self.name));
        messages.push(new_table(&self.name));
        for chain in &self.chains {
            messages.push(new_chain(&self.name, chain));
            messages.extend(
                chain
                    .rules
                    .iter()
                    .map(|rule| new_rule(&self.name, chain.name, rule)),
            );
        }
        messages.push(batch(NFNL_MSG_BATCH_END, "NFNL_MSG_BATCH_END"));
        messages
    }

    /// The transaction that removes the table of this name; fails with ENOENT if there is none.
    pub(crate) fn remove(name: &str) -> Vec<Request> {
        vec![
            batch(NFNL_MSG_BATCH_BEGIN, "NFNL_MSG_BATCH_BEGIN"),
            delete_table(name),
            batch(NFNL_MSG_BATCH_END, "NFNL_MSG_BATCH_END"),
        ]
    }

    /// Asks for the rules of the table of this name; no rules if there is no such table.
    pub(crate) fn get_rules(name: &str) -> Request {
        let mut body = header();
        nla::put_str(&mut body, 1, name);
        let object = format!("rules of table inet {name}");
        message((7, "NFT_MSG_GETRULE"), NLM_F_DUMP, body, "list", object)
    }

    /// Whether `rules`, the answer to [`Table::get_rules`], are this table's: same comments in the same order.
    pub(crate) fn is_there(&self, rules: &[Vec<u8>]) -> bool {
        let found = rules.iter().map(|rule| {
            nla::find(rule.get(HEADER..).unwrap_or_default(), NFTA_RULE_USERDATA)
                .unwrap_or_default()
        });
        let wanted: Vec<_> = self
            .chains
            .iter()
            .flat_map(|chain| &chain.rules)
            .map(Rule::userdata)
            .collect();
        found.eq(wanted.iter().map(Vec::as_slice))
    }
}

impl ChainKind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl Expr {
    fn encode(&self, list: &mut Vec<u8>) {
        nla::put_nested(list, 1, |element| {
            nla::put_str(element, 1, self.name());
            nla::put_nested(element, 2, |data| self.encode_data(data));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(_) => "meta",
            Self::NetworkHeader { .. } => "payload",
            Self::CtState => "ct",
            Self::Mask(_) => "bitwise",
            Self::Equal(_) | Self::NotEqual(_) => "cmp",
            Self::Masquerade => "masq",
            Self::Drop => "immediate",
        }
    }

    fn encode_data(&self, data: &mut Vec<u8>) {
        match self {
            Self::Meta(key) => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, *key as u32);
            }
            Self::NetworkHeader { offset, len } => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, 1); // NFT_PAYLOAD_NETWORK_HEADER
                nla::put_be32(data, 3, *offset);
                nla::put_be32(data, 4, *len);
            }
            Self::CtState => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, 0); // NFT_CT_STATE
            }
            Self::Mask(mask) => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, REGISTER);
                nla::put_be32(data, 3, mask.len() as u32);
                nla::put_nested(data, 4, |data| nla::put(data, 1, mask));
                nla::put_nested(data, 5, |data| nla::put(data, 1, &vec![0; mask.len()]));
            }
            Self::Equal(value) | Self::NotEqual(value) => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, u32::from(matches!(self, Self::NotEqual(_))));
                nla::put_nested(data, 3, |data| nla::put(data, 1, value));
            }
            Self::Masquerade => {}
            Self::Drop => {
                nla::put_be32(data, 1, REGISTER_VERDICT);
                nla::put_nested(data, 2, |data| {
                    nla::put_nested(data, 2, |verdict| nla::put_be32(verdict, 1, 0)); // NF_DROP
                });
            }
        }
    }
}

fn new_table(table: &str) -> Request {
    let mut body = header();
    nla::put_str(&mut body, 1, table);
    nla::put_be32(&mut body, 2, 0);
    let flags = NLM_F_ACK | NLM_F_CREATE;
    message(
        (0, "NFT_MSG_NEWTABLE"),
        flags,
        body,
        "create",
        format!("table inet {table}"),
    )
}

fn delete_table(table: &str) -> Request {
    let mut body = header();
    nla::put_str(&mut body, 1, table);
    message(
        (2, "NFT_MSG_DELTABLE"),
        NLM_F_ACK,
        body,
        "remove",
        format!("table inet {table}"),
    )
}

fn new_chain(table: &str, chain: &Chain) -> Request {
    let mut body = header();
    nla::put_str(&mut body, 1, table);
    nla::put_str(&mut body, 3, chain.name);
    nla::put_nested(&mut body, 4, |hook| {
        nla::put_be32(hook, 1, chain.hook as u32);
        nla::put(hook, 2, &chain.priority.to_be_bytes());
    });
    nla::put_be32(&mut body, 5, 1); // NF_ACCEPT
    nla::put_str(&mut body, 7, chain.kind.name());
    let object = format!(
        "chain inet {table} {}, type {}",
        chain.name,
        chain.kind.name()
    );
    message(
        (3, "NFT_MSG_NEWCHAIN"),
        NLM_F_ACK | NLM_F_CREATE,
        body,
        "create",
        object,
    )
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> Request {
    let mut body = header();
    nla::put_str(&mut body, 1, table);
    nla::put_str(&mut body, 2, chain);
    nla::put_nested(&mut body, 4, |list| {
        for expression in &rule.expressions {
            expression.encode(list);
        }
    });
    nla::put(&mut body, NFTA_RULE_USERDATA, &rule.userdata());
    let object = format!("rule inet {table} {chain} \"{}\"", rule.comment);
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
    message((6, "NFT_MSG_NEWRULE"), flags, body, "create", object)
}

fn message(
    kind: (u16, &'static str),
    flags: u16,
    body: Vec<u8>,
    operation: &'static str,
    object: String,
) -> Request {
    let kind = (SUBSYSTEM << 8 | kind.0, kind.1);
    Request {
        kind,
        flags,
        body,
        operation,
        object,
        module: Some("nf_tables"),
    }
}

/// `struct nfgenmsg` of a message about a table: family, version, no resource.
fn header() -> Vec<u8> {
    vec![FAMILY_INET, 0, 0, 0]
}

/// The begin or the end of a transaction; the resource is the subsystem, in network byte order.
fn batch(kind: u16, name: &'static str) -> Request {
    Request {
        kind: (kind, name),
        flags: 0,
        body: vec![0, 0, 0, SUBSYSTEM as u8],
        operation: "change",
        object: String::new(),
        module: Some("nf_tables"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rule = Rule {
            comment: "why".to_owned(),
            expressions: vec![
                Expr::Meta(Meta::OifName),
                Expr::Equal(interface("br0")),
                Expr::Drop,
            ],
        };
        let chain = Chain {
            name: "forward",
            kind: ChainKind::Filter,
            hook: Hook::Forward,
            priority: -1,
            rules: vec![rule],
        };
        Table {
            name: "t".to_owned(),
            chains: vec![chain],
        }
    }

    #[test]
    fn a_table_is_replaced_in_one_transaction() {
        let names: Vec<_> = table()
            .replace()
            .iter()
            .map(|request| request.kind.1)
            .collect();
        assert_eq!(
            names,
            [
                "NFNL_MSG_BATCH_BEGIN",
                "NFT_MSG_NEWTABLE",
                "NFT_MSG_DELTABLE",
                "NFT_MSG_NEWTABLE",
                "NFT_MSG_NEWCHAIN",
                "NFT_MSG_NEWRULE",
                "NFNL_MSG_BATCH_END"
            ]
        );
    }

    #[test]
    fn expressions_are_encoded_as_nft_encodes_them() {
        // Taken from `nft --debug=netlink,mnl add rule inet t c oifname "br0" drop`, first and last expression.
        let mut bytes = Vec::new();
        Expr::Meta(Meta::OifName).encode(&mut bytes);
        assert_eq!(
            bytes,
            [
                36, 0, 1, 0x80, 9, 0, 1, 0, b'm', b'e', b't', b'a', 0, 0, 0, 0, //
                20, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 1, 8, 0, 2, 0, 0, 0, 0, 7
            ]
        );
        bytes.clear();
        Expr::Drop.encode(&mut bytes);
        assert_eq!(
            bytes,
            [
                48, 0, 1, 0x80, 14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e',
                0, 0, 0, //
                28, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 0, 16, 0, 2, 0x80, 12, 0, 2, 0x80, 8, 0, 1, 0,
                0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn a_chain_has_its_hook_priority_and_type() {
        let request = new_chain("t", &table().chains[0]);
        let body = &request.body[HEADER..];
        assert_eq!(nla::find(body, 7), Some(&b"filter\0"[..]));
        let hook = nla::find(body, 4).unwrap();
        assert_eq!(nla::find(hook, 1), Some(&[0, 0, 0, 2][..]));
        assert_eq!(nla::find(hook, 2), Some(&[0xff; 4][..]));
    }

    #[test]
    fn a_table_is_known_again_by_its_rules_alone() {
        let table = table();
        let rule = new_rule("t", "forward", &table.chains[0].rules[0]).body;
        assert!(table.is_there(std::slice::from_ref(&rule)));
        assert!(!table.is_there(&[]), "flushed");
        assert!(!table.is_there(&[rule.clone(), rule]), "somebody added one");
    }
}
