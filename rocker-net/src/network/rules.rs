//! What rocker has in the packet filter, for people: from the same data that is sent.

use std::collections::BTreeSet;

use super::Network;
use super::firewall::open_if_there;
use crate::netlink::Connection;
use crate::nft::{self, Family, Found, Guest, Set, Table};
use crate::{Result, firewall, foreign};

/// A table, set, element, chain or rule of a network's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleLine {
    /// How deep it lies: 0 for a table, 1 for what is in it, 2 for elements and rules.
    pub depth: usize,
    /// What it is, in the words of nft(8).
    pub text: String,
    /// Why it is there.
    pub why: String,
    /// Whether the kernel has it.
    pub present: bool,
}

impl RuleLine {
    fn new(depth: usize, text: String, why: &str, present: bool) -> Self {
        Self {
            depth,
            text,
            why: why.strip_prefix("rocker: ").unwrap_or(why).to_owned(),
            present,
        }
    }
}

impl Network {
    /// Everything that the network has in the packet filter, or should have; nothing where nobody is attached.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`](crate::Error::Permission) without CAP_NET_ADMIN,
    /// [`Error::File`](crate::Error::File), [`Error::Netlink`](crate::Error::Netlink).
    pub fn rules(&self) -> Result<Vec<RuleLine>> {
        let Some((nat, members)) = self.intended()? else {
            return Ok(Vec::new());
        };
        let Some(mut netfilter) = open_if_there()? else {
            return Ok(Vec::new());
        };
        let chains = firewall::chains(&mut netfilter)?;
        let mut lines = Vec::new();
        for table in self.tables(&nat, &members)? {
            describe(&mut netfilter, &chains, &table, &mut lines)?;
        }
        let guests = match nat.internal {
            true => Vec::new(),
            false => foreign::wanted(&mut netfilter, &chains, &nat.bridge, nat.subnet6.is_some())?,
        };
        for (guest, present) in &guests {
            describe_guest(guest, *present, &mut lines);
        }
        Ok(lines)
    }
}

fn describe(
    netfilter: &mut Connection,
    chains: &[Found],
    table: &Table,
    lines: &mut Vec<RuleLine>,
) -> Result<()> {
    let of_table = |chain: &&Found| chain.family == table.family && chain.table == table.name;
    let why = match table.family {
        Family::BRIDGE => "what comes in by the ports of the bridge",
        _ if table.sets.is_empty() => "what the host passes on for containers",
        _ => "where published ports lead",
    };
    let present = chains.iter().any(|chain| of_table(&chain));
    lines.push(RuleLine::new(0, table.title(), why, present));
    for set in &table.sets {
        let found = match present {
            true => elements(netfilter, table, set)?,
            false => None,
        };
        lines.push(RuleLine::new(1, set.title(), set.why, found.is_some()));
        for element in &set.elements {
            let key = (element.key.clone(), element.data.clone());
            let present = found.as_ref().is_some_and(|found| found.contains(&key));
            let text = format!("element {}", set.element(element));
            lines.push(RuleLine::new(2, text, &element.comment, present));
        }
    }
    let why = "so that it is seen which rules are there";
    let request = nft::get_rules(table.family, &table.name, None);
    let rules = netfilter.dump(why, request)?;
    let rules: BTreeSet<_> = rules
        .iter()
        .filter_map(|rule| nft::read_rule(rule))
        .filter_map(|rule| Some((rule.chain, rule.comment?)))
        .collect();
    for chain in &table.chains {
        let there = chains
            .iter()
            .filter(of_table)
            .any(|found| found.name == chain.name && found.hook.is_some());
        lines.push(RuleLine::new(1, chain.title(), chain.why, there));
        for rule in &chain.rules {
            // As it comes back: comments have a bound.
            let comment = nft::shortened(&rule.comment);
            let present = rules.contains(&(chain.name.to_owned(), comment));
            lines.push(RuleLine::new(2, rule.text(), &rule.comment, present));
        }
    }
    Ok(())
}

type KeyAndValue = (Vec<u8>, Vec<u8>);

/// The elements that the kernel has; none if it has no such set.
fn elements(
    netfilter: &mut Connection,
    table: &Table,
    set: &Set,
) -> Result<Option<BTreeSet<KeyAndValue>>> {
    let why = "so that it is seen which elements are there";
    let request = nft::get_elements(table.family, &table.name, set.name);
    match netfilter.dump(why, request) {
        Ok(messages) => {
            let found = messages.iter().flat_map(|one| nft::read_element(one));
            Ok(Some(found.collect()))
        }
        Err(crate::Error::Netlink { source, .. })
            if source.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn describe_guest(guest: &Guest, present: bool, lines: &mut Vec<RuleLine>) {
    let Guest {
        family,
        table,
        from,
        name,
        ..
    } = guest;
    let title = format!("table {} {table}", family.name());
    let why = "somebody else's, which would refuse what containers send and get";
    lines.push(RuleLine::new(0, title, why, true));
    let why = "what is let pass before it is refused";
    lines.push(RuleLine::new(1, format!("chain {name}"), why, present));
    for rule in &guest.rules {
        lines.push(RuleLine::new(2, rule.text(), &rule.comment, present));
    }
    lines.push(RuleLine::new(
        1,
        format!("chain {from}"),
        "the host's own; one rule in it is rocker's",
        true,
    ));
    let jump = &guest.jump;
    lines.push(RuleLine::new(2, jump.text(), &jump.comment, present));
}
