//! Containers speak for themselves alone: whatever a container on a bridge sends under another one's name gets nowhere.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use fake_host::Host;
use rocker_net::{Attachment, Netns, Network, NetworkOptions};

const LIMIT: Duration = Duration::from_secs(20);
/// How long nothing has to happen.
const SILENCE: Duration = Duration::from_millis(300);

struct Container {
    netns: Netns,
    attachment: Attachment,
}

impl Container {
    fn mac(&self) -> String {
        let mac = self
            .attachment
            .mac
            .unwrap()
            .map(|byte| format!("{byte:02x}"));
        mac.join(":")
    }

    fn address(&self) -> IpAddr {
        self.attachment.address
    }
}

/// Attaches a namespace that ip(8) knows by this name.
fn attach(host: &Host, network: &Network, name: &str) -> Container {
    host.sh(&format!("ip netns add {name}"));
    let netns = Netns::from_fd(File::open(format!("/run/netns/{name}")).unwrap().into());
    let attachment = network.attach(name, netns.as_fd()).unwrap();
    Container { netns, attachment }
}

fn network(host: &Host) -> Network {
    Network::open(host.dir("state"), &NetworkOptions::default()).unwrap()
}

/// Whether a datagram that `container` sends from `from` arrives at the host.
fn arrives(container: &Container, from: IpAddr) -> bool {
    let server = UdpSocket::bind((container.attachment.gateway, 0)).unwrap();
    server.set_read_timeout(Some(SILENCE)).unwrap();
    let to = server.local_addr().unwrap();
    container
        .netns
        .run(|| {
            UdpSocket::bind((from, 0))
                .unwrap()
                .send_to(b"x", to)
                .unwrap()
        })
        .unwrap();
    match server.recv_from(&mut [0]) {
        Ok((_, who)) => {
            assert_eq!(who.ip(), from);
            true
        }
        Err(_) => false,
    }
}

/// Takes away what is tested, which shows that it is this that makes the difference.
fn unprotect(host: &Host) {
    host.sh("nft flush chain bridge rocker-bridge prerouting");
}

#[test]
fn a_container_that_claims_the_address_of_another_one_is_not_heard() {
    fake_host::run(|host| {
        let network = network(host);
        // Which makes the directory of names, and leaves it.
        host.sh("ip netns add x; ip netns del x");
        let before = host.state();
        let a = attach(host, &network, "a");
        let b = attach(host, &network, "b");
        attach(host, &network, "c");
        let (address, gateway) = (b.address(), a.attachment.gateway);
        assert!(arrives(&a, a.address()) && arrives(&b, address));

        // ARP, to the host and to a third container, which have just talked to the real one.
        for from in ["", "ip netns exec c"] {
            host.sh(&format!("{from} busybox ping -c 1 -W 5 {address}"));
        }
        let neighbours = || {
            let of = |netns: &str| host.sh(&format!("ip {netns} neigh show {address}"));
            [of(""), of("-n c")]
        };
        let lie = || {
            host.sh(&format!(
                "ip netns exec a busybox arping -q -U -c 1 -I eth0 -s {address} {address} || true
                 ip netns exec a busybox arping -q -A -c 1 -I eth0 -s {address} {address} || true"
            ));
        };
        host.sh(&format!("ip -n a addr add {address}/32 dev eth0"));
        let lied = || neighbours().iter().any(|line| line.contains(&a.mac()));
        for _ in 0..3 {
            lie();
            assert!(!lied(), "{:?}", neighbours());
        }
        assert!(
            neighbours().iter().all(|line| line.contains(&b.mac())),
            "{:?}",
            neighbours()
        );
        // IP: its own MAC address with the other's address, both of the other, and the host's own address.
        assert!(!arrives(&a, address));
        host.sh(&format!("ip -n a link set eth0 address {}", b.mac()));
        assert!(!arrives(&a, address));
        assert!(!arrives(&a, a.address()), "a MAC address of somebody else");
        host.sh(&format!("ip -n a link set eth0 address {}", a.mac()));
        assert!(arrives(&a, a.address()));
        host.sh(&format!("ip -n a addr add 10.1.2.3/32 dev eth0; ip -n a neigh replace {gateway} lladdr $(cat /sys/class/net/rocker0/address) dev eth0"));
        assert!(!arrives(&a, "10.1.2.3".parse().unwrap()));
        // The real one has been heard all the time.
        assert!(arrives(&b, address));

        unprotect(host);
        assert!(arrives(&a, address));
        host.wait_until("the lie is believed", LIMIT, || {
            lie();
            lied()
        });
        for name in ["a", "b", "c"] {
            network.detach(name).unwrap();
            host.sh(&format!("ip netns del {name}"));
        }
        assert_eq!(host.state(), before);
    });
}

/// Sends a message of ICMPv6 to all nodes: the first argument are its bytes behind the checksum, in hexadecimal digits.
const ICMPV6: &str = "import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
i = socket.if_nametoindex(sys.argv[1]); s.bind((sys.argv[2], 0, 0, i))
s.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[4], 0, 0, i))";

#[test]
fn no_container_is_a_router_or_somebody_else_of_ipv6() {
    fake_host::run(|host| {
        let options = NetworkOptions::default().ipv6(true);
        let network = Network::open(host.dir("state"), &options).unwrap();
        let a = attach(host, &network, "a");
        let b = attach(host, &network, "b");
        // As if they listened to routers, which they do not: it is to be the rules that keep them from being told.
        host.sh("echo 1 >/proc/sys/net/ipv6/conf/rocker0/accept_ra
             ip netns exec b sh -c 'echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra'");
        let link_local = |mac: [u8; 6]| {
            let [_, a, b, c, d, e] = mac;
            let address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, a, b, 0xff, 0xfe, c, d, e];
            std::net::Ipv6Addr::from(address).to_string()
        };
        let (own, other) = (
            link_local(a.attachment.mac.unwrap()),
            link_local(b.attachment.mac.unwrap()),
        );
        for (name, address) in [("a", &own), ("b", &other)] {
            host.wait_until(
                "the kernel knows that its address is its own",
                LIMIT,
                || {
                    let found = host.sh(&format!("ip -n {name} -6 addr show dev eth0"));
                    found.contains(&**address) && !found.contains("tentative")
                },
            );
        }
        host.wait_until("so does the host", LIMIT, || {
            let found = host.sh("ip -6 addr show dev rocker0");
            found.contains("fe80") && !found.contains("tentative")
        });
        // They reach each other.
        host.sh(&format!(
            "ip netns exec a busybox ping -6 -c 1 -W 5 {other}%eth0"
        ));
        host.sh(&format!("busybox ping -6 -c 1 -W 5 {other}%rocker0"));

        let send = |from: &str, message: &str, to: &str| {
            host.sh(&format!(
                "ip netns exec a python3 -c \"{ICMPV6}\" eth0 {from} {message} {to}"
            ));
        };
        // Type 134: hop limit 64, router for 1800 s.
        let advertisement = "86000000400007080000000000000000";
        let routes = || {
            let of = |netns: &str| host.sh(&format!("ip {netns} -6 route show default proto ra"));
            [of(""), of("-n b")].concat()
        };
        let advertise = || send(&own, advertisement, "ff02::1");
        for _ in 0..5 {
            advertise();
        }
        // Type 136, override: the address of the other one is here.
        let target: std::net::Ipv6Addr = other.parse().unwrap();
        let digits: String = target
            .octets()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mac = a.mac().replace(':', "");
        let claim = format!("8800000020000000{digits}0201{mac}");
        let neighbours = || host.sh(&format!("ip -6 neigh show {other} dev rocker0"));
        send(&own, &claim, "ff02::1");
        // What has come by then has been dealt with: the kernel does it in order.
        host.sh(
            "ip netns exec a busybox ping -c 1 -W 5 $(ip -n a route show default | cut -d' ' -f3)",
        );
        assert_eq!(routes(), "");
        assert!(neighbours().contains(&b.mac()), "{}", neighbours());

        unprotect(host);
        host.wait_until("the advertisement is believed", LIMIT, || {
            advertise();
            routes().contains(&own)
        });
        host.wait_until("the claim is believed", LIMIT, || {
            send(&own, &claim, "ff02::1");
            neighbours().contains(&a.mac())
        });
    });
}

#[test]
fn no_container_gives_out_addresses() {
    fake_host::run(|host| {
        let network = network(host);
        let a = attach(host, &network, "a");
        let b = attach(host, &network, "b");
        let offered = || {
            let client = b
                .netns
                .run(|| UdpSocket::bind((b.address(), 68)).unwrap())
                .unwrap();
            client.set_read_timeout(Some(SILENCE)).unwrap();
            let send = |port| {
                let server = a
                    .netns
                    .run(|| UdpSocket::bind((a.address(), port)).unwrap());
                server.unwrap().send_to(b"x", (b.address(), 68)).unwrap();
                client.recv_from(&mut [0]).is_ok()
            };
            [send(67), send(1067)]
        };
        assert_eq!(offered(), [false, true]);
        unprotect(host);
        assert_eq!(offered(), [true, true]);
    });
}
