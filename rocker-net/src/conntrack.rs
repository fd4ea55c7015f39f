//! Connections that the kernel remembers: those of a port that now leads elsewhere are forgotten.
//!
//! A connection of UDP has no end but silence. A client that goes on sending keeps what was decided for its first packet:
//! the address of a container that is gone, or that there was none. So whoever publishes a port, or takes it back, has the
//! kernel forget them. <https://docs.kernel.org/networking/nf_conntrack-sysctl.html>

use std::collections::BTreeSet;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::netlink::{Connection, Request};
use crate::{Error, PortForward, Result, Transport, nla};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of the message type.
const SUBSYSTEM: u16 = 1;
const HEADER: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;

/// Has the kernel forget the connections of UDP to these ports of the host.
pub(crate) fn forget(netfilter: &mut Connection, forwards: &[PortForward]) -> Result<()> {
    let mut ports = BTreeSet::new();
    for forward in forwards {
        if forward.transport == Transport::Udp {
            ports.extend(forward.pairs()?.map(|(host, _)| host));
        }
    }
    if ports.is_empty() {
        return Ok(());
    }
    let why =
        "so that those who talk by UDP to a port are known: they go on to where it led before";
    let mut stale = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        match netfilter.dump(why, list(family as u8)) {
            Ok(entries) => stale.extend(entries.iter().filter_map(|entry| entry_to(entry, &ports))),
            // A kernel without nf_conntrack_netlink; they are forgotten in two minutes then.
            Err(Error::Netlink { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                tracing::warn!(
                    "the kernel has no nf_conntrack_netlink (modprobe it): who has talked by UDP to a port that leads elsewhere \
                     now may not be heard for two minutes"
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let why = "so that the kernel asks anew where their packets go";
    for (reply, request) in netfilter.exchange(why, &stale)?.into_iter().zip(&stale) {
        match reply.outcome {
            Err(refusal) if refusal.is(libc::ENOENT) => {}
            outcome => outcome.map_err(|refusal| refusal.of(request))?,
        }
    }
    Ok(())
}

fn message(
    kind: (u16, &'static str),
    flags: u16,
    body: Vec<u8>,
    operation: &'static str,
) -> Request {
    Request {
        kind: (SUBSYSTEM << 8 | kind.0, kind.1),
        flags,
        body,
        operation,
        object: "connections of UDP".to_owned(),
        module: Some("nf_conntrack_netlink"),
    }
}

/// Asks for the connections of UDP; a kernel before 5.8 tells of all.
fn list(family: u8) -> Request {
    let mut body = vec![family, 0, 0, 0];
    nla::put_nested(&mut body, CTA_TUPLE_ORIG, |tuple| {
        nla::put_nested(tuple, 2, |proto| {
            nla::put(proto, 1, &[Transport::Udp.number()])
        });
    });
    // CTA_FILTER: of the tuple, the number of the protocol counts (CTA_FILTER_F_CTA_PROTO_NUM).
    nla::put_nested(&mut body, 25, |filter| {
        nla::put(filter, 1, &(1_u32 << 3).to_ne_bytes());
        nla::put(filter, 2, &0_u32.to_ne_bytes());
    });
    message((1, "IPCTNL_MSG_CT_GET"), NLM_F_DUMP, body, "list")
}

/// What removes an entry, if it is one of UDP to one of `ports`.
fn entry_to(entry: &[u8], ports: &BTreeSet<u16>) -> Option<Request> {
    let (header, attributes) = entry.split_at_checked(HEADER)?;
    let tuple = nla::find(attributes, CTA_TUPLE_ORIG)?;
    let proto = nla::find(tuple, 2)?;
    if nla::find(proto, 1)? != [Transport::Udp.number()] {
        return None;
    }
    let port = u16::from_be_bytes(nla::find(proto, 3)?.try_into().ok()?);
    if !ports.contains(&port) {
        return None;
    }
    let mut body = header.to_vec();
    nla::put_nested(&mut body, CTA_TUPLE_ORIG, |copy| {
        copy.extend_from_slice(tuple)
    });
    for kind in [CTA_ID, CTA_ZONE] {
        if let Some(value) = nla::find(attributes, kind) {
            nla::put(&mut body, kind, value);
        }
    }
    Some(message(
        (2, "IPCTNL_MSG_CT_DELETE"),
        NLM_F_ACK,
        body,
        "forget",
    ))
}
