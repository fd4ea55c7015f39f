//! Commands on networks that are killed at every single step.

use crate::crash_steps::{Hit, assert_whole, kill_at_each_step, the_one};
use crate::fake_host;
use crate::support::Scene;

fn has_network(scene: &Scene<'_>, name: &str) -> bool {
    let names = scene.ok("network ls --filter type=custom --format '{{.Name}}'");
    names.lines().any(|line| line == name)
}

#[test]
fn a_network_whose_making_or_removal_is_killed_is_there_or_not_and_never_half() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let check = |after: &str| {
            if has_network(&scene, "front") {
                let subnet = scene.ok("network inspect -f /IPAM/Config/0/Subnet front");
                assert_eq!(subnet, "10.9.0.0/24\n", "after {after}");
                scene.ok("network rm front");
            }
            assert!(!has_network(&scene, "front"), "after {after}");
            scene.assert_all_gone(after);
        };
        let make = "network create --subnet 10.9.0.0/24 --label x front";
        kill_at_each_step(&scene, Hit::First, make, || {}, check);
        scene.ok(make);
        let before = || {
            if !has_network(&scene, "front") {
                scene.ok(make);
            }
        };
        kill_at_each_step(&scene, Hit::First, "network rm front", before, |after| {
            if !has_network(&scene, "front") {
                // Nothing keeps it from being made again.
                scene.ok(make);
            }
            assert_eq!(
                scene.ok("run --rm --network front $I echo hi"),
                "hi\n",
                "after {after}"
            );
            scene.assert_all_gone(after);
        });
        scene.ok("network rm front");
        // What the last one left who was killed while he removed it goes when the next one is made.
        scene.ok("network create other");
        scene.ok("network rm other");
        let left = host.sh(&format!(
            "ls -A {}/networks | grep gone || true",
            scene.root.display()
        ));
        assert_eq!(left, "");
    });
}

#[test]
fn a_run_on_a_network_killed_at_any_step_leaves_neither_names_nor_addresses() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 --ipv6 front");
        scene.up(
            "db",
            "--network front",
            "echo up; while :; do sleep 0.1; done",
        );
        let hosts = || scene.ok("exec db cat /etc/hosts");
        let before = hosts();
        let args = "run --name web -p 8080:80 --network front --network bridge --network-alias www $I true";
        kill_at_each_step(
            &scene,
            Hit::First,
            args,
            || {},
            |after| {
                scene.ok("ps -a");
                assert_whole(&scene, after);
                assert_eq!(hosts(), before, "after {after}");
                // What is in the packet filter is what is to be there, for the one that runs.
                let rules = scene.ok("network rules");
                assert!(
                    rules.contains("rocker-front") && !rules.contains("8080"),
                    "after {after}: {rules}"
                );
                assert!(
                    !host.sh("nft list ruleset").contains("8080"),
                    "after {after}"
                );
                let owners = host.sh(&format!(
                "ls {0}/networks/front/leases {0}/networks/bridge/leases 2>/dev/null | grep = | grep -v =.last | cut -d= -f2 | sort -u",
                scene.root.display()
            ));
                assert_eq!(owners.trim(), scene.at("db", "/Id"), "after {after}");
                if scene.containers().len() > 1 {
                    scene.ok("rm -f web");
                }
            },
        );
        scene.ok("rm -f db");
        scene.ok("network rm front");
        scene.assert_all_gone("db");
    });
}

#[test]
fn a_connection_whose_making_or_end_is_killed_can_be_ended_and_made() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 --internal front");
        scene.ok("network create --subnet 10.8.0.0/24 back");
        scene.up(
            "web",
            "-p 8080:80 --network front",
            "echo up; while :; do sleep 0.1; done",
        );
        let check = |after: &str| {
            assert_whole(&scene, after);
            assert!(
                the_one(&scene, after).unwrap().contains("running"),
                "after {after}"
            );
            // Its port leads in if it has got as far as to have an address.
            scene.ok("network reload");
            let rules = || host.sh("nft list ruleset");
            let leases = host.sh(&format!(
                "ls {}/networks/back/leases 2>/dev/null || true",
                scene.root.display()
            ));
            let has_lease = leases.contains(&format!("={}", scene.at("web", "/Id")));
            assert_eq!(
                rules().contains("8080"),
                has_lease,
                "after {after}: {leases}"
            );
            // What its files say is where it is.
            let files = || {
                let text = scene.ok("exec web cat /etc/hosts /etc/resolv.conf");
                let has = |line: &str| text.lines().any(|other| other.starts_with(line));
                (has("10.8.0."), has("nameserver"))
            };
            assert_eq!(files(), (has_lease, has_lease), "after {after}");
            // Whatever came of it, from here on it is as one says.
            scene.ok("network disconnect -f back web");
            let links = scene.ok("exec web sh -c 'cd /sys/class/net && echo *'");
            assert_eq!(links, "eth0 lo\n", "after {after}");
            assert!(!rules().contains("8080"), "after {after}: {}", rules());
            assert_eq!(files(), (false, false), "after {after}");
            scene.ok("network connect --ip 10.8.0.77 back web");
            scene.ok("exec web ping -c 1 -W 5 10.8.0.1");
            assert_eq!(files(), (true, true), "after {after}");
            // Its port leads in by the only network with a way out.
            let led = rules().contains(": 10.8.0.77 . 80");
            assert!(led, "after {after}: {}", rules());
            assert_eq!(
                scene.at("web", "/NetworkSettings/Networks/back/IPAddress"),
                "10.8.0.77"
            );
        };
        let apart = || {
            scene.ok("network disconnect -f back web");
        };
        kill_at_each_step(
            &scene,
            Hit::First,
            "network connect --alias www back web",
            apart,
            check,
        );
        kill_at_each_step(
            &scene,
            Hit::First,
            "network disconnect back web",
            || {},
            check,
        );
        scene.ok("rm -f web");
        scene.ok("network rm front back");
        scene.assert_all_gone("connections");
    });
}
