//! A port of the host that leads into a container.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::{Error, Result};

/// What a port is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html).
    #[default]
    Tcp,
    /// [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Ports of the host that lead to as many of a container, in the same order.
///
/// As text it is written as for Docker: `[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|/udp]`. Which port of the host that is can be left
/// open: `PORT` and `ADDRESS::PORT` are for any that is free, `PORT-PORT:PORT` is for the first one of several that is;
/// [`HeldPorts`](crate::HeldPorts) settles it.
///
/// ```
/// use rocker_net::{PortForward, Transport};
///
/// let web = PortForward::new(8080, 80).host_address([127, 0, 0, 1].into());
/// assert_eq!(web, "127.0.0.1:8080:80".parse()?);
/// let names = PortForward::new(5300, 53).count(2).transport(Transport::Udp);
/// assert_eq!(names.to_string(), "5300-5301:53-54/udp");
/// # Ok::<(), rocker_net::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PortForward {
    /// The address of the host; `None` for all that it has.
    pub host_address: Option<IpAddr>,
    /// The first port of the host; 0 for any that is free, each on its own.
    pub host_port: u16,
    /// With how many ports of the host from the first on one of the container may be reached: with the first of them that is free.
    pub among: u16,
    /// The first port of the container.
    pub container_port: u16,
    /// How many ports.
    pub count: u16,
    /// What they are of.
    pub transport: Transport,
}

impl PortForward {
    /// One port of TCP, on every address of the host.
    #[must_use]
    pub fn new(host_port: u16, container_port: u16) -> Self {
        Self {
            host_address: None,
            host_port,
            among: 1,
            container_port,
            count: 1,
            transport: Transport::Tcp,
        }
    }

    /// One port of TCP that is reached by any port of the host which is free, on every address.
    #[must_use]
    pub fn any(container_port: u16) -> Self {
        Self::new(0, container_port)
    }

    /// Takes connections at this address of the host only.
    #[must_use]
    pub fn host_address(mut self, address: IpAddr) -> Self {
        self.host_address = Some(address);
        self
    }

    /// Forwards so many ports in a row.
    #[must_use]
    pub fn count(mut self, count: u16) -> Self {
        self.count = count;
        self
    }

    /// Says what they are ports of.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Takes the first port of so many that is free on the host, for one port of the container.
    #[must_use]
    pub fn among(mut self, count: u16) -> Self {
        self.among = count;
        self
    }

    /// Whether it is known which ports of the host these are.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.host_port != 0 && self.among == 1
    }

    /// The ports of the host that one of the container's may be reached by; none says any.
    pub(crate) fn choices(&self) -> impl Iterator<Item = u16> + use<> {
        let more = self.among.saturating_sub(1);
        self.host_port..=self.host_port.saturating_add(more)
    }

    /// Each port of the container, whichever of the host leads to it.
    pub(crate) fn container_ports(&self) -> impl Iterator<Item = u16> + use<> {
        let more = self.count.saturating_sub(1);
        self.container_port..=self.container_port.saturating_add(more)
    }

    /// Each port of the host with that of the container.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPorts`] if there is none, one that is above 65535, or one of the host that is not settled.
    pub fn pairs(&self) -> Result<impl Iterator<Item = (u16, u16)> + use<>> {
        let wrong = |reason| Error::InvalidPorts {
            ports: self.to_string(),
            reason,
        };
        if self.count == 0 {
            return Err(wrong("there is no port in it"));
        }
        if self.container_port == 0 {
            return Err(wrong("a port is a number from 1 to 65535"));
        }
        if !self.is_settled() {
            return Err(wrong("it is not settled which port of the host that is"));
        }
        let more = self.count - 1;
        match (
            self.host_port.checked_add(more),
            self.container_port.checked_add(more),
        ) {
            (Some(last), Some(container_last)) => {
                Ok((self.host_port..=last).zip(self.container_port..=container_last))
            }
            _ => Err(wrong("it goes beyond port 65535")),
        }
    }

    /// This one port of it, for errors.
    pub(crate) fn only(&self, host_port: u16, container_port: u16) -> Self {
        Self {
            host_port,
            among: 1,
            container_port,
            count: 1,
            ..*self
        }
    }
}

impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |first: u16, count: u16| match count {
            1 => first.to_string(),
            count => format!(
                "{first}-{}",
                u32::from(first) + u32::from(count).saturating_sub(1)
            ),
        };
        match self.host_address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        match (self.host_port, self.host_address) {
            (0, None) => {}
            (0, Some(_)) => f.write_str(":")?,
            (host, _) => write!(f, "{}:", range(host, self.count.max(self.among)))?,
        }
        let inside = range(self.container_port, self.count);
        write!(f, "{inside}/{}", self.transport)
    }
}

impl FromStr for PortForward {
    type Err = Error;

    /// Reads `[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|/udp]`; an IPv6 address stands in brackets, and the port of the host may be
    /// missing.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason| Error::InvalidPorts {
            ports: text.to_owned(),
            reason,
        };
        let (ports, transport) = match text.rsplit_once('/') {
            None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), Transport::Tcp),
            Some((ports, "udp")) => (ports, Transport::Udp),
            Some((_, "sctp")) => {
                return Err(wrong(
                    "SCTP cannot be published, but /tcp and /udp can; a server of SCTP is reached without that where it has the host's own \
                     network (--network host)",
                ));
            }
            Some(_) => return Err(wrong("what stands behind the / is neither tcp nor udp")),
        };
        let (host, container) = match ports.rsplit_once(':') {
            Some((host, container)) => (Some(host), container),
            None => (None, ports),
        };
        let (address, host) = match host.and_then(|host| host.rsplit_once(':')) {
            None => (None, host),
            Some((address, host)) => {
                let bare = address
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'));
                let address = match bare {
                    Some(bare) => bare.parse().map(IpAddr::V6),
                    None => address.parse().map(IpAddr::V4),
                };
                let address =
                    address.map_err(|_| wrong("what stands before the ports is no IP address"))?;
                (Some(address), Some(host).filter(|host| !host.is_empty()))
            }
        };
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
                true => text.parse::<u16>().ok(),
                false => None,
            };
            match (number(first), number(last)) {
                (Some(first), Some(last)) if 0 < first && first <= last => {
                    Ok((first, last - first + 1))
                }
                _ => Err(wrong(
                    "a port is a number from 1 to 65535, or two with a - between, the lower first",
                )),
            }
        };
        let (container_port, count) = range(container)?;
        let (host_port, host_count) = match host {
            None | Some("0") => (0, count),
            Some(host) => range(host)?,
        };
        let among = match count {
            1 => host_count,
            _ if host_count == count => 1,
            _ => {
                return Err(wrong(
                    "the host has not as many ports in it as the container",
                ));
            }
        };
        Ok(Self {
            host_address: address,
            host_port,
            among,
            container_port,
            count,
            transport,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ports_are_written_as_for_docker() {
        for (text, same) in [
            ("8080:80", "8080:80/tcp"),
            ("127.0.0.1:53:53/udp", "127.0.0.1:53:53/udp"),
            ("[::1]:9000-9002:90-92/tcp", "[::1]:9000-9002:90-92/tcp"),
            ("80", "80/tcp"),
            ("0:80-81", "80-81/tcp"),
            ("127.0.0.1::53/udp", "127.0.0.1::53/udp"),
            ("8000-8010:80", "8000-8010:80/tcp"),
        ] {
            assert_eq!(text.parse::<PortForward>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn what_is_no_port_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "1 to 65535"),
            (":80", "1 to 65535"),
            ("80:", "1 to 65535"),
            (
                "80:80/sctp",
                "SCTP cannot be published, but /tcp and /udp can",
            ),
            ("80:80/icmp", "neither tcp nor udp"),
            ("80:0", "1 to 65535"),
            ("80:65536", "1 to 65535"),
            ("+80:80", "1 to 65535"),
            ("90-80:80-90", "lower first"),
            ("80-90:80-81", "as many"),
            ("80:80-81", "as many"),
            ("host:80:80", "no IP address"),
            ("::1:80:80", "no IP address"),
            (":80:80", "no IP address"),
            ("0-65535:0-65535", "1 to 65535"),
        ] {
            let error = text.parse::<PortForward>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains(part),
                "{error}"
            );
        }
        let beyond = PortForward::new(65535, 1).count(2);
        assert!(
            beyond
                .pairs()
                .is_err_and(|error| error.to_string().contains("65535-65536:1-2/tcp"))
        );
        assert!(PortForward::new(1, 1).count(0).pairs().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_says_the_same_again(text in "[0-9a-f:.\\[\\]/tcpu-]{0,30}") {
            if let Ok(forward) = text.parse::<PortForward>() {
                prop_assert_eq!(forward.to_string().parse::<PortForward>().unwrap(), forward);
                let pairs = forward.pairs();
                prop_assert_eq!(pairs.is_ok(), forward.is_settled());
                prop_assert!(pairs.map_or(true, |pairs| pairs.count() == usize::from(forward.count)));
            }
        }

        #[test]
        fn what_can_be_forwarded_can_be_written_and_read(
            host_address: Option<IpAddr>, host_port in 1..=u16::MAX, container_port in 1..=u16::MAX,
            count in 1u16..100, udp: bool,
        ) {
            let transport = if udp { Transport::Udp } else { Transport::Tcp };
            let forward = PortForward { host_address, host_port, among: 1, container_port, count, transport };
            match forward.pairs() {
                Ok(_) => prop_assert_eq!(forward.to_string().parse::<PortForward>().unwrap(), forward),
                Err(_) => prop_assert!(forward.to_string().parse::<PortForward>().is_err()),
            }
        }
    }
}
