//! What somebody has flushed from the packet filter is back with the next command, whichever that is; and who finds nothing changed pays one
//! question to the kernel for that.

use std::fs;

use crate::fake_host;
use crate::network::default_route;
use crate::support::Scene;

const MISSING: &str = "rules of the network were missing from the packet filter";

/// The system calls of a command that have to do with netlink.
fn netlink_calls(scene: &Scene<'_>, args: &str) -> Vec<String> {
    let report = scene.host.dir("strace").join("report");
    let script = format!(
        "exec strace -f -q -o {} -e trace=socket,sendto -e signal=none rocker {args}",
        report.display()
    );
    scene.script(&script).succeeded();
    let text = fs::read_to_string(report).unwrap();
    let lines = text
        .lines()
        .filter(|line| line.contains("AF_NETLINK") || line.contains("nlmsg_len"));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_next_command_about_containers_or_networks_puts_back_what_was_flushed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create front");
        scene.ok("network create --internal back");
        scene.ok("run -d --name web --network front -p 8080:80 $I sleep 1000");
        scene.ok("run -d --name db --network back $I sleep 1000");
        // Tables come back in the order of the networks.
        let rules = || host.sh("nft -s list ruleset | sort");
        let before = rules();
        assert!(before.contains("rocker-front") && before.contains("rocker-back"));
        // As if the last look of all had been a while ago.
        let seen = scene.run.join(".rules");
        let aged = || host.sh(&format!("touch -d '1 minute ago' {}", seen.display()));
        for args in [
            "ps",
            "logs web",
            "exec db true",
            "inspect db",
            "port web",
            "top db",
            "stats --no-stream db",
            "network ls",
            "network inspect front",
            "rename db db",
            "run --rm --network back $I true",
            "run --rm $I true",
            "network reload",
        ] {
            scene.ok("ps");
            aged();
            assert!(fs::read_to_string(&seen).unwrap().starts_with("net:["));
            host.sh("nft flush ruleset");
            assert_eq!(rules(), "");
            let done = scene.run(args);
            assert_eq!(rules(), before, "after {args}: {done:?}");
            // Who looks for it says so, and nobody after him.
            let says = done.err.contains(MISSING);
            assert_eq!(says, args != "network reload", "{done:?}");
            assert_eq!(scene.run("ps").err, "", "after {args}");
        }
        // One table is as good as all, and a file that says nothing as good as none.
        for damaged in ["", "net:[1] 1\n", "x"] {
            fs::write(&seen, damaged).unwrap();
            host.sh("nft delete table bridge rocker-front");
            assert!(scene.run("logs db").err.contains(MISSING));
            assert_eq!(rules(), before);
        }
        scene.ok("rm -f web db");
        scene.ok("network rm front back");
        scene.assert_all_gone("flushes");
    });
}

#[test]
fn what_the_host_forwards_by_itself_is_guarded_no_more_and_again_when_it_does_not() {
    fake_host::run(|host| {
        default_route(host);
        host.sh("echo 0 >/proc/sys/net/ipv4/ip_forward");
        let scene = Scene::new(host);
        scene.ok("run -d --name web $I sleep 1000");
        scene.ok("ps");
        let rules = || host.sh("nft -s list ruleset | sort");
        let guard = "what comes in by up0 is passed on to containers alone";
        let before = rules();
        assert!(before.contains(guard), "{before}");
        for _ in 0..2 {
            host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
            let done = scene.run("ps");
            assert!(done.err.contains(MISSING), "{done:?}");
            assert!(!rules().contains(guard), "{}", rules());
            assert_eq!(scene.run("ps").err, "");
            host.sh("echo 0 >/proc/sys/net/ipv4/ip_forward");
            scene.ok("ps");
            assert_eq!(rules(), before);
            let forwards = host.sh("cat /proc/sys/net/ipv4/conf/up0/forwarding");
            assert_eq!(forwards.trim(), "1");
            assert_eq!(scene.run("ps").err, "");
        }
        // Notes of another boot count for nothing.
        let seen = scene.run.join(".rules");
        let noted = fs::read_to_string(&seen).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let old = noted.replace(boot.trim(), "00000000-0000-4000-8000-000000000000");
        assert_ne!(old, noted);
        fs::write(&seen, old).unwrap();
        scene.ok("ps");
        assert_eq!(fs::read_to_string(&seen).unwrap(), noted);
        scene.ok("rm -f web");
        scene.assert_all_gone("guards");
    });
}

#[test]
fn where_nothing_was_changed_a_command_asks_for_a_number_and_one_without_a_network_for_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create front");
        scene.ok("run -d --name web --network front $I sleep 1000");
        scene.ok("run -d --name db $I sleep 1000");
        scene.ok("ps");
        for args in ["ps", "logs web", "exec web true", "inspect db"] {
            let calls = netlink_calls(&scene, args);
            // Once for each time that it looks for a container.
            assert!((1..3).contains(&(calls.len() / 2)), "{args}: {calls:#?}");
            for call in calls.chunks(2) {
                assert!(call[0].contains("NETLINK_NETFILTER"), "{calls:#?}");
                assert!(
                    call[1].contains("[{nlmsg_len=20, nlmsg_type=0xa10"),
                    "{calls:#?}"
                );
            }
        }
        // What somebody else does there has everybody look once more.
        host.sh("nft add table inet theirs");
        assert!(netlink_calls(&scene, "logs web").len() > 4);
        assert_eq!(netlink_calls(&scene, "logs web").len(), 2);
        host.sh("nft delete table inet theirs");
        // Who has no network has nothing to do with it: one socket brings its loopback up.
        let calls = netlink_calls(&scene, "run --rm --network none $I true");
        let filters = calls
            .iter()
            .filter(|call| call.contains("NETLINK_NETFILTER"));
        assert_eq!(filters.count(), 0, "{calls:#?}");
        assert!(calls.iter().any(|call| call.contains("NETLINK_ROUTE")));
        // Nor is the kernel asked, by whomever, when no container is on a network.
        scene.ok("rm -f web db");
        scene.ok("network rm front");
        scene.ok("ps");
        assert!(netlink_calls(&scene, "ps").is_empty());
        assert!(!scene.run.join(".rules").exists());
        scene.assert_all_gone("looks");
    });
}
