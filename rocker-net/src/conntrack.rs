//! Connections that the kernel remembers: those of a port that now leads elsewhere are forgotten.
//!
//! A connection of UDP has no end but silence. A client that goes on sending keeps what was decided for its first packet:
//! the address of a container that is gone, or that there was none. So whoever publishes a port, or takes it back, has the
//! kernel forget them. <https://docs.kernel.org/networking/nf_conntrack-sysctl.html>

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::netlink::{Connection, Protocol, Request};
use crate::published::Published;
use crate::rtnl::{self, Family};
use crate::{Error, Result, Transport, nla};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of the message type.
const SUBSYSTEM: u16 = 1;
const HEADER: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
/// Of a tuple: the addresses of each family, and the protocol.
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_SRC: [u16; 2] = [1, 3];
const CTA_IP_DST: [u16; 2] = [2, 4];
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;

/// The ports of UDP that are published for somebody. What others say to the same port number elsewhere is none of our concern.
#[derive(Debug, Default)]
struct Wanted {
    /// Of all addresses of the host.
    anywhere: BTreeSet<u16>,
    /// Of one address.
    at: BTreeSet<(IpAddr, u16)>,
    /// The host's own.
    host: Vec<IpAddr>,
    /// The container's, from which they are answered, whatever address the host had then.
    container: Vec<IpAddr>,
}

impl Wanted {
    fn of(published: &Published) -> Result<Self> {
        let mut wanted = Self {
            container: published.addresses.clone(),
            ..Self::default()
        };
        for forward in &published.forwards {
            if forward.transport != Transport::Udp {
                continue;
            }
            let at = forward.host_address.filter(|at| !at.is_unspecified());
            let ports = forward.pairs()?.map(|(host, _)| host);
            match at {
                // The packet filter leads nothing of it anywhere.
                Some(at) if at.is_loopback() => {}
                Some(at) => wanted.at.extend(ports.map(|port| (at, port))),
                None => wanted.anywhere.extend(ports),
            }
        }
        Ok(wanted)
    }

    fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.at.is_empty()
    }

    /// Whether it is about what was sent to this port of this address, and is answered from `answering`.
    fn covers(&self, to: IpAddr, port: u16, answering: Option<IpAddr>) -> bool {
        let by_us = answering.is_some_and(|from| self.container.contains(&from));
        let mut ports = self.at.iter().map(|(_, port)| port);
        match self.anywhere.contains(&port) {
            true => by_us || self.host.contains(&to),
            false => self.at.contains(&(to, port)) || by_us && ports.any(|one| *one == port),
        }
    }
}

/// Has the kernel forget the connections of UDP to these published ports.
pub(crate) fn forget(netfilter: &mut Connection, published: &Published) -> Result<()> {
    let mut wanted = Wanted::of(published)?;
    if wanted.is_empty() {
        return Ok(());
    }
    if !wanted.anywhere.is_empty() {
        let mut host = Connection::open(Protocol::Route)?;
        let why = "so that only what is sent to the host itself is forgotten, and nothing that is sent through it";
        for family in [Family::V4, Family::V6] {
            let own = rtnl::own_addresses(&mut host, why, family)?;
            wanted.host.extend(own);
        }
    }
    let why =
        "so that those who talk by UDP to a port are known: they go on to where it led before";
    let mut stale = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        match netfilter.dump(why, list(family as u8)) {
            Ok(entries) => {
                stale.extend(entries.iter().filter_map(|entry| entry_to(entry, &wanted)))
            }
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
        nla::put_nested(tuple, CTA_TUPLE_PROTO, |proto| {
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

/// What removes an entry, if it is one of UDP to one of the ports.
fn entry_to(entry: &[u8], wanted: &Wanted) -> Option<Request> {
    let (header, attributes) = entry.split_at_checked(HEADER)?;
    let tuple = nla::find(attributes, CTA_TUPLE_ORIG)?;
    let proto = nla::find(tuple, CTA_TUPLE_PROTO)?;
    if nla::find(proto, 1)? != [Transport::Udp.number()] {
        return None;
    }
    let port = u16::from_be_bytes(nla::find(proto, 3)?.try_into().ok()?);
    let reply = nla::find(attributes, CTA_TUPLE_REPLY);
    let answering = reply.and_then(|reply| address(reply, CTA_IP_SRC));
    if !wanted.covers(address(tuple, CTA_IP_DST)?, port, answering) {
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

/// An address of a tuple, of either family.
fn address(tuple: &[u8], kinds: [u16; 2]) -> Option<IpAddr> {
    let addresses = nla::find(tuple, CTA_TUPLE_IP)?;
    let found = kinds
        .into_iter()
        .find_map(|kind| nla::find(addresses, kind));
    rtnl::read_ip(found?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_to_the_published_address_is_forgotten() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let wanted = |ports: &[&str]| {
            let published = Published {
                owner: "a".to_owned(),
                forwards: ports.iter().map(|port| port.parse().unwrap()).collect(),
                addresses: vec![ip("10.88.0.2")],
            };
            let mut wanted = Wanted::of(&published).unwrap();
            wanted.host = vec![ip("192.0.2.1"), ip("2001:db8::1")];
            wanted
        };
        let any = wanted(&["53:53/udp", "80:80"]);
        assert!(any.covers(ip("192.0.2.1"), 53, Some(ip("192.0.2.1"))));
        assert!(any.covers(ip("2001:db8::1"), 53, None));
        // An address that the host has no more.
        assert!(any.covers(ip("192.0.2.9"), 53, Some(ip("10.88.0.2"))));
        // What a container asks of a resolver out there.
        assert!(!any.covers(ip("8.8.8.8"), 53, Some(ip("8.8.8.8"))));
        assert!(!any.covers(ip("192.0.2.1"), 80, None));
        let one = wanted(&["192.0.2.1:53:53/udp"]);
        assert!(one.covers(ip("192.0.2.1"), 53, None));
        assert!(!one.covers(ip("2001:db8::1"), 53, None));
        assert!(one.covers(ip("192.0.2.9"), 53, Some(ip("10.88.0.2"))));
        assert!(!one.covers(ip("192.0.2.1"), 54, Some(ip("10.88.0.2"))));
        assert!(wanted(&["127.0.0.1:53:53/udp"]).is_empty());
    }
}
