//! Published ports, as the crate has them without an engine.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use fake_host::Host;
use rocker_net::{Attachment, Error, HeldPorts, Netns, Network, NetworkOptions, PortForward};

fn network(host: &Host) -> Network {
    Network::open(host.dir("state"), &NetworkOptions::default()).unwrap()
}

fn attach(host: &Host, network: &Network, name: &str) -> (Netns, Attachment) {
    host.sh(&format!("ip netns add {name}"));
    let netns = Netns::from_fd(File::open(format!("/run/netns/{name}")).unwrap().into());
    let attachment = network.attach(name, netns.as_fd()).unwrap();
    (netns, attachment)
}

fn ports(texts: &[&str]) -> Vec<PortForward> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Whom a server in `server` at `port` sees, when `client` connects to `to`; none if it gets nowhere.
fn seen(server: &Netns, port: u16, client: &Netns, to: &str) -> Option<IpAddr> {
    seen_within(Duration::from_secs(10), server, port, client, to)
}

/// The same where nothing is expected: it is not waited for long.
fn unseen(server: &Netns, port: u16, client: &Netns, to: &str) -> bool {
    seen_within(Duration::from_millis(700), server, port, client, to).is_none()
}

fn seen_within(
    limit: Duration,
    server: &Netns,
    port: u16,
    client: &Netns,
    to: &str,
) -> Option<IpAddr> {
    let listener = server
        .run(|| TcpListener::bind(("::", port)).unwrap())
        .unwrap();
    let to: SocketAddr = to.parse().unwrap();
    let begin = std::time::Instant::now();
    let stream = client
        .run(|| TcpStream::connect_timeout(&to, limit).ok())
        .unwrap()?;
    // What a relay has accepted may be nobody's behind it: only the server's word counts.
    listener.set_nonblocking(true).unwrap();
    loop {
        match listener.accept() {
            Ok((_, peer)) => return Some(peer.ip().to_canonical()),
            Err(_) if begin.elapsed() > limit => break,
            Err(_) => std::thread::yield_now(),
        }
    }
    drop(stream);
    None
}

#[test]
fn ports_of_ipv6_lead_to_a_container_that_has_it_and_by_the_holder_to_one_that_has_not() {
    fake_host::run(|host| {
        host.sh(
            "ip netns add lan; ip link add up0 type veth peer down0 netns lan
             echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             ip addr add 2001:db8::2/64 dev up0 nodad; ip link set up0 up
             ip -n lan addr add 2001:db8::1/64 dev down0 nodad; ip -n lan link set down0 up",
        );
        let lan = Netns::from_fd(File::open("/run/netns/lan").unwrap().into());
        let own = Netns::current().unwrap();
        let options = NetworkOptions::default().subnet("fd00::/64".parse().unwrap());
        let network = Network::open(host.dir("state"), &options).unwrap();
        let (netns, attachment) = attach(host, &network, "c");
        assert_eq!(attachment.ipv6.unwrap().0.to_string(), "fd00::2");
        let forwards = ports(&["8080:80", "[2001:db8::2]:9090:90"]);
        let mut held = HeldPorts::hold(&forwards).unwrap();
        let both = [attachment.address, "fd00::2".parse().unwrap()];
        network.publish("c", &both, held.forwards()).unwrap();
        held.lead_to(&both).unwrap();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        // Interfaces of IPv6 take their time at the beginning.
        for ping in ["busybox ping -6", "ip netns exec lan busybox ping -6"] {
            let to = if ping.starts_with("ip") {
                "2001:db8::2"
            } else {
                "fd00::2"
            };
            host.wait_until("they find each other", Duration::from_secs(20), || {
                host.try_sh(&format!("{ping} -c 1 -W 1 {to}"))
                    .status
                    .success()
            });
        }
        assert_eq!(
            seen(&netns, 80, &lan, "[2001:db8::2]:8080"),
            ip("2001:db8::1")
        );
        assert_eq!(
            seen(&netns, 90, &lan, "[2001:db8::2]:9090"),
            ip("2001:db8::1")
        );
        assert_eq!(
            seen(&netns, 80, &own, "[2001:db8::2]:8080"),
            ip("2001:db8::2")
        );
        let gateway = attachment.gateway;
        assert_eq!(seen(&netns, 80, &own, "[::1]:8080"), Some(gateway));
        assert!(unseen(&netns, 80, &lan, "[fd00::2]:80"));

        // As one that has no IPv6: it is the holder who passes it on, from everywhere.
        network.publish("c", &both[..1], held.forwards()).unwrap();
        assert_eq!(seen(&netns, 80, &lan, "[2001:db8::2]:8080"), Some(gateway));
        assert_eq!(seen(&netns, 80, &own, "[::1]:8080"), Some(gateway));
        network.detach("c").unwrap();
    });
}

#[test]
fn a_container_reaches_itself_whether_or_not_bridges_call_the_packet_filter() {
    fake_host::run(|host| {
        let network = network(host);
        let (a, attachment) = attach(host, &network, "a");
        let (b, _) = attach(host, &network, "b");
        network
            .publish("a", &[attachment.address], &ports(&["8080:80"]))
            .unwrap();
        let at = format!("{}:8080", attachment.gateway);
        for call in ["1", "0"] {
            let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            host.sh(&format!("[ ! -e {setting} ] || echo {call} >{setting}"));
            for client in [&a, &b] {
                assert_eq!(
                    seen(&a, 80, client, &at),
                    Some(attachment.gateway),
                    "{call}"
                );
            }
        }
        network.detach("a").unwrap();
        network.detach("b").unwrap();
    });
}

#[test]
fn each_rule_and_element_is_told_with_its_reason_and_what_is_missing_is_noticed() {
    fake_host::run(|host| {
        let network = network(host);
        assert!(network.rules().unwrap().is_empty());
        assert!(!network.reload().unwrap() && !network.restore().unwrap());
        // It counts what is done there, by whomever, and nothing else.
        let generation = || rocker_net::rules_generation().unwrap().unwrap();
        let first = generation();
        assert_eq!(generation(), first);
        host.sh("nft add table inet theirs; nft list ruleset; nft delete table inet theirs");
        assert_eq!(generation(), first + 2);
        let (_a, attachment) = attach(host, &network, "a");
        let address = attachment.address;
        network
            .publish("a", &[address], &ports(&["8080-8081:80-81", "53:53/udp"]))
            .unwrap();
        let rules = network.rules().unwrap();
        assert!(
            rules
                .iter()
                .all(|rule| rule.present && !rule.why.is_empty()),
            "{rules:#?}"
        );
        let has = |text: &str| rules.iter().any(|rule| rule.text.contains(text));
        for text in [
            &format!("element tcp . 8081 : {address} . 81"),
            &format!("element udp . 53 : {address} . 53"),
            "chain forward type filter hook forward priority 0",
            "oifname != \"rocker0\" masquerade",
            "map any4 type inet_proto . inet_service : ipv4_addr . inet_service",
            "iifname . ether saddr . ip saddr @addresses4 accept",
        ] {
            assert!(has(text), "{text} is not in {rules:#?}");
        }
        // It is all that is there: as many rules as nft finds, and as many elements.
        let listed = host.sh("nft -a list ruleset");
        let count = |part: &str| listed.lines().filter(|line| line.contains(part)).count();
        let rules_of = |depth: usize, element: bool| {
            let all = rules.iter().filter(|rule| rule.depth == depth);
            all.filter(|rule| rule.text.starts_with("element ") == element)
                .count()
        };
        assert_eq!(rules_of(0, false), count("table "));
        assert_eq!(
            rules_of(1, false),
            count("chain ") + count("set ") + count("map any") + count("map at")
        );
        let handles = count("# handle ") - rules_of(0, false) - rules_of(1, false);
        assert_eq!(rules_of(2, false), handles, "{listed}");

        let missing = || -> Vec<String> {
            let rules = network.rules().unwrap().into_iter();
            rules
                .filter(|rule| !rule.present)
                .map(|rule| rule.text)
                .collect()
        };
        assert!(missing().is_empty());
        host.sh("nft delete element inet rocker_ports-bridge any4 '{ tcp . 8081 }'");
        assert_eq!(missing(), [format!("element tcp . 8081 : {address} . 81")]);
        host.sh("nft flush chain inet rocker-bridge postrouting");
        assert_eq!(missing().len(), 2);
        assert!(network.restore().unwrap());
        assert!(missing().is_empty());
        host.sh("nft flush ruleset");
        assert_eq!(missing().len(), rules.len());
        assert!(network.restore().unwrap() && !network.restore().unwrap());
        assert!(missing().is_empty());
        // Somebody else's rules are nobody's to judge, or to touch.
        host.sh("nft add table ip foreign");
        assert!(!network.restore().unwrap());
        network.detach("a").unwrap();
        assert_eq!(host.sh("nft list ruleset"), "table ip foreign {\n}\n");
    });
}

#[test]
fn a_port_leads_to_whoever_had_it_last_and_only_that_is_taken_back() {
    fake_host::run(|host| {
        let network = network(host);
        let before = host.sh("nft list ruleset; ls /run/state/networks/bridge");
        let (_a, one) = attach(host, &network, "a");
        let (_b, two) = attach(host, &network, "b");
        network
            .publish("a", &[one.address], &ports(&["8080:80", "8081:81"]))
            .unwrap();
        // Nobody took it back when its owner ended.
        network
            .publish("b", &[two.address], &ports(&["8080:90"]))
            .unwrap();
        let elements = || host.sh("nft list map inet rocker_ports-bridge any4");
        assert!(
            elements().contains(&format!(
                "tcp . 8080 comment \"rocker: b\" : {} . 90",
                two.address
            )),
            "{}",
            elements()
        );
        assert!(!elements().contains("rocker: a"), "{}", elements());
        network
            .publish("a", &[one.address], &ports(&["8082:82"]))
            .unwrap();
        network.unpublish("b").unwrap();
        network.unpublish("b").unwrap();
        assert!(
            elements().contains("tcp . 8082") && !elements().contains("rocker: b"),
            "{}",
            elements()
        );
        // Somebody else's work on the map does not keep it from being taken back.
        network
            .publish("b", &[two.address], &ports(&["8083:83", "8084:84"]))
            .unwrap();
        host.sh("nft delete element inet rocker_ports-bridge any4 '{ tcp . 8083 }'");
        network.unpublish("b").unwrap();
        assert!(
            elements().contains("tcp . 8082") && !elements().contains("8084"),
            "{}",
            elements()
        );
        network.unpublish("a").unwrap();
        assert!(!host.sh("nft list ruleset").contains("rocker_ports"));

        let error = network
            .publish("nobody", &[], &ports(&["1:1"]))
            .unwrap_err();
        assert!(matches!(error, Error::NotAttached { .. }), "{error}");
        let error = network
            .publish("a", &[one.address], &ports(&["80"]))
            .unwrap_err();
        assert!(matches!(error, Error::InvalidPorts { .. }), "{error}");
        network.detach("a").unwrap();
        network.detach("b").unwrap();
        let after = host.sh("nft list ruleset; ls /run/state/networks/bridge");
        assert_eq!(
            after.replace("config.json\n", "").replace("lock\n", ""),
            before
        );
    });
}

#[test]
fn nobody_on_an_internal_network_gets_to_others_by_their_ports_on_the_host() {
    fake_host::run(|host| {
        let state = host.dir("state");
        let outer = network(host);
        let (server, attached) = attach(host, &outer, "c");
        let options = NetworkOptions::new("inner", "br-inner").internal(true);
        let inner = Network::create(&state, &options.ipv6(true)).unwrap();
        let (client, inside) = attach(host, &inner, "i");
        let forwards = ports(&["8080:80", "5353:53/udp"]);
        let mut held = HeldPorts::hold(&forwards).unwrap();
        let addresses = [attached.address];
        outer.publish("c", &addresses, held.forwards()).unwrap();
        held.lead_to(&addresses).unwrap();
        let to = format!("[{}]:8080", inside.gateway6.unwrap());
        let own = Netns::current().unwrap();
        // Through the host's own socket, which no rule sees.
        assert!(seen(&server, 80, &client, &to).is_some());
        held.refuse_internal(&state);
        assert!(unseen(&server, 80, &client, &to));
        assert!(unseen(
            &server,
            80,
            &client,
            &format!("{}:8080", inside.gateway)
        ));
        for by in ["[::1]:8080", "127.0.0.1:8080", &to] {
            assert!(seen(&server, 80, &own, by).is_some(), "{by}");
        }
        // The same by datagrams.
        let heard = server
            .run(|| UdpSocket::bind("0.0.0.0:53").unwrap())
            .unwrap();
        heard
            .set_read_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        let say = |netns: &Netns, to: String| {
            let socket = netns.run(|| UdpSocket::bind("[::]:0").unwrap()).unwrap();
            socket.send_to(b"x", to).unwrap();
            heard.recv(&mut [0; 8]).is_ok()
        };
        let to = to.replace("8080", "5353");
        assert!(!say(&client, to.clone()));
        assert!(say(&own, to));
        outer.detach("c").unwrap();
        inner.detach("i").unwrap();
    });
}

#[test]
fn a_record_that_nobody_can_read_is_gone_with_its_owner_and_a_look_removes_nothing() {
    fake_host::run(|host| {
        let network = network(host);
        let (_a, _) = attach(host, &network, "a");
        let dir = Path::new("/run/state/networks/bridge/ports");
        // Where somebody is about to write into it, whoever looks for missing rules leaves it.
        fs::create_dir(dir).unwrap();
        assert!(!network.restore().unwrap());
        assert!(dir.exists());
        // A full disk, or the end of the machine.
        fs::write(dir.join("a"), "{").unwrap();
        network.detach("a").unwrap();
        assert!(!dir.exists());
    });
}

#[test]
fn many_ports_are_published_in_one_go() {
    fake_host::run(|host| {
        let network = network(host);
        let (_a, attachment) = attach(host, &network, "a");
        let all = PortForward::new(1000, 1).count(5000);
        network.publish("a", &[attachment.address], &[all]).unwrap();
        let count = host.sh(
            "nft list map inet rocker_ports-bridge any4 | grep -o 'tcp \\. [0-9]* comment' | wc -l",
        );
        assert_eq!(count.trim(), "5000");
        network.detach("a").unwrap();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn the_kernel_forgets_who_talks_by_udp_to_a_port_that_leads_elsewhere_now() {
    fake_host::run(|host| {
        host.sh(
            "ip netns add lan; ip link add up0 type veth peer down0 netns lan
             ip addr add 198.51.100.2/24 dev up0; ip link set up0 up
             ip -n lan addr add 198.51.100.1/24 dev down0; ip -n lan link set down0 up",
        );
        let lan = Netns::from_fd(File::open("/run/netns/lan").unwrap().into());
        let network = network(host);
        let (a, one) = attach(host, &network, "a");
        let (_b, two) = attach(host, &network, "b");
        let remembered = || -> Vec<String> {
            let all = host.sh("cat /proc/net/nf_conntrack");
            let of_udp = all
                .lines()
                .filter(|line| line.contains("udp") && line.contains("dport=5353"));
            of_udp.map(str::to_owned).collect()
        };
        let client = lan
            .run(|| UdpSocket::bind("198.51.100.1:4000").unwrap())
            .unwrap();
        let talk = || drop(client.send_to(b"x", "198.51.100.2:5353"));
        let known_as = |part: String| {
            host.wait_until("the kernel knows of it", Duration::from_secs(20), || {
                talk();
                remembered().iter().any(|line| line.contains(&part))
            });
        };
        let port = ports(&["5353:53/udp"]);
        network.publish("a", &[one.address], &port).unwrap();
        known_as(format!("src={}", one.address));
        network.unpublish("a").unwrap();
        assert!(remembered().is_empty(), "{:?}", remembered());
        // Nobody has it: a client who goes on would not be translated later.
        let _held = UdpSocket::bind("198.51.100.2:5353").unwrap();
        known_as("src=198.51.100.2".to_owned());
        network.publish("b", &[two.address], &port).unwrap();
        assert!(remembered().is_empty(), "{:?}", remembered());
        known_as(format!("src={}", two.address));
        // Others are none of our concern: neither who talks to another port, nor who talks to this one elsewhere.
        let through = a.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        through.send_to(b"x", "198.51.100.1:5353").unwrap();
        assert_eq!(remembered().len(), 2, "{:?}", remembered());
        network
            .publish("a", &[one.address], &ports(&["5354:53/udp"]))
            .unwrap();
        assert_eq!(remembered().len(), 2, "{:?}", remembered());
        network.unpublish("b").unwrap();
        assert_eq!(remembered().len(), 1, "{:?}", remembered());
        assert!(remembered()[0].contains(&format!("src={}", one.address)));
        network.detach("a").unwrap();
        network.detach("b").unwrap();
    });
}
