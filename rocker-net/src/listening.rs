//! Sockets that listen on ports of the host.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::{fmt, io};

use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket,
};

use crate::Transport;
use crate::trace::traced;

/// A port of the host, and which one of the container's it leads to.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) socket: Socket,
    pub(crate) container_port: u16,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Socket {
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        self.address().is_ok_and(|address| address.is_ipv6())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// An address as strace(1) writes it.
struct Shown(SocketAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (self.0.ip(), self.0.port());
        match self.0 {
            SocketAddr::V4(_) => write!(
                f,
                "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}, 16"
            ),
            SocketAddr::V6(_) => write!(
                f,
                "{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl(0), \
                 inet_pton(AF_INET6, \"{ip}\", &sin6_addr), sin6_scope_id=0}}, 28"
            ),
        }
    }
}

/// A socket that listens at `at`; it does not block.
pub(crate) fn listen(at: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let socket = bound(at, transport)?;
    if !transport.is_tcp() {
        return Ok(Socket::Udp(socket.into()));
    }
    let number = socket.as_raw_fd();
    let why = "so that clients of the port can come, and nobody else can have it";
    traced(
        "listen",
        why,
        || format!("{number}, {}", libc::SOMAXCONN),
        || Ok(nix::sys::socket::listen(&socket, Backlog::MAXCONN)?),
    )?;
    Ok(Socket::Tcp(socket.into()))
}

fn bound(at: SocketAddr, transport: Transport) -> io::Result<OwnedFd> {
    let (family, family_name) = match at {
        SocketAddr::V4(_) => (AddressFamily::Inet, "AF_INET"),
        SocketAddr::V6(_) => (AddressFamily::Inet6, "AF_INET6"),
    };
    let (kind, kind_name) = match transport {
        Transport::Tcp => (SockType::Stream, "SOCK_STREAM"),
        Transport::Udp => (SockType::Datagram, "SOCK_DGRAM"),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = traced(
        "socket",
        "so that a published port of the host can be held",
        || format!("{family_name}, {kind_name}|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP"),
        || Ok(socket(family, kind, flags, None)?),
    )?;
    let number = socket.as_raw_fd();
    if transport.is_tcp() {
        traced(
            "setsockopt",
            "so that connections that have ended, and are remembered for a minute, do not count",
            || format!("{number}, SOL_SOCKET, SO_REUSEADDR, [1], 4"),
            || Ok(setsockopt(&socket, ReuseAddr, &true)?),
        )?;
    }
    if at.is_ipv6() {
        traced(
            "setsockopt",
            "so that the port of IPv4 is another one",
            || format!("{number}, SOL_IPV6, IPV6_V6ONLY, [1], 4"),
            || Ok(setsockopt(&socket, Ipv6V6Only, &true)?),
        )?;
    }
    let why = "so that a port that somebody else has is an error before anything is started";
    let args = || format!("{number}, {}", Shown(at));
    traced("bind", why, args, || match at {
        SocketAddr::V4(at) => Ok(bind(number, &SockaddrIn::from(at))?),
        SocketAddr::V6(at) => Ok(bind(number, &SockaddrIn6::from(at))?),
    })?;
    Ok(socket)
}
