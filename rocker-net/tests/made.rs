//! Networks that are made by name, on the real kernel, each test in a fake host of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fake_host::Host;
use rocker_net::{
    AttachOptions, Attachment, Error, HostNames, Netns, Network, NetworkOptions, Section, Subnet,
};

const TIMEOUT: Duration = Duration::from_secs(5);
/// After which nobody answers any more.
const SILENCE: Duration = Duration::from_millis(300);

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn named_netns(host: &Host, name: &str) -> Netns {
    host.sh(&format!("ip netns add {name}"));
    Netns::open(format!("/run/netns/{name}")).unwrap()
}

/// Whether `client` gets a greeting from a server in `server` at `address`; and as whom.
fn greets(server: &Netns, client: &Netns, address: IpAddr, limit: Duration) -> Option<IpAddr> {
    let listener = server
        .run(|| TcpListener::bind((address, 0)).unwrap())
        .unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |address: SocketAddr| TcpStream::connect_timeout(&address, limit).ok();
    let mut stream = client.run(|| connect(address)).unwrap()?;
    let (mut accepted, peer) = listener.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    drop(accepted);
    let mut text = String::new();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    Some(peer.ip())
}

fn six(attachment: &Attachment) -> IpAddr {
    attachment.ipv6.unwrap().0.into()
}

/// How many wait for a lock on a file.
fn waiting() -> usize {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|line| line.contains("->")).count()
}

#[test]
fn whoever_removes_a_network_and_its_first_container_do_not_wait_for_each_other() {
    fake_host::run(|host| {
        let state = host.dir("state");
        let network = Network::create(&state, &NetworkOptions::new("one", "br-one")).unwrap();
        let others = waiting();
        // Somebody chooses subnets, and both come meanwhile.
        let path = state.join("networks/.subnets.lock");
        let lock = fs::File::options().write(true).open(path).unwrap();
        lock.lock().unwrap();
        let (tell, told) = mpsc::channel();
        let (remover, told_too, attacher) = (network.clone(), tell.clone(), network.clone());
        thread::spawn(move || told_too.send(remover.remove()));
        host.wait_until("the remover waits", TIMEOUT, || waiting() > others);
        let netns = Netns::new().unwrap();
        thread::spawn(move || tell.send(attacher.attach("c", netns.as_fd()).map(drop)));
        host.wait_until("both wait", TIMEOUT, || waiting() > others + 1);
        drop(lock);
        let outcomes = [(); 2].map(|()| {
            let outcome = told.recv_timeout(TIMEOUT);
            outcome.expect("neither waits for the other")
        });
        // It was removed, or somebody is on it now; not both.
        assert_eq!(
            outcomes.iter().filter(|one| one.is_ok()).count(),
            1,
            "{outcomes:?}"
        );
        let found = Network::find(&state, "one").unwrap();
        let owners = found.map(|network| network.owners().unwrap());
        assert!(
            owners.is_none() || owners == Some(vec!["c".to_owned()]),
            "{owners:?}"
        );
    });
}

/// "The internet", with no way back to any container, by both protocols.
fn internet(host: &Host) -> Netns {
    let netns = named_netns(host, "internet");
    host.sh(
        "ip link add uplink0 type veth peer eth0 netns internet
         ip addr add 198.51.100.2/24 dev uplink0; ip addr add 2001:db8::2/64 dev uplink0 nodad; ip link set uplink0 up
         ip -n internet addr add 198.51.100.1/24 dev eth0; ip -n internet addr add 2001:db8::1/64 dev eth0 nodad
         ip -n internet link set eth0 up; ip -n internet link set lo up
         ip route add default via 198.51.100.1; ip -6 route add default via 2001:db8::1",
    );
    // Addresses of the link come and settle for a second, and `state` would see it.
    host.wait_until("the uplink has settled", TIMEOUT, || {
        !host
            .sh("ip -6 addr; ip -n internet -6 addr")
            .contains("tentative")
    });
    netns
}

#[test]
fn a_network_of_both_protocols_works_at_once_and_leaves_nothing() {
    fake_host::run(|host| {
        let before = host.state();
        let state = host.dir("state");
        let options = NetworkOptions::new("both", "br-both").ipv6(true);
        let network = Network::create(&state, &options).unwrap();
        let [four, v6] = network.subnets().unwrap()[..] else {
            panic!("two subnets")
        };
        assert!(four.subnet.network().is_ipv4() && subnet("fd00::/8").overlaps(&v6.subnet));
        let (one, two) = (Netns::new().unwrap(), named_netns(host, "two"));
        let a = network.attach("one", one.as_fd()).unwrap();
        let b = network.attach("two", two.as_fd()).unwrap();
        // Without a second for duplicate address detection.
        assert_eq!(greets(&one, &two, six(&a), TIMEOUT), Some(six(&b)));
        assert_eq!(greets(&two, &one, b.address, TIMEOUT), Some(a.address));
        let own = Netns::current().unwrap();
        assert_eq!(
            greets(&one, &own, six(&a), TIMEOUT),
            a.gateway6.map(IpAddr::V6)
        );
        assert!(
            host.sh("ip -n two -6 route show default")
                .starts_with(&format!("default via {} dev eth0", a.gateway6.unwrap()))
        );
        // Opened anew it is the same, by what is remembered alone.
        let again = Network::find(&state, "both").unwrap().unwrap();
        assert_eq!(again.subnets().unwrap(), network.subnets().unwrap());
        assert_eq!(again.attachment("two").unwrap(), Some(b));
        assert_eq!(again.owners().unwrap(), ["one", "two"]);
        again.detach("one").unwrap();
        again.detach("two").unwrap();
        host.sh("ip netns del two");
        again.remove().unwrap();
        assert!(Network::find(&state, "both").unwrap().is_none());
        assert_eq!(
            host.sh("ls -A /run/state/networks | grep -v lock || true"),
            ""
        );
        host.sh("umount /run/netns; rmdir /run/netns");
        assert_eq!(host.state(), before);
    });
}

#[test]
fn router_advertisements_of_a_neighbour_change_nothing() {
    fake_host::run(|host| {
        let state = host.dir("state");
        let both = Network::create(&state, &NetworkOptions::new("both", "br-both").ipv6(true));
        let four = Network::create(&state, &NetworkOptions::new("four", "br-four"));
        let advertise = |netns: &str| {
            // As a router with a prefix and a default route, from the link-local address that every interface can give itself.
            host.sh(&format!(
                "ip -n {netns} link set eth0 addrgenmode eui64
                 ip netns exec {netns} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip addr replace fe80::66/64 dev eth0 nodad'
                 ip netns exec {netns} python3 -c '
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.bind((\"fe80::66\", 0, 0, socket.if_nametoindex(\"eth0\")))
prefix = struct.pack(\"!BBBBIII16s\", 3, 4, 64, 0xc0, 9999, 9999, 0, socket.inet_pton(socket.AF_INET6, \"2001:db8:bad::\"))
s.sendto(struct.pack(\"!BBHBBHII\", 134, 0, 0, 64, 0, 9999, 0, 0) + prefix, (\"ff02::1\", 0, 0, socket.if_nametoindex(\"eth0\")))'"
            ));
        };
        let seen = |netns: &str| host.sh(&format!("ip {netns} -6 addr; ip {netns} -6 route"));
        for (network, victim, attacker) in
            [(both.unwrap(), "v1", "a1"), (four.unwrap(), "v2", "a2")]
        {
            let (one, two) = (named_netns(host, victim), named_netns(host, attacker));
            network.attach("one", one.as_fd()).unwrap();
            network.attach("two", two.as_fd()).unwrap();
            advertise(attacker);
            for place in ["", &format!("-n {victim}")] {
                let seen = seen(place);
                assert!(
                    !seen.contains("2001:db8:bad") && !seen.contains("proto ra"),
                    "{seen}"
                );
            }
            if !network.options().ipv6 {
                assert_eq!(seen(&format!("-n {victim}")).matches("eth0").count(), 0);
            }
            // It is no accident: one that listens is taken in, once the rules do not keep it from being told.
            host.sh(&format!(
                "nft delete table bridge rocker-{}; ip netns exec {victim} sh -c 'cd /proc/sys/net/ipv6/conf/eth0; echo 0 >disable_ipv6; echo 1 >accept_ra'",
                network.options().name
            ));
            advertise(attacker);
            host.wait_until("the advertisement is believed", TIMEOUT, || {
                seen(&format!("-n {victim}")).contains("2001:db8:bad")
            });
            network.detach("one").unwrap();
            network.detach("two").unwrap();
        }
    });
}

#[test]
fn a_container_reaches_the_world_by_ipv6_and_the_host_becomes_no_router() {
    fake_host::run(|host| {
        if !Path::new("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists() {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
            let [major, minor] =
                [0, 1].map(|n| release.split('.').nth(n).unwrap().parse::<u32>().unwrap());
            assert!(
                (major, minor) < (6, 17),
                "a kernel of {release} has force_forwarding"
            );
            return;
        }
        let internet = internet(host);
        let before = host.state();
        let options = NetworkOptions::new("both", "br-both").ipv6(true);
        let network = Network::create(host.dir("state"), &options).unwrap();
        let netns = Netns::new().unwrap();
        network.attach("c", netns.as_fd()).unwrap();
        let far = "2001:db8::1".parse().unwrap();
        let seen = greets(&internet, &netns, far, TIMEOUT);
        assert_eq!(seen, Some("2001:db8::2".parse().unwrap()));
        // From out there nobody gets to the container unasked, nor by the host to another neighbour.
        let lan = named_netns(host, "lan");
        host.sh("ip link add lan0 type veth peer eth0 netns lan; ip addr add 2001:db8:1::2/64 dev lan0 nodad; ip link set lan0 up
                 ip -n lan addr add 2001:db8:1::1/64 dev eth0 nodad; ip -n lan link set eth0 up; ip -n lan link set lo up
                 ip -n lan -6 route add default via 2001:db8:1::2; ip -n internet -6 route add default via 2001:db8::2");
        let lan_address = "2001:db8:1::1".parse().unwrap();
        assert_eq!(
            greets(&lan, &netns, lan_address, SILENCE),
            None,
            "not switched on yet"
        );
        let second = Netns::new().unwrap();
        let a = network.attach("d", second.as_fd()).unwrap();
        assert_eq!(
            greets(&lan, &second, lan_address, TIMEOUT),
            Some("2001:db8:1::2".parse().unwrap())
        );
        assert_eq!(greets(&second, &internet, six(&a), SILENCE), None);
        assert_eq!(greets(&lan, &internet, lan_address, SILENCE), None);
        // It is the rules that do it.
        host.sh("nft flush chain inet rocker-both forward");
        assert!(greets(&lan, &internet, lan_address, TIMEOUT).is_some());
        network.detach("c").unwrap();
        network.detach("d").unwrap();
        assert_eq!(
            host.sh("cat /proc/sys/net/ipv6/conf/*/force_forwarding | sort -u"),
            "0\n"
        );
        host.sh("ip link del lan0; ip netns del lan");
        assert_eq!(host.state(), before);
    });
}

#[test]
fn out_of_an_internal_network_there_is_no_way_whatever_the_container_does() {
    fake_host::run(|host| {
        let internet = internet(host);
        host.sh("ip -n internet route add default via 198.51.100.2");
        let options = NetworkOptions::new("inner", "br-inner").internal(true);
        let network = Network::create(host.dir("state"), &options).unwrap();
        let (one, two) = (named_netns(host, "one"), Netns::new().unwrap());
        let a = network.attach("one", one.as_fd()).unwrap();
        let b = network.attach("two", two.as_fd()).unwrap();
        assert_eq!(host.sh("ip -n one route show default"), "");
        assert_eq!(greets(&two, &one, b.address, TIMEOUT), Some(a.address));
        let forwarding = |name: &str| {
            fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/forwarding")).unwrap()
        };
        assert_eq!(
            (&*forwarding("br-inner"), &*forwarding("uplink0")),
            ("0\n", "0\n")
        );
        // Even if it finds a way, and the host is a router.
        host.sh(&format!(
            "ip -n one route add default via {}; echo 1 >/proc/sys/net/ipv4/ip_forward",
            a.gateway
        ));
        let far = "198.51.100.1".parse().unwrap();
        assert_eq!(greets(&internet, &one, far, SILENCE), None);
        assert_eq!(greets(&one, &internet, a.address, SILENCE), None);
        // It is the rules that do it.
        host.sh("nft flush chain inet rocker-inner forward");
        assert_eq!(greets(&internet, &one, far, TIMEOUT), Some(a.address));
        assert!(!host.sh("nft list ruleset").contains("masquerade"));
        // Nor is anybody led in.
        let error = network.publish("one", &[a.address], &["80:80".parse().unwrap()]);
        let error = error.unwrap_err();
        assert!(matches!(error, Error::InvalidNetwork { .. }), "{error}");
        assert!(!network.publishes("one") && !host.sh("nft list ruleset").contains("dnat"));
        network.detach("one").unwrap();
        network.detach("two").unwrap();
    });
}

#[test]
fn isolated_containers_reach_the_world_and_not_each_other_not_even_by_the_host() {
    fake_host::run(|host| {
        let internet = internet(host);
        let options = NetworkOptions::new("apart", "br-apart")
            .isolated(true)
            .ipv6(true);
        let network = Network::create(host.dir("state"), &options).unwrap();
        let (one, two) = (named_netns(host, "one"), named_netns(host, "two"));
        let a = network.attach("one", one.as_fd()).unwrap();
        let b = network.attach("two", two.as_fd()).unwrap();
        assert_eq!(greets(&two, &one, b.address, SILENCE), None);
        assert_eq!(greets(&two, &one, six(&b), SILENCE), None);
        // By way of the host, which forwards and would send it back.
        for (name, to) in [("one", b.address), ("two", a.address)] {
            host.sh(&format!("ip -n {name} route add {to}/32 via {}", a.gateway));
        }
        assert_eq!(greets(&two, &one, b.address, SILENCE), None);
        let out = greets(&internet, &one, "198.51.100.1".parse().unwrap(), TIMEOUT);
        assert_eq!(out, Some("198.51.100.2".parse().unwrap()));
        // Without the rule it would be a way: the isolation of the ports is not enough.
        host.sh("nft flush chain inet rocker-apart forward");
        assert!(greets(&two, &one, b.address, TIMEOUT).is_some());
        network.detach("one").unwrap();
        network.detach("two").unwrap();
    });
}

#[test]
fn a_container_is_on_several_networks_as_it_asks_to_be() {
    fake_host::run(|host| {
        let state = host.dir("state");
        let make = |name: &str, range: &str| {
            let options = NetworkOptions::new(name, format!("br-{name}"))
                .subnet(subnet(range))
                .mtu(1400);
            Network::create(&state, &options).unwrap()
        };
        let (front, back) = (make("front", "10.7.0.0/24"), make("back", "10.8.0.0/24"));
        let netns = named_netns(host, "c");
        let mac = [0x02, 0x42, 1, 2, 3, 4];
        let first = AttachOptions::new("eth0")
            .address("10.7.0.77".parse().unwrap())
            .mac(mac);
        let a = front.attach_with("c", netns.as_fd(), &first).unwrap();
        let second = AttachOptions::new("eth1").default_route(false);
        let b = back.attach_with("c", netns.as_fd(), &second).unwrap();
        assert_eq!(
            (a.address.to_string(), a.mac),
            ("10.7.0.77".to_owned(), Some(mac))
        );
        assert_eq!(
            host.sh("ip -n c route show default"),
            "default via 10.7.0.1 dev eth0 \n"
        );
        let links = host.sh("ip -n c -o link");
        assert!(
            links.contains("02:42:01:02:03:04") && links.contains("eth1"),
            "{links}"
        );
        assert_eq!(
            rocker_net::interfaces(netns.as_fd()).unwrap(),
            ["lo", "eth0", "eth1"]
        );
        let (peer, other) = (Netns::new().unwrap(), Netns::new().unwrap());
        let p = back.attach("p", peer.as_fd()).unwrap();
        assert_eq!(greets(&peer, &netns, p.address, TIMEOUT), Some(b.address));
        // Nobody else gets that address, and whoever is refused it leaves nothing.
        let error = front.attach_with("x", other.as_fd(), &first).unwrap_err();
        assert!(matches!(error, Error::AddressTaken { .. }), "{error}");
        assert_eq!(front.owners().unwrap(), ["c"]);
        let no_six = AttachOptions::new("eth0").address("fd00::7".parse().unwrap());
        let error = front.attach_with("x", other.as_fd(), &no_six).unwrap_err();
        assert!(error.to_string().contains("no IPv6"), "{error}");
        // With the first network goes the way out, and there is another.
        front.detach("c").unwrap();
        assert_eq!(host.sh("ip -n c route show default"), "");
        for _ in 0..2 {
            back.default_route("c", netns.as_fd()).unwrap();
        }
        let way = host.sh("ip -n c route show default");
        assert_eq!(way, "default via 10.8.0.1 dev eth1 \n");
        let error = back.default_route("x", netns.as_fd()).unwrap_err();
        assert_eq!(error.to_string(), "x is not attached to network back");
        back.detach("c").unwrap();
        back.detach("p").unwrap();
        // The MAC address that it has asked for once is not the next one's.
        let d = front.attach("c", other.as_fd()).unwrap();
        assert_ne!(d.mac, Some(mac));
        assert_eq!(front.attachment("c").unwrap(), Some(d));
        front.detach("c").unwrap();
        assert!(!state.join("networks/front/macs").exists());
    });
}

#[test]
fn a_network_is_made_once_overlaps_nothing_and_is_removed_when_nobody_needs_it() {
    fake_host::run(|host| {
        let state = host.dir("state");
        host.sh("ip link add lan0 type bridge; ip addr add 192.0.2.9/24 dev lan0; ip addr add fd12::9/64 dev lan0 nodad; ip link set lan0 up");
        let options = |name: &str| NetworkOptions::new(name, format!("br-{name}"));
        let one = Network::create(&state, &options("one").subnet(subnet("10.1.0.0/16"))).unwrap();
        let error = Network::create(&state, &options("one")).unwrap_err();
        assert!(matches!(error, Error::NetworkExists { .. }), "{error}");
        for (taken, with) in [
            ("192.0.2.0/25", "192.0.2.0/24"),
            ("10.1.5.0/24", "10.1.0.0/16"),
            ("fd12::/48", "fd12::/64"),
        ] {
            let error = Network::create(&state, &options("x").subnet(subnet(taken))).unwrap_err();
            assert!(error.to_string().contains(with), "{taken}: {error}");
            assert!(Network::find(&state, "x").unwrap().is_none());
        }
        for bad in ["../x", ".x", "a b", "a/b", ""] {
            assert!(Network::create(&state, &options(bad)).is_err(), "{bad:?}");
            assert!(Network::find(&state, bad).unwrap().is_none());
        }
        // Those that choose for themselves, many at once, choose differently.
        let made = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for number in 0..20 {
                let (state, made) = (&state, &made);
                scope.spawn(move || {
                    // The tests' namespace is that of the process.
                    let options =
                        NetworkOptions::new(format!("n{number}"), format!("br-n{number}"));
                    let network = Network::create(state, &options).unwrap();
                    made.lock()
                        .unwrap()
                        .push(network.subnets().unwrap()[0].subnet);
                });
            }
        });
        let made = made.into_inner().unwrap();
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 20);
        assert!(
            made.iter()
                .all(|one| made.iter().filter(|other| one.overlaps(other)).count() == 1)
        );
        assert_eq!(Network::list(&state).unwrap().len(), 21);
        let netns = Netns::new().unwrap();
        one.attach("c", netns.as_fd()).unwrap();
        let error = one.remove().unwrap_err();
        assert_eq!(
            error.to_string(),
            "network one is in use by c; detach them first"
        );
        one.detach("c").unwrap();
        // What a removal leaves that was killed is swept away by the next one who makes a network.
        let gone = state.join("networks/.gone-two/leases");
        fs::create_dir_all(&gone).unwrap();
        one.remove().unwrap();
        assert!(one.attach("c", netns.as_fd()).is_err());
        Network::create(
            &state,
            &options("one").label("a", "b").subnet(subnet("10.1.0.0/16")),
        )
        .unwrap();
        assert!(!gone.exists());
        let again = Network::find(&state, "one").unwrap().unwrap();
        assert_eq!(
            again.options().labels,
            BTreeMap::from([("a".to_owned(), "b".to_owned())])
        );
        assert!(again.created().unwrap().elapsed().unwrap() < TIMEOUT);
    });
}

/// The lines of a hosts file that have `name` as a word.
fn lookup(hosts: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(hosts).unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let found = lines
        .map(words)
        .filter(|words| words.iter().skip(1).any(|word| word == name));
    found.map(|words| words[0].clone()).collect()
}

#[test]
fn owners_find_each_other_by_name_for_as_long_as_they_are_there() {
    fake_host::run(|host| {
        let state = host.dir("state");
        let network =
            Network::create(&state, &NetworkOptions::new("n", "br-n").ipv6(true)).unwrap();
        let dir = host.dir("files");
        let hosts = |owner: &str| dir.join(owner);
        let namespaces = [(); 3].map(|()| Netns::new().unwrap());
        let mut attached = Vec::new();
        for (owner, netns) in ["a", "b", "c"].iter().zip(&namespaces) {
            fs::write(hosts(owner), "127.0.0.1\tlocalhost\n").unwrap();
            attached.push(network.attach(owner, netns.as_fd()).unwrap());
            let names = HostNames::new([format!("{owner}-name"), "all".to_owned()], hosts(owner));
            network.set_names(owner, &names).unwrap();
        }
        let of = |n: usize| {
            vec![
                attached[n].address.to_string(),
                six(&attached[n]).to_string(),
            ]
        };
        for reader in ["a", "b", "c"] {
            for (n, owner) in ["a", "b", "c"].iter().enumerate() {
                let mut found = lookup(&hosts(reader), &format!("{owner}-name"));
                found.sort();
                assert_eq!(found, of(n), "{reader} looks for {owner}");
            }
            assert_eq!(lookup(&hosts(reader), "all").len(), 6);
            assert_eq!(lookup(&hosts(reader), "localhost"), ["127.0.0.1"]);
        }
        // Another name takes the place of the old ones.
        network
            .set_names("a", &HostNames::new(["renamed"], hosts("a")))
            .unwrap();
        assert!(lookup(&hosts("c"), "a-name").is_empty());
        assert_eq!(lookup(&hosts("c"), "renamed").len(), 2);
        for bad in ["", "a b", "a\nb", "#a"] {
            assert!(
                network
                    .set_names("a", &HostNames::new([bad], hosts("a")))
                    .is_err(),
                "{bad:?}"
            );
        }
        // What cannot be written of one keeps nobody else from anything.
        fs::remove_file(hosts("c")).unwrap();
        fs::create_dir(hosts("c")).unwrap();
        network
            .set_names("b", &HostNames::new(["b2"], hosts("b")))
            .unwrap();
        assert_eq!(lookup(&hosts("a"), "b2").len(), 2);
        // Nor does a lease on the file, which would have the one who opens it wait for 45 seconds.
        let mut keeper = std::process::Command::new("python3")
            .args(["-c", "import fcntl, os, signal, sys\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nfd = os.open(sys.argv[1], os.O_RDONLY)\n\
                   fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)\nprint(flush=True)\nsignal.pause()"])
            .arg(hosts("a"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        keeper.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let start = Instant::now();
        network
            .set_names("b", &HostNames::new(["b3"], hosts("b")))
            .unwrap();
        assert!(start.elapsed() < TIMEOUT);
        assert!(lookup(&hosts("a"), "b3").is_empty(), "the lease was none");
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        network
            .set_names("b", &HostNames::new(["b4"], hosts("b")))
            .unwrap();
        assert_eq!(lookup(&hosts("a"), "b4").len(), 2);
        network.detach("b").unwrap();
        assert!(lookup(&hosts("a"), "b4").is_empty());
        assert_eq!(
            fs::read_to_string(hosts("b")).unwrap(),
            "127.0.0.1\tlocalhost\n"
        );
        // Nor does what a power cut has made of the table.
        fs::write(state.join("networks/n/names.json"), "{\"a\":").unwrap();
        network
            .set_names("a", &HostNames::new(["a3"], hosts("a")))
            .unwrap();
        assert_eq!(lookup(&hosts("a"), "a3").len(), 2);
        network.detach("a").unwrap();
        network.detach("c").unwrap();
        assert_eq!(
            fs::read_to_string(hosts("a")).unwrap(),
            "127.0.0.1\tlocalhost\n"
        );
    });
}

#[test]
fn a_hundred_owners_learn_of_a_name_in_milliseconds() {
    fake_host::run(|host| {
        let network =
            Network::create(host.dir("state"), &NetworkOptions::new("n", "br-n")).unwrap();
        let dir = host.dir("files");
        let mut last = Duration::ZERO;
        let begun = Instant::now();
        for number in 0..100 {
            let owner = format!("{number:064x}");
            let file = dir.join(&owner);
            fs::write(&file, "127.0.0.1\tlocalhost\n").unwrap();
            let netns = Netns::new().unwrap();
            network.attach(&owner, netns.as_fd()).unwrap();
            let start = Instant::now();
            let names = [&format!("c{number}"), &owner[52..], &owner[..]];
            network
                .set_names(&owner, &HostNames::new(names.map(str::to_owned), &file))
                .unwrap();
            last = start.elapsed();
        }
        println!(
            "the hundredth name: {last:?}; all, with their attachments: {:?}",
            begun.elapsed()
        );
        for number in [0, 50, 99] {
            let first = dir.join(format!("{number:064x}"));
            assert_eq!(
                (0..100)
                    .map(|n| lookup(&first, &format!("c{n}")).len())
                    .sum::<usize>(),
                100
            );
        }
        // Generous, so that only a wrong order of growth can miss it.
        assert!(last < Duration::from_millis(100), "{last:?}");
        for owner in network.owners().unwrap() {
            network.detach(&owner).unwrap();
        }
    });
}

#[test]
fn five_hundred_attached_fifty_at_a_time_never_share_an_address_and_it_stays_fast() {
    fake_host::run(|host| {
        let state = host.dir("state");
        // A range with room for 510.
        let options = NetworkOptions::new("n", "br-n")
            .subnet(subnet("10.1.0.0/22"))
            .range(subnet("10.1.0.0/23"));
        Network::create(&state, &options).unwrap();
        let find = || Network::find(&state, "n").unwrap().unwrap();
        let round = |first: usize, kept: &Mutex<Vec<(String, Netns, IpAddr)>>| {
            thread::scope(|scope| {
                for thread in 0..50 {
                    scope.spawn(move || {
                        let network = find();
                        for number in 0..10 {
                            let owner = format!("c{}", first + thread * 10 + number);
                            let netns = Netns::new().unwrap();
                            let attached = network.attach(&owner, netns.as_fd()).unwrap();
                            kept.lock().unwrap().push((owner, netns, attached.address));
                        }
                    });
                }
            });
        };
        let kept = Mutex::new(Vec::new());
        round(0, &kept);
        let kept = kept.into_inner().unwrap();
        let distinct: HashSet<IpAddr> = kept.iter().map(|(_, _, address)| *address).collect();
        assert_eq!((kept.len(), distinct.len()), (500, 500));
        // What the kernel has is what was said.
        for (_, netns, address) in kept.iter().step_by(50) {
            let text = netns.run(|| host.sh("ip -4 -o addr show eth0")).unwrap();
            assert!(text.contains(&format!("inet {address}/22")), "{text}");
        }
        let netns = Netns::new().unwrap();
        let start = Instant::now();
        find().attach("one-more", netns.as_fd()).unwrap();
        let beside = start.elapsed();
        println!("an attachment beside 500 others: {beside:?}");
        assert!(beside < Duration::from_millis(200), "{beside:?}");
        // The dead give theirs back: of the 510 addresses of the range there are not enough for 500 others.
        thread::scope(|scope| {
            for some in kept.chunks(20) {
                scope.spawn(move || {
                    for (owner, ..) in some {
                        find().detach(owner).unwrap();
                    }
                });
            }
        });
        assert_eq!(find().owners().unwrap(), ["one-more"]);
        let again = Mutex::new(Vec::new());
        round(1000, &again);
        let again = again.into_inner().unwrap();
        let after: HashSet<IpAddr> = again.iter().map(|(_, _, one)| *one).collect();
        assert_eq!(after.len(), 500);
    });
}

#[test]
fn a_namespace_is_pinned_to_a_path_and_lives_on_there() {
    fake_host::run(|host| {
        let before = host.state();
        let path = host.dir("pins").join("one");
        let netns = Netns::new().unwrap();
        netns
            .run(|| host.sh("ip link add mark0 type bridge"))
            .unwrap();
        netns.pin(&path).unwrap();
        assert!(
            netns.pin(&path).is_err(),
            "a pin is not put over another one"
        );
        drop(netns);
        let again = Netns::open(&path).unwrap();
        assert!(
            again
                .run(|| host.sh("ip -o link"))
                .unwrap()
                .contains("mark0")
        );
        drop(again);
        Netns::unpin(&path).unwrap();
        Netns::unpin(&path).unwrap();
        assert!(!path.exists() && Netns::open(&path).is_err());
        // A crash between the file and the mount leaves a file.
        fs::write(&path, "").unwrap();
        Netns::unpin(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_file_for_which_there_is_no_room_stays_as_it_was() {
    fake_host::run(|host| {
        let (state, full) = (host.dir("state"), host.dir("full"));
        fs::create_dir(state.join("networks")).unwrap();
        host.sh("mount -t tmpfs -o size=16k tmpfs /run/full");
        let path = full.join("hosts");
        fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        let section = Section::new("others");
        section.put(&state, &path, "10.0.0.2\tweb\n").unwrap();
        fs::write(full.join("other"), [b'x'; 8 << 10]).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        // It begins within the room that there is, and goes beyond it.
        let many = "10.0.0.3\tanother\n".repeat(1 << 10);
        let error = section.put(&state, &path, &many).unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains("No space left on device"), "{reason}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        // And it can be told as soon as there is room.
        fs::remove_file(full.join("other")).unwrap();
        section.put(&state, &path, "10.0.0.4\tdb\n").unwrap();
        let now = fs::read_to_string(&path).unwrap();
        assert_eq!(now, before.replace("10.0.0.2\tweb", "10.0.0.4\tdb"));
        host.sh("umount /run/full");
    });
}
