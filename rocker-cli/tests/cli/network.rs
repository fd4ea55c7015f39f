//! Containers reach each other, themselves and the outside, or nothing of it.

use crate::fake_host::{self, Host};
use crate::support::{LIMIT, Scene};

/// The address of a running container.
fn address(scene: &Scene<'_>, name: &str) -> String {
    let line = scene.ok(&format!("exec {name} ip -4 -o addr show eth0"));
    let address = line
        .split_whitespace()
        .nth(3)
        .unwrap_or_else(|| panic!("{line:?}"));
    address.split('/').next().unwrap().to_owned()
}

/// A machine behind a cable that knows no way to any container.
fn internet(host: &Host) {
    host.sh("ip netns add internet
         ip link add up0 type veth peer name down0 netns internet
         [ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/up0/disable_ipv6
         ip addr add 198.51.100.2/24 dev up0; ip link set up0 up
         ip -n internet addr add 198.51.100.1/24 dev down0; ip -n internet link set down0 up
         ip -n internet link set lo up");
    plugged_in(host);
}

/// Waits until the kernel has noticed that the cable at `up0` has its other end: how things are before is told by that.
pub fn plugged_in(host: &Host) {
    host.wait_until("the cable is plugged in", LIMIT, || {
        !host.sh("ip -o link show up0").contains("NO-CARRIER")
    });
}

/// The same machine, and the way to all others leads by it.
pub fn default_route(host: &Host) {
    internet(host);
    host.sh("ip -n internet addr add 203.0.113.1/32 dev lo; ip route add default via 198.51.100.1");
}

#[test]
fn two_containers_reach_each_other_by_address() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let one = scene.start_idle("--rm --name one");
        let two = scene.start_idle("--rm --name two");
        let (first, second) = (address(&scene, "one"), address(&scene, "two"));
        assert_ne!(first, second);
        for (from, to) in [("one", &second), ("two", &first), ("one", &first)] {
            scene.ok(&format!("exec {from} ping -c 1 -W 5 {to}"));
        }
        let mut server = scene.start("exec one sh -c 'echo up; echo greetings | nc -l -p 80'");
        assert_eq!(server.line(), "up");
        let script = format!("until nc {first} 80 </dev/null 2>/dev/null; do :; done");
        assert_eq!(
            scene.ok(&format!("exec two sh -c '{script}'")),
            "greetings\n"
        );
        assert_eq!(server.end().code, 0);
        // The host reaches them as well.
        host.sh(&format!("busybox ping -c 1 -W 5 {first}"));
        assert_eq!(one.end().code, 0);
        assert_eq!(two.end().code, 0);
        scene.assert_all_gone("two containers");
    });
}

#[test]
fn a_container_reaches_the_outside_which_knows_no_way_back() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        default_route(host);
        // Not in the default state, in which assert_all_gone compares: so it is done before and after.
        let before = host.state();
        scene.ok("run --rm $I ping -c 1 -W 5 203.0.113.1");
        let mut server = std::process::Command::new("ip")
            .args([
                "netns", "exec", "internet", "busybox", "nc", "-l", "-p", "80", "-e", "echo", "far",
            ])
            .spawn()
            .unwrap();
        let script = "until nc 203.0.113.1 80 </dev/null 2>/dev/null; do :; done";
        assert_eq!(scene.ok(&format!("run --rm $I sh -c '{script}'")), "far\n");
        server.wait().unwrap();
        // Nobody out there can begin to talk to a container.
        let idle = scene.start_idle("--rm --name web");
        let address = address(&scene, "web");
        let done = host.try_sh(&format!(
            "ip netns exec internet busybox ping -c 1 -W 1 {address}"
        ));
        assert!(!done.status.success());
        assert_eq!(idle.end().code, 0);
        assert_eq!(host.state(), before);
        assert_eq!(host.sh("cat /proc/sys/net/ipv4/conf/up0/forwarding"), "0\n");
    });
}

#[test]
fn networks_beside_the_default_route_are_reached_too() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        internet(host);
        host.sh("ip link add other type veth peer name other1; ip addr add 192.0.2.9/24 dev other; ip link set other up; ip route add default via 192.0.2.1");
        let before = host.state();
        scene.ok("run --rm $I ping -c 1 -W 5 198.51.100.1");
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_container_without_network_has_itself_alone() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        internet(host);
        let out = scene.ok("run --rm --network none $I sh -c 'cd /sys/class/net && echo *; ping -c 1 -W 5 127.0.0.1 >/dev/null && echo self; ip route'");
        assert_eq!(out, "lo\nself\n");
        let done = scene.run("run --rm --network none $I ping -c 1 -W 1 198.51.100.1");
        assert!(done.err.contains("unreachable"), "{done:?}");
    });
}

#[test]
fn a_container_on_the_hosts_network_sees_what_the_host_sees() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        internet(host);
        let links = host.sh("ip -o link | cut -d: -f2,3");
        assert_eq!(
            scene
                .ok("run --rm --network host $I sh -c 'ip -o link | cut -d: -f2,3'")
                .lines()
                .count(),
            links.lines().count()
        );
        assert_eq!(
            scene.ok("run --rm --network host $I readlink /proc/self/ns/net"),
            host.sh("readlink /proc/self/ns/net")
        );
        scene.ok("run --rm --network host $I ping -c 1 -W 5 198.51.100.1");
    });
}

#[test]
fn addresses_come_back_and_are_never_given_twice() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let one = scene.start_idle("--rm --name one");
        let first = address(&scene, "one");
        let two = scene.start_idle("--rm --name two");
        let second = address(&scene, "two");
        let leases = "find /run/rocker-root/networks -path '*/leases/*=*' ! -name '*=.last'";
        assert_eq!(host.sh(leases).lines().count(), 2);
        // The bridge and its rules are there while somebody needs them.
        assert!(host.sh("ip -o link").contains("rocker0"));
        assert!(host.sh("nft list ruleset").contains("masquerade"));
        assert_eq!(one.end().code, 0);
        assert!(host.sh("ip -o link").contains("rocker0"));
        scene.ok(&format!(
            "exec two ping -c 1 -W 5 {}",
            gateway(&scene, "two")
        ));
        let others: Vec<_> = (0..5)
            .map(|n| scene.start_idle(&format!("--rm --name other{n}")))
            .collect();
        let mut all: Vec<_> = (0..5)
            .map(|n| address(&scene, &format!("other{n}")))
            .collect();
        all.push(second);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6, "{all:?}; the first had {first}");
        drop(others.into_iter().map(|one| one.end()).collect::<Vec<_>>());
        assert_eq!(two.end().code, 0);
        scene.assert_all_gone("seven containers");
    });
}

fn gateway(scene: &Scene<'_>, name: &str) -> String {
    let route = scene.ok(&format!("exec {name} ip route show default"));
    route
        .split_whitespace()
        .nth(2)
        .unwrap_or_else(|| panic!("{route:?}"))
        .to_owned()
}

#[test]
fn loopback_and_ones_own_name_work() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --rm $I sh -c 'ping -c 1 -W 5 127.0.0.1 && ping -c 1 -W 5 localhost && ping -c 1 -W 5 $(hostname)'");
        scene.assert_all_gone("a run");
    });
}
