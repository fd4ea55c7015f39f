//! The messages of an attachment, by hand: what the kernel takes for a container's cable if nobody thinks about it, plans it, or
//! writes anything down.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_sys::Socket;

pub(crate) mod ratio;

const ROUTE: isize = 0;
const NETFILTER: isize = 12;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
/// NLM_F_CREATE, and NLM_F_EXCL.
const NLM_F_NEW: u16 = 0x600;
/// An attribute that holds others.
const NESTED: u16 = 1 << 15;
const IFF_UP: u32 = 1;
/// RTEXT_FILTER_SKIP_STATS: without what an interface has counted.
const SKIP_STATS: [u8; 4] = 8_u32.to_ne_bytes();

/// A socket to rtnetlink in the calling thread's network namespace.
pub(crate) fn route() -> Socket {
    Socket::new(ROUTE).expect("a socket")
}

/// And one to nf_tables.
pub(crate) fn netfilter() -> Socket {
    Socket::new(NETFILTER).expect("a socket")
}

/// Messages that go out in one datagram, of which the last that is answered is waited for.
#[derive(Default)]
struct Datagram {
    bytes: Vec<u8>,
    /// The number of the last that asks for something, or for an acknowledgement.
    awaited: u32,
    count: u32,
    /// Whether it is fine that something exists.
    may_exist: bool,
}

impl Datagram {
    /// Adds a message; `fill` appends what stands behind the netlink header.
    fn add(mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let start = self.bytes.len();
        self.count += 1;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        fill(&mut self.bytes);
        let len = self.bytes.len() - start;
        self.bytes[start..start + 4].copy_from_slice(&(len as u32).to_ne_bytes());
        // RTM_GETLINK is answered anyway.
        if kind == 18 || flags & NLM_F_ACK != 0 || flags & NLM_F_DUMP == NLM_F_DUMP {
            self.awaited = self.count;
        }
        self
    }

    fn may_exist(mut self) -> Self {
        self.may_exist = true;
        self
    }

    /// Sends them, and takes their answers.
    fn send(self, socket: &Socket) -> Vec<u8> {
        socket.send(&self.bytes, 0).expect("sent");
        let mut answers = Vec::new();
        let mut done = false;
        let mut buffer = Vec::with_capacity(65536);
        while !done {
            buffer.clear();
            socket.recv(&mut buffer, 0).expect("an answer");
            let mut rest = &buffer[..];
            while rest.len() >= 16 {
                let word = |at: usize| {
                    u32::from_ne_bytes(rest[at..at + 4].try_into().expect("four bytes"))
                };
                let (len, is_last) = (word(0) as usize, word(8) == self.awaited);
                // NLMSG_ERROR and NLMSG_DONE.
                if matches!(rest[4], 2 | 3) && rest[5] == 0 {
                    let errno = word(16) as i32;
                    let exists = self.may_exist && errno == -17;
                    assert!(errno == 0 || exists, "the kernel says {errno}");
                    done |= is_last;
                }
                // NLM_F_MULTI: there is more of a dump.
                done |= is_last && rest[6] & 2 == 0;
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
            answers.extend_from_slice(&buffer);
        }
        answers
    }
}

fn attribute(to: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend_from_slice(&[0; 2]);
    to.extend_from_slice(&kind.to_ne_bytes());
    fill(to);
    let len = (to.len() - start) as u16;
    to[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    to.resize(to.len().next_multiple_of(4), 0);
}

fn bytes(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    attribute(to, kind, |to| to.extend_from_slice(value));
}

/// `struct ifinfomsg`
fn link(to: &mut Vec<u8>, index: u32, flags: u32) {
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&index.to_ne_bytes());
    to.extend_from_slice(&flags.to_ne_bytes());
    to.extend_from_slice(&flags.to_ne_bytes());
}

/// What an attachment asks before the cable: the routes, and the bridge of this name, which is to be made if there is none. That it has its
/// address, and that no other interface leads anywhere, the routes have said.
pub(crate) fn look(host: &Socket, bridge: &str) {
    let name = zero_terminated(bridge);
    Datagram::default()
        .add(26, NLM_F_DUMP, |to| {
            to.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        })
        .send(host);
    Datagram::default()
        .add(16, NLM_F_NEW, |to| {
            link(to, 0, IFF_UP);
            bytes(to, 3, &name);
            bytes(to, 1, &[2, 0x72, 10, 88, 0, 1]);
            bytes(to, 27, &0x726b_u32.to_ne_bytes());
            attribute(to, 18, |to| bytes(to, 1, b"bridge\0"));
        })
        .may_exist()
        .add(18, 0, |to| {
            link(to, 0, 0);
            bytes(to, 3, &name);
            bytes(to, 29, &SKIP_STATS);
        })
        .send(host);
}

/// What may be sent by the cable, in the sets of a network's table: `[message, flags]` of what is to be done with them.
fn elements(filter: &Socket, table: &str, [message, flags]: [u16; 2]) {
    let mut port = [0; 16];
    port[..6].copy_from_slice(b"rkbare");
    let mac = [2, 0x72, 10, 88, 0, 9, 0, 0];
    let six = [
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x72, 10, 0xff, 0xfe, 88, 0, 9,
    ];
    let keys = [
        ("ports", port.to_vec()),
        ("addresses4", [&port[..], &mac, &[10, 88, 0, 9]].concat()),
        ("addresses6", [&port[..], &mac, &six].concat()),
    ];
    let mut all = Datagram::default().add(16, 0, |to| to.extend_from_slice(&[0, 0, 0, 10]));
    for (set, key) in &keys {
        let last = if *set == "addresses6" { NLM_F_ACK } else { 0 };
        all = all.add(10 << 8 | message, flags | last, |to| {
            to.extend_from_slice(&[7, 0, 0, 0]); // NFPROTO_BRIDGE
            bytes(to, 1, &zero_terminated(table));
            bytes(to, 2, &zero_terminated(set));
            attribute(to, 3 | NESTED, |to| {
                attribute(to, 1 | NESTED, |to| {
                    attribute(to, 1 | NESTED, |to| bytes(to, 1, key));
                    if flags != 0 {
                        bytes(to, 6, b"\0\x0drocker: bare\0");
                    }
                });
            });
        });
    }
    all.add(17, 0, |to| to.extend_from_slice(&[0, 0, 0, 10]))
        .send(filter);
}

/// Looks at the packet filter, and lets the cable send.
pub(crate) fn admit(filter: &Socket, table: &str) {
    Datagram::default()
        .add(10 << 8 | 4, NLM_F_DUMP, |to| to.extend_from_slice(&[0; 4]))
        .send(filter);
    elements(filter, table, [12, NLM_F_CREATE]);
}

/// Takes that back.
pub(crate) fn dismiss(filter: &Socket, table: &str) {
    elements(filter, table, [14, 0]);
}

/// The cable: made with its far end in `netns`, looked at, and set up in there.
pub(crate) fn plug(host: &Socket, inside: &Socket, netns: BorrowedFd<'_>, bridge: u32) {
    let name = b"rkbare\0";
    let answers = Datagram::default()
        .add(16, NLM_F_NEW, |to| {
            link(to, 0, IFF_UP);
            bytes(to, 3, name);
            bytes(to, 10, &bridge.to_ne_bytes());
            attribute(to, 18, |to| {
                bytes(to, 1, b"veth\0");
                attribute(to, 2, |to| {
                    attribute(to, 1, |to| {
                        link(to, 0, 0);
                        bytes(to, 3, b"eth0\0");
                        bytes(to, 28, &netns.as_raw_fd().to_ne_bytes());
                        bytes(to, 1, &[2, 0x72, 10, 88, 0, 9]);
                    });
                });
            });
        })
        .add(18, 0, |to| {
            link(to, 0, 0);
            bytes(to, 3, name);
            bytes(to, 29, &SKIP_STATS);
        })
        .send(host);
    let index = peer(&answers);
    Datagram::default()
        .add(19, 0, |to| {
            link(to, 0, IFF_UP);
            bytes(to, 3, b"lo\0");
        })
        .add(20, NLM_F_NEW, |to| {
            to.extend_from_slice(&[2, 16, 0, 0]);
            to.extend_from_slice(&index.to_ne_bytes());
            bytes(to, 1, &[10, 88, 0, 9]);
            bytes(to, 2, &[10, 88, 0, 9]);
            bytes(to, 4, &[10, 88, 255, 255]);
        })
        .add(19, 0, |to| {
            link(to, 0, IFF_UP);
            bytes(to, 3, b"eth0\0");
        })
        .add(24, NLM_F_ACK | NLM_F_NEW, |to| {
            to.extend_from_slice(&[2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
            bytes(to, 5, &[10, 88, 0, 1]);
            bytes(to, 4, &index.to_ne_bytes());
        })
        .send(inside);
    // Until it is asked for, the near end may not be ready.
    Datagram::default()
        .add(18, 0, |to| {
            link(to, 0, 0);
            bytes(to, 3, name);
            bytes(to, 29, &SKIP_STATS);
        })
        .send(host);
}

/// Takes the cable away.
pub(crate) fn unplug(host: &Socket) {
    let found = Datagram::default()
        .add(18, 0, |to| {
            link(to, 0, 0);
            bytes(to, 3, b"rkbare\0");
            bytes(to, 29, &SKIP_STATS);
        })
        .send(host);
    let index = index(&found);
    Datagram::default()
        .add(17, NLM_F_ACK, |to| link(to, index, 0))
        .send(host);
}

fn zero_terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// The index of the first interface that is told of.
fn index(mut answers: &[u8]) -> u32 {
    while answers.len() >= 32 {
        let len = u32::from_ne_bytes(answers[..4].try_into().expect("four bytes")) as usize;
        // RTM_NEWLINK, and not an error about one.
        if answers[4] == 16 && answers[5] == 0 {
            return u32::from_ne_bytes(answers[20..24].try_into().expect("four bytes"));
        }
        answers = answers.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    panic!("no interface");
}

/// The index of the other end, out of what a link says of itself.
fn peer(mut answers: &[u8]) -> u32 {
    while answers.len() >= 32 {
        let len = u32::from_ne_bytes(answers[..4].try_into().expect("four bytes")) as usize;
        let mut attributes = &answers[32..len.max(32)];
        // RTM_NEWLINK
        while answers[4] == 16 && attributes.len() >= 4 {
            let len = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
            // IFLA_LINK
            if attributes[2] == 5 && attributes[3] == 0 {
                return u32::from_ne_bytes(attributes[4..8].try_into().expect("four bytes"));
            }
            attributes = attributes
                .get(len.next_multiple_of(4)..)
                .unwrap_or_default();
        }
        answers = answers.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    panic!("no index of the other end");
}
