//! Published ports lead into containers, from wherever somebody may come, and from nowhere else.

use crate::fake_host::{self, Host};
use crate::network::plugged_in;
use crate::support::{LIMIT, Scene};

/// What a container runs that tells each client who he is.
const WHO: &str = "mkdir -p /www/cgi-bin; cd /www; \
    printf '#!/bin/sh\\nprintf \"\\\\r\\\\n\"; echo $REMOTE_ADDR\\n' >cgi-bin/who; chmod +x cgi-bin/who; \
    exec httpd -f -p 80 -h /www";

/// The host, `up0` with 198.51.100.2, and on the same wire a neighbour, 198.51.100.1, who knows ways to wherever he likes.
pub fn neighbour(host: &Host) {
    host.sh("for conf in /proc/sys/net/ipv6/conf/default/disable_ipv6; do [ ! -e $conf ] || echo 1 >$conf; done
         ip netns add lan; ip link add up0 type veth peer name down0 netns lan
         ip addr add 198.51.100.2/24 dev up0; ip link set up0 up
         ip -n lan addr add 198.51.100.1/24 dev down0; ip -n lan link set down0 up; ip -n lan link set lo up
         ip -n lan route add 10.0.0.0/8 via 198.51.100.2");
    plugged_in(host);
}

/// Starts a container with the server, and waits until it answers from inside.
pub fn serve(scene: &Scene<'_>, flags: &str) {
    scene.ok(&format!(
        "run -d {flags} $I sh -c '{}'",
        WHO.replace('\'', "'\\''")
    ));
    let name = flags
        .split("--name ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    answers(scene, name);
}

pub fn answers(scene: &Scene<'_>, name: &str) {
    scene.host.wait_until("the server answers", LIMIT, || {
        let asked = scene.run(&format!(
            "exec {name} wget -q -O- http://127.0.0.1/cgi-bin/who"
        ));
        asked.code == 0
    });
}

/// Who the server sees, asked at `at` from the host.
#[track_caller]
pub fn seen(host: &Host, at: &str) -> String {
    let out = host.sh(&format!("curl -s -m 10 http://{at}/cgi-bin/who"));
    out.trim()
        .trim_start_matches("[::ffff:")
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

pub fn seen_from_lan(host: &Host, at: &str) -> Option<String> {
    let asked = host.try_sh(&format!(
        "ip netns exec lan curl -s -m 2 http://{at}/cgi-bin/who"
    ));
    let out = String::from_utf8_lossy(&asked.stdout).into_owned();
    let who = out
        .trim()
        .trim_start_matches("[::ffff:")
        .trim_start_matches('[')
        .trim_end_matches(']');
    asked.status.success().then(|| who.to_owned())
}

fn address(scene: &Scene<'_>, name: &str) -> String {
    let format = "'{{.NetworkSettings.IPAddress}}'";
    scene
        .ok(&format!("inspect -f {format} {name}"))
        .trim()
        .to_owned()
}

fn gateway(scene: &Scene<'_>, name: &str) -> String {
    let format = "'{{.NetworkSettings.Gateway}}'";
    scene
        .ok(&format!("inspect -f {format} {name}"))
        .trim()
        .to_owned()
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_the_server_sees_the_client() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        let before = host.state();
        serve(&scene, "-p 8080:80 --name web");
        let (web, gateway) = (address(&scene, "web"), gateway(&scene, "web"));
        // From the wire, as who he is.
        assert_eq!(
            seen_from_lan(host, "198.51.100.2:8080").as_deref(),
            Some("198.51.100.1")
        );
        // From the host: by its outer address, its address on the bridge, and its loopback, which stands for the host.
        assert_eq!(seen(host, "198.51.100.2:8080"), "198.51.100.2");
        assert_eq!(seen(host, &format!("{gateway}:8080")), gateway);
        for local in ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"] {
            assert_eq!(seen(host, &format!("{local}:8080")), gateway, "{local}");
        }
        // From a container, by the host's addresses, and from the container itself.
        serve(&scene, "--name other");
        for name in ["other", "web"] {
            for at in ["198.51.100.2", &gateway] {
                let ask = "printf \"GET /cgi-bin/who HTTP/1.0\\\\r\\\\n\\\\r\\\\n\" | nc -w 5";
                let out = scene.ok(&format!("exec {name} sh -c '{ask} {at} 8080'"));
                assert!(out.contains(&gateway), "{name} at {at}: {out}");
            }
        }
        // Between containers there is no port of the host's, and they see each other.
        let out = scene.ok(&format!("exec other wget -q -O- http://{web}/cgi-bin/who"));
        assert!(out.contains(&address(&scene, "other")), "{out}");
        assert_eq!(
            scene.ok("port web").lines().next(),
            Some("80/tcp -> 0.0.0.0:8080")
        );
        assert!(scene.ok("ps").contains("0.0.0.0:8080->80/tcp"));
        scene.ok("rm -f web other");
        assert_eq!(host.sh("ss -Hlnt 'sport = 8080'"), "");
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_port_published_on_loopback_and_what_is_not_published_are_out_of_a_neighbours_reach() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        serve(
            &scene,
            "-p 127.0.0.1:8080:80 -p 198.51.100.2:9090:81 --name web",
        );
        let (web, gateway) = (address(&scene, "web"), gateway(&scene, "web"));
        assert_eq!(seen(host, "127.0.0.1:8080"), gateway);
        // moby 41872: packets for 127.0.0.1 that come in by the wire.
        host.sh("ip netns exec lan sh -c 'echo 1 >/proc/sys/net/ipv4/conf/down0/route_localnet
             ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 198.51.100.2 dev down0 src 198.51.100.1'");
        assert_eq!(seen_from_lan(host, "127.0.0.1:8080"), None);
        assert_eq!(seen_from_lan(host, "198.51.100.2:8080"), None);
        // The container's own address, with a route to it, whether or not another port of it is published.
        for port in [80, 81, 8080, 9090] {
            assert_eq!(
                seen_from_lan(host, &format!("{web}:{port}")),
                None,
                "{port}"
            );
        }
        // The host's end of the bridge is an address of the host's, too.
        assert_eq!(seen_from_lan(host, &format!("{gateway}:8080")), None);
        let settings = host.sh("cat /proc/sys/net/ipv4/conf/*/route_localnet");
        assert!(settings.lines().all(|line| line == "0"), "{settings}");
        // CVE-2025-54388: nor when somebody has flushed the rules.
        host.sh("nft flush ruleset");
        assert_eq!(seen_from_lan(host, "127.0.0.1:8080"), None);
        assert_eq!(seen_from_lan(host, "198.51.100.2:8080"), None);
        assert_eq!(seen(host, "127.0.0.1:8080"), gateway);
        scene.ok("rm -f web");
    });
}

#[test]
fn a_port_that_is_taken_is_an_error_before_anything_starts() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let before = host.state();
        let mut taken = std::process::Command::new("busybox");
        let mut taken = taken.args(["nc", "-l", "-p", "7070"]).spawn().unwrap();
        host.wait_until("it listens", LIMIT, || {
            host.sh("ss -Hlnt 'sport = 7070'").contains("7070")
        });
        for flags in ["-p 7070:80", "-p 127.0.0.1:7070:80", "-p 7069-7071:80-82"] {
            let line = scene.fails(125, &format!("run --rm --name one {flags} $I touch /ran"));
            assert!(line.contains("7070") && line.contains("in use"), "{line}");
        }
        assert_eq!(scene.ok("ps -aq"), "");
        taken.kill().unwrap();
        taken.wait().unwrap();
        // The one who has it is named, if it is a container.
        scene.ok("run -d --name web -p 7070:80 -p 7070:80/udp $I sleep 1000");
        for flags in ["-p 7070:80", "-p 0.0.0.0:7070:81", "-p 7070:80/udp"] {
            let line = scene.fails(125, &format!("run --rm {flags} $I true"));
            assert!(line.contains("container web has this port"), "{line}");
        }
        // Not even a program of the host's gets it.
        assert!(
            !host
                .try_sh("busybox nc -l -p 7070 </dev/null")
                .status
                .success()
        );
        scene.ok("rm -f web");
        assert_eq!(host.state(), before);
    });
}

#[test]
fn ports_that_are_left_open_are_chosen_and_shown() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run -d --name one -p 8000-8010:80 -p 53/udp -p 127.0.0.1::443 $I sleep 1000");
        scene.ok(
            "run -d --name two -p 8000-8010:80 --expose 90-91/tcp --expose 53/udp -P $I sleep 1000",
        );
        let ports = |name: &str| scene.ok(&format!("port {name}"));
        assert!(
            ports("one").contains("80/tcp -> 0.0.0.0:8000\n"),
            "{}",
            ports("one")
        );
        assert!(
            ports("two").contains("80/tcp -> 0.0.0.0:8001\n"),
            "{}",
            ports("two")
        );
        for inside in ["90/tcp", "91/tcp", "53/udp"] {
            assert!(
                ports("two").contains(&format!("{inside} -> 0.0.0.0:")),
                "{}",
                ports("two")
            );
        }
        let local = scene.ok("port one 443");
        assert!(
            local.starts_with("127.0.0.1:") && local.trim() != "127.0.0.1:0",
            "{local}"
        );
        let number = local.trim().rsplit(':').next().unwrap().to_owned();
        let settings = scene.ok("inspect -f '{{json .NetworkSettings.Ports}}' one");
        assert!(
            settings.contains(&format!(
                r#""443/tcp":[{{"HostIp":"127.0.0.1","HostPort":"{number}"}}]"#
            )),
            "{settings}"
        );
        let asked = scene.ok("inspect -f '{{json .HostConfig.PortBindings}}' one");
        assert!(
            asked.contains(r#""443/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]"#),
            "{asked}"
        );
        assert!(asked.contains(r#""HostPort":"8000-8010""#), "{asked}");
        assert!(
            scene
                .ok("ps --filter name=one")
                .contains(&format!("127.0.0.1:{number}->443/tcp"))
        );
        // A container that does not run is reached by none.
        scene.ok("stop -t 0 one");
        assert_eq!(scene.ok("port one"), "");
        scene.ok("rm -f one two");
        scene.assert_all_gone("open ports");
    });
}

#[test]
fn ports_outlive_restarts_and_flushed_rules_and_die_with_their_container() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        let before = host.state();
        serve(&scene, "-p 8080:80 --name web --restart always");
        let lan = || seen_from_lan(host, "198.51.100.2:8080");
        let client = Some("198.51.100.1".to_owned());
        assert_eq!(lan(), client);
        scene.ok("restart -t 0 web");
        answers(&scene, "web");
        assert_eq!(lan(), client);
        scene.ok("exec web killall httpd");
        host.wait_until("it is there again", LIMIT, || lan() == client);
        // Rules that somebody has flushed are back with the next command that looks.
        host.sh("nft flush ruleset");
        let rules = || host.sh("nft list ruleset");
        scene.ok("ps");
        assert!(rules().contains("tcp . 8080"), "{}", rules());
        assert!(rules().contains("masquerade"), "{}", rules());
        assert_eq!(lan(), client);
        host.sh("nft delete table inet rocker_ports-bridge");
        scene.ok("network reload");
        assert_eq!(lan(), client);
        // Killed with whoever looks after it, it leaves nothing behind for long.
        let pid = scene.ok("inspect -f '{{.State.Pid}}' web");
        let parent = host.sh(&format!("ps -o ppid= -p {}", pid.trim()));
        host.sh(&format!("kill -9 {}", parent.trim()));
        host.wait_until("the container is gone", LIMIT, || {
            let state = format!(
                "cat /proc/{}/status 2>/dev/null || echo State: Z",
                pid.trim()
            );
            let state = host.sh(&state);
            state
                .lines()
                .any(|line| line.starts_with("State:") && line.contains('Z'))
        });
        assert_eq!(lan(), None);
        scene.ok("rm -f web");
        assert_eq!(host.state(), before);
    });
}

/// Answers each datagram with it and a name.
const ECHO: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((str(), 53))
while True: data, who = s.recvfrom(99); s.sendto(data + b' to ' + sys.argv[1].encode(), who)";

/// Asks by one port of its own, as somebody does who goes on talking, and prints the answer.
const ASK: &str = "import socket, sys
at = sys.argv[1]; s = socket.socket(socket.AF_INET6 if ':' in at else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((str(), 4000)); s.settimeout(0.5)
s.connect((at, 5353)); s.send(b'hello')
try: print(s.recv(99).decode())
except OSError as e: print(e)";

#[test]
fn who_talks_by_udp_is_heard_by_the_container_that_has_the_port_now() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        let lan = "ip netns exec lan";
        let ask = |from: &str, at: &str| host.sh(&format!("{from} python3 -c \"{ASK}\" {at}"));
        // There is nobody yet.
        assert!(!ask(lan, "198.51.100.2").contains("hello"));
        let mut addresses = Vec::new();
        for name in ["one", "two"] {
            scene.ok(&format!(
                "run -d --name {name} -p 5353:53/udp $I sleep 1000"
            ));
            addresses.push(address(&scene, name));
            let pid = scene.ok(&format!("inspect -f '{{{{.State.Pid}}}}' {name}"));
            let mut server = std::process::Command::new("nsenter")
                .args(["-t", pid.trim(), "-n", "python3", "-c", ECHO, name])
                .spawn()
                .unwrap();
            for (from, at) in [
                (lan, "198.51.100.2"),
                ("", "198.51.100.2"),
                ("", "127.0.0.1"),
                ("", "::1"),
            ] {
                host.wait_until("it is answered", LIMIT, || {
                    ask(from, at).contains(&format!("hello to {name}"))
                });
            }
            server.kill().unwrap();
            server.wait().unwrap();
            scene.ok(&format!("rm -f {name}"));
            // So that the next one has another address, and the kernel remembers the old one if nobody has it forget that.
            scene.ok("run --rm $I true");
        }
        assert_ne!(addresses[0], addresses[1]);
        scene.assert_all_gone("UDP");
    });
}

#[test]
fn what_an_image_exposes_is_published_when_all_is_to_be() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let made = scene.script(
            "mkdir -p /run/x/bin; cd /run/x; cp $(which busybox) bin/sleep
             tar c . | rocker import -c 'EXPOSE 8080' -c 'EXPOSE 53/udp' - exposed:1",
        );
        assert_eq!(made.code, 0, "{made:?}");
        scene.ok("run -d --name web -P -p 127.0.0.1:99:53/udp exposed:1 sleep 1000");
        let ports = scene.ok("port web");
        assert!(ports.contains("8080/tcp -> 0.0.0.0:"), "{ports}");
        // One that is published already is not once more.
        let of_udp: Vec<_> = ports.lines().filter(|line| line.contains("udp")).collect();
        assert_eq!(of_udp, ["53/udp -> 127.0.0.1:99"]);
        assert_eq!(
            scene.ok("inspect -f '{{.HostConfig.PublishAllPorts}}' web"),
            "true\n"
        );
        // Without it nothing is.
        scene.ok("run -d --name shy exposed:1 sleep 1000");
        assert_eq!(scene.ok("port shy"), "");
        scene.ok("rm -f web shy");
        scene.assert_all_gone("exposed ports");
    });
}

#[test]
fn the_rules_are_told_with_reasons_and_those_that_are_missing_by_name() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        assert_eq!(scene.ok("network rules"), "");
        let nothing = "Nothing to put back: no container is on a network that has rules.\n";
        assert_eq!(scene.ok("network reload"), nothing);
        scene.ok("run -d --name web -p 8080:80 $I sleep 1000");
        let id = scene.ok("ps -q");
        let rules = scene.ok("network rules");
        let element = format!(
            "        element tcp . 8080 : {} . 80  # {}",
            address(&scene, "web"),
            id.trim()
        );
        assert!(rules.contains(&element), "{element} is not in {rules}");
        assert!(rules.contains("table bridge rocker-bridge  # "), "{rules}");
        assert!(rules.lines().all(|line| line.contains("  # ")), "{rules}");
        host.sh("nft flush chain inet rocker-bridge postrouting");
        let line = scene.run("network rules");
        assert_eq!(line.code, 1, "{line:?}");
        let missing: Vec<_> = line
            .out
            .lines()
            .filter(|line| line.contains("MISSING"))
            .collect();
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("masquerade  # "), "{missing:?}");
        let json = scene.run("network rules --format json");
        let absent = json
            .out
            .lines()
            .filter(|line| line.contains(r#""Present":false"#));
        assert_eq!(absent.count(), 1, "{json:?}");
        assert_eq!(scene.ok("network reload"), "");
        assert_eq!(scene.ok("network rules"), rules);
        // Who starts a container puts them back, too.
        host.sh("nft flush ruleset");
        scene.ok("run --rm $I true");
        assert!(scene.ok("network rules").contains(&element));
        scene.ok("rm -f web");
        assert_eq!(scene.ok("network rules"), "");
        scene.assert_all_gone("rules");
    });
}

#[test]
fn a_container_without_a_network_of_its_own_has_no_ports_to_publish() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let line = scene.fails(125, "run --rm --network none -p 80:80 $I true");
        assert!(line.contains("a container on a network"), "{line}");
        let done = scene.run("run --rm --network host -p 80:80 $I true");
        assert_eq!(done.code, 0, "{done:?}");
        assert!(
            done.err.contains("published ports are discarded"),
            "{done:?}"
        );
        for (flags, part) in [
            ("-p 80:80/sctp", "--network host"),
            ("-p 99999:80", "1 to 65535"),
            ("-p host:80:80", "no IP address"),
            ("--expose x", "--expose"),
        ] {
            let line = scene.fails(125, &format!("run --rm {flags} $I true"));
            assert!(line.contains(part), "{line}");
        }
        scene.assert_all_gone("no ports");
    });
}

#[test]
fn a_port_leads_in_by_the_first_network_with_a_way_out_and_rules_of_all_networks_are_looked_after()
{
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        let before = host.state();
        scene.ok("network create --internal back");
        scene.ok("network create --subnet 10.9.0.0/24 --ipv6 front");
        let flags = "-p 8080:80 --network back --network name=front,mac-address=02:42:00:00:00:07";
        serve(&scene, &format!("{flags} --name web"));
        let lan = || seen_from_lan(host, "198.51.100.2:8080");
        assert_eq!(lan().as_deref(), Some("198.51.100.1"));
        for local in ["127.0.0.1", "[::1]"] {
            let seen = seen(host, &format!("{local}:8080"));
            assert!(
                seen == "10.9.0.1" || seen.starts_with("fd"),
                "{local}: {seen}"
            );
        }
        let rules = scene.ok("network rules");
        for part in [
            "rocker-back",
            "rocker-front",
            "rocker_ports-front",
            "there is no way out of",
        ] {
            assert!(rules.contains(part), "{part}: {rules}");
        }
        assert!(!rules.contains("rocker_ports-back"), "{rules}");
        // Somebody flushes all: the next command puts it back, with the MAC address that was asked for.
        host.sh("nft flush ruleset");
        assert!(scene.run("ps").err.contains("are there again"));
        assert_eq!(lan().as_deref(), Some("198.51.100.1"));
        scene.ok("exec web ping -c 1 -W 5 10.9.0.1");
        assert!(host.sh("nft list ruleset").contains("02:42:00:00:00:07"));
        // What was led in by the network goes with it.
        scene.ok("network disconnect front web");
        assert!(!host.sh("nft list ruleset").contains("rocker_ports"));
        assert_eq!(lan(), None);
        scene.ok("rm -f web");
        scene.ok("network rm front back");
        assert_eq!(host.state(), before);
    });
}
