//! A guest in the host's firewall: where a table of somebody else's would drop what containers send and get, rocker has one
//! rule there, which leads to a chain of its own, and takes it away again.
//!
//! In nf_tables no table overrules another's drop, so there is no other way than into that one. Nothing of the host's is
//! changed or overtaken: the rule comes last, before what would refuse all that is left.

use crate::firewall;
use crate::netlink::{Connection, Request};
use crate::nft::{self, Expr, Family, Found, Guest, Meta, Rule, interface};
use crate::{Error, Result};

/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;

/// The name of the chain: iptables, which may own the table, allows no more than 28 bytes.
fn chain_name(bridge: &str) -> String {
    format!("rocker-{bridge}")
}

/// The comment of the one rule in a chain of somebody else's.
fn tag(bridge: &str) -> String {
    format!("rocker: what containers on {bridge} send and get is not refused below")
}

/// Whether a table is one of rocker's, of whatever network and state directory.
fn is_ours(table: &str) -> bool {
    table.starts_with("rocker-") || table.starts_with("rocker_")
}

/// Its rules, and where they are.
fn guest(found: &Found, bridge: &str, before: Option<u64>) -> Guest {
    let rule = |comment: &str, meta| {
        let passes = vec![
            Expr::Meta(meta),
            Expr::Equal(interface(bridge)),
            Expr::Accept,
        ];
        Rule::new(format!("rocker: {comment}"), passes)
    };
    Guest {
        family: found.family,
        table: found.table.clone(),
        from: found.name.clone(),
        name: chain_name(bridge),
        rules: vec![
            rule("what containers send", Meta::IifName),
            rule(
                "what is for containers; table inet rocker-… has dropped what is not",
                Meta::OifName,
            ),
        ],
        jump: Rule::new(tag(bridge), vec![Expr::Jump(chain_name(bridge))]),
        before,
    }
}

/// The chain as it is in a table, if it is.
fn own_chain<'a>(chains: &'a [Found], table: &Found, bridge: &str) -> Option<&'a Found> {
    let name = chain_name(bridge);
    chains.iter().find(|chain| {
        (chain.family, &chain.table, &chain.name) == (table.family, &table.table, &name)
    })
}

/// The guests that are needed, and whether they are there.
pub(crate) fn wanted(
    netfilter: &mut Connection,
    chains: &[Found],
    bridge: &str,
    v6: bool,
) -> Result<Vec<(Guest, bool)>> {
    let mut all = Vec::new();
    for found in chains {
        let family = match found.family {
            Family::INET | Family::IP => true,
            Family::IP6 => v6,
            _ => false,
        };
        let hook = found.hook.is_some_and(|(hook, _)| hook == FORWARD);
        if !family || !hook || found.kind != "filter" || is_ours(&found.table) {
            continue;
        }
        // Two rules, and one that leads to them.
        let is_there = own_chain(chains, found, bridge).is_some_and(|own| own.uses == 3);
        let before = match found.uses {
            0 => None,
            _ if is_there => None,
            _ => refusal(netfilter, found)?,
        };
        if is_there || found.drops || before.is_some() {
            all.push((guest(found, bridge, before), is_there));
        }
    }
    Ok(all)
}

/// The handle of the first rule of a chain that refuses whatever gets to it.
fn refusal(netfilter: &mut Connection, found: &Found) -> Result<Option<u64>> {
    let why =
        "so that a rule of the host's that refuses all is known: containers are let pass before it";
    let request = nft::get_rules(found.family, &found.table, Some(&found.name));
    let rules = netfilter.dump(why, request)?;
    let mut rules = rules.iter().filter_map(|rule| nft::read_rule(rule));
    Ok(rules.find(|rule| rule.refuses_all).map(|rule| rule.handle))
}

/// Sees to it that no chain of the host's refuses what containers send and get.
///
/// # Errors
///
/// [`Error::ForeignChain`] where that cannot be done.
pub(crate) fn ensure(
    netfilter: &mut Connection,
    chains: &[Found],
    bridge: &str,
    v6: bool,
) -> Result<()> {
    for (guest, is_there) in wanted(netfilter, chains, bridge, v6)? {
        if is_there {
            continue;
        }
        let mut messages = removal(netfilter, chains, guest.family, &guest.table, bridge)?;
        messages.extend(guest.add());
        let why = "so that a chain of the host's does not refuse what containers send and get, by one rule there";
        firewall::commit(netfilter, why, messages).map_err(|source| Error::ForeignChain {
            chain: format!("{} {} {}", guest.family.name(), guest.table, guest.from),
            bridge: bridge.to_owned(),
            source: Box::new(source),
        })?;
    }
    Ok(())
}

/// Takes away all that [`ensure`] has put into tables of others.
pub(crate) fn remove(netfilter: &mut Connection, chains: &[Found], bridge: &str) -> Result<()> {
    let name = chain_name(bridge);
    for own in chains
        .iter()
        .filter(|chain| chain.name == name && !is_ours(&chain.table))
    {
        let messages = removal(netfilter, chains, own.family, &own.table, bridge)?;
        let why = "so that the host's firewall is as it was before";
        firewall::commit_if_there(netfilter, why, messages)?;
    }
    Ok(())
}

/// The messages that remove the chain from a table, if it is there, and the rules that lead to it.
fn removal(
    netfilter: &mut Connection,
    chains: &[Found],
    family: Family,
    table: &str,
    bridge: &str,
) -> Result<Vec<Request>> {
    let (name, tag) = (chain_name(bridge), tag(bridge));
    let is_it =
        |chain: &&Found| chain.family == family && chain.table == table && chain.name == name;
    let Some(own) = chains.iter().find(is_it) else {
        return Ok(Vec::new());
    };
    let mut messages = Vec::new();
    let why = "so that the rule is found that rocker has in a chain of the host's";
    for rule in netfilter.dump(why, nft::get_rules(family, table, None))? {
        let Some(rule) = nft::read_rule(&rule) else {
            continue;
        };
        if rule.comment.as_deref() == Some(&tag) {
            messages.push(nft::delete_rule(family, table, &rule.chain, rule.handle));
        }
    }
    messages.push(nft::delete_chain(family, table, &own.name));
    Ok(messages)
}
