//! One netlink socket: requests go out in one `send`, and their answers come back in order.
//!
//! The kernel handles a request within the `send` that brings it. So when `send` returns, the answers lie in the
//! socket's queue already, and reading never has to wait: no event loop, no thread, no time-out.
//! <https://man7.org/linux/man-pages/man7/netlink.7.html>

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, protocols};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};

use crate::answers::{self, Answers};
use crate::nla;
use crate::trace::{Outcome, traced};
use crate::{Error, Result};

/// `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// The kernel never makes a datagram of a dump larger than 32 KiB.
const RECEIVE_BYTES: usize = 32 * 1024;
/// What any socket takes at once (`net.core.wmem_default`), with room to spare.
const SEND_BYTES: usize = 128 * 1024;
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

    fn why(self) -> &'static str {
        match self {
            Self::Route => "so that links, addresses and routes can be made and looked at",
            Self::Netfilter => "so that packet filters and address translation can be set up",
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

impl Outcome for Socket {
    fn value(&self) -> i64 {
        i64::from(self.as_raw_fd())
    }
}

/// A netlink socket of the network namespace of the thread that opened it, for as long as it is open.
pub(crate) struct Connection {
    socket: Socket,
    protocol: Protocol,
    sequence: u32,
    /// For answers, one datagram at a time; made when the first comes.
    buffer: Vec<u8>,
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
        let args = || format!("AF_NETLINK, SOCK_DGRAM|SOCK_CLOEXEC, {}", protocol.name());
        let socket = traced("socket", protocol.why(), args, || Socket::new(number));
        let socket = socket.map_err(unusable)?;
        // Both only make errors better.
        let args = |option| {
            move |socket: &Socket| format!("{}, SOL_NETLINK, {option}, [1], 4", socket.as_raw_fd())
        };
        let why = "so that the kernel says in words what is wrong with a request";
        let words = args("NETLINK_EXT_ACK");
        let _ = traced(
            "setsockopt",
            why,
            || words(&socket),
            || socket.set_ext_ack(true),
        );
        let why = "so that an error does not bring the whole request back";
        let capped = args("NETLINK_CAP_ACK");
        let _ = traced(
            "setsockopt",
            why,
            || capped(&socket),
            || socket.set_cap_ack(true),
        );
        Ok(Self {
            socket,
            protocol,
            sequence: 0,
            buffer: Vec::new(),
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
        let flags = answers::flags(requests);
        let datagram = self.encode(requests, &flags);
        let protocol = self.protocol.name();
        let broken = |source| Error::Netlink {
            operation: "send",
            object: format!("{} to {protocol}", summary(requests, &flags)),
            detail: None,
            source,
        };
        if datagram.len() > SEND_BYTES {
            self.make_room(datagram.len());
        }
        let args = || self.arguments(requests, &flags, datagram.len());
        let send = || self.socket.send(&datagram, 0);
        traced("sendto", why, args, send).map_err(broken)?;
        let answers = Answers::new(first, requests, &flags);
        self.receive(answers).map_err(broken)
    }

    /// Lets the socket take a datagram of so many bytes, and the answers to it. Where that is not permitted, sending says so.
    fn make_room(&self, bytes: usize) {
        let number = self.socket.as_raw_fd();
        let fd = self.socket.as_fd();
        let twice = bytes.saturating_mul(2);
        let args = |option| move || format!("{number}, SOL_SOCKET, {option}, [{twice}], 4");
        let why = "so that a transaction of this size can be sent in one piece";
        let _ = traced("setsockopt", why, args("SO_SNDBUFFORCE"), || {
            Ok(setsockopt(&fd, SndBufForce, &twice)?)
        });
        let why = "so that there is room for all answers to it";
        let _ = traced("setsockopt", why, args("SO_RCVBUFFORCE"), || {
            Ok(setsockopt(&fd, RcvBufForce, &twice)?)
        });
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

    fn encode(&mut self, requests: &[Request], flags: &[u16]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(1024);
        for (request, flags) in requests.iter().zip(flags) {
            self.sequence = self.sequence.wrapping_add(1);
            let len =
                u32::try_from(HEADER + request.body.len()).expect("a request is far below 4 GiB");
            datagram.extend_from_slice(&len.to_ne_bytes());
            datagram.extend_from_slice(&request.kind.0.to_ne_bytes());
            datagram.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
            datagram.extend_from_slice(&self.sequence.to_ne_bytes());
            datagram.extend_from_slice(&[0; 4]); // our port; the kernel knows it
            datagram.extend_from_slice(&request.body);
            datagram.resize(nla::align(datagram.len()), 0);
        }
        datagram
    }

    /// Reads until every request that is to be answered has been.
    fn receive(&mut self, mut answers: Answers) -> io::Result<Vec<Reply>> {
        let why = "so that the kernel's answer is known: it is there already when sendto returns";
        // Filled by the call, and shown behind it.
        self.buffer.clear();
        self.buffer.reserve_exact(RECEIVE_BYTES);
        let buffer = RefCell::new(&mut self.buffer);
        while answers.awaited() {
            buffer.borrow_mut().clear();
            let args = || {
                let (number, name) = (self.socket.as_raw_fd(), self.protocol.name());
                let said = answers::summary(&buffer.borrow());
                format!("{number}<{name}>, [{said}], {RECEIVE_BYTES}, MSG_DONTWAIT, NULL, NULL")
            };
            let receive = || {
                self.socket
                    .recv(&mut **buffer.borrow_mut(), libc::MSG_DONTWAIT)
            };
            match traced("recvfrom", why, args, receive) {
                Ok(_) => answers.take(&buffer.borrow()),
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
    fn arguments(&self, requests: &[Request], flags: &[u16], length: usize) -> String {
        let (number, name) = (self.socket.as_raw_fd(), self.protocol.name());
        format!(
            "{number}<{name}>, [{}], {length}, 0, NULL, 0",
            summary(requests, flags)
        )
    }
}

fn summary(requests: &[Request], flags: &[u16]) -> String {
    let one = |(request, flags): (&Request, &u16)| {
        let separator = if request.object.is_empty() { "" } else { ", " };
        format!(
            "{{{}, {}{separator}{}}}",
            request.kind.1,
            flag_names(request, *flags),
            request.object
        )
    };
    let all = requests.iter().zip(flags);
    all.map(one).collect::<Vec<_>>().join(", ")
}

/// The flags by name; those of a GET and of a NEW request share their bits.
fn flag_names(request: &Request, flags: u16) -> String {
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
            .filter(|(bits, _)| flags & bits == *bits)
            .map(|(_, name)| name),
    );
    names.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            summary(&[request(0)], &[NLM_F_ACK | 0x600]),
            "{RTM_NEWLINK, NLM_F_REQUEST|NLM_F_ACK|NLM_F_EXCL|NLM_F_CREATE, x}"
        );
    }
}
