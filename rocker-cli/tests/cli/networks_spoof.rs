//! On each network that it has come to, a container speaks by the addresses that it has there, and by no others.

use crate::fake_host;
use crate::support::Scene;

#[test]
fn a_container_speaks_for_itself_alone_on_each_of_its_networks() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = host.state();
        scene.ok("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 front");
        scene.ok("network create --subnet 10.8.0.0/24 back");
        scene.up(
            "web",
            "--cap-add NET_ADMIN --network name=back,mac-address=02:00:00:00:00:99",
            "echo up; while :; do sleep 0.1; done",
        );
        scene.ok("network connect --ip6 fd00:9::77 front web");
        let heard = |args: &str| scene.run(&format!("exec web ping -c 1 -W 2 {args}")).code == 0;
        let all = ["10.8.0.1", "10.9.0.1", "-6 fd00:9::1"];
        for gateway in all {
            assert!(heard(gateway), "{gateway}");
        }
        // By an address that nobody gave it: the kernel in there sends it, and nobody hears it.
        for (interface, address, gateway) in [
            ("eth0", "10.8.0.99/24", "-I 10.8.0.99 10.8.0.1"),
            ("eth1", "10.9.0.99/24", "-I 10.9.0.99 10.9.0.1"),
            ("eth1", "fd00:9::99/64", "-6 -I fd00:9::99 fd00:9::1"),
        ] {
            scene.ok(&format!("exec web ip addr add {address} dev {interface}"));
            assert!(!heard(gateway), "{gateway}");
        }
        // By another MAC address, and by its own again.
        let own = scene.ok("exec web cat /sys/class/net/eth1/address");
        for (mac, is_heard) in [("02:00:00:00:00:77", false), (own.trim(), true)] {
            scene.ok(&format!("exec web ip link set eth1 address {mac}"));
            assert_eq!(heard("10.9.0.1"), is_heard, "{mac}");
        }
        // When it comes back to the network, it is by what it has then.
        scene.ok("network disconnect front web");
        assert!(!host.sh("nft list ruleset").contains("fd00:9::77"));
        scene.ok("network connect --ip 10.9.0.55 front web");
        for gateway in all {
            assert!(heard(gateway), "{gateway}");
        }
        // It is the rules that make the difference.
        let pid = scene.at("web", "/State/Pid");
        // Not by rocker exec, which would put back what is missing.
        host.sh(&format!(
            "nft flush chain bridge rocker-back prerouting
             nsenter -t {pid} -n busybox ping -c 1 -W 2 -I 10.8.0.99 10.8.0.1"
        ));
        scene.ok("rm -f web");
        scene.ok("network rm front back");
        assert_eq!(host.state(), before);
        scene.assert_all_gone("spoofing");
    });
}
