//! Containers find each other by name, for as long as they are there, and the outside by the host's resolvers or others.

use std::fs;
use std::time::Instant;

use crate::fake_host;
use crate::support::Scene;

const IDLE: &str = "echo up; while :; do sleep 0.1; done";

/// Whether a container finds a name at all.
fn finds(scene: &Scene<'_>, container: &str, name: &str) -> bool {
    scene
        .run(&format!("exec {container} ping -c 1 -W 5 {name}"))
        .code
        == 0
}

#[test]
fn containers_find_each_other_by_every_name_also_later_ones_and_no_longer_the_gone() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create front");
        scene.up("web", "--network front --dns 127.0.0.1", IDLE);
        scene.up(
            "db",
            "--network front --network-alias store --network-alias sql --hostname vault",
            IDLE,
        );
        let id = scene.at("db", "/Id");
        for name in [
            "db",
            "store",
            "sql",
            "vault",
            &id[..12],
            &id,
            "web",
            "localhost",
        ] {
            assert!(finds(&scene, "web", name), "{name}");
            assert!(finds(&scene, "db", name), "{name}");
        }
        assert_eq!(
            scene.ok("inspect -f '{{json .NetworkSettings.Networks.front.Aliases}}' db"),
            "[\"store\",\"sql\"]\n"
        );
        // On the default network, and on others, nobody is found.
        let lone = scene.start_idle("--rm --name lone --dns 127.0.0.1");
        assert!(!finds(&scene, "lone", "web") && !finds(&scene, "web", "lone"));
        assert_eq!(lone.end().code, 0);
        // Another name, at once.
        scene.ok("rename db data");
        assert!(
            finds(&scene, "web", "data")
                && finds(&scene, "web", "store")
                && !finds(&scene, "web", "db")
        );
        // What the container itself writes stays.
        scene.ok("exec web sh -c 'echo 127.0.0.1 mine >>/etc/hosts'");
        scene.ok("rm -f data");
        for name in ["data", "store", &id[..12]] {
            assert!(!finds(&scene, "web", name), "{name}");
        }
        scene.up("db", "--network front", IDLE);
        assert!(finds(&scene, "web", "db") && finds(&scene, "web", "mine"));
        // One that ends of itself, too, also when somebody else takes its place back later.
        scene
            .script("unset ROCKER_LINGER; rocker run -d --name brief --network front $I sleep 1000")
            .succeeded();
        assert!(finds(&scene, "web", "brief"));
        scene
            .script("unset ROCKER_LINGER; rocker stop -t 0 brief")
            .succeeded();
        host.wait_until("it is found no more", crate::support::LIMIT, || {
            !finds(&scene, "web", "brief")
        });
        scene.ok("rm brief");
        host.wait_until(
            "nobody is about to take anything back",
            crate::support::LIMIT,
            || host.sh("pgrep -f '^rocker-tidier' || true").is_empty(),
        );
        scene.ok("rm -f web db");
        scene.ok("network rm front");
        scene.assert_all_gone("names");
    });
}

#[test]
fn names_and_addresses_of_one_whose_supervisor_is_killed_go_with_the_next_command() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 front");
        scene.up("web", "--network front", IDLE);
        scene.up("db", "--network front --ip 10.9.0.77", IDLE);
        assert!(finds(&scene, "web", "db"));
        host.sh(&format!("kill -9 {}", scene.supervisor("db")));
        host.wait_until("its lock is free", crate::support::LIMIT, || {
            scene.ok("ps --format '{{.Names}}'") == "web\n"
        });
        let hosts = scene.ok("exec web cat /etc/hosts");
        assert!(
            !hosts.contains("10.9.0.77") && hosts.contains("web"),
            "{hosts}"
        );
        // The address is free, and the name.
        scene.ok("rm db");
        scene.up("db", "--network front --ip 10.9.0.77", IDLE);
        assert!(finds(&scene, "web", "db"));
        scene.ok("rm -f web db");
        scene.ok("network rm front");
        scene.assert_all_gone("a killed supervisor");
    });
}

#[test]
fn a_container_that_fills_or_keeps_its_hosts_file_keeps_nobody_else_from_names() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create front");
        scene.up("web", "--network front", IDLE);
        scene.up("bad", "--network front", IDLE);
        scene.ok("exec bad sh -c 'head -c 2000000 /dev/zero >>/etc/hosts'");
        let begun = Instant::now();
        scene.up("db", "--network front", IDLE);
        assert!(begun.elapsed() < crate::support::LIMIT);
        assert!(finds(&scene, "web", "db"));
        // What it fills is no memory of the host's.
        let file = scene.ok("inspect -f {{.HostsPath}} bad");
        assert!(std::path::Path::new(file.trim()).starts_with(&scene.root));
        assert!(fs::metadata(file.trim()).unwrap().len() > 2_000_000);
        scene.ok("rm -f web bad db");
        scene.ok("network rm front");
        scene.assert_all_gone("a large file");
    });
}

#[test]
fn resolvers_domains_options_and_hosts_are_those_that_are_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let etc = host.dir("etc");
        let as_host = |text: &str| {
            fs::write(etc.join("resolv.conf"), text).unwrap();
            host.sh("mountpoint -q /etc/resolv.conf || mount --bind /run/etc/resolv.conf /etc/resolv.conf");
        };
        as_host("search lan\nnameserver 192.0.2.1\noptions ndots:1\n");
        let seen = |flags: &str| {
            let text = scene.ok(&format!("run --rm {flags} $I cat /etc/resolv.conf"));
            // On a network that it may leave while it runs, the container is told what is kept up to date.
            let marks = [
                "# resolvers, kept up to date by rocker:\n",
                "# end of resolvers\n",
            ];
            let lines = text.strip_prefix(marks[0]);
            let lines = lines.and_then(|text| text.strip_suffix(marks[1]));
            assert_eq!(lines.is_none(), flags.contains("--network host"), "{text}");
            lines.unwrap_or(&text).to_owned()
        };
        assert_eq!(
            seen(""),
            "search lan\nnameserver 192.0.2.1\noptions ndots:1\n"
        );
        assert_eq!(
            seen("--dns 192.0.2.7 --dns fd00::7"),
            "search lan\noptions ndots:1\nnameserver 192.0.2.7\nnameserver fd00::7\n"
        );
        assert_eq!(
            seen(
                "--dns-search a.example --dns-search b.example --dns-option timeout:1 --network host"
            ),
            "nameserver 192.0.2.1\nsearch a.example b.example\noptions timeout:1\n"
        );
        assert_eq!(
            seen("--dns-search . --network none --dns 192.0.2.7"),
            "nameserver 192.0.2.7\n"
        );
        // systemd-resolved, which only the host itself can ask, has those whom it asks in another file.
        as_host("nameserver 127.0.0.53\noptions edns0\nsearch home\n");
        host.sh("mkdir -p /run/systemd/resolve; printf 'nameserver 192.0.2.53\\nsearch home\\n' >/run/systemd/resolve/resolv.conf");
        assert_eq!(seen(""), "nameserver 192.0.2.53\nsearch home\n");
        host.sh("rm -r /run/systemd");
        let text = seen("");
        assert!(
            text.starts_with("# The host asks only itself")
                && text.contains("8.8.8.8")
                && text.contains("search home"),
            "{text}"
        );
        assert!(!seen("--dns 192.0.2.7").contains('#'));
        host.sh("umount /etc/resolv.conf");

        scene.ok("network create --subnet 10.9.0.0/24 front");
        let hosts = scene.ok(
            "run --rm --network front --add-host far:192.0.2.1 --add-host six=[fd00::1] --add-host host:host-gateway \
             --hostname www --domainname example.org $I cat /etc/hosts",
        );
        for line in [
            "192.0.2.1\tfar",
            "fd00::1\tsix",
            "10.9.0.1\thost",
            "10.9.0.2\twww.example.org www",
        ] {
            assert!(hosts.lines().any(|other| other == line), "{line}: {hosts}");
        }
        scene.ok("run --rm --add-host host:host-gateway $I ping -c 1 -W 5 host");
        scene.ok("run --rm --network host --add-host host:host-gateway $I ping -c 1 -W 5 host");
        scene.ok("network rm front");
        scene.assert_nothing_left("names");
    });
}
