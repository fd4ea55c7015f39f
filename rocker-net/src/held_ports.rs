//! Ports of the host that are held: nobody else gets them, and what comes to them on the host's loopback is passed on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::listening::{self, Listening};
use crate::relay::{Relay, Target};
use crate::{Error, PortForward, Result, Transport};

/// How often another port is tried where any will do, and one that is free for IPv4 turns out to be taken for IPv6.
const ATTEMPTS: usize = 32;

/// Ports of the host that this process listens on, for as long as this value lives, on behalf of a container.
///
/// Most of what comes to a published port the packet filter has led to the container before any socket could see it
/// ([`Network::publish`](crate::Network::publish)). What is left is what no rule leads there: the host's own loopback, since
/// packets of 127.0.0.1 and `::1` never leave the host, and IPv6 for a container that has none. That a thread of this process
/// takes, and passes on to the container, which sees the host as the client.
///
/// `route_localnet` would have the kernel pass on the host's 127.0.0.1 as well. But then the host takes packets for 127.0.0.1 from
/// its containers, and one rule is all that keeps them from what listens there: whoever flushed the rules would open it.
///
/// ```
/// use rocker_net::{HeldPorts, PortForward};
///
/// let local = PortForward::any(80).host_address([127, 0, 0, 1].into());
/// let ports = HeldPorts::hold(&[local])?;
/// println!("port 80 of the container will be {}", ports.forwards()[0]);
/// # Ok::<(), rocker_net::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the ports are held until this is dropped"]
pub struct HeldPorts {
    forwards: Vec<PortForward>,
    /// Whether the host has IPv6.
    six: bool,
    target: Arc<Target>,
    /// Those that nobody serves yet.
    waiting: Vec<Listening>,
    relay: Option<Relay>,
}

impl HeldPorts {
    /// Takes the ports, or none of them. Where the host's is left open, one that is free is chosen.
    ///
    /// # Errors
    ///
    /// [`Error::PortInUse`], [`Error::PortPrivileged`], [`Error::NoFreePort`], [`Error::TooManyPorts`], [`Error::Port`] for an
    /// address that the host has not, [`Error::InvalidPorts`].
    #[doc(alias = "bind")]
    pub fn hold(wanted: &[PortForward]) -> Result<Self> {
        let mut forwards = Vec::new();
        let mut waiting = Vec::new();
        for forward in wanted {
            if forward.is_settled() {
                for (host, inside) in forward.pairs()? {
                    let one = forward.only(host, inside);
                    waiting.extend(hold(&one).map_err(|error| failed(&one, error))?);
                }
                forwards.push(*forward);
                continue;
            }
            for inside in forward.container_ports() {
                let (host, held) = choose(forward, inside)?;
                waiting.extend(held);
                forwards.push(forward.only(host, inside));
            }
        }
        let six = waiting.iter().any(|held: &Listening| held.socket.is_ipv6());
        Ok(Self {
            forwards,
            six,
            target: Arc::default(),
            waiting,
            relay: None,
        })
    }

    /// The ports, each of which is settled now.
    #[must_use]
    pub fn forwards(&self) -> &[PortForward] {
        &self.forwards
    }

    /// The same, each with the address that is listened on, where there is one socket for each family.
    #[must_use]
    pub fn bindings(&self) -> Vec<PortForward> {
        let both = |forward: &PortForward| {
            let families = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            let heard = families
                .into_iter()
                .filter(|family: &IpAddr| family.is_ipv4() || self.six);
            heard.map(|family| forward.host_address(family)).collect()
        };
        let forwards = self.forwards.iter();
        forwards
            .flat_map(|forward| match forward.host_address {
                None => both(forward),
                Some(_) => vec![*forward],
            })
            .collect()
    }

    /// Has a thread pass on what comes to the ports to a container with these addresses, in the network namespace of the
    /// calling thread. After another call it is passed on to the new ones.
    ///
    /// # Errors
    ///
    /// [`Error::Relay`] if there can be no thread.
    pub fn lead_to(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let addresses = addresses.to_vec();
        self.lead_by(move || addresses.clone())
    }

    /// Refuses those who come from an internal network of `state_dir`, by an address of the host too: there is no way out of it, to
    /// containers of other networks either. To be said before the ports lead anywhere.
    pub fn refuse_internal(&mut self, state_dir: impl AsRef<Path>) {
        self.target.refuse_internal(state_dir.as_ref().to_owned());
    }

    /// The same for a container whose addresses change meanwhile, as one's that comes to networks and leaves them: whoever comes is
    /// passed on to those that `addresses` says then, of datagrams within a tenth of a second; without any he is refused.
    ///
    /// # Errors
    ///
    /// [`Error::Relay`] if there can be no thread.
    pub fn lead_by(
        &mut self,
        addresses: impl Fn() -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Result<()> {
        self.target.set(Box::new(addresses));
        if self.relay.is_none() && !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let relay = Relay::start(waiting, Arc::clone(&self.target));
            self.relay = Some(relay.map_err(|source| Error::Relay { source })?);
        }
        Ok(())
    }
}

/// The addresses to listen on.
fn addresses(forward: &PortForward) -> Vec<IpAddr> {
    match forward.host_address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

/// Listens on one port; on both families, if the host has IPv6, where no address is named.
fn hold(forward: &PortForward) -> io::Result<Vec<Listening>> {
    let mut all = Vec::new();
    let mut port = forward.host_port;
    for address in addresses(forward) {
        let at = SocketAddr::new(address, port);
        let held = match listening::listen(at, forward.transport) {
            Err(error) if forward.host_address.is_none() && at.is_ipv6() && lacks_ipv6(&error) => {
                continue;
            }
            held => held?,
        };
        port = held.address()?.port();
        all.push(Listening {
            socket: held,
            container_port: forward.container_port,
        });
    }
    Ok(all)
}

/// Whether an error says that the host has no IPv6.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// Listens on a port that is free for one of the container's, and says which that is.
fn choose(forward: &PortForward, inside: u16) -> Result<(u16, Vec<Listening>)> {
    let tries: Vec<u16> = match forward.host_port {
        0 => vec![0; ATTEMPTS],
        _ => forward.choices().collect(),
    };
    for host in tries {
        let one = forward.only(host, inside);
        match hold(&one) {
            Ok(held) => {
                let first = held.first().map(|held| held.socket.address());
                let port = first.transpose().map_err(|error| failed(&one, error))?;
                return Ok((port.map_or(host, |at| at.port()), held));
            }
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {}
            Err(error) => return Err(failed(&one, error)),
        }
    }
    Err(Error::NoFreePort {
        ports: forward.to_string(),
    })
}

fn failed(forward: &PortForward, source: io::Error) -> Error {
    let port = forward.to_string();
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => Error::PortInUse { port, source },
        Some(libc::EACCES) => Error::PortPrivileged { port, source },
        Some(libc::EMFILE) => Error::TooManyPorts { port, source },
        _ => Error::Port { port, source },
    }
}

impl Transport {
    /// Whether there are connections of it.
    pub(crate) fn is_tcp(self) -> bool {
        self == Self::Tcp
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const LIMIT: Duration = Duration::from_secs(10);

    fn any(inside: u16) -> PortForward {
        PortForward::any(inside).host_address(LOCAL)
    }

    #[test]
    fn a_port_that_is_held_is_nobody_elses_until_it_is_let_go_of() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let held = HeldPorts::hold(&[any(80).transport(transport)]).unwrap();
            let [forward] = held.forwards() else { panic!() };
            assert!(forward.is_settled());
            let error = HeldPorts::hold(&[*forward]).unwrap_err();
            assert!(matches!(error, Error::PortInUse { .. }), "{error}");
            let again = *forward;
            drop(held);
            drop(HeldPorts::hold(&[again]).unwrap());
        }
    }

    #[test]
    fn of_several_ports_the_first_one_that_is_free_is_taken() {
        let first = HeldPorts::hold(&[any(80)]).unwrap();
        let port = first.forwards()[0].host_port;
        let wanted = PortForward::new(port, 81).host_address(LOCAL).among(20);
        let second = HeldPorts::hold(&[wanted]).unwrap();
        let chosen = second.forwards()[0];
        assert!(chosen.host_port > port && chosen.host_port < port + 20);
        assert_eq!((chosen.container_port, chosen.among), (81, 1));
        let none = PortForward::new(port, 81).host_address(LOCAL).among(1);
        assert!(HeldPorts::hold(&[none]).is_err());
    }

    #[test]
    fn an_address_that_is_not_this_hosts_is_an_error() {
        let foreign = PortForward::new(8080, 80).host_address([192, 0, 2, 1].into());
        let error = HeldPorts::hold(&[foreign]).unwrap_err();
        assert!(matches!(error, Error::Port { .. }), "{error:?}");
    }

    #[test]
    fn both_directions_of_a_connection_are_passed_on_and_end_apart() {
        let server = TcpListener::bind((LOCAL, 0)).unwrap();
        let mut held = HeldPorts::hold(&[any(server.local_addr().unwrap().port())]).unwrap();
        held.lead_to(&[LOCAL]).unwrap();
        let mut client = TcpStream::connect((LOCAL, held.forwards()[0].host_port)).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut all = Vec::new();
            // The client's end of file comes before the server says a word.
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        echo.join().unwrap();
        assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
    }

    #[test]
    fn what_is_fast_and_what_is_slow_to_be_taken_is_passed_on_whole_and_in_order() {
        const CLIENTS: u32 = 40;
        // No two pieces of it are alike; of the first two it is more than all sockets and pipes on the way hold.
        let content = |seed: u32| -> Vec<u8> {
            let count: u32 = if seed < 2 { 5_000_000 } else { 200_000 };
            let words = (0..count).map(|n| n.wrapping_mul(0x9e37_79b1) ^ seed);
            words.flat_map(u32::to_ne_bytes).collect()
        };
        // Every other one lets what is for him pile up before he reads.
        let dawdle = |number: u32| {
            if number.is_multiple_of(2) {
                std::thread::sleep(Duration::from_millis(300));
            }
        };
        let server = TcpListener::bind((LOCAL, 0)).unwrap();
        let mut held = HeldPorts::hold(&[any(server.local_addr().unwrap().port())]).unwrap();
        held.lead_to(&[LOCAL]).unwrap();
        let at = (LOCAL, held.forwards()[0].host_port);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..CLIENTS {
                    let (mut stream, _) = server.accept().unwrap();
                    scope.spawn(move || {
                        dawdle(number);
                        let mut all = Vec::new();
                        stream.read_to_end(&mut all).unwrap();
                        stream.write_all(&all).unwrap();
                    });
                }
            });
            for seed in 0..CLIENTS {
                scope.spawn(move || {
                    let mut client = TcpStream::connect(at).unwrap();
                    client.set_read_timeout(Some(6 * LIMIT)).unwrap();
                    let sent = content(seed);
                    client.write_all(&sent).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    dawdle(seed);
                    let mut back = Vec::new();
                    client.read_to_end(&mut back).unwrap();
                    assert!(back == sent, "{seed}: {} of {}", back.len(), sent.len());
                });
            }
        });
    }

    #[test]
    fn the_thread_that_passes_on_is_not_sent_sigpipe() {
        let server = TcpListener::bind((LOCAL, 0)).unwrap();
        let mut held = HeldPorts::hold(&[any(server.local_addr().unwrap().port())]).unwrap();
        let blocked = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            tasks.filter_map(|task| {
                let task = task.unwrap().path();
                // It may have ended meanwhile.
                let name = std::fs::read_to_string(task.join("comm")).ok()?;
                let status = std::fs::read_to_string(task.join("status")).ok()?;
                let mask = status
                    .lines()
                    .find_map(|line| line.strip_prefix("SigBlk:"))?;
                let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
                (name.trim() == "rocker-ports").then_some(mask)
            })
        };
        held.lead_to(&[LOCAL]).unwrap();
        let begun = std::time::Instant::now();
        while !blocked().any(|mask| mask & 1 << (libc::SIGPIPE - 1) != 0) {
            assert!(begun.elapsed() < LIMIT, "it would be sent");
        }
    }

    #[test]
    fn a_client_of_a_server_that_is_not_there_is_told_so() {
        let free = TcpListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap();
        let mut held = HeldPorts::hold(&[any(free.port())]).unwrap();
        held.lead_to(&[LOCAL]).unwrap();
        let mut client = TcpStream::connect((LOCAL, held.forwards()[0].host_port)).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_client_is_led_to_where_the_container_is_when_he_comes() {
        let server = TcpListener::bind((LOCAL, 0)).unwrap();
        let mut held = HeldPorts::hold(&[any(server.local_addr().unwrap().port())]).unwrap();
        let place = Arc::new(std::sync::Mutex::new(Vec::new()));
        let asked = Arc::clone(&place);
        held.lead_by(move || asked.lock().unwrap().clone()).unwrap();
        let come = || {
            let client = TcpStream::connect((LOCAL, held.forwards()[0].host_port)).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            client
        };
        let error = come().read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        place.lock().unwrap().push(LOCAL);
        let mut client = come();
        server.accept().unwrap().0.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
    }

    #[test]
    fn datagrams_come_back_to_whom_they_are_for() {
        let server = UdpSocket::bind((LOCAL, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let mut held = HeldPorts::hold(&[any(port).transport(Transport::Udp)]).unwrap();
        held.lead_to(&[LOCAL]).unwrap();
        let at = (LOCAL, held.forwards()[0].host_port);
        let clients = [(); 3].map(|()| UdpSocket::bind((LOCAL, 0)).unwrap());
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(LIMIT)).unwrap();
            client.connect(at).unwrap();
            client.send(&[number as u8]).unwrap();
        }
        server.set_read_timeout(Some(LIMIT)).unwrap();
        for _ in &clients {
            let mut byte = [0];
            let (_, from) = server.recv_from(&mut byte).unwrap();
            server.send_to(&[byte[0] + 100], from).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut byte = [0];
            client.recv(&mut byte).unwrap();
            assert_eq!(byte[0], number as u8 + 100);
        }
    }
}
