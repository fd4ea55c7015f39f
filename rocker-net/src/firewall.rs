//! What rocker has in the packet filter, as the kernel has it: looked at, put there, and taken away.

use crate::netlink::{Connection, Protocol, Request};
use crate::nft::{self, Family, Found, Table};
use crate::{Error, Result};

/// All chains of the packet filter, anybody's.
pub(crate) fn chains(netfilter: &mut Connection) -> Result<Vec<Found>> {
    let why = "so that it is seen whether the network's rules are in the packet filter, and who else has some there";
    let chains = netfilter
        .dump(why, nft::get_chains())
        .map_err(missing_nf_tables)?;
    let chains = chains.iter().filter_map(|chain| nft::read_chain(chain));
    Ok(chains.collect())
}

/// The number of the state that the packet filter of this network namespace is in: it is another one after each change that anybody makes to
/// it, so that who has found all in order need not look again while it is the same. None where the kernel has no such thing as nf_tables.
///
/// # Errors
///
/// [`Error::Permission`] without CAP_NET_ADMIN over the network namespace, [`Error::Netlink`].
pub fn rules_generation() -> Result<Option<u32>> {
    let mut netfilter = match Connection::open(Protocol::Netfilter) {
        Err(Error::Unsupported { .. }) => return Ok(None),
        netfilter => netfilter?,
    };
    let why = "so that it is known whether anybody has changed the packet filter since the last look at it";
    let request = nft::get_generation();
    let replies = netfilter.exchange(why, std::slice::from_ref(&request))?;
    let mut messages = Vec::new();
    for reply in replies {
        match reply.outcome.map_err(|refusal| refusal.of(&request)) {
            Ok(()) => messages.extend(reply.messages),
            Err(error) => match missing_nf_tables(error) {
                Error::Unsupported { .. } => return Ok(None),
                error => return Err(error),
            },
        }
    }
    Ok(messages
        .iter()
        .find_map(|message| nft::read_generation(message)))
}

/// The state of all that decides whether a network's rules are right, but for the networks themselves, as one line to be compared: the
/// [number](rules_generation) of the packet filter, whether the host forwards by itself, since what rocker alone has switched on is guarded by
/// a rule, and the boot, after which numbers begin anew. None where the kernel has no such thing as nf_tables.
///
/// It is that of the calling thread's network namespace, whose name is not in it.
///
/// # Errors
///
/// As [`rules_generation`], and [`Error::File`] for a setting that cannot be read.
pub fn rules_state() -> Result<Option<String>> {
    let Some(number) = rules_generation()? else {
        return Ok(None);
    };
    let settings = crate::forwarding::settings_of_rules()?;
    Ok(Some(format!("{number} {settings}")))
}

/// Makes all of `messages` take effect at once, or none.
pub(crate) fn commit(
    netfilter: &mut Connection,
    why: &'static str,
    messages: Vec<Request>,
) -> Result<()> {
    let requests = nft::transaction(messages);
    let replies = netfilter.exchange(why, &requests)?;
    for (reply, request) in replies.into_iter().zip(&requests) {
        reply.outcome.map_err(|refusal| {
            // Whatever a rule or chain names exists, within the transaction, but what a module would have to bring.
            let made = matches!(request.kind.1, "NFT_MSG_NEWCHAIN" | "NFT_MSG_NEWRULE");
            match request.module {
                Some(module) if made && refusal.is(libc::ENOENT) => Error::Unsupported {
                    operation: request.operation,
                    object: request.object.clone(),
                    module,
                    source: refusal.source,
                },
                _ => refusal.of(request),
            }
        })?;
    }
    Ok(())
}

/// The same where nothing is to be changed for what is not there.
pub(crate) fn commit_if_there(
    netfilter: &mut Connection,
    why: &'static str,
    messages: Vec<Request>,
) -> Result<bool> {
    match commit(netfilter, why, messages) {
        Ok(()) => Ok(true),
        Err(Error::Netlink { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Removes these tables with all that is in them. That one is not there is fine.
pub(crate) fn remove_tables(
    netfilter: &mut Connection,
    why: &'static str,
    tables: &[(Family, String)],
) -> Result<()> {
    // Each on its own: what is not there makes a transaction fail as a whole.
    for (family, table) in tables {
        let requests = nft::transaction(vec![nft::delete_table(*family, table)]);
        let replies = netfilter.exchange(why, &requests)?;
        for (reply, request) in replies.into_iter().zip(&requests) {
            match reply.outcome {
                Err(refusal) if refusal.is(libc::ENOENT) || refusal.is(libc::EOPNOTSUPP) => {}
                outcome => outcome.map_err(|refusal| refusal.of(request))?,
            }
        }
    }
    Ok(())
}

/// Whether each of `tables` is there, with the rules that are meant.
pub(crate) fn are_there(tables: &[Table], chains: &[Found]) -> bool {
    tables.iter().all(|table| table.is_among(chains))
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
