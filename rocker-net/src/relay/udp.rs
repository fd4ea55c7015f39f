//! Those who talk by UDP: each has a socket of its own towards the container, so that answers find him.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use crate::listening::{Listening, Socket};

/// After which silence somebody is forgotten.
pub(super) const IDLE: Duration = Duration::from_secs(90);
/// How many are remembered at once.
const SESSIONS: usize = 1024;

/// Somebody: the port that he talks to, and where from.
type Who = (usize, SocketAddr);

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    all: BTreeMap<Who, Session>,
}

struct Session {
    server: UdpSocket,
    target: SocketAddr,
    heard: Instant,
}

impl Session {
    fn begin(target: SocketAddr) -> std::io::Result<Self> {
        let own: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let server = UdpSocket::bind(own)?;
        server.set_nonblocking(true)?;
        server.connect(target)?;
        Ok(Self {
            server,
            target,
            heard: Instant::now(),
        })
    }
}

impl Sessions {
    pub(super) fn are_none(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets those who have not been heard of for a long time.
    pub(super) fn expire(&mut self, now: Instant) {
        self.all
            .retain(|_, session| now.duration_since(session.heard) < IDLE);
    }

    /// What is to be waited for.
    pub(super) fn wanted(&self) -> impl Iterator<Item = PollFd<'_>> {
        let servers = self.all.values().map(|session| session.server.as_fd());
        servers.map(|server| PollFd::new(server, PollFlags::POLLIN))
    }

    /// Passes on one datagram that has come to a port.
    pub(super) fn take(
        &mut self,
        number: usize,
        socket: &UdpSocket,
        target: Option<SocketAddr>,
        refuses: impl Fn(SocketAddr) -> bool,
        buffer: &mut [u8],
    ) {
        let Ok((count, client)) = socket.recv_from(buffer) else {
            return;
        };
        let Some(target) = target else { return };
        let who = (number, client);
        if self
            .all
            .get(&who)
            .is_none_or(|known| known.target != target)
        {
            if refuses(client) {
                return;
            }
            if self.all.len() >= SESSIONS {
                let oldest = self.all.iter().min_by_key(|(_, session)| session.heard);
                if let Some(oldest) = oldest.map(|(who, _)| *who) {
                    self.all.remove(&oldest);
                }
            }
            let Ok(session) = Session::begin(target) else {
                return;
            };
            self.all.insert(who, session);
        }
        if let Some(session) = self.all.get_mut(&who) {
            session.heard = Instant::now();
            // What cannot be sent is lost, as it is on any wire; that nobody listens in there is told by the next call.
            let _ = session.server.send(&buffer[..count]);
        }
    }

    /// Brings back what has been answered; `next` says of each that was waited for what has happened to it.
    pub(super) fn turn(
        &mut self,
        next: &mut impl FnMut() -> PollFlags,
        listening: &[Listening],
        buffer: &mut [u8],
    ) {
        for ((number, client), session) in &mut self.all {
            if next().is_empty() {
                continue;
            }
            let Ok(count) = session.server.recv(buffer) else {
                continue;
            };
            session.heard = Instant::now();
            if let Some(Socket::Udp(socket)) = listening.get(*number).map(|port| &port.socket) {
                let _ = socket.send_to(&buffer[..count], client);
            }
        }
    }
}
