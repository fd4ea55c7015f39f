//! Published ports of containers on networks that somebody has made: by the first one with a way out, whichever that is now.

use crate::fake_host;
use crate::ports::{answers, neighbour, seen, seen_from_lan, serve};
use crate::support::{LIMIT, Scene};

/// All that `rocker network rules` says, of which nothing may be missing in the kernel.
#[track_caller]
fn rules(scene: &Scene<'_>) -> String {
    // It fails where one is missing.
    scene.ok("network rules")
}

#[test]
fn ports_of_a_container_on_networks_of_somebodys_own_lead_in_by_ipv4_and_ipv6() {
    fake_host::run(|host| {
        neighbour(host);
        host.sh("echo 0 >/proc/sys/net/ipv6/conf/up0/disable_ipv6; ip addr add 2001:db8:5::2/64 dev up0 nodad
             ip netns exec lan sh -c 'echo 0 >/proc/sys/net/ipv6/conf/down0/disable_ipv6'
             ip -n lan addr add 2001:db8:5::1/64 dev down0 nodad");
        let scene = Scene::new(host);
        let before = host.state();
        scene.ok("network create --internal --subnet 10.8.0.0/24 back");
        scene.ok("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 front");
        serve(
            &scene,
            "-p 8080:80 --network back --network name=front,ip=10.9.0.80,ip6=fd00:9::80 --mac-address 02:00:00:00:00:99 --name web",
        );
        let client = Some("198.51.100.1".to_owned());
        assert_eq!(seen_from_lan(host, "198.51.100.2:8080"), client);
        // By IPv6, at once, to its own address, from somebody who is seen as who he is.
        let client = Some("2001:db8:5::1".to_owned());
        assert_eq!(seen_from_lan(host, "[2001:db8:5::2]:8080"), client);
        for local in ["127.0.0.1", "[::1]"] {
            assert_eq!(seen(host, &format!("{local}:8080")), "10.9.0.1", "{local}");
        }
        assert_eq!(
            scene.ok("port web 80/tcp").lines().next(),
            Some("0.0.0.0:8080")
        );
        assert!(scene.ok("ps").contains("0.0.0.0:8080->80/tcp"));
        assert_eq!(
            scene.at("web", "/NetworkSettings/Ports/80~1tcp/0/HostPort"),
            "8080"
        );
        // Each of its places has its own names to speak by, and the address that it has asked for with it.
        let said = rules(&scene);
        for expected in [
            "tcp . 8080 : 10.9.0.80 . 80",
            "tcp . 8080 : fd00:9::80 . 80",
            "there is no way out of",
            ". 02:00:00:00:00:99 . 10.8.0.2",
            ". fd00:9::80",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        // Nobody is led to an internal network, and there is no way into one.
        scene.ok("run -d --name inner -p 8081:80 --network back $I sh -c 'httpd -f -p 80 -h /tmp'");
        assert!(!scene.ok("ps").contains("8081"), "{}", scene.ok("ps"));
        assert_eq!(scene.ok("port inner"), "");
        // Who tries is told so, at the latest when he has connected, and does not wait.
        let asked = host.try_sh("curl -s -m 5 http://127.0.0.1:8081/");
        assert!(matches!(asked.status.code(), Some(7 | 56)), "{asked:?}");
        // Everything else goes with the containers, and nothing of the networks is left but what they are.
        host.sh("nft flush ruleset");
        assert_eq!(scene.run("network rules").code, 1);
        scene.ok("network reload");
        rules(&scene);
        assert_eq!(
            seen_from_lan(host, "198.51.100.2:8080").as_deref(),
            Some("198.51.100.1")
        );
        scene.ok("rm -f web inner");
        scene.ok("network rm back front");
        assert_eq!(host.state(), before);
        scene.assert_all_gone("ports on networks");
    });
}

#[test]
fn ports_follow_a_container_that_comes_to_networks_and_leaves_them() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        let before = host.state();
        for (name, flags) in [("one", ""), ("two", ""), ("inner", "--internal")] {
            scene.ok(&format!("network create {flags} {name}"));
        }
        serve(&scene, "-p 8080:80 --network inner --name web");
        let lan = || seen_from_lan(host, "198.51.100.2:8080");
        let client = Some("198.51.100.1".to_owned());
        let gateway = |network: &str| {
            scene.at(
                "web",
                &format!("/NetworkSettings/Networks/{network}/Gateway"),
            )
        };
        assert_eq!(lan(), None);
        for network in ["one", "two"] {
            scene.ok(&format!("network connect {network} web"));
            assert_eq!(lan(), client, "{network}");
        }
        assert_eq!(seen(host, "127.0.0.1:8080"), gateway("one"));
        scene.ok("network disconnect one web");
        assert_eq!(lan(), client);
        assert_eq!(seen(host, "127.0.0.1:8080"), gateway("two"));
        assert!(scene.ok("ps").contains("8080->80/tcp"));
        rules(&scene);
        // Started again it is the same.
        scene.ok("restart -t 0 web");
        answers(&scene, "web");
        host.wait_until("the port leads in again", LIMIT, || lan() == client);
        assert_eq!(seen(host, "127.0.0.1:8080"), gateway("two"));
        scene.ok("network disconnect two web");
        assert_eq!(lan(), None);
        assert!(!scene.ok("ps").contains("8080->80/tcp"));
        scene.ok("network connect bridge web");
        assert_eq!(lan(), client);
        // Also where it has left all that it was on.
        scene.ok("network disconnect bridge web");
        scene.ok("network disconnect inner web");
        scene.ok("network connect one web");
        assert_eq!(lan(), client);
        scene.ok("rm -f web");
        scene.ok("network rm one two inner");
        assert_eq!(host.state(), before);
        scene.assert_all_gone("ports that move");
    });
}
