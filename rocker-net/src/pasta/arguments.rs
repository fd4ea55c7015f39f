//! What pasta is told on its command line.

use std::net::{IpAddr, Ipv4Addr};

use super::PastaOptions;
use crate::bridge::mac;
use crate::{Error, PortForward, Result, Subnet, Transport};

/// How versions say that they do not know an option.
pub(super) const NEWER: &str = "unrecognized option";

/// Who has which address in the container's subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) subnet: Subnet,
    pub(super) gateway: IpAddr,
    pub(super) address: IpAddr,
    /// Whom the container asks for names.
    pub(super) dns: Vec<IpAddr>,
    /// Which of them stands in for one on the host's loopback.
    stand_in: Option<IpAddr>,
}

impl Plan {
    pub(super) fn new(
        subnet: Subnet,
        resolvers: &[Ipv4Addr],
        options: &PastaOptions,
    ) -> Result<Self> {
        if subnet.network().is_ipv6() {
            return Err(Error::Family {
                address: subnet.network(),
                rule: "a network's subnet is IPv4",
            });
        }
        let mut hosts = subnet.hosts();
        let mut next = || hosts.next().ok_or(Error::SubnetFull { subnet });
        let (gateway, address, third) = (next()?, next()?, next()?);
        let six = |forward: &PortForward| forward.host_address.filter(IpAddr::is_ipv6);
        if let Some(address) = options.forwards.iter().find_map(six) {
            return Err(Error::Family {
                address,
                rule: "ports are published on addresses of IPv4",
            });
        }
        // The container's own loopback is another one. pasta passes questions on to the first, and to no other.
        let is_local = |server: &&Ipv4Addr| server.is_loopback();
        let stand_in = resolvers.first().filter(is_local).map(|_| third);
        let others = resolvers.iter().filter(|server| !is_local(server));
        let others = others.copied().map(IpAddr::V4);
        Ok(Self {
            subnet,
            gateway,
            address,
            dns: stand_in.into_iter().chain(others).collect(),
            stand_in,
        })
    }

    /// The arguments for a process whose standard input is the network namespace, and whose standard output wants to
    /// have its PID when it is ready.
    pub(super) fn arguments(&self, options: &PastaOptions) -> Result<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| all.extend(words.iter().copied().map(str::to_owned));
        // As our child, and without a user namespace of its own: it needs ours, which owns the network namespace.
        say(&["--foreground", "--quiet", "--netns-only"]);
        say(&["--netns", "/proc/self/fd/0", "--no-netns-quit"]);
        say(&["--pid", "/proc/self/fd/1"]);
        // Everything by which it would take after the host is said here instead. An interface is what it insists on
        // nevertheless, and every host has this one, be it offline or not.
        let (gateway, address) = (self.gateway.to_string(), self.address.to_string());
        let prefix_len = self.subnet.prefix_len().to_string();
        let mac = |address| mac(address).map(|byte| format!("{byte:02x}")).join(":");
        say(&["--ipv4-only", "--interface", "lo", "--config-net"]);
        say(&["--ns-ifname", &options.interface]);
        say(&["--address", &address, "--netmask", &prefix_len]);
        say(&["--gateway", &gateway, "--mac-addr", &mac(self.gateway)]);
        // Not told, it learns the container's from the first packet that comes out, and until then what goes in is lost.
        say(&["--ns-mac-addr", &mac(self.address)]);
        if let Some(mtu) = options.mtu {
            say(&["--mtu", &mtu.to_string()]);
        }
        say(&["--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"]);
        match self.stand_in {
            // Whom it stands in for is not said: of what it is told, it makes nothing (2023), of resolv.conf it does.
            Some(stand_in) => say(&["--dns-forward", &stand_in.to_string()]),
            None => say(&["--dns", "none"]),
        }
        // In words that versions before the repair of what `turned_back` speaks of do not know, where it matters.
        let newer = turned_back(options).next().is_some();
        match (options.host_loopback, newer) {
            (false, false) => say(&["--no-map-gw"]),
            (false, true) => say(&["--map-host-loopback", "none"]),
            (true, false) => {}
            (true, true) => say(&["--map-host-loopback", &gateway]),
        }
        // Its default is to forward whatever anybody listens on, in both directions.
        say(&["--tcp-ns", "none", "--udp-ns", "none"]);
        for (transport, option) in [
            (Transport::Tcp, "--tcp-ports"),
            (Transport::Udp, "--udp-ports"),
        ] {
            let mut any = false;
            for forward in options
                .forwards
                .iter()
                .filter(|one| one.transport == transport)
            {
                // One by one: of several in one word it is content if it gets any.
                for (host, container) in forward.pairs()? {
                    let at = forward.host_address.map(|address| format!("{address}/"));
                    let at = at.unwrap_or_default();
                    say(&[option, &format!("{at}{host}:{container}")]);
                    any = true;
                }
            }
            if !any {
                say(&[option, "none"]);
            }
        }
        Ok(all)
    }
}

/// The ports of UDP that a pasta from before summer 2024 gets wrong: those that lead to a lower one. It writes the way back
/// beside the table that is meant, so that answers come from the wrong port, and ports of the container's loopback,
/// whichever this hits, lead to the host's.
pub(super) fn turned_back(options: &PastaOptions) -> impl Iterator<Item = &PortForward> {
    options.forwards.iter().filter(|forward| {
        forward.transport == Transport::Udp && forward.container_port < forward.host_port
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(options: &PastaOptions) -> String {
        let subnet = "10.88.0.0/16".parse().unwrap();
        let plan = Plan::new(subnet, &[], options).unwrap();
        plan.arguments(options).unwrap().join(" ")
    }

    #[test]
    fn nothing_of_the_host_is_reached_and_no_port_leads_in_unless_asked_for() {
        let text = arguments(&PastaOptions::default());
        for part in [
            "--no-map-gw",
            "--tcp-ns none --udp-ns none --tcp-ports none --udp-ports none",
            "--address 10.88.0.2 --netmask 16 --gateway 10.88.0.1 --mac-addr 02:72:0a:58:00:01",
            "--dns none",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let text = arguments(&PastaOptions::default().host_loopback(true));
        assert!(!text.contains("map"), "{text}");
    }

    #[test]
    fn each_port_is_said_by_itself_so_that_one_that_is_in_use_is_an_error() {
        let options = PastaOptions::default()
            .forward("127.0.0.1:9000-9001:90-91".parse().unwrap())
            .forward("53:5353/udp".parse().unwrap());
        let text = arguments(&options);
        let part =
            "--tcp-ports 127.0.0.1/9000:90 --tcp-ports 127.0.0.1/9001:91 --udp-ports 53:5353";
        assert!(text.ends_with(part), "{text}");
    }

    #[test]
    fn what_an_old_pasta_gets_wrong_is_said_so_that_it_does_not_understand() {
        let options = PastaOptions::default().forward("5353:53/udp".parse().unwrap());
        let text = arguments(&options);
        assert!(text.contains("--map-host-loopback none") && !text.contains("--no-map-gw"));
        let text = arguments(&options.host_loopback(true));
        assert!(text.contains("--map-host-loopback 10.88.0.1"), "{text}");
        for fine in ["5353:53/tcp", "53:5353/udp", "53:53/udp"] {
            let text = arguments(&PastaOptions::default().forward(fine.parse().unwrap()));
            assert!(text.contains("--no-map-gw"), "{text}");
        }
    }

    #[test]
    fn a_subnet_needs_room_for_three_and_is_of_ipv4() {
        let plan = |subnet: &str| {
            let subnet = subnet.parse().unwrap();
            Plan::new(subnet, &[], &PastaOptions::default())
        };
        assert!(matches!(plan("10.0.0.0/30"), Err(Error::SubnetFull { .. })));
        assert!(matches!(plan("fd00::/64"), Err(Error::Family { .. })));
        plan("10.0.0.0/29").unwrap();
    }

    #[test]
    fn a_name_server_on_the_hosts_loopback_is_stood_in_for_and_another_is_asked_itself() {
        let options = PastaOptions::default();
        let dns = |servers: &[&str]| {
            let servers: Vec<_> = servers.iter().map(|one| one.parse().unwrap()).collect();
            let subnet = "10.88.0.0/16".parse().unwrap();
            let plan = Plan::new(subnet, &servers, &options).unwrap();
            let forwards = plan.arguments(&options).unwrap();
            let forwards = forwards.contains(&"--dns-forward".to_owned());
            let all = plan.dns.iter().map(IpAddr::to_string);
            (all.collect::<Vec<_>>().join(" "), forwards)
        };
        let said = |text: &str, forwards| (text.to_owned(), forwards);
        assert_eq!(dns(&["127.0.0.53"]), said("10.88.0.3", true));
        let both = dns(&["127.0.0.1", "192.0.2.1"]);
        assert_eq!(both, said("10.88.0.3 192.0.2.1", true));
        let both = dns(&["192.0.2.1", "127.0.0.1", "192.0.2.2"]);
        assert_eq!(both, said("192.0.2.1 192.0.2.2", false));
        assert_eq!(dns(&[]), said("", false));
    }
}
