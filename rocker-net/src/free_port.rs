//! Whether a port of the host can be had, found out by asking for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};

use crate::trace::traced;
use crate::{Error, PortForward, Result, Transport, sys};

/// Asks the kernel for each port of `forward`, and gives it back at once: what is refused is told by its name, before
/// anything has been started.
pub(crate) fn check(forward: &PortForward) -> Result<()> {
    let ip = address(forward)?;
    for (port, container_port) in forward.pairs()? {
        let try_out = || bind(SocketAddrV4::new(ip, port), forward.transport);
        try_out().map_err(|source| {
            let port = forward.only(port, container_port).to_string();
            match source.raw_os_error() {
                Some(libc::EADDRINUSE) => Error::PortInUse { port, source },
                Some(libc::EACCES) => Error::PortPrivileged { port, source },
                _ => Error::Port { port, source },
            }
        })?;
    }
    Ok(())
}

/// The address to bind to.
fn address(forward: &PortForward) -> Result<Ipv4Addr> {
    match forward.host_address {
        None => Ok(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V4(address)) => Ok(address),
        Some(address) => Err(Error::Family {
            address,
            rule: "ports are published on addresses of IPv4",
        }),
    }
}

fn bind(address: SocketAddrV4, transport: Transport) -> io::Result<()> {
    let (kind, name) = match transport {
        Transport::Tcp => (libc::SOCK_STREAM, "SOCK_STREAM"),
        Transport::Udp => (libc::SOCK_DGRAM, "SOCK_DGRAM"),
    };
    let socket = traced(
        "socket",
        "so that it is seen whether a port of the host is free",
        || format!("AF_INET, {name}|SOCK_CLOEXEC, IPPROTO_IP"),
        || sys::socket(kind),
    )?;
    let number = socket.as_raw_fd();
    if transport == Transport::Tcp {
        traced(
            "setsockopt",
            "so that connections that have ended, and are remembered for a minute, do not count",
            || format!("{number}, SOL_SOCKET, SO_REUSEADDR, [1], 4"),
            || sys::reuse_address(socket.as_fd()),
        )?;
    }
    let args = || {
        let (port, ip) = (address.port(), address.ip());
        format!(
            "{number}, {{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}, 16"
        )
    };
    let why = "so that a port that somebody else has is an error before anything is started";
    traced("bind", why, args, || sys::bind(socket.as_fd(), address))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_port_that_somebody_has_is_named_and_a_free_one_is_not_kept() {
        let local = IpAddr::from([127, 0, 0, 1]);
        let listener = TcpListener::bind((local, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let forward = PortForward::new(port, 80).host_address(local);
        let error = check(&forward).unwrap_err();
        assert!(matches!(error, Error::PortInUse { .. }));
        assert!(
            error
                .to_string()
                .contains(&format!("127.0.0.1:{port}:80/tcp")),
            "{error}"
        );
        drop(listener);
        check(&forward).unwrap();
        check(&forward).unwrap();

        let socket = UdpSocket::bind((local, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let forward = PortForward::new(port, 53).transport(Transport::Udp);
        assert!(matches!(check(&forward), Err(Error::PortInUse { .. })));
    }

    #[test]
    fn an_address_that_is_not_this_hosts_and_one_of_ipv6_are_errors() {
        let forward = |address| PortForward::new(8080, 80).host_address(address);
        let foreign = check(&forward([192, 0, 2, 1].into()));
        assert!(matches!(foreign, Err(Error::Port { .. })), "{foreign:?}");
        let six = check(&forward("::1".parse().unwrap()));
        assert!(matches!(six, Err(Error::Family { .. })), "{six:?}");
    }
}
