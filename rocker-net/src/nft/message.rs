//! nf_tables' messages, there and back.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

use super::{Chain, ChainKind, Element, Expr, Family, Rule, Set, Table, expr, set};
use crate::netlink::Request;
use crate::nla;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of the message type.
const SUBSYSTEM: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
/// `sizeof(struct nfgenmsg)`.
const HEADER: usize = 4;
const NFTA_GEN_ID: u16 = 1;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_CHAIN_USERDATA: u16 = 12;
const NFTA_ELEMENT_USERDATA: u16 = 6;
/// `NFT_SET_MAP`.
const SET_IS_MAP: u32 = 8;
/// A list's length is a number of 16 bits; these many elements of the longest kind stay well below.
const ELEMENTS_A_MESSAGE: usize = 500;

/// What there is to know about a chain of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) name: String,
    /// How many rules it has, and how many jump to it.
    pub(crate) uses: u32,
    /// Hook and priority of a base chain.
    pub(crate) hook: Option<(u32, i32)>,
    /// `filter`, `nat` or `route`.
    pub(crate) kind: String,
    /// Whether what no rule decides is dropped.
    pub(crate) drops: bool,
    pub(crate) comment: Option<String>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            family: Family::INET,
            table: String::new(),
            name: String::new(),
            uses: 0,
            hook: None,
            kind: String::new(),
            drops: false,
            comment: None,
        }
    }
}

/// What there is to know about a rule of the kernel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundRule {
    pub(crate) chain: String,
    pub(crate) handle: u64,
    pub(crate) comment: Option<String>,
    /// Whether it refuses each packet that gets to it.
    pub(crate) refuses_all: bool,
}

/// A comment as libnftnl stores it: type 0, length, string with its zero.
fn userdata(comment: &str) -> Vec<u8> {
    let text = shortened(comment);
    let text = text.as_bytes();
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

/// As much of a comment as nft(8) takes.
pub(crate) fn shortened(comment: &str) -> String {
    let mut end = comment.len().min(127);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    comment[..end].to_owned()
}

/// The comment among user data; it comes back as it was shortened.
pub(crate) fn comment_of(mut userdata: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*len))?;
        if *kind == 0 {
            return Some(nla::read_str(value));
        }
        userdata = &rest[value.len()..];
    }
    None
}

fn header(family: Family) -> Vec<u8> {
    vec![family.0, 0, 0, 0]
}

fn named(family: Family, table: &str) -> Vec<u8> {
    let mut body = header(family);
    nla::put_str(&mut body, 1, table);
    body
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

pub(super) fn batch_begin() -> Request {
    batch(NFNL_MSG_BATCH_BEGIN, "NFNL_MSG_BATCH_BEGIN")
}

pub(super) fn batch_end() -> Request {
    batch(NFNL_MSG_BATCH_END, "NFNL_MSG_BATCH_END")
}

pub(super) fn new_table(family: Family, table: &str) -> Request {
    let mut body = named(family, table);
    nla::put_be32(&mut body, 2, 0);
    let object = format!("table {} {table}", family.name());
    let flags = NLM_F_ACK | NLM_F_CREATE;
    message((0, "NFT_MSG_NEWTABLE"), flags, body, "create", object)
}

/// Removes a table with all that is in it; fails with ENOENT if there is none.
pub(crate) fn delete_table(family: Family, table: &str) -> Request {
    let body = named(family, table);
    let object = format!("table {} {table}", family.name());
    message((2, "NFT_MSG_DELTABLE"), NLM_F_ACK, body, "remove", object)
}

pub(super) fn new_chain(family: Family, table: &str, chain: &Chain) -> Request {
    let kind = match chain.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    };
    let mut body = named(family, table);
    nla::put_str(&mut body, 3, chain.name);
    nla::put_nested(&mut body, 4, |hook| {
        nla::put_be32(hook, 1, chain.hook as u32);
        nla::put(hook, 2, &chain.priority.to_be_bytes());
    });
    nla::put_be32(&mut body, 5, 1); // NF_ACCEPT
    nla::put_str(&mut body, 7, kind);
    nla::put(&mut body, NFTA_CHAIN_USERDATA, &userdata(&chain.comment()));
    let (family, name) = (family.name(), chain.name);
    let object = format!("chain {family} {table} {name}, type {kind}");
    let flags = NLM_F_ACK | NLM_F_CREATE;
    let mut request = message((3, "NFT_MSG_NEWCHAIN"), flags, body, "create", object);
    request.module = Some(match chain.kind {
        ChainKind::Nat => "nft_chain_nat",
        // A part of nf_tables that can be left out; it was a module of this name once.
        ChainKind::Filter if family == "bridge" => "nf_tables_bridge",
        ChainKind::Filter => "nf_tables",
    });
    request
}

/// A chain that is at no hook, and is jumped to.
pub(super) fn new_regular_chain(family: Family, table: &str, name: &str) -> Request {
    let mut body = named(family, table);
    nla::put_str(&mut body, 3, name);
    let object = format!("chain {} {table} {name}", family.name());
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    message((3, "NFT_MSG_NEWCHAIN"), flags, body, "create", object)
}

/// Removes a chain with its rules; fails with EBUSY if one elsewhere jumps to it.
pub(crate) fn delete_chain(family: Family, table: &str, name: &str) -> Request {
    let mut body = named(family, table);
    nla::put_str(&mut body, 3, name);
    let object = format!("chain {} {table} {name}", family.name());
    message((5, "NFT_MSG_DELCHAIN"), NLM_F_ACK, body, "remove", object)
}

/// What stands behind the netlink header of a message that adds this rule.
pub(super) fn rule_body(family: Family, table: &str, chain: &str, rule: &Rule) -> Vec<u8> {
    let mut body = named(family, table);
    nla::put_str(&mut body, 2, chain);
    nla::put_nested(&mut body, 4, |list| expr::encode(&rule.expressions, list));
    nla::put(&mut body, NFTA_RULE_USERDATA, &userdata(&rule.comment));
    body
}

/// Adds a rule: as the last one, or before the one with this handle.
pub(super) fn new_rule(
    family: Family,
    table: &str,
    chain: &str,
    rule: &Rule,
    before: Option<u64>,
) -> Request {
    let mut body = rule_body(family, table, chain, rule);
    let mut flags = NLM_F_ACK | NLM_F_CREATE;
    match before {
        Some(handle) => nla::put(&mut body, 6, &handle.to_be_bytes()),
        None => flags |= NLM_F_APPEND,
    }
    let (family, comment) = (family.name(), &rule.comment);
    let object = format!("rule {family} {table} {chain} \"{comment}\"");
    let mut request = message((6, "NFT_MSG_NEWRULE"), flags, body, "create", object);
    request.module = rule.expressions.iter().find_map(Expr::module);
    request
}

/// Removes the rule that has this handle.
pub(crate) fn delete_rule(family: Family, table: &str, chain: &str, handle: u64) -> Request {
    let mut body = named(family, table);
    nla::put_str(&mut body, 2, chain);
    nla::put(&mut body, 3, &handle.to_be_bytes());
    let object = format!("rule {} {table} {chain} handle {handle}", family.name());
    message((8, "NFT_MSG_DELRULE"), NLM_F_ACK, body, "remove", object)
}

pub(super) fn new_set(table: &Table, set: &Set, number: u32) -> Request {
    let Table { family, name, .. } = table;
    let len = |types: &[set::Type]| types.iter().map(|one| one.len()).sum::<usize>() as u32;
    let mut body = named(*family, name);
    nla::put_str(&mut body, 2, set.name);
    let flags = if set.data.is_empty() { 0 } else { SET_IS_MAP };
    nla::put_be32(&mut body, 3, flags);
    nla::put_be32(&mut body, 4, set::number(set.key));
    nla::put_be32(&mut body, 5, len(set.key));
    if !set.data.is_empty() {
        nla::put_be32(&mut body, 6, set::number(set.data));
        nla::put_be32(&mut body, 7, len(set.data));
    }
    nla::put_be32(&mut body, 10, number);
    let object = format!("set {} {name} {}", family.name(), set.name);
    let flags = NLM_F_ACK | NLM_F_CREATE;
    message((9, "NFT_MSG_NEWSET"), flags, body, "create", object)
}

fn put_elements(body: &mut Vec<u8>, elements: &[Element], with_data: bool) {
    nla::put_nested(body, 3, |list| {
        for element in elements {
            nla::put_nested(list, 1, |one| {
                nla::put_nested(one, 1, |key| nla::put(key, 1, &element.key));
                if with_data {
                    if !element.data.is_empty() {
                        nla::put_nested(one, 2, |data| nla::put(data, 1, &element.data));
                    }
                    nla::put(one, NFTA_ELEMENT_USERDATA, &userdata(&element.comment));
                }
            });
        }
    });
}

fn elements(
    kind: (u16, &'static str),
    flags: u16,
    operation: &'static str,
    of: (Family, &str, &str),
    elements: &[Element],
) -> Vec<Request> {
    let (family, table, set) = of;
    let all = elements.chunks(ELEMENTS_A_MESSAGE).map(|chunk| {
        let mut body = named(family, table);
        nla::put_str(&mut body, 2, set);
        put_elements(&mut body, chunk, flags & NLM_F_CREATE != 0);
        let (family, count) = (family.name(), chunk.len());
        let object = format!("{count} elements of set {family} {table} {set}");
        message(kind, flags, body, operation, object)
    });
    all.collect()
}

/// Adds elements; fails with EEXIST where a map has something else for one of them.
pub(crate) fn add_elements(
    family: Family,
    table: &str,
    set: &str,
    added: &[Element],
) -> Vec<Request> {
    let kind = (12, "NFT_MSG_NEWSETELEM");
    let flags = NLM_F_ACK | NLM_F_CREATE;
    elements(kind, flags, "add", (family, table, set), added)
}

/// Removes elements; fails with ENOENT if one is not there.
pub(crate) fn delete_elements(
    family: Family,
    table: &str,
    set: &str,
    removed: &[Element],
) -> Vec<Request> {
    let kind = (14, "NFT_MSG_DELSETELEM");
    elements(kind, NLM_F_ACK, "remove", (family, table, set), removed)
}

/// Asks for all chains of all tables.
pub(crate) fn get_chains() -> Request {
    let object = "the chains of the packet filter".to_owned();
    let kind = (4, "NFT_MSG_GETCHAIN");
    message(kind, NLM_F_DUMP, header(Family(0)), "list", object)
}

/// Asks for the number of the state that all tables are in.
pub(crate) fn get_generation() -> Request {
    let object = "the number of the packet filter's state".to_owned();
    let kind = (16, "NFT_MSG_GETGEN");
    message(kind, 0, header(Family(0)), "read", object)
}

/// That number, out of the answer to it.
pub(crate) fn read_generation(message: &[u8]) -> Option<u32> {
    nla::find(message.get(HEADER..)?, NFTA_GEN_ID).and_then(be32)
}

/// Asks for the rules of a table, or of one chain of it; none if there is no such table.
pub(crate) fn get_rules(family: Family, table: &str, chain: Option<&str>) -> Request {
    let mut body = named(family, table);
    if let Some(chain) = chain {
        nla::put_str(&mut body, 2, chain);
    }
    let object = format!("rules of table {} {table}", family.name());
    message((7, "NFT_MSG_GETRULE"), NLM_F_DUMP, body, "list", object)
}

/// Asks for the elements of a set; fails with ENOENT if there is no such set.
pub(crate) fn get_elements(family: Family, table: &str, set: &str) -> Request {
    let mut body = named(family, table);
    nla::put_str(&mut body, 2, set);
    let object = format!("elements of set {} {table} {set}", family.name());
    let kind = (13, "NFT_MSG_GETSETELEM");
    message(kind, NLM_F_DUMP, body, "list", object)
}

fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// A chain, out of an answer to [`get_chains`].
pub(crate) fn read_chain(message: &[u8]) -> Option<Found> {
    let (header, attributes) = message.split_at_checked(HEADER)?;
    let mut found = Found {
        family: Family(header[0]),
        ..Found::default()
    };
    for (kind, value) in nla::attributes(attributes) {
        match kind {
            1 => found.table = nla::read_str(value),
            3 => found.name = nla::read_str(value),
            4 => {
                let number = nla::find(value, 1).and_then(be32)?;
                let priority = nla::find(value, 2).and_then(be32)?;
                found.hook = Some((number, priority as i32));
            }
            5 => found.drops = be32(value)? == 0,
            6 => found.uses = be32(value)?,
            7 => found.kind = nla::read_str(value),
            NFTA_CHAIN_USERDATA => found.comment = comment_of(value),
            _ => {}
        }
    }
    Some(found)
}

/// A rule, out of an answer to [`get_rules`].
pub(crate) fn read_rule(message: &[u8]) -> Option<FoundRule> {
    let (_, attributes) = message.split_at_checked(HEADER)?;
    let handle = nla::find(attributes, 3)?.try_into().ok()?;
    Some(FoundRule {
        chain: nla::read_str(nla::find(attributes, 2)?),
        handle: u64::from_be_bytes(handle),
        comment: nla::find(attributes, NFTA_RULE_USERDATA).and_then(comment_of),
        refuses_all: nla::find(attributes, 4).is_some_and(refuses_all),
    })
}

/// Whether expressions do nothing but count, note, and refuse.
fn refuses_all(expressions: &[u8]) -> bool {
    let mut refuses = false;
    for (_, expression) in nla::attributes(expressions) {
        let name = nla::find(expression, 1).map(nla::read_str);
        match name.as_deref() {
            Some("counter" | "log" | "limit") => {}
            Some("reject") => refuses = true,
            Some("target") => {
                let data = nla::find(expression, 2).unwrap_or_default();
                match nla::find(data, 1).map(nla::read_str).as_deref() {
                    Some("REJECT") => refuses = true,
                    Some("LOG" | "NFLOG") => {}
                    _ => return false,
                }
            }
            Some("immediate") => {
                let data = nla::find(expression, 2).unwrap_or_default();
                let verdict = nla::find(data, 2).and_then(|data| nla::find(data, 2));
                match verdict.and_then(|verdict| be32(nla::find(verdict, 1)?)) {
                    Some(0) => refuses = true,
                    _ => return false,
                }
            }
            // A comment of iptables' matches everything.
            Some("match") => {
                let data = nla::find(expression, 2).unwrap_or_default();
                if nla::find(data, 1).map(nla::read_str).as_deref() != Some("comment") {
                    return false;
                }
            }
            _ => return false,
        }
    }
    refuses
}

/// The keys and values out of an answer to [`get_elements`].
pub(crate) fn read_element(message: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let attributes = message.get(HEADER..).unwrap_or_default();
    let list = nla::find(attributes, 3).unwrap_or_default();
    let value = |element, kind| {
        let nested = nla::find(element, kind).unwrap_or_default();
        nla::find(nested, 1).unwrap_or_default().to_vec()
    };
    nla::attributes(list)
        .map(|(_, element)| (value(element, 1), value(element, 2)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Hook, Meta};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_has_its_hook_priority_and_type_and_is_read_again() {
        let chain = Chain {
            name: "forward",
            why: "nothing",
            kind: ChainKind::Filter,
            hook: Hook::Forward,
            priority: -1,
            rules: Vec::new(),
        };
        let found = read_chain(&new_chain(Family::INET, "t", &chain).body).unwrap();
        assert_eq!(found.hook, Some((2, -1)));
        assert_eq!((&*found.table, &*found.name), ("t", "forward"));
        assert_eq!((&*found.kind, found.drops), ("filter", false));
        assert_eq!(found.comment, Some(chain.comment()));
    }

    #[test]
    fn a_rule_that_refuses_everything_is_told_from_one_that_refuses_something() {
        let refuses = |expressions| {
            let rule = Rule::new("why", expressions);
            let mut body = rule_body(Family::INET, "t", "c", &rule);
            nla::put(&mut body, 3, &7_u64.to_be_bytes());
            let found = read_rule(&body).unwrap();
            assert_eq!((found.handle, found.comment.as_deref()), (7, Some("why")));
            found.refuses_all
        };
        assert!(refuses(vec![Expr::Drop]));
        assert!(!refuses(vec![Expr::Accept]));
        assert!(!refuses(vec![Expr::Jump("x".to_owned())]));
        let some = vec![Expr::Meta(Meta::L4proto), Expr::Equal(vec![6]), Expr::Drop];
        assert!(!refuses(some));
        assert!(!refuses(Vec::new()));
    }

    proptest! {
        #[test]
        fn rubbish_from_the_kernel_is_no_panic(bytes: Vec<u8>) {
            read_chain(&bytes);
            read_rule(&bytes);
            read_element(&bytes);
            comment_of(&bytes);
        }

        #[test]
        fn any_comment_fits_and_is_read_again(text in "\\PC{0,200}") {
            let read = comment_of(&userdata(&text)).unwrap();
            prop_assert!(text.starts_with(&read));
            prop_assert!(read.len() == text.len() || read.len() > 120);
        }
    }
}
