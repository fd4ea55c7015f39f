//! The hosts file and the resolv.conf of a container follow it from network to network.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::fake_host;
use crate::fake_host::Host;
use crate::support::{LIMIT, Scene};

const IDLE: &str = "trap \"exit 0\" TERM; echo up; while :; do sleep 0.1; done";

/// Has the host ask these resolvers.
fn resolvers_of_the_host(host: &Host, text: &str) {
    fs::write(host.dir("etc").join("resolv.conf"), text).unwrap();
    host.sh("mountpoint -q /etc/resolv.conf || mount --bind /run/etc/resolv.conf /etc/resolv.conf");
}

/// What a file of the container's says, as the container sees it.
fn seen(scene: &Scene<'_>, name: &str, file: &str) -> String {
    scene.ok(&format!("exec {name} cat /etc/{file}"))
}

/// The container's own lines in its hosts file.
fn own(scene: &Scene<'_>, name: &str) -> Vec<String> {
    let text = seen(scene, name, "hosts");
    let begin = "# own addresses, kept up to date by rocker:";
    let lines = text.lines().skip_while(|line| *line != begin).skip(1);
    let lines = lines.take_while(|line| *line != "# end of own addresses");
    lines.map(str::to_owned).collect()
}

fn nameservers(scene: &Scene<'_>, name: &str) -> Vec<String> {
    let text = seen(scene, name, "resolv.conf");
    let lines = text.lines().filter(|line| line.starts_with("nameserver"));
    lines.map(str::to_owned).collect()
}

fn file_of(scene: &Scene<'_>, name: &str, file: &str) -> PathBuf {
    let path = scene.at(name, "/HostsPath");
    Path::new(&path).with_file_name(file)
}

#[test]
fn a_container_that_runs_learns_of_its_networks_and_keeps_what_it_has_written() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        resolvers_of_the_host(host, "search lan\nnameserver 192.0.2.1\n");
        scene.ok("network create --subnet 10.9.0.0/24 front");
        scene.ok("network create --subnet 10.8.0.0/24 --internal back");
        scene.ok("network create --subnet 10.7.0.0/24 --subnet fd07::/64 --ipv6 six");
        let flags =
            "--network back --hostname www --domainname example.org --add-host gate:host-gateway";
        scene.up("web", flags, IDLE);
        let lines_of_back = ["10.8.0.1\tgate", "10.8.0.2\twww.example.org www"];
        assert_eq!(own(&scene, "web"), lines_of_back);
        assert!(nameservers(&scene, "web").is_empty());
        assert!(seen(&scene, "web", "resolv.conf").contains("no way out"));
        // The files stay the ones that are mounted, and what is written by hand stays in them.
        let inodes = || scene.ok("exec web stat -c %i /etc/hosts /etc/resolv.conf");
        let before = inodes();
        scene.ok("exec web sh -c 'echo 192.0.2.77 mine >>/etc/hosts; echo options ndots:3 >>/etc/resolv.conf'");

        scene.ok("network connect --ip 10.9.0.50 --alias shop front web");
        let both = [&lines_of_back[..], &["10.9.0.50\twww.example.org www"]].concat();
        assert_eq!(own(&scene, "web"), both);
        assert_eq!(nameservers(&scene, "web"), ["nameserver 192.0.2.1"]);
        let text = seen(&scene, "web", "resolv.conf");
        assert!(
            text.contains("search lan\n")
                && text.ends_with("# end of resolvers\noptions ndots:3\n"),
            "{text}"
        );
        assert!(!text.contains("no way out"), "{text}");
        let text = seen(&scene, "web", "hosts");
        assert!(text.contains("192.0.2.77 mine\n"), "{text}");
        assert!(text.contains("10.9.0.50\tweb\tshop\twww\t"), "{text}");
        // It has one name of its own that its address is looked up to, as without any network of a name.
        assert_eq!(scene.ok("exec web hostname -f"), "www.example.org\n");

        // What the host asks now, and another family.
        resolvers_of_the_host(host, "nameserver 192.0.2.9\n");
        scene.ok("network connect --ip 10.7.0.50 --ip6 fd07::50 six web");
        let all = own(&scene, "web");
        assert_eq!(
            all[3..],
            [
                "10.7.0.50\twww.example.org www",
                "fd07::50\twww.example.org www"
            ]
        );
        assert_eq!(nameservers(&scene, "web"), ["nameserver 192.0.2.9"]);
        scene.ok("network disconnect front web");
        assert_eq!(own(&scene, "web").len(), 4);
        scene.ok("network disconnect six web");
        assert_eq!(own(&scene, "web"), lines_of_back);
        assert!(nameservers(&scene, "web").is_empty());
        let text = seen(&scene, "web", "hosts");
        assert!(
            !text.contains("10.9.0.50") && !text.contains("fd07::"),
            "{text}"
        );
        // The default network, by which nobody has names, is one as well; it is the host by another address then.
        scene.ok("network connect bridge web");
        scene.ok("network disconnect back web");
        let address = scene.at("web", "/NetworkSettings/Networks/bridge/IPAddress");
        let gateway = scene.at("web", "/NetworkSettings/Networks/bridge/Gateway");
        let lines = [
            format!("{gateway}\tgate"),
            format!("{address}\twww.example.org www"),
        ];
        assert_eq!(own(&scene, "web"), lines);
        scene.ok("exec web ping -c 1 -W 5 gate");
        scene.ok("network disconnect bridge web");
        assert!(own(&scene, "web").is_empty());
        let text = seen(&scene, "web", "resolv.conf");
        assert_eq!(
            text,
            "# resolvers, kept up to date by rocker:\n# end of resolvers\noptions ndots:3\n"
        );
        assert!(seen(&scene, "web", "hosts").ends_with("192.0.2.77 mine\n"));
        assert_eq!(inodes(), before);

        // Another run begins with what is so for its networks, and goes on from there.
        scene.ok("network connect front web");
        scene.ok("restart -t 5 web");
        assert_eq!(own(&scene, "web")[..1], ["10.9.0.1\tgate"]);
        assert_eq!(nameservers(&scene, "web"), ["nameserver 192.0.2.9"]);
        assert!(!seen(&scene, "web", "hosts").contains("mine"));
        scene.ok("network disconnect front web");
        assert!(own(&scene, "web").is_empty() && nameservers(&scene, "web").is_empty());
        scene.ok("network connect --ip 10.8.0.60 back web");
        assert_eq!(own(&scene, "web")[1..], ["10.8.0.60\twww.example.org www"]);
        scene.ok("rm -f web");
        scene.ok("network rm front back six");
        host.sh("umount /etc/resolv.conf");
        scene.assert_all_gone("files");
    });
}

#[test]
fn a_container_without_a_network_and_with_resolvers_of_its_own_comes_to_one() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        resolvers_of_the_host(host, "nameserver 192.0.2.1\nsearch lan\n");
        scene.ok("network create --subnet 10.9.0.0/24 front");
        scene.up("web", "--network none", IDLE);
        assert!(own(&scene, "web").is_empty() && nameservers(&scene, "web").is_empty());
        scene.ok("network connect --ip 10.9.0.50 front web");
        let hostname = scene.ok("exec web hostname");
        assert_eq!(
            own(&scene, "web"),
            [format!("10.9.0.50\t{}", hostname.trim())]
        );
        assert_eq!(nameservers(&scene, "web"), ["nameserver 192.0.2.1"]);
        // What was asked for stays so, wherever it goes.
        scene.up("db", "--network none --dns 192.0.2.7 --dns-search .", IDLE);
        let before = seen(&scene, "db", "resolv.conf");
        scene.ok("network connect front db");
        assert_eq!(seen(&scene, "db", "resolv.conf"), before);
        assert_eq!(nameservers(&scene, "db"), ["nameserver 192.0.2.7"]);
        // A file that somebody in the container has made his own is left to him.
        let mine = "nameserver 192.0.2.88\n";
        scene.ok("exec web sh -c 'echo nameserver 192.0.2.88 >/etc/resolv.conf'");
        scene.ok("network disconnect front web");
        assert_eq!(seen(&scene, "web", "resolv.conf"), mine);
        scene.ok("network connect bridge web");
        assert_eq!(seen(&scene, "web", "resolv.conf"), mine);
        assert_eq!(own(&scene, "web").len(), 1);
        scene.ok("rm -f web db");
        scene.ok("network rm front");
        host.sh("umount /etc/resolv.conf");
        scene.assert_all_gone("none");
    });
}

#[test]
fn a_container_that_keeps_its_files_can_be_taken_off_a_network_and_hangs_nobody() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("network create --subnet 10.9.0.0/24 front");
        scene.ok("network create --subnet 10.8.0.0/24 back");
        scene.up("bad", "--network front", IDLE);
        let file = file_of(&scene, "bad", "hosts");
        let before = fs::read_to_string(&file).unwrap();
        // As by a program in the container: F_SETLEASE, and no word to whoever asks for it to be given back.
        let mut lease = scene.shell(&format!(
            "exec python3 -c 'import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print(\"kept\", flush=True)
signal.pause()' {}",
            file.display()
        ));
        let mut lease = lease.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut kept = [0; 5];
        let out = lease.stdout.as_mut().unwrap();
        std::io::Read::read_exact(out, &mut kept).unwrap();

        // It is not waited for as long as a lease lasts (fs.lease-break-time is 45 s), and is where it was.
        let begun = Instant::now();
        let error = scene.fails(1, "network connect back bad");
        assert!(error.contains("hosts"), "{error}");
        let links = scene.ok("exec bad sh -c 'cd /sys/class/net && echo *'");
        assert_eq!(links, "eth0 lo\n");
        assert_eq!(
            scene
                .run("inspect -f /NetworkSettings/Networks/back bad")
                .code,
            1
        );
        let done = scene.run("network disconnect front bad");
        assert_eq!(done.code, 0, "{done:?}");
        assert!(
            done.err.contains("bad does not learn of all its networks"),
            "{done:?}"
        );
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
        let links = scene.ok("exec bad sh -c 'cd /sys/class/net && echo *'");
        assert_eq!(links, "lo\n");
        lease.kill().unwrap();
        lease.wait().unwrap();
        scene.ok("network connect back bad");
        assert_eq!(own(&scene, "bad").len(), 1);
        // One that it fills is left alone, and so is one that is no text.
        for (script, size) in [
            ("head -c 2000000 /dev/zero", 2_000_000),
            ("printf \"\\377\\n\"", 2),
        ] {
            scene.ok(&format!(
                "exec bad sh -c '{script} >/etc/hosts; {script} >/etc/resolv.conf'"
            ));
            scene.ok("network disconnect back bad");
            scene.ok("network connect back bad");
            for name in ["hosts", "resolv.conf"] {
                let found = fs::metadata(file_of(&scene, "bad", name)).unwrap().len();
                assert_eq!(found, size, "{name} after {script}");
            }
        }
        scene.ok("rm -f bad");
        scene.ok("network rm front back");
        scene.assert_all_gone("a hostile container");
    });
}
