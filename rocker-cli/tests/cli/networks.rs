//! Networks that somebody makes: made, listed, looked at, used, removed.

use std::fs;

use crate::fake_host;
use crate::support::Scene;

/// The default routes of a container by one protocol, `-4` or `-6`.
fn ways_out(scene: &Scene<'_>, name: &str, protocol: &str) -> String {
    let routes = scene.ok(&format!("exec {name} ip {protocol} route"));
    let mut ways = routes.lines().filter(|line| line.starts_with("default"));
    let way = ways.next().unwrap_or_default().trim().to_owned();
    assert_eq!(ways.next(), None, "{routes}");
    way
}

/// What is left on the machine of networks that nobody has a place on: nothing but directories of rocker's own.
fn remove(scene: &Scene<'_>, names: &str) {
    scene.ok(&format!("network rm {names}"));
    scene.assert_all_gone("networks");
}

#[test]
fn a_network_is_made_listed_looked_at_and_removed_as_with_docker() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let id = scene.ok(
            "network create --subnet 10.9.0.0/24 --gateway 10.9.0.9 --ip-range 10.9.0.128/25 --label tier=front --label plain \
             -o com.docker.network.driver.mtu=1400 front",
        );
        let id = id.trim();
        assert!(
            id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        scene.ok("network create --internal --ipv6 back");
        let table = scene.ok("network ls");
        let names: Vec<_> = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        assert_eq!(
            names,
            ["ID", "back", "bridge", "front", "host", "none"],
            "{table}"
        );
        assert!(
            table.starts_with("NETWORK ID") && table.contains(&id[..12]) && !table.contains(id),
            "{table}"
        );
        for (args, expected) in [
            ("-q --no-trunc --filter name=fro", format!("{id}\n")),
            (
                "--filter label=tier=front --format '{{.Name}} {{.Driver}} {{.Scope}}'",
                "front bridge local\n".to_owned(),
            ),
            (
                "--filter type=custom --format '{{.Name}}'",
                "back\nfront\n".to_owned(),
            ),
            (
                "--filter type=builtin --format '{{.Name}}'",
                "bridge\nhost\nnone\n".to_owned(),
            ),
            (
                "--filter dangling=true --format '{{.Name}} {{.Internal}} {{.IPv6}}'",
                "back true true\nfront false false\n".to_owned(),
            ),
            ("--filter driver=null -q", "none\n".to_owned()),
        ] {
            assert_eq!(scene.ok(&format!("network ls {args}")), expected, "{args}");
        }
        let shown: serde_json::Value =
            serde_json::from_str(&scene.ok("network inspect front")).unwrap();
        let front = &shown[0];
        assert_eq!(front["Id"], id);
        assert_eq!(front["IPAM"]["Config"][0]["Subnet"], "10.9.0.0/24");
        assert_eq!(front["IPAM"]["Config"][0]["IPRange"], "10.9.0.128/25");
        assert_eq!(front["IPAM"]["Config"][0]["Gateway"], "10.9.0.9");
        assert_eq!(front["Labels"]["tier"], "front");
        assert_eq!(front["Options"]["com.docker.network.driver.mtu"], "1400");
        assert_eq!(
            (&front["Internal"], &front["EnableIPv6"]),
            (&false.into(), &false.into())
        );
        let subnets =
            scene.ok("network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}' back");
        let subnets: Vec<_> = subnets.split_whitespace().collect();
        assert!(
            subnets.len() == 2 && subnets[1].starts_with("fd"),
            "{subnets:?}"
        );
        assert_eq!(
            scene.ok(&format!("network inspect -f /Name {}", &id[..5])),
            "front\n"
        );
        // On the host there is nothing of a network that nobody uses.
        scene.assert_all_gone("two networks");
        let up = scene.start_idle("--rm --name web --network front");
        let link = scene.ok("exec web ip link show eth0");
        assert!(link.contains("mtu 1400"), "{link}");
        let route = ways_out(&scene, "web", "-4");
        assert!(route.contains("via 10.9.0.9"), "{route}");
        let web = scene.at("web", "/Id");
        let shown: serde_json::Value =
            serde_json::from_str(&scene.ok("network inspect front")).unwrap();
        let place = &shown[0]["Containers"][&web];
        assert_eq!(
            (&place["Name"], &place["IPv4Address"]),
            (&"web".into(), &"10.9.0.128/24".into())
        );
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/front/IPAddress"),
            "10.9.0.128"
        );
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/front/Gateway"),
            "10.9.0.9"
        );
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/front/NetworkID"),
            id
        );
        assert_eq!(scene.at("web", "/HostConfig/NetworkMode"), "front");
        let error = scene.fails(1, "network rm front");
        assert!(error.contains("in use by web"), "{error}");
        assert_eq!(up.end().code, 0);
        remove(&scene, "front back");
        assert_eq!(scene.ok("network ls -q --filter type=custom"), "");
    });
}

#[test]
fn what_cannot_be_is_refused_and_says_why() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh(
            "ip link add lan0 type bridge; ip addr add 192.0.2.9/24 dev lan0; ip link set lan0 up",
        );
        scene.ok("network create --ipv4 --subnet 10.9.0.0/24 front");
        for (args, part) in [
            ("create front", "there is a network front already"),
            ("create bridge", "predefined"),
            ("create none", "predefined"),
            ("create --subnet 10.9.0.128/25 x", "overlaps 10.9.0.0/24"),
            ("create --subnet 192.0.2.0/25 x", "overlaps 192.0.2.0/24"),
            (
                "create --subnet 10.9.0.1/24 x",
                "bits set behind the prefix",
            ),
            (
                "create --subnet 10.8.0.0/24 --subnet 10.7.0.0/24 x",
                "at most one of each",
            ),
            (
                "create --subnet 10.8.0.0/24 --gateway 10.7.0.1 x",
                "no address of a host in 10.8.0.0/24",
            ),
            (
                "create --subnet 10.8.0.0/24 --ip-range 10.7.0.0/25 x",
                "does not lie in 10.8.0.0/24",
            ),
            ("create --gateway 10.8.0.1 x", "needs the subnet"),
            ("create --driver macvlan x", "bridge"),
            (
                "create --ipv4=false --ipv6 x",
                "a network has IPv4 in any case, and IPv6 beside it",
            ),
            (
                "create -o com.docker.network.driver.mtu=big x",
                "a number of bytes",
            ),
            ("create -o mtu=1400 x", "com.docker.network.driver.mtu"),
            (
                "create -o com.docker.network.bridge.name=much-too-long-a-name x",
                "1 to 15 bytes",
            ),
            ("create ../x", "no valid network name"),
            ("rm bridge", "predefined"),
            ("rm nowhere", "no network \"nowhere\""),
            ("inspect nowhere", "no network \"nowhere\""),
            ("connect nowhere web", "no container \"web\""),
            ("ls --filter colour=red", "driver="),
        ] {
            let done = scene.run(&format!("network {args}"));
            assert_eq!(done.code, 1, "{done:?}");
            assert!(done.err.contains(part), "{args}: {}", done.err);
        }
        for (args, part) in [
            ("--network nowhere", "no network \"nowhere\""),
            (
                "--network front --ip 10.9.1.7",
                "no address of a host in 10.9.0.0/24",
            ),
            ("--network front --ip 10.9.0.1", "gateway"),
            ("--network front --ip6 fd00::7", "no IPv6"),
            ("--ip 10.88.0.7", "network create"),
            ("--network-alias x", "network create"),
            ("--network host --network front", "no other one"),
            ("--network pasta", "for root"),
            ("--network container:nobody", "no container \"nobody\""),
        ] {
            let error = scene.fails(125, &format!("run --rm {args} $I true"));
            assert!(error.contains(part), "{args}: {error}");
        }
        assert_eq!(
            scene.ok("network ls --filter type=custom --format '{{.Name}}'"),
            "front\n"
        );
        assert_eq!(scene.ok("network rm -f nowhere"), "");
        host.sh("ip link del lan0");
        remove(&scene, "front");
    });
}

#[test]
fn a_container_has_the_addresses_it_asks_for_on_several_networks() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 front");
        scene.ok("network create --subnet 10.8.0.0/24 --subnet fd00:8::/64 back");
        let up = scene.start_idle(
            "--name web --network front --network name=back,ip=10.8.0.77,ip6=fd00:8::77 --ip 10.9.0.99 --mac-address 02:42:00:00:00:99",
        );
        let addresses = scene.ok("exec web ip -o addr");
        for part in [
            "eth0    inet 10.9.0.99/24",
            "eth1    inet 10.8.0.77/24",
            "eth1    inet6 fd00:8::77/64",
        ] {
            assert!(addresses.contains(part), "{part}: {addresses}");
        }
        // On a network without IPv6 there is none of it.
        assert!(!addresses.contains("eth0    inet6"), "{addresses}");
        assert!(
            scene
                .ok("exec web ip link show eth0")
                .contains("02:42:00:00:00:99")
        );
        assert_eq!(
            scene.at("web", "/NetworkSettings/MacAddress"),
            "02:42:00:00:00:99"
        );
        assert_eq!(
            ways_out(&scene, "web", "-4"),
            "default via 10.9.0.1 dev eth0"
        );
        let routes = ways_out(&scene, "web", "-6");
        assert!(routes.contains("via fd00:8::1 dev eth1"), "{routes}");
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/back/GlobalIPv6Address"),
            "fd00:8::77"
        );
        assert_eq!(
            scene.at(
                "web",
                "/NetworkSettings/Networks/back/IPAMConfig/IPv4Address"
            ),
            "10.8.0.77"
        );
        for (network, expected) in [("front", "web\n"), ("back", "web\n"), ("bridge", "")] {
            let listed = scene.ok(&format!(
                "ps --filter network={network} --format '{{{{.Names}}}}'"
            ));
            assert_eq!(listed, expected, "{network}");
        }
        let error = scene.fails(125, "run --rm --network back --ip 10.8.0.77 $I true");
        assert!(error.contains("10.8.0.77 is taken by"), "{error}");
        scene.ok("exec web ping -c 1 -W 5 10.8.0.1");
        scene.ok("exec web ping -c 1 -W 5 fd00:8::1");
        assert_eq!(up.end().code, 0);
        // The second time it is the same.
        scene.ok("start web");
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/front/IPAddress"),
            "10.9.0.99"
        );
        scene.ok("rm -f web");
        remove(&scene, "front back");
    });
}

#[test]
fn a_container_comes_to_a_network_and_leaves_it_while_it_runs_or_not() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 front");
        scene.ok("network create --subnet 10.8.0.0/24 --internal back");
        scene.up(
            "web",
            "--network front",
            "trap \"exit 0\" TERM; echo up; while :; do sleep 0.1; done",
        );
        scene.up(
            "db",
            "--network back",
            "trap \"exit 0\" TERM; echo up; while :; do sleep 0.1; done",
        );
        assert_ne!(scene.run("exec web ping -c 1 -W 1 db").code, 0);
        scene.ok("network connect --alias www --ip 10.8.0.50 back web");
        scene.ok("exec web ping -c 1 -W 5 db");
        scene.ok("exec db ping -c 1 -W 5 www");
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/back/IPAddress"),
            "10.8.0.50"
        );
        assert!(
            scene
                .ok("exec web ip -o addr")
                .contains("eth1    inet 10.8.0.50/24")
        );
        let error = scene.fails(1, "network connect back web");
        assert!(error.contains("web is on network back already"), "{error}");
        // What it was given is given again when it starts again.
        scene.ok("restart -t 5 web");
        scene.ok("exec db ping -c 1 -W 5 www");
        // Without the one that has the way out, there is none; with another one, there is again.
        scene.ok("network disconnect front web");
        assert_eq!(ways_out(&scene, "web", "-4"), "");
        assert_eq!(
            scene
                .run("inspect -f /NetworkSettings/Networks/front web")
                .code,
            1
        );
        scene.ok("network connect front web");
        assert!(
            scene
                .ok("exec web ip route show default")
                .contains("via 10.9.0.1")
        );
        scene.ok("network connect bridge web");
        scene.ok("network disconnect front web");
        let route = ways_out(&scene, "web", "-4");
        assert!(route.contains("dev eth2"), "{route}");
        let error = scene.fails(1, "network disconnect front web");
        assert!(error.contains("web is not on network front"), "{error}");
        scene.ok("network disconnect -f front web");
        // One that does not run.
        scene.ok("stop -t 5 web");
        scene.ok("network disconnect back web");
        scene.ok("network connect front web");
        scene.ok("start web");
        assert_ne!(scene.run("exec db ping -c 1 -W 1 www").code, 0);
        assert!(
            scene
                .ok("exec web ip -o addr")
                .contains("eth1    inet 10.9.0.")
        );
        // From all of them, and to one again.
        scene.ok("network disconnect bridge web");
        scene.ok("network disconnect front web");
        assert_eq!(
            scene.ok("exec web sh -c 'cd /sys/class/net && echo *'"),
            "lo\n"
        );
        assert_eq!(scene.at("web", "/HostConfig/NetworkMode"), "none");
        scene.ok("network connect front web");
        assert!(
            scene
                .ok("exec web ip route show default")
                .contains("via 10.9.0.1 dev eth0")
        );
        scene.ok("run -d --name alone --network host $I sleep 1000");
        let error = scene.fails(1, "network connect front alone");
        assert!(error.contains("--network host"), "{error}");
        let error = scene.fails(1, "network connect host web");
        assert!(
            error.contains("can be neither connected to host"),
            "{error}"
        );
        // Of the last second nothing is asked for.
        host.sh("sleep 1.1");
        let seen = scene.ok("events --since 1h --until 1s --filter type=network --format '{{.Action}} {{.Actor.Attributes.name}}'");
        let seen: Vec<_> = seen.lines().collect();
        assert_eq!(
            seen[..4],
            [
                "create front",
                "create back",
                "connect back",
                "disconnect front"
            ]
        );
        scene.ok("rm -f web db alone");
        remove(&scene, "front back");
    });
}

#[test]
fn an_internal_network_has_neither_a_way_out_nor_a_resolver() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("ip netns add internet; ip link add up0 type veth peer name down0 netns internet
             ip addr add 198.51.100.2/24 dev up0; ip link set up0 up
             ip -n internet addr add 198.51.100.1/24 dev down0; ip -n internet link set down0 up
             ip -n internet route add default via 198.51.100.2; ip route add default via 198.51.100.1");
        scene.ok("network create --internal back");
        scene.ok("network create front");
        let out = scene.run("run --rm --network back $I ping -c 1 -W 1 198.51.100.1");
        assert!(out.err.contains("unreachable"), "{out:?}");
        let text = scene.ok("run --rm --network back $I cat /etc/resolv.conf");
        assert!(
            !text.contains("nameserver") && text.contains("no way out"),
            "{text}"
        );
        let text = scene.ok("run --rm --network back --dns 10.1.1.1 $I cat /etc/resolv.conf");
        assert!(text.contains("nameserver 10.1.1.1"), "{text}");
        // With another network beside it there is.
        scene.ok("run --rm --network back --network front $I ping -c 1 -W 5 198.51.100.1");
        let text = scene.ok("run --rm --network back --network front $I cat /etc/resolv.conf");
        assert!(text.contains("nameserver"), "{text}");
        host.sh("ip link del up0; ip netns del internet; umount /run/netns; rmdir /run/netns");
        remove(&scene, "front back");
    });
}

#[test]
fn containers_of_an_isolated_network_do_not_reach_each_other() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in [
            "--isolated",
            "-o com.docker.network.bridge.enable_icc=false",
        ] {
            scene.ok(&format!(
                "network create --subnet 10.9.0.0/24 {flags} apart"
            ));
            let (one, two) = (
                scene.start_idle("--rm --name one --network apart --ip 10.9.0.11"),
                scene.start_idle("--rm --name two --network apart --ip 10.9.0.12"),
            );
            assert_ne!(
                scene.run("exec one ping -c 1 -W 1 10.9.0.12").code,
                0,
                "{flags}"
            );
            scene.ok("exec one ping -c 1 -W 5 10.9.0.1");
            assert_eq!((one.end().code, two.end().code), (0, 0));
            remove(&scene, "apart");
        }
    });
}

#[test]
fn a_container_shares_the_network_of_another_one() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 front");
        let web = scene.start_idle(
            "--name web --network front --ip 10.9.0.7 --hostname www --add-host far:192.0.2.1",
        );
        let db = scene.start_idle("--name db --network front");
        let own = scene.ok("exec web readlink /proc/self/ns/net");
        let theirs = "run --rm --network container:web $I";
        assert_eq!(
            scene.ok(&format!("{theirs} readlink /proc/self/ns/net")),
            own
        );
        assert!(
            scene
                .ok(&format!("{theirs} ip -o addr show eth0"))
                .contains("10.9.0.7/24")
        );
        assert_eq!(scene.ok(&format!("{theirs} hostname")), "www\n");
        let hosts = scene.ok("exec web cat /etc/hosts");
        assert_eq!(scene.ok(&format!("{theirs} cat /etc/hosts")), hosts);
        scene.ok(&format!("{theirs} ping -c 1 -W 5 db"));
        // One that shares with one that shares; who comes to the network later is found by both.
        let side = scene.start_idle("--name side --network container:web");
        let third = scene.start_idle("--rm --name third --network container:side");
        let late = scene.start_idle("--rm --name late --network front");
        for name in ["web", "side", "third"] {
            scene.ok(&format!("exec {name} ping -c 1 -W 5 late"));
        }
        assert_eq!(scene.at("side", "/HostConfig/NetworkMode"), "container:web");
        assert_eq!(scene.at("side", "/NetworkSettings/Networks"), "{}");
        let error = scene.fails(1, "network connect front side");
        assert!(error.contains("container:web"), "{error}");
        // Its end is not that of the network's owner.
        assert_eq!(
            (late.end().code, third.end().code, side.end().code),
            (0, 0, 0)
        );
        scene.ok("exec web ping -c 1 -W 5 db");
        assert_eq!((web.end().code, db.end().code), (0, 0));
        let done = scene.run("start side");
        assert_eq!(done.code, 1);
        assert!(done.err.contains("web is not running"), "{done:?}");
        scene.ok("rm web db side");
        remove(&scene, "front");
    });
}

#[test]
fn what_nobody_needs_is_pruned_and_names_are_completed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (name, flags) in [
            ("used", ""),
            ("kept", "--label keep"),
            ("old", ""),
            ("older", ""),
        ] {
            scene.ok(&format!("network create {flags} {name}"));
        }
        let completed = |words: &str| {
            let index = words.split(' ').count() + 1;
            scene.script(&format!(
                "_CLAP_COMPLETE_INDEX={index} COMPLETE=bash rocker -- rocker {words} ''"
            ))
        };
        for words in [
            "network rm",
            "network inspect",
            "network connect",
            "run --network",
        ] {
            let done = completed(words);
            for name in ["used", "old", "bridge"] {
                assert!(
                    done.out.lines().any(|line| line == name),
                    "{words}: {done:?}"
                );
            }
        }
        // Also one that does not run needs it.
        scene.ok("create --name web --network used $I true");
        let out = scene.ok("network prune -f --filter 'label!=keep'");
        assert_eq!(out, "Deleted Networks:\nold\nolder\n");
        assert_eq!(scene.ok("network prune -f --filter until=1h"), "");
        assert_eq!(
            scene.ok("network ls --filter type=custom --format '{{.Name}}'"),
            "kept\nused\n"
        );
        let out = scene.ok("system prune -f");
        assert!(out.contains("Deleted Networks:\nkept\nused\n"), "{out}");
        scene.assert_all_gone("pruning");
        assert_eq!(
            fs::read_dir(scene.root.join("networks"))
                .unwrap()
                .flatten()
                .filter(|entry| entry.path().join("config.json").exists())
                .count(),
            0
        );
    });
}

#[test]
fn a_reboot_and_a_start_bring_the_same_networks_back() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 --ipv6 front");
        let subnets = scene.ok("network inspect -f /IPAM front");
        let script = "echo up; while :; do sleep 0.1; done";
        scene.up(
            "db",
            "--restart always --network front --network-alias store",
            script,
        );
        scene.up(
            "web",
            "--restart always --network front --ip 10.9.0.99",
            script,
        );
        scene.ok("exec web ping -c 1 -W 5 store");
        // The machine stops, and starts with an empty /run and without any link.
        for name in ["web", "db"] {
            host.sh(&format!("kill -9 {}", scene.supervisor(name)));
        }
        scene.wait_until_alone();
        host.sh(&format!(
            "for link in $(ls /sys/class/net | grep -v '^lo$'); do ip link del $link 2>/dev/null || true; done
             nft flush ruleset; find {} -mindepth 1 -delete",
            scene.run.display()
        ));
        scene.ok("system boot");
        assert_eq!(scene.ok("network inspect -f /IPAM front"), subnets);
        assert_eq!(
            scene.at("web", "/NetworkSettings/Networks/front/IPAddress"),
            "10.9.0.99"
        );
        scene.ok("exec web ping -c 1 -W 5 store");
        scene.ok("exec db ping -6 -c 1 -W 5 web");
        let leases = fs::read_dir(scene.root.join("networks/front/leases")).unwrap();
        let leases: Vec<_> = leases
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        assert_eq!(
            leases
                .iter()
                .filter(|name| name.contains('=') && !name.ends_with(".last"))
                .count(),
            4,
            "{leases:?}"
        );
        scene.ok("rm -f web db");
        remove(&scene, "front");
    });
}
