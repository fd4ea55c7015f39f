//! nf_tables as data, and its encoding as netlink messages. Pure: nothing here talks to the kernel.
//!
//! A [`Table`] is everything that rocker has in the packet filter for one purpose, and replaces what was there under
//! its name in one transaction; what belongs to one container alone is an [`Element`] of a [`Set`]. The numbers are those
//! of `linux/netfilter/nf_tables.h`; how the virtual machine works is told in
//! <https://wiki.nftables.org/wiki-nftables/index.php/Portal:DeveloperDocs/nftables_internals>.

mod expr;
mod message;
mod set;
mod text;

pub(crate) use expr::{Base, Expr, Meta, interface};
pub(crate) use message::{
    Found, delete_chain, delete_elements, delete_rule, delete_table, get_chains, get_elements,
    get_generation, get_rules, read_chain, read_element, read_generation, read_rule, shortened,
};
pub(crate) use set::{Element, Set, Type};

use crate::netlink::Request;

/// Which packets a table sees: the number of its family (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Family(pub(crate) u8);

impl Family {
    /// IPv4 and IPv6 in one table, with NAT since Linux 5.2.
    pub(crate) const INET: Self = Self(1);
    pub(crate) const IP: Self = Self(2);
    /// Frames that come in by the ports of bridges.
    pub(crate) const BRIDGE: Self = Self(7);
    pub(crate) const IP6: Self = Self(10);

    /// As nft(8) has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::INET => "inet",
            Self::IP => "ip",
            Self(3) => "arp",
            Self(5) => "netdev",
            Self::BRIDGE => "bridge",
            Self::IP6 => "ip6",
            _ => "unspec",
        }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: String,
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

/// A base chain: rules at a hook of the kernel's packet path. What no rule decides is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// What it is for; `nft list ruleset` shows it.
    pub(crate) why: &'static str,
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

/// Where in the packet path a chain is; the numbers are the same for IP and for bridges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// One rule: expressions run from the left until one does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Why the rule is there; `nft list ruleset` shows it.
    pub(crate) comment: String,
    pub(crate) expressions: Vec<Expr>,
}

impl Rule {
    pub(crate) fn new(comment: impl Into<String>, expressions: Vec<Expr>) -> Self {
        Self {
            comment: comment.into(),
            expressions,
        }
    }
}

impl Chain {
    /// What the kernel keeps with the chain: what it is for, and a digest of its rules, so that one look at the chains
    /// says whether the rules are those that are meant.
    pub(crate) fn comment(&self) -> String {
        // FNV-1a, 64 bits: stable for ever, other than the standard library's hashes.
        let digest = self
            .rules
            .iter()
            .flat_map(|rule| message::rule_body(Family::INET, "", self.name, rule))
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("rocker: {} [{digest:016x}]", self.why)
    }
}

impl Table {
    /// The messages that make the kernel's table of this name equal to this one, whatever it was before.
    pub(crate) fn replace(&self) -> Vec<Request> {
        // Adding a table that exists is fine, and one that surely exists can be deleted.
        let mut messages = vec![
            message::new_table(self.family, &self.name),
            delete_table(self.family, &self.name),
        ];
        messages.extend(self.create());
        messages
    }

    /// The same where `chains` are all that there are. What does not have to be removed first does not have to be waited for either:
    /// the kernel frees it after an RCU grace period, and the socket is not closed before.
    pub(crate) fn put_among(&self, chains: &[Found]) -> Vec<Request> {
        let is_of_it = |found: &Found| found.family == self.family && found.table == self.name;
        match chains.iter().any(is_of_it) {
            true => self.replace(),
            false => self.create(),
        }
    }

    fn create(&self) -> Vec<Request> {
        let mut messages = vec![message::new_table(self.family, &self.name)];
        for (number, set) in self.sets.iter().enumerate() {
            messages.push(message::new_set(self, set, number as u32 + 1));
            messages.extend(self.add(set.name, &set.elements));
        }
        for chain in &self.chains {
            messages.push(message::new_chain(self.family, &self.name, chain));
            let rules = chain.rules.iter();
            messages
                .extend(rules.map(|rule| {
                    message::new_rule(self.family, &self.name, chain.name, rule, None)
                }));
        }
        messages
    }

    /// The messages that put `elements` into the set of this name.
    pub(crate) fn add(&self, set: &str, elements: &[Element]) -> Vec<Request> {
        message::add_elements(self.family, &self.name, set, elements)
    }

    /// Whether `chains`, an answer to [`get_chains`], have this table's among them, with these rules.
    pub(crate) fn is_among(&self, chains: &[Found]) -> bool {
        self.chains.iter().all(|chain| {
            chains.iter().any(|found| {
                found.family == self.family
                    && found.table == self.name
                    && found.name == chain.name
                    && found.uses as usize == chain.rules.len()
                    && found.comment.as_deref() == Some(&chain.comment())
            })
        })
    }
}

/// A regular chain in a table of somebody else's, and the rule that jumps to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) family: Family,
    pub(crate) table: String,
    /// The chain that is jumped from.
    pub(crate) from: String,
    /// The name of the own chain.
    pub(crate) name: String,
    pub(crate) rules: Vec<Rule>,
    pub(crate) jump: Rule,
    /// The handle of the rule that the jump comes before; it is the last one without.
    pub(crate) before: Option<u64>,
}

impl Guest {
    /// The messages that make it.
    pub(crate) fn add(&self) -> Vec<Request> {
        let (family, table) = (self.family, &self.table);
        let mut messages = vec![message::new_regular_chain(family, table, &self.name)];
        let rules = self.rules.iter();
        messages.extend(rules.map(|rule| message::new_rule(family, table, &self.name, rule, None)));
        messages.push(message::new_rule(
            family,
            table,
            &self.from,
            &self.jump,
            self.before,
        ));
        messages
    }
}

/// Puts a transaction around `messages`: all of them take effect, or none.
pub(crate) fn transaction(messages: Vec<Request>) -> Vec<Request> {
    let mut all = vec![message::batch_begin()];
    all.extend(messages);
    all.push(message::batch_end());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rule = Rule::new(
            "why",
            vec![
                Expr::Meta(Meta::OifName),
                Expr::Equal(interface("br0")),
                Expr::Drop,
            ],
        );
        let set = Set {
            name: "s",
            why: "something",
            key: &[Type::L4proto, Type::Port],
            data: &[],
            elements: vec![Element::new("why").key(&[6]).key(&80_u16.to_be_bytes())],
        };
        let chain = Chain {
            name: "forward",
            why: "nothing",
            kind: ChainKind::Filter,
            hook: Hook::Forward,
            priority: -1,
            rules: vec![rule],
        };
        Table {
            family: Family::INET,
            name: "t".to_owned(),
            sets: vec![set],
            chains: vec![chain],
        }
    }

    #[test]
    fn a_table_is_replaced_in_one_transaction() {
        let names: Vec<_> = transaction(table().replace())
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
                "NFT_MSG_NEWSET",
                "NFT_MSG_NEWSETELEM",
                "NFT_MSG_NEWCHAIN",
                "NFT_MSG_NEWRULE",
                "NFNL_MSG_BATCH_END"
            ]
        );
    }

    #[test]
    fn a_table_is_known_again_by_its_chains() {
        let table = table();
        let chain = &table.chains[0];
        let found = |uses, comment: String| Found {
            family: table.family,
            table: "t".to_owned(),
            name: "forward".to_owned(),
            uses,
            comment: Some(comment),
            ..Found::default()
        };
        assert!(table.is_among(&[found(1, chain.comment())]));
        assert!(!table.is_among(&[]), "removed");
        assert!(!table.is_among(&[found(0, chain.comment())]), "flushed");
        assert!(
            !table.is_among(&[found(2, chain.comment())]),
            "somebody added one"
        );
        let mut other = chain.clone();
        other.rules[0].expressions[1] = Expr::Equal(interface("br1"));
        assert!(
            !table.is_among(&[found(1, other.comment())]),
            "of another bridge"
        );
    }
}
