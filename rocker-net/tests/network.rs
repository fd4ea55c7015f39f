//! The whole network on the real kernel, each test in a fake host of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use fake_host::Host;
use rocker_net::{Error, Netns, Network, NetworkOptions, Subnet};

const TIMEOUT: Duration = Duration::from_secs(5);

fn network(host: &Host) -> Network {
    Network::open(host.dir("state"), &NetworkOptions::default()).unwrap()
}

/// Listens in `server`, connects from `client`, and returns what came back and whom the server saw.
fn greet(server: &Netns, client: &Netns, to: IpAddr) -> (String, IpAddr) {
    let listener = server.run(|| TcpListener::bind((to, 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel answers for the server, so that nobody waits for a client that does not get through.
    let mut stream = client.run(|| connect(address)).unwrap();
    let (mut accepted, peer) = listener.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    drop(accepted);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text, peer.ip())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// A network namespace named for ip(8), and as a value.
fn named_netns(host: &Host, name: &str) -> Netns {
    host.sh(&format!("ip netns add {name}"));
    Netns::from_fd(File::open(format!("/run/netns/{name}")).unwrap().into())
}

/// "The internet": a namespace at the host's default route that has no route back to any container.
fn internet(host: &Host) -> Netns {
    let netns = named_netns(host, "internet");
    // Without IPv6, since its addresses change for seconds after an interface is up, and `state` would see it.
    host.sh(
        "for conf in /proc/sys/net/ipv6/conf/default/disable_ipv6; do [ ! -e $conf ] || echo 1 >$conf; done
         ip link add uplink0 type veth peer eth0 netns internet
         ip addr add 198.51.100.2/24 dev uplink0; ip link set uplink0 up
         ip -n internet addr add 198.51.100.1/24 dev eth0; ip -n internet link set eth0 up; ip -n internet link set lo up
         ip route add default via 198.51.100.1",
    );
    netns
}

fn forwarding(interface: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{interface}/forwarding"))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn two_containers_reach_each_other_and_the_host_is_as_before_after_the_last() {
    fake_host::run(|host| {
        let before = host.state();
        let network = network(host);
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        let a = network.attach("one", one.as_fd()).unwrap();
        let b = network.attach("two", two.as_fd()).unwrap();
        assert_ne!(a.address, b.address);
        assert_eq!(network.owners().unwrap(), ["one", "two"]);
        // Between containers there is no translation: the server sees the client itself.
        assert_eq!(
            greet(&one, &two, a.address),
            ("hello".to_owned(), b.address)
        );
        assert_eq!(greet(&two, &two, "127.0.0.1".parse().unwrap()).0, "hello");
        // The host reaches a container, and is seen as the gateway.
        let own = Netns::current().unwrap();
        assert_eq!(
            greet(&one, &own, a.address),
            ("hello".to_owned(), a.gateway)
        );

        network.detach("one").unwrap();
        assert_eq!(network.owners().unwrap(), ["two"]);
        assert_eq!(greet(&two, &own, b.address).0, "hello");
        network.detach("two").unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn the_calling_thread_never_changes_its_namespace() {
    fake_host::run(|host| {
        let own = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = own();
        let netns = Netns::new().unwrap();
        let inside = netns.run(own).unwrap();
        assert_ne!(inside, before);
        assert_eq!(
            netns
                .run(|| Netns::current().unwrap().run(own).unwrap())
                .unwrap(),
            inside
        );
        network(host).attach("c", netns.as_fd()).unwrap();
        network(host).detach("c").unwrap();
        let panic = thread::spawn(move || netns.run(|| panic!("as told")))
            .join()
            .unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"as told"));
        assert_eq!(own(), before);
    });
}

#[test]
fn a_container_without_network_has_its_loopback() {
    fake_host::run(|_| {
        let netns = Netns::new().unwrap();
        let localhost = "127.0.0.1".parse().unwrap();
        rocker_net::loopback_up(netns.as_fd()).unwrap();
        assert_eq!(
            greet(&netns, &netns, localhost),
            ("hello".to_owned(), localhost)
        );
    });
}

#[test]
fn an_endpoint_is_configured_as_told() {
    fake_host::run(|host| {
        let options = NetworkOptions::default()
            .subnet("10.5.0.0/24".parse().unwrap())
            .mtu(1400);
        let network = Network::open(host.dir("state"), &options).unwrap();
        let netns = named_netns(host, "c");
        let attachment = network.attach("c", netns.as_fd()).unwrap();
        assert_eq!(attachment.address.to_string(), "10.5.0.2");
        assert_eq!(attachment.prefix_len, 24);
        let addresses = host.sh("ip -n c -o addr");
        assert!(
            addresses.contains("inet 10.5.0.2/24 brd 10.5.0.255 scope global eth0"),
            "{addresses}"
        );
        assert!(addresses.contains("inet 127.0.0.1/8"), "{addresses}");
        assert_eq!(
            host.sh("ip -n c route show default").trim(),
            "default via 10.5.0.1 dev eth0"
        );
        let link = host.sh("ip -n c link show eth0");
        assert!(
            link.contains("mtu 1400") && link.contains("state UP"),
            "{link}"
        );
        assert!(link.contains("02:72:0a:05:00:02"), "{link}");
        let port = host.sh(&format!("ip link show {}", attachment.host_interface));
        assert!(
            port.contains("master rocker0") && port.contains("mtu 1400"),
            "{port}"
        );
        network.detach("c").unwrap();
    });
}

#[test]
fn a_container_reaches_a_world_that_knows_no_way_back_to_it() {
    fake_host::run(|host| {
        let internet = internet(host);
        let before = host.state();
        let network = network(host);
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        assert_eq!(
            (
                forwarding("uplink0"),
                forwarding("rocker0"),
                forwarding("all")
            ),
            ("1".into(), "1".into(), "0".into())
        );
        let (text, seen) = greet(&internet, &netns, "198.51.100.1".parse().unwrap());
        assert_eq!(
            (&*text, seen.to_string().as_str()),
            ("hello", "198.51.100.2")
        );
        network.detach("c").unwrap();
        assert_eq!(forwarding("uplink0"), "0");
        assert_eq!(host.state(), before);
    });
}

#[test]
fn what_somebody_took_from_the_host_meanwhile_is_there_again_for_the_next_container() {
    fake_host::run(|host| {
        let internet = internet(host);
        let before = host.state();
        let network = network(host);
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        network.attach("one", one.as_fd()).unwrap();
        let as_made = host.state();
        for (number, harm) in [
            "ip addr flush dev rocker0",
            "ip addr replace 10.88.0.1/24 dev rocker0; ip addr del 10.88.0.1/16 dev rocker0",
            "ip link set rocker0 down",
            "echo 0 >/proc/sys/net/ipv4/conf/uplink0/forwarding",
            "echo 0 >/proc/sys/net/ipv4/conf/rocker0/forwarding",
            "nft flush table bridge rocker-bridge",
            "nft delete table inet rocker-bridge",
        ]
        .iter()
        .enumerate()
        {
            host.sh(harm);
            let owner = format!("c{number}");
            network.attach(&owner, two.as_fd()).unwrap();
            let (text, _) = greet(&internet, &two, "198.51.100.1".parse().unwrap());
            assert_eq!(text, "hello", "after {harm}");
            network.detach(&owner).unwrap();
            host.sh("ip addr del 10.88.0.1/24 dev rocker0 2>/dev/null || true");
            assert_eq!(host.state(), as_made, "after {harm}");
        }
        network.detach("one").unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn the_world_does_not_reach_a_container_unasked() {
    fake_host::run(|host| {
        let internet = internet(host);
        let network = network(host);
        let netns = Netns::new().unwrap();
        let attachment = network.attach("c", netns.as_fd()).unwrap();
        host.sh("ip -n internet route add 10.0.0.0/8 via 198.51.100.2");
        let listener = netns
            .run(|| TcpListener::bind((attachment.address, 80)).unwrap())
            .unwrap();
        let address = listener.local_addr().unwrap();
        let limit = Duration::from_millis(300);
        let outcome = internet
            .run(|| TcpStream::connect_timeout(&address, limit).map(drop))
            .unwrap();
        assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        // It is the rule that stops it, and nothing else.
        host.sh("nft flush chain inet rocker-bridge forward");
        internet.run(|| connect(address)).unwrap();
        network.detach("c").unwrap();
    });
}

#[test]
fn the_rules_read_as_meant_and_come_back_when_somebody_flushes_them() {
    fake_host::run(|host| {
        let options = NetworkOptions::default().subnet("10.88.0.0/16".parse().unwrap());
        let network = Network::open(host.dir("state"), &options).unwrap();
        host.sh("nft add table ip foreign");
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        network.attach("one", one.as_fd()).unwrap();
        let rules = host.sh("nft list ruleset");
        for part in [
            "table ip foreign",
            "table inet rocker-bridge",
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip saddr 10.88.0.0/16 oifname != \"rocker0\" masquerade comment \"rocker: ",
            "type filter hook forward priority filter; policy accept;",
            "iifname != \"rocker0\" oifname \"rocker0\" ct state ! established,related ct status ! dnat drop comment \"rocker: ",
            "table bridge rocker-bridge",
            "type filter hook prerouting priority filter; policy accept;",
            " . 02:72:0a:58:00:02 . 10.88.0.2 comment \"rocker: one\"",
        ] {
            assert!(rules.contains(part), "{part} is not in\n{rules}");
        }
        host.sh("nft flush ruleset");
        network.attach("two", two.as_fd()).unwrap();
        let own = |family: &str| host.sh(&format!("nft list table {family} rocker-bridge"));
        for family in ["inet", "bridge"] {
            let table = own(family);
            let chains = &table[table.find("chain").unwrap()..];
            assert!(rules.contains(chains), "{chains} is not in\n{rules}");
        }
        for owner in ["one", "two"] {
            assert!(own("bridge").contains(&format!("comment \"rocker: {owner}\"")));
        }
        network.detach("one").unwrap();
        network.detach("two").unwrap();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn forwarding_that_the_host_does_by_itself_is_left_on() {
    fake_host::run(|host| {
        internet(host);
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
        let network = network(host);
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        network.detach("c").unwrap();
        assert_eq!(forwarding("uplink0"), "1");
    });
}

/// A second network of the host: `lan`, and behind it 192.0.2.0/24, by other interfaces than the default route.
fn lan(host: &Host) -> Netns {
    let netns = named_netns(host, "lan");
    host.sh("ip link add lan0 type veth peer eth0 netns lan
         ip addr add 203.0.113.2/24 dev lan0; ip link set lan0 up
         ip -n lan addr add 203.0.113.1/24 dev eth0; ip -n lan addr add 192.0.2.1/24 dev lo
         ip -n lan link set eth0 up; ip -n lan link set lo up
         ip -n lan route add default via 203.0.113.2; ip route add 192.0.2.0/24 via 203.0.113.1
         ip -n internet route add 192.0.2.0/24 via 198.51.100.2");
    netns
}

/// Whether a neighbour on the uplink gets to a server behind the lan, with the host as its router.
fn passes(internet: &Netns, lan: &Netns) -> bool {
    let listener = lan.run(|| TcpListener::bind("192.0.2.1:0").unwrap());
    let address = listener.as_ref().unwrap().local_addr().unwrap();
    let limit = Duration::from_millis(300);
    internet
        .run(|| TcpStream::connect_timeout(&address, limit).is_ok())
        .unwrap()
}

#[test]
fn a_container_reaches_what_the_host_reaches_by_other_ways_than_the_default_route() {
    fake_host::run(|host| {
        internet(host);
        let lan = lan(host);
        let before = host.state();
        let network = network(host);
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        for server in ["203.0.113.1", "192.0.2.1"] {
            let (text, seen) = greet(&lan, &netns, server.parse().unwrap());
            assert_eq!(
                (&*text, seen.to_string().as_str()),
                ("hello", "203.0.113.2")
            );
        }
        network.detach("c").unwrap();
        assert_eq!((&*forwarding("lan0"), &*forwarding("lo")), ("0", "0"));
        assert_eq!(host.state(), before);
    });
}

#[test]
fn the_host_becomes_no_router_between_its_neighbours() {
    fake_host::run(|host| {
        let (internet, lan) = (internet(host), lan(host));
        let before = host.state();
        assert!(!passes(&internet, &lan));
        let network = network(host);
        // One that shares the uplink, and one of another state directory that has to bear with the rules of both.
        let other =
            Network::open(host.dir("state"), &NetworkOptions::new("other", "br-x")).unwrap();
        let foreign =
            Network::open(host.dir("foreign"), &NetworkOptions::new("foreign", "br-y")).unwrap();
        let namespaces = [(); 3].map(|()| Netns::new().unwrap());
        let all = [&network, &other, &foreign];
        for (network, netns) in all.into_iter().zip(&namespaces) {
            network.attach("c", netns.as_fd()).unwrap();
        }
        assert_eq!(forwarding("br-x"), "1");
        for (server, address) in [(&internet, "198.51.100.1"), (&lan, "192.0.2.1")] {
            for netns in &namespaces {
                let (text, _) = greet(server, netns, address.parse().unwrap());
                assert_eq!(text, "hello");
            }
        }
        assert!(!passes(&internet, &lan));
        // The rules of each network suffice, and it is they that do it.
        foreign.detach("c").unwrap();
        network.detach("c").unwrap();
        assert!(!passes(&internet, &lan));
        greet(&internet, &namespaces[1], "198.51.100.1".parse().unwrap());
        host.sh("nft flush chain inet rocker-other forward");
        assert!(passes(&internet, &lan));
        other.detach("c").unwrap();
        assert_eq!((&*forwarding("uplink0"), &*forwarding("lan0")), ("0", "0"));
        assert!(!passes(&internet, &lan));
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_host_that_is_a_router_stays_one() {
    fake_host::run(|host| {
        let (internet, lan) = (internet(host), lan(host));
        let network = network(host);
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        // One that becomes it while containers run, as Docker makes it, is respected from the next attachment on.
        network.attach("one", one.as_fd()).unwrap();
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
        network.attach("two", two.as_fd()).unwrap();
        assert!(passes(&internet, &lan));
        network.detach("one").unwrap();
        network.detach("two").unwrap();
        assert!(passes(&internet, &lan));
        // One that was it before, all the time.
        let before = host.state();
        network.attach("one", one.as_fd()).unwrap();
        assert!(passes(&internet, &lan));
        let rules = host.sh("nft list table inet rocker-bridge");
        assert!(!rules.contains("uplink0"), "{rules}");
        network.detach("one").unwrap();
        assert!(passes(&internet, &lan));
        assert_eq!(host.state(), before);
    });
}

#[test]
fn what_a_bridge_of_the_host_passes_from_port_to_port_is_left_alone() {
    fake_host::run(|host| {
        let (left, right) = (named_netns(host, "left"), named_netns(host, "right"));
        host.sh("ip link add lan0 type bridge; ip link set lan0 up; ip addr add 203.0.113.3/24 dev lan0");
        for (name, address) in [("left", "203.0.113.1"), ("right", "203.0.113.2")] {
            host.sh(&format!(
                "ip link add {name} type veth peer eth0 netns {name}; ip link set {name} up master lan0
                 ip -n {name} addr add {address}/24 dev eth0; ip -n {name} link set eth0 up",
            ));
        }
        // Then packets that are only switched pass the rules for packets that are routed.
        host.sh("f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 1 >$f");
        let network = network(host);
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        assert_eq!(forwarding("lan0"), "1");
        let address = "203.0.113.2".parse().unwrap();
        assert_eq!(greet(&right, &left, address).0, "hello");
        assert_eq!(greet(&right, &netns, address).0, "hello");
        let rules = host.sh("nft list table inet rocker-bridge");
        let rule = "meta nfproto ipv4 iifname \"lan0\" oifgroup != 29291 oifname != \"lan0\" drop";
        assert!(rules.contains(rule), "{rules}");
        network.detach("c").unwrap();
    });
}

#[test]
fn fifty_threads_and_processes_that_attach_at_once_get_distinct_addresses() {
    fake_host::run(|host| {
        if std::env::var_os("ATTACH").is_some() {
            return attach_as_told(host);
        }
        let before = host.state();
        // Half of them as threads of this process, half as processes of their own, all on the same state directory.
        let network = network(host);
        let test = thread::current().name().unwrap().to_owned();
        let exe = std::env::current_exe().unwrap();
        let children: Vec<_> = (0..25)
            .map(|child| {
                let mut command = Command::new(&exe);
                command.args([&test, "--exact", "--nocapture", "--include-ignored"]);
                command
                    .env("ATTACH", format!("process-{child}"))
                    .spawn()
                    .unwrap()
            })
            .collect();
        let namespaces: Vec<_> = (0..25).map(|_| Netns::new().unwrap()).collect();
        thread::scope(|scope| {
            for (thread, netns) in namespaces.iter().enumerate() {
                let network = &network;
                scope.spawn(move || {
                    network
                        .attach(&format!("thread-{thread}"), netns.as_fd())
                        .unwrap()
                });
            }
        });
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let leases = fs::read_dir("/run/state/networks/bridge/leases").unwrap();
        let addresses: BTreeSet<_> = leases
            .filter_map(|entry| {
                Some(
                    entry
                        .unwrap()
                        .file_name()
                        .to_str()?
                        .split_once('=')?
                        .0
                        .to_owned(),
                )
            })
            .collect();
        assert_eq!(addresses.len(), 50);
        let owners = network.owners().unwrap();
        assert_eq!(owners.len(), 50);
        thread::scope(|scope| {
            for owner in &owners {
                let network = &network;
                scope.spawn(move || network.detach(owner).unwrap());
            }
        });
        assert_eq!(host.state(), before);
    });
}

/// What the test above does in its other processes.
fn attach_as_told(host: &Host) {
    let netns = Netns::new().unwrap();
    network(host)
        .attach(&std::env::var("ATTACH").unwrap(), netns.as_fd())
        .unwrap();
}

#[test]
fn detach_is_fine_at_any_time() {
    fake_host::run(|host| {
        let before = host.state();
        let network = network(host);
        network.detach("never-attached").unwrap();
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        // The container dies first, and its endpoint with it, at some time.
        drop(netns);
        network.detach("c").unwrap();
        network.detach("c").unwrap();
        assert_eq!(host.state(), before);

        // Half attached: a lease without a cable, as after a crash or a reboot.
        let netns = Netns::new().unwrap();
        let attachment = network.attach("c", netns.as_fd()).unwrap();
        host.sh(&format!(
            "ip link del {}; ip link del rocker0; nft flush ruleset",
            attachment.host_interface
        ));
        let again = network.attach("c", netns.as_fd()).unwrap();
        assert_eq!(again, attachment);
        network.detach("c").unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn an_attachment_that_fails_half_way_leaves_nothing() {
    fake_host::run(|host| {
        let network = network(host);
        let attach = |netns: &Netns| network.attach("c", netns.as_fd()).unwrap_err();

        let before = host.state();
        let file = File::open("/proc/self/status").unwrap();
        let error = network.attach("c", file.as_fd()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Namespace {
                    operation: "enter",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(host.state(), before);

        // The name is taken inside of the container.
        let taken = named_netns(host, "taken");
        host.sh("ip -n taken link add eth0 type bridge");
        let before = host.state();
        let error = attach(&taken);
        assert!(
            matches!(&error, Error::NameTaken { name, .. } if name == "eth0"),
            "{error}"
        );
        assert_eq!(host.state(), before);

        // Something inside stands in the way after the pair has been made.
        let routed = named_netns(host, "routed");
        host.sh("ip -n routed link add d0 type bridge; ip -n routed link set d0 up; ip -n routed route add default dev d0");
        let before = host.state();
        let error = attach(&routed);
        assert!(
            error.to_string().starts_with("add route default via"),
            "{error}"
        );
        assert_eq!(host.state(), before);

        // Something foreign has the name of the bridge: it is left alone.
        host.sh("ip link add rocker0 type bridge");
        let before = host.state();
        let error = attach(&Netns::new().unwrap());
        assert!(
            matches!(&error, Error::NameTaken { name, .. } if name == "rocker0"),
            "{error}"
        );
        assert_eq!(host.state(), before);
        assert!(network.owners().unwrap().is_empty());
    });
}

#[test]
fn a_network_avoids_the_subnets_of_the_host_and_keeps_its_own_while_in_use() {
    fake_host::run(|host| {
        host.sh(
            "ip link add lan0 type bridge; ip link set lan0 up; ip addr add 10.89.3.4/24 dev lan0
             ip route add 10.88.7.0/24 dev lan0; ip route add 0.0.0.0/1 dev lan0; ip route add blackhole 10.90.0.0/16",
        );
        let network = network(host);
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        let inside =
            |address: IpAddr, subnet: &str| subnet.parse::<Subnet>().unwrap().contains(address);
        assert!(inside(
            network.attach("one", one.as_fd()).unwrap().address,
            "10.91.0.0/16"
        ));

        // A second network takes the next one.
        let other =
            Network::open(host.dir("state"), &NetworkOptions::new("other", "rocker1")).unwrap();
        assert!(inside(
            other.attach("one", two.as_fd()).unwrap().address,
            "10.92.0.0/16"
        ));
        other.detach("one").unwrap();

        // Wishes that cannot be granted.
        let wish = |name: &str, bridge: &str, subnet: &str| {
            let options = NetworkOptions::new(name, bridge).subnet(subnet.parse().unwrap());
            Network::open(host.dir("state"), &options)
                .unwrap()
                .attach("two", two.as_fd())
                .unwrap_err()
        };
        assert!(matches!(
            wish("third", "rocker2", "10.89.0.0/16"),
            Error::SubnetCollides { .. }
        ));
        assert!(matches!(
            wish("bridge", "rocker0", "10.99.0.0/16"),
            Error::SubnetDiffers { .. }
        ));
        assert!(matches!(
            wish("third", "rocker0", "10.99.0.0/16"),
            Error::NameTaken { .. }
        ));
        assert_eq!(network.owners().unwrap(), ["one"]);

        // A route that comes later collides only with the network's next life.
        host.sh("ip route add 10.91.5.0/24 dev lan0");
        assert!(inside(
            network.attach("two", two.as_fd()).unwrap().address,
            "10.91.0.0/16"
        ));
        network.detach("one").unwrap();
        network.detach("two").unwrap();
        assert!(inside(
            network.attach("two", two.as_fd()).unwrap().address,
            "10.93.0.0/16"
        ));
        network.detach("two").unwrap();
    });
}

#[test]
fn containers_of_another_state_directory_keep_their_network() {
    fake_host::run(|host| {
        let before = host.state();
        let (ours, theirs) = (
            network(host),
            Network::open(host.dir("other"), &NetworkOptions::default()).unwrap(),
        );
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        let a = theirs.attach("one", one.as_fd()).unwrap();
        let used = host.state();
        // It would get the very address of the other.
        let error = ours.attach("two", two.as_fd()).unwrap_err();
        assert!(
            matches!(&error, Error::NameTaken { name, .. } if name == "rocker0"),
            "{error}"
        );
        ours.detach("two").unwrap();
        assert_eq!(host.state(), used);
        let own = Netns::current().unwrap();
        assert_eq!(greet(&one, &own, a.address).0, "hello");
        theirs.detach("one").unwrap();
        assert_eq!(host.state(), before);
        ours.attach("two", two.as_fd()).unwrap();
        ours.detach("two").unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn attaching_twice_is_an_error_that_leaves_the_first_attachment_alone() {
    fake_host::run(|host| {
        let network = network(host);
        let (netns, other) = (Netns::new().unwrap(), Netns::new().unwrap());
        let attachment = network.attach("c", netns.as_fd()).unwrap();
        let before = host.state();
        let error = network.attach("c", other.as_fd()).unwrap_err();
        assert!(
            matches!(&error, Error::NameTaken { name, .. } if *name == attachment.host_interface),
            "{error}"
        );
        assert_eq!(host.state(), before);
        assert_eq!(network.owners().unwrap(), ["c"]);
        network.detach("c").unwrap();
    });
}

#[test]
fn an_address_is_not_given_back_while_its_cable_cannot_be_removed() {
    fake_host::run(|host| {
        let network = network(host);
        if std::env::var_os("UNPRIVILEGED").is_some() {
            let error = network.detach("c").unwrap_err();
            assert!(matches!(error, Error::Permission { .. }), "{error:?}");
            return;
        }
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        again_without_net_admin();
        assert_eq!(network.owners().unwrap(), ["c"]);
        network.detach("c").unwrap();
    });
}

/// Runs the calling test in a process that may not configure the network.
fn again_without_net_admin() {
    let test = thread::current().name().unwrap().to_owned();
    let status = Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(std::env::current_exe().unwrap())
        .args([&test, "--exact", "--nocapture"])
        .env("UNPRIVILEGED", "1")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn without_the_privilege_the_error_names_it() {
    fake_host::run(|host| {
        // The state directory is ours, the network of the host is not.
        let dir: PathBuf = host.dir("state");
        let network = Network::open(&dir, &NetworkOptions::default()).unwrap();
        if std::env::var_os("UNPRIVILEGED").is_some() {
            let error = rocker_net::Bridge::ensure(&rocker_net::BridgeOptions::new(
                "br0",
                "10.1.0.0/24".parse().unwrap(),
            ))
            .unwrap_err();
            assert!(matches!(error, Error::Permission { .. }), "{error:?}");
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            return;
        }
        again_without_net_admin();
        assert!(network.owners().unwrap().is_empty());
    });
}
