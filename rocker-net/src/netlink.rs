//! One netlink socket: requests go out in one `send`, and their answers come back in order.
//!
//! The kernel handles a request within the `send` that brings it. So when `send` returns, the answers lie in the
//! socket's queue already, and reading never has to wait: no event loop, no thread, no time-out.
//! <https://man7.org/linux/man-pages/man7/netlink.7.html>

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
};
use netlink_sys::{Socket, protocols};

use crate::nla;
use crate::trace::traced;
use crate::{Error, Result};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel never makes a datagram of a dump larger than 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// `NLMSG_ERROR`: an errno, or 0 for an acknowledgement.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const NLMSG_DONE: u16 = 3;
/// `NLMSGERR_ATTR_MSG`: the kernel's words on an error.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// How often a dump is begun again because the tables changed under it.
const DUMP_ATTEMPTS: usize = 32;

/// What a netlink socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// Packet filters: nf_tables.
    Netfilter,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Route => "NETLINK_ROUTE",
            Self::Netfilter => "NETLINK_NETFILTER",
        }
    }
}

/// One message to the kernel.
#[derive(Debug)]
pub(crate) struct Request {
    /// `nlmsg_type`, and its name for the trace.
    pub(crate) kind: (u16, &'static str),
    /// `nlmsg_flags`; `NLM_F_REQUEST` is added.
    pub(crate) flags: u16,
    /// What stands behind the header.
    pub(crate) body: Vec<u8>,
    /// What is done, as a verb, for errors.
    pub(crate) operation: &'static str,
    /// To what it is done, for errors and the trace.
    pub(crate) object: String,
    /// The kernel module that knows how.
    pub(crate) module: Option<&'static str>,
}

/// What the kernel answered to one [`Request`].
#[derive(Debug)]
pub(crate) struct Reply {
    /// Done, or the errno.
    pub(crate) outcome: Result<(), Refusal>,
    /// The messages that came with it, without their headers.
    pub(crate) messages: Vec<Vec<u8>>,
}

/// The kernel's no.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) source: io::Error,
    pub(crate) detail: Option<String>,
}

impl Refusal {
    /// Whether the errno is `errno`.
    pub(crate) fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }

    /// The error that says what `request` was about.
    pub(crate) fn of(self, request: &Request) -> Error {
        let (operation, object, source) = (request.operation, request.object.clone(), self.source);
        match (source.raw_os_error(), request.module) {
            (Some(libc::EPERM | libc::EACCES), _) => Error::Permission {
                operation,
                object,
                source,
            },
            (Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT), Some(module)) => Error::Unsupported {
                operation,
                object,
                module,
                source,
            },
            _ => Error::Netlink {
                operation,
                object,
                detail: self.detail,
                source,
            },
        }
    }
}

/// A netlink socket of the network namespace of the thread that opened it, for as long as it is open.
pub(crate) struct Connection {
    socket: Socket,
    protocol: Protocol,
    sequence: u32,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(protocol: Protocol) -> Result<Self> {
        let number = match protocol {
            Protocol::Route => protocols::NETLINK_ROUTE,
            Protocol::Netfilter => protocols::NETLINK_NETFILTER,
        };
        let unusable = |source: io::Error| {
            Refusal {
                source,
                detail: None,
            }
            .of(&Request {
                kind: (0, ""),
                flags: 0,
                body: Vec::new(),
                operation: "open",
                object: format!("a socket of {}", protocol.name()),
                module: (protocol == Protocol::Netfilter).then_some("nfnetlink"),
            })
        };
        let socket = Socket::new(number).map_err(unusable)?;
        // Both only make errors better: the kernel's own words, and no copy of the whole request.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Self {
            socket,
            protocol,
            sequence: 0,
        })
    }

    /// Sends `requests` in one go and reads all answers.
    ///
    /// Messages of [`Protocol::Route`] take effect each on its own; those of [`Protocol::Netfilter`] between
    /// BATCH_BEGIN and BATCH_END all or none.
    pub(crate) fn exchange(
        &mut self,
        why: &'static str,
        requests: &[Request],
    ) -> Result<Vec<Reply>> {
        let first = self.sequence.wrapping_add(1);
        let datagram = self.encode(requests);
        let broken = |source| Error::Netlink {
            operation: "send",
            object: format!("{} to {}", summary(requests), self.protocol.name()),
            detail: None,
            source,
        };
        // The trace is to show the kernel's answer as the result of the call, as it is what matters.
        let mut replies = None;
        let sent = traced(
            "sendto",
            why,
            || self.arguments(requests),
            || {
                let sent = self.socket.send(&datagram, 0)?;
                let answers = replies.insert(self.receive(first, requests)?);
                match answers
                    .iter()
                    .find_map(|reply| reply.outcome.as_ref().err()?.source.raw_os_error())
                {
                    Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                    None => Ok(sent),
                }
            },
        );
        match (replies, sent) {
            (Some(replies), _) => Ok(replies),
            (None, Err(source)) => Err(broken(source)),
            (None, Ok(_)) => Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Sends `requests` as [`Connection::exchange`] does, and fails with the first error that came back.
    pub(crate) fn apply(&mut self, why: &'static str, requests: &[Request]) -> Result<()> {
        for (reply, request) in self.exchange(why, requests)?.into_iter().zip(requests) {
            reply.outcome.map_err(|refusal| refusal.of(request))?;
        }
        Ok(())
    }

    /// The messages of a dump, asked for again as long as the tables change meanwhile.
    pub(crate) fn dump(&mut self, why: &'static str, request: Request) -> Result<Vec<Vec<u8>>> {
        let requests = [request];
        let mut attempt = 1;
        loop {
            let reply = self.exchange(why, &requests)?.remove(0);
            match reply.outcome {
                Ok(()) => return Ok(reply.messages),
                Err(refusal) if refusal.is(libc::EINTR) && attempt < DUMP_ATTEMPTS => attempt += 1,
                Err(refusal) => return Err(refusal.of(&requests[0])),
            }
        }
    }

    fn encode(&mut self, requests: &[Request]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(1024);
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let len =
                u32::try_from(HEADER + request.body.len()).expect("a request is far below 4 GiB");
            datagram.extend_from_slice(&len.to_ne_bytes());
            datagram.extend_from_slice(&request.kind.0.to_ne_bytes());
            datagram.extend_from_slice(&(request.flags | NLM_F_REQUEST).to_ne_bytes());
            datagram.extend_from_slice(&self.sequence.to_ne_bytes());
            datagram.extend_from_slice(&[0; 4]); // our port; the kernel knows it
            datagram.extend_from_slice(&request.body);
            datagram.resize(nla::align(datagram.len()), 0);
        }
        datagram
    }

    /// Reads until every request that is to be answered has been.
    fn receive(&self, first: u32, requests: &[Request]) -> io::Result<Vec<Reply>> {
        let mut answers = Answers::new(first, requests);
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        while answers.awaited() {
            buffer.clear();
            match self.socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(_) => answers.take(&buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more will come. That is in order where a batch was given up at an error.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && answers.refused() => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answers.into_replies())
    }

    /// The arguments of sendto(2), as strace(1) writes netlink messages, with our words for their content.
    fn arguments(&self, requests: &[Request]) -> String {
        format!("{}, [{}]", self.protocol.name(), summary(requests))
    }
}

fn summary(requests: &[Request]) -> String {
    let one = |request: &Request| {
        let separator = if request.object.is_empty() { "" } else { ", " };
        format!(
            "{{{}, {}{separator}{}}}",
            request.kind.1,
            flag_names(request),
            request.object
        )
    };
    requests.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The flags by name; those of a GET and of a NEW request share their bits.
fn flag_names(request: &Request) -> String {
    let mut names = vec!["NLM_F_REQUEST"];
    let table: &[(u16, &str)] = if request.kind.1.contains("_GET") {
        &[(NLM_F_ACK, "NLM_F_ACK"), (NLM_F_DUMP, "NLM_F_DUMP")]
    } else {
        &[
            (NLM_F_ACK, "NLM_F_ACK"),
            (0x100, "NLM_F_REPLACE"),
            (0x200, "NLM_F_EXCL"),
            (0x400, "NLM_F_CREATE"),
            (0x800, "NLM_F_APPEND"),
        ]
    };
    names.extend(
        table
            .iter()
            .filter(|(bits, _)| request.flags & bits == *bits)
            .map(|(_, name)| name),
    );
    names.join("|")
}

/// The answers to a datagram of requests while they come in.
struct Answers {
    first: u32,
    replies: Vec<Reply>,
    /// Which requests have yet to be answered.
    pending: Vec<bool>,
}

impl Answers {
    fn new(first: u32, requests: &[Request]) -> Self {
        let replies = requests
            .iter()
            .map(|_| Reply {
                outcome: Ok(()),
                messages: Vec::new(),
            })
            .collect();
        let answered = |request: &Request| request.flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        Self {
            first,
            replies,
            pending: requests.iter().map(answered).collect(),
        }
    }

    fn awaited(&self) -> bool {
        self.pending.contains(&true)
    }

    fn refused(&self) -> bool {
        self.replies.iter().any(|reply| reply.outcome.is_err())
    }

    fn into_replies(self) -> Vec<Reply> {
        self.replies
    }

    /// Takes in one datagram.
    fn take(&mut self, mut datagram: &[u8]) {
        while let Some((header, _)) = datagram.split_first_chunk::<HEADER>() {
            let word = |at: usize| {
                u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
            let len = word(0) as usize;
            let Some(body) = datagram.get(HEADER..len) else {
                return;
            };
            self.take_message(half(4), half(6), word(8), body);
            datagram = datagram.get(nla::align(len)..).unwrap_or_default();
        }
    }

    fn take_message(&mut self, kind: u16, flags: u16, sequence: u32, body: &[u8]) {
        let index = sequence.wrapping_sub(self.first) as usize;
        let Some(reply) = self.replies.get_mut(index) else {
            return;
        };
        if flags & NLM_F_DUMP_INTR != 0 && kind != NLMSG_ERROR {
            reply.outcome = Err(Refusal {
                source: io::Error::from_raw_os_error(libc::EINTR),
                detail: None,
            });
        }
        match kind {
            NLMSG_ERROR => {
                if let Some(refusal) = refusal(flags, body) {
                    reply.outcome = Err(refusal);
                }
                self.pending[index] = false;
            }
            NLMSG_DONE => {
                if let Some(refusal) = refusal(0, body) {
                    reply.outcome = Err(refusal);
                }
                self.pending[index] = false;
            }
            _ => reply.messages.push(body.to_vec()),
        }
    }
}

/// What an NLMSG_ERROR or NLMSG_DONE with this body refuses, if it does.
fn refusal(flags: u16, body: &[u8]) -> Option<Refusal> {
    let errno = body
        .first_chunk::<4>()
        .map_or(0, |errno| i32::from_ne_bytes(*errno));
    if errno >= 0 {
        return None;
    }
    let mut detail = None;
    if flags & NLM_F_ACK_TLVS != 0 {
        // Behind the errno stands the request's header, and without NLM_F_CAPPED all the rest of the request too.
        let echoed = body
            .get(4..8)
            .and_then(nla::read_u32)
            .map_or(HEADER, |len| len as usize);
        let skip = 4 + if flags & NLM_F_CAPPED != 0 {
            HEADER
        } else {
            nla::align(echoed)
        };
        detail =
            nla::find(body.get(skip..).unwrap_or_default(), NLMSGERR_ATTR_MSG).map(nla::read_str);
    }
    Some(Refusal {
        source: io::Error::from_raw_os_error(-errno),
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(flags: u16) -> Request {
        Request {
            kind: (16, "RTM_NEWLINK"),
            flags,
            body: vec![0; 16],
            operation: "create",
            object: "x".into(),
            module: Some("veth"),
        }
    }

    fn error_message(sequence: u32, errno: i32, text: Option<&str>) -> Vec<u8> {
        let mut body = (-errno).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; HEADER]);
        if let Some(text) = text {
            nla::put_str(&mut body, NLMSGERR_ATTR_MSG, text);
        }
        let flags = NLM_F_CAPPED | if text.is_some() { NLM_F_ACK_TLVS } else { 0 };
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&body);
        message
    }

    #[test]
    fn each_answer_goes_to_its_request_with_the_words_of_the_kernel() {
        let requests = [request(NLM_F_ACK), request(NLM_F_ACK)];
        let mut answers = Answers::new(u32::MAX, &requests);
        answers.take(&error_message(0, libc::EEXIST, Some("already there")));
        assert!(answers.awaited());
        answers.take(&error_message(u32::MAX, 0, None));
        assert!(!answers.awaited());
        let [done, refused] = <[Reply; 2]>::try_from(answers.into_replies()).unwrap();
        assert!(done.outcome.is_ok());
        let error = refused.outcome.unwrap_err().of(&requests[1]);
        assert_eq!(
            error.to_string(),
            "create x (the kernel says: already there)"
        );
    }

    #[test]
    fn a_missing_privilege_and_a_missing_module_are_errors_of_their_own() {
        let of = |errno| {
            Refusal {
                source: io::Error::from_raw_os_error(errno),
                detail: None,
            }
            .of(&request(0))
            .to_string()
        };
        assert!(of(libc::EPERM).contains("needs CAP_NET_ADMIN"));
        assert!(of(libc::EOPNOTSUPP).contains("modprobe veth"));
    }

    #[test]
    fn the_trace_names_message_flags_and_object() {
        assert_eq!(
            summary(&[request(NLM_F_ACK | 0x600)]),
            "{RTM_NEWLINK, NLM_F_REQUEST|NLM_F_ACK|NLM_F_EXCL|NLM_F_CREATE, x}"
        );
    }

    proptest! {
        #[test]
        fn rubbish_from_the_kernel_is_no_panic(bytes: Vec<u8>) {
            let requests = [request(NLM_F_ACK)];
            Answers::new(0, &requests).take(&bytes);
        }
    }
}
