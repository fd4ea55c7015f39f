//! A guest in the host's firewall: containers work in spite of a FORWARD policy of drop, and of what they needed for that nothing
//! is left.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use fake_host::Host;
use rocker_net::{Error, Netns, Network, NetworkOptions};

fn network(host: &Host) -> Network {
    Network::open(host.dir("state"), &NetworkOptions::default()).unwrap()
}

/// A namespace at the host's default route.
fn internet(host: &Host) -> Netns {
    host.sh(
        "for conf in /proc/sys/net/ipv6/conf/default/disable_ipv6; do [ ! -e $conf ] || echo 1 >$conf; done
         ip netns add internet
         ip link add uplink0 type veth peer eth0 netns internet
         ip addr add 198.51.100.2/24 dev uplink0; ip link set uplink0 up
         ip -n internet addr add 198.51.100.1/24 dev eth0; ip -n internet link set eth0 up
         ip route add default via 198.51.100.1",
    );
    Netns::from_fd(File::open("/run/netns/internet").unwrap().into())
}

/// Whether a container gets out, and the world in by a published port.
fn works(internet: &Netns, netns: &Netns, port: u16) -> [bool; 2] {
    let reaches = |server: &Netns, at: &str, client: &Netns, to: SocketAddr| {
        let listener = server.run(|| TcpListener::bind(at).unwrap()).unwrap();
        let limit = Duration::from_millis(500);
        let reached = client.run(|| TcpStream::connect_timeout(&to, limit).is_ok());
        drop(listener);
        reached.unwrap()
    };
    let out = "198.51.100.1:99";
    let published = SocketAddr::from(([198, 51, 100, 2], port));
    [
        reaches(internet, out, netns, out.parse().unwrap()),
        reaches(netns, "0.0.0.0:80", internet, published),
    ]
}

/// What anybody can see of the firewall, to the byte; without numbers of handles and counters, which nobody can set.
fn ruleset(host: &Host) -> String {
    host.sh("nft -s list ruleset; iptables-save | grep -v '^#' | sed 's/\\[[0-9]*:[0-9]*\\]//'")
}

/// The whole of it beside a firewall that is made by `script`, whose `chain` refuses what it does not know.
fn beside(host: &Host, script: &str, chain: &str) {
    let internet = internet(host);
    host.sh(script);
    let before = (ruleset(host), links(host), sysctls(host));
    let network = network(host);
    let netns = Netns::new().unwrap();
    let address = network.attach("c", netns.as_fd()).unwrap().address;
    let port = ["8080:80".parse().unwrap()];
    network.publish("c", &[address], &port).unwrap();
    assert_eq!(works(&internet, &netns, 8080), [true, true]);
    let jumps = |text: &str| text.matches("jump rocker-rocker0").count();
    assert_eq!(jumps(&host.sh("nft list ruleset")), 1);
    let listed = host.sh(&format!("nft list chain {chain}"));
    assert_eq!(jumps(&listed), 1, "{listed}");
    assert!(
        listed.contains("comment \"rocker: what containers on rocker0 send and get"),
        "{listed}"
    );
    // iptables still understands what it finds.
    host.sh("iptables -S FORWARD");
    // A second container needs nothing more.
    let second = Netns::new().unwrap();
    network.attach("d", second.as_fd()).unwrap();
    assert_eq!(jumps(&host.sh("nft list ruleset")), 1);
    network.detach("d").unwrap();
    // When the host's firewall is made anew, the next look puts the rule back.
    host.sh(&format!("nft flush chain {chain}; {script}"));
    assert_eq!(works(&internet, &netns, 8080), [false, false]);
    assert!(network.restore().unwrap());
    assert!(!network.restore().unwrap());
    assert_eq!(works(&internet, &netns, 8080), [true, true]);
    network.detach("c").unwrap();
    // Not by assert_eq: there are a thousand lines of it.
    let after = (ruleset(host), links(host), sysctls(host));
    assert_eq!(after.0, before.0);
    assert_eq!(after.1, before.1);
    assert!(after.2 == before.2, "settings have changed");
}

/// Links, addresses and routes.
fn links(host: &Host) -> String {
    host.sh("ip -o link | sed 's/ qlen .*//'; ip -o addr; ip route show table all")
}

/// Settings of the kernel that rocker might touch.
fn sysctls(host: &Host) -> String {
    host.sh("grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf 2>/dev/null | sort")
}

#[test]
fn beside_a_chain_of_nft_that_drops_by_its_policy() {
    fake_host::run(|host| {
        let script = "nft add table inet fw
            nft 'add chain inet fw forward { type filter hook forward priority 0; policy drop; }'
            nft add rule inet fw forward ip saddr 192.0.2.0/24 accept
            nft add rule inet fw forward ip daddr 203.0.113.7 counter drop";
        beside(host, script, "inet fw forward");
    });
}

#[test]
fn beside_a_policy_of_iptables_as_docker_leaves_it() {
    fake_host::run(|host| {
        let script = "iptables -N DOCKER-USER 2>/dev/null || true
            iptables -P FORWARD DROP; iptables -A FORWARD -j DOCKER-USER
            iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            iptables -A FORWARD -i docker0 -m comment --comment 'from docker' -j ACCEPT";
        beside(host, script, "ip filter FORWARD");
    });
}

#[test]
fn beside_a_last_rule_that_refuses_all_as_firewalld_has_it() {
    fake_host::run(|host| {
        let script = "nft add table inet firewalld
            nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }'
            nft add rule inet firewalld filter_FORWARD ct state established,related accept
            nft add rule inet firewalld filter_FORWARD ct state invalid drop
            nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited";
        beside(host, script, "inet firewalld filter_FORWARD");
    });
}

#[test]
fn what_the_host_forbids_by_name_stays_forbidden() {
    fake_host::run(|host| {
        let internet = internet(host);
        host.sh("nft add table inet fw
            nft 'add chain inet fw forward { type filter hook forward priority 0; policy drop; }'
            nft add rule inet fw forward ip daddr 198.51.100.1 tcp dport 99 drop");
        let network = network(host);
        let netns = Netns::new().unwrap();
        let address = network.attach("c", netns.as_fd()).unwrap().address;
        let port = ["8080:80".parse().unwrap()];
        network.publish("c", &[address], &port).unwrap();
        assert_eq!(works(&internet, &netns, 8080), [false, true]);
        network.detach("c").unwrap();
    });
}

#[test]
fn a_chain_that_may_not_be_changed_is_named() {
    fake_host::run(|host| {
        // A table that belongs to the program that made it, for as long as that runs.
        let mut owner = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = owner.stdin.take().unwrap();
        let table = "add table inet fw { flags owner; }\nadd chain inet fw forward { type filter hook forward priority 0; policy drop; }\n";
        input.write_all(table.as_bytes()).unwrap();
        host.wait_until("the table is there", Duration::from_secs(20), || {
            host.sh("nft list ruleset").contains("policy drop")
        });
        let before = host.state();
        let network = network(host);
        let error = network
            .attach("c", Netns::new().unwrap().as_fd())
            .unwrap_err();
        assert!(matches!(&error, Error::ForeignChain { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("the chain inet fw forward of the host's firewall"),
            "{error}"
        );
        assert_eq!(host.state(), before);
        drop(input);
        owner.wait().unwrap();
    });
}
