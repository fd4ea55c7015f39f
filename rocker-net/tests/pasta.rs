//! The network of containers whose maker is an ordinary user, each test in a fake host of its own.
//!
//! The test starts itself again as uid 1000 with a user namespace, which is the side of the container's maker; what stays
//! behind as root is the host, and the internet that the host is connected to.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use against_strace::Listener;
use fake_host::Host;
use rocker_net::{Error, Netns, Pasta, PastaOptions, PortForward, Transport};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Set in the process of uid 1000.
const USER: &str = "ROCKER_TEST_USER";
const HOST: &str = "198.51.100.2";
const INTERNET: &str = "198.51.100.1";

/// Runs `user` as uid 1000, and `host` as root, both on one fake host that is connected to the internet.
fn both<F: FnOnce(Netns, &dyn Fn() -> User)>(
    host: &Host,
    test: &'static str,
    user: fn(),
    outer: F,
) {
    if std::env::var_os(USER).is_some() {
        return user();
    }
    host.sh("for conf in /proc/sys/net/ipv6/conf/default/disable_ipv6; do [ ! -e $conf ] || echo 1 >$conf; done
        ip netns add internet
        ip link add uplink0 type veth peer eth0 netns internet
        ip addr add 198.51.100.2/24 dev uplink0; ip link set uplink0 up
        ip -n internet addr add 198.51.100.1/24 dev eth0; ip -n internet link set eth0 up; ip -n internet link set lo up
        # Whatever is sent to a gateway's address, and comes so far, is refused and not lost.
        ip -n internet addr add 10.88.0.1/32 dev lo
        ip route add default via 198.51.100.1
        # As udev leaves it.
        mount -t tmpfs -o mode=755 tmpfs /dev/net; mknod -m 666 /dev/net/tun c 10 200");
    resolve_by(host, INTERNET);
    // The way to where it is may be closed to others.
    fs::copy(std::env::current_exe().unwrap(), "/run/test").unwrap();
    let internet = Netns::from_fd(File::open("/run/netns/internet").unwrap().into());
    outer(internet, &|| User::start(test, "PATH=/usr/bin:/bin"));
    host.wait_until("nothing is left of pasta", TIMEOUT, || pastas() == 0);
}

/// The process of the user. When it is dropped its work is done, and it must have been well.
struct User {
    child: Child,
    said: BufReader<ChildStdout>,
    ear: Option<ChildStdin>,
}

impl User {
    fn start(test: &str, environment: &str) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .args(["unshare", "--user", "--map-root-user", "--mount"])
            .args(["/usr/bin/env", environment])
            .args(["/run/test", test, "--exact", "--nocapture"])
            .env(USER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let ear = child.stdin.take();
        Self { child, said, ear }
    }

    /// What it tells next.
    fn tells(&mut self) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some((_, told)) = line.trim_end().split_once("told: ") {
                return told.to_owned();
            }
            line.clear();
        }
        panic!("the user's side ended: {:?}", self.child.wait());
    }

    fn finish(mut self) {
        drop(self.ear.take());
        io::copy(&mut self.said, &mut io::sink()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The user's side of [`User::tells`].
fn tell(what: impl std::fmt::Display) {
    println!("told: {what}");
}

/// The user's side waits until the host's side is done.
fn until_done() {
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
}

fn options() -> PastaOptions {
    PastaOptions::default()
}

/// Sets the host's name server.
fn resolve_by(host: &Host, server: &str) {
    fs::write("/run/resolv.conf", format!("nameserver {server}\n")).unwrap();
    host.sh("mount --bind /run/resolv.conf /etc/resolv.conf");
}

/// How many processes there are of pasta, other than dead ones that nobody has waited for: the fake host's first process
/// does not wait for orphans.
fn pastas() -> usize {
    let entries = fs::read_dir("/proc").unwrap();
    // It executes a variant of itself that is made for this processor.
    let its = ["pasta", "pasta.avx2", "passt", "passt.avx2"];
    let is_its = |proc: &Path| {
        let name = fs::read_to_string(proc.join("comm")).unwrap_or_default();
        its.contains(&name.trim()) && is_alive(proc)
    };
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| is_its(&entry.path())))
        .count()
}

/// What is dead has no arguments.
fn is_alive(proc: &Path) -> bool {
    fs::read(proc.join("cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}

/// Answers everybody who connects and says hello with the address that they come from. It waits for that, because what
/// speaks first is not heard by way of a port that a pasta of spring 2023 publishes.
fn serve_tcp(netns: &Netns, address: &str) -> SocketAddr {
    let listener = netns.run(|| TcpListener::bind(address).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let (mut stream, peer) = listener.accept().unwrap();
            // One that is cut off is no failure of the server.
            if stream.read_exact(&mut [0; 5]).is_ok() {
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        }
    });
    address
}

/// Answers every datagram with itself and the address that it comes from.
fn serve_udp(netns: &Netns, address: &str) {
    let socket = netns.run(|| UdpSocket::bind(address).unwrap()).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 100];
        loop {
            let (len, peer) = socket.recv_from(&mut buffer).unwrap();
            let text = format!("{} {}", String::from_utf8_lossy(&buffer[..len]), peer.ip());
            socket.send_to(text.as_bytes(), peer).unwrap();
        }
    });
}

fn ask_tcp(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"hello")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.is_empty() {
        // It is pasta that accepts, and finds out afterwards.
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(text),
    }
}

fn ask_udp(address: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connected, it hears nobody but whom it has asked.
    socket.connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send(b"hello")?;
    let mut buffer = [0; 100];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// What `ask` hears in `netns`.
fn from<T: Send>(netns: &Netns, ask: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    netns.run(ask).unwrap()
}

/// Sends to `address`, and hears nothing while another question is answered.
fn is_not_heard_by(netns: &Netns, address: &str) {
    let asked = netns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"hello", address).unwrap();
        ask_udp("198.51.100.1:8000").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.recv(&mut [0; 100])
    });
    asked.unwrap().unwrap_err();
}

#[test]
fn an_ordinary_users_container_reaches_the_internet_and_asks_it_for_names() {
    fn user() {
        let netns = Netns::new().unwrap();
        let pasta = Pasta::start(netns.as_fd(), &options()).unwrap();
        assert_eq!(from(&netns, || ask_tcp("198.51.100.1:8000")).unwrap(), HOST);
        let hello = format!("hello {HOST}");
        assert_eq!(
            from(&netns, || ask_udp("198.51.100.1:8000")).unwrap(),
            hello
        );
        let dns = SocketAddr::new(pasta.dns()[0], 53).to_string();
        assert_eq!(from(&netns, || ask_udp(&dns)).unwrap(), hello);
        // Loopback is up, and the address is the one that is told.
        serve_tcp(&netns, "0.0.0.0:80");
        assert_eq!(
            from(&netns, || ask_tcp("127.0.0.1:80")).unwrap(),
            "127.0.0.1"
        );
        let own = pasta.address().to_string();
        assert_eq!(from(&netns, || ask_tcp(&format!("{own}:80"))).unwrap(), own);
        let socket = netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.connect((INTERNET, 9)).unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), pasta.address());
        let routes = netns.run(|| fs::read_to_string("/proc/thread-self/net/route").unwrap());
        let IpAddr::V4(gateway) = pasta.gateway() else {
            panic!("IPv6")
        };
        let gateway = format!("{:08X}", u32::from_ne_bytes(gateway.octets()));
        assert!(routes.unwrap().contains(&gateway));
        pasta.remove().unwrap();
        assert_eq!(pastas(), 0);
        from(&netns, || ask_tcp("198.51.100.1:8000")).unwrap_err();
    }
    fake_host::run(|host| {
        let test = "an_ordinary_users_container_reaches_the_internet_and_asks_it_for_names";
        both(host, test, user, |internet, start| {
            let before = host.state();
            serve_tcp(&internet, "198.51.100.1:8000");
            serve_udp(&internet, "198.51.100.1:8000");
            serve_udp(&internet, "198.51.100.1:53");
            start().finish();
            assert_eq!(host.state(), before);
        });
    });
}

#[test]
fn a_published_port_is_reached_from_elsewhere_and_the_server_sees_who_asks() {
    fn user() {
        let netns = Netns::new().unwrap();
        let options = options()
            .forward("8080-8081:80-81".parse().unwrap())
            .forward(PortForward::new(5300, 5353).transport(Transport::Udp))
            .forward("127.0.0.1:9000:80".parse().unwrap());
        let _pasta = Pasta::start(netns.as_fd(), &options).unwrap();
        serve_tcp(&netns, "0.0.0.0:80");
        serve_tcp(&netns, "0.0.0.0:81");
        serve_udp(&netns, "0.0.0.0:5353");
        tell("ready");
        until_done();
    }
    fake_host::run(|host| {
        let test = "a_published_port_is_reached_from_elsewhere_and_the_server_sees_who_asks";
        both(host, test, user, |internet, start| {
            let mut user = start();
            assert_eq!(user.tells(), "ready");
            for port in ["8080", "8081"] {
                let asked = from(&internet, || ask_tcp(&format!("{HOST}:{port}")));
                assert_eq!(asked.unwrap(), INTERNET);
            }
            let asked = from(&internet, || ask_udp(&format!("{HOST}:5300")));
            assert_eq!(asked.unwrap(), format!("hello {INTERNET}"));
            ask_tcp("127.0.0.1:9000").unwrap();
            from(&internet, || ask_tcp(&format!("{HOST}:9000"))).unwrap_err();
            // Nothing but what was asked for is open on the host.
            let listening = host.sh("ss -Hlntu | awk '{print $1, $5}' | sort");
            let expected =
                "tcp 0.0.0.0:8080\ntcp 0.0.0.0:8081\ntcp 127.0.0.1:9000\nudp 0.0.0.0:5300\n";
            assert_eq!(listening, expected);
            user.finish();
        });
    });
}

#[test]
fn a_port_that_cannot_be_had_is_an_error_that_names_it_before_anything_starts() {
    fn user() {
        let netns = Netns::new().unwrap();
        let start = |ports: &str| {
            let options = options().forward(ports.parse().unwrap());
            let error = Pasta::start(netns.as_fd(), &options).unwrap_err();
            assert_eq!(pastas(), 0);
            error
        };
        let error = start("8079-8081:79-81");
        assert!(matches!(error, Error::PortInUse { .. }), "{error}");
        assert!(error.to_string().contains("8080:80/tcp"), "{error}");
        let error = start("5353:5353/udp");
        assert!(matches!(error, Error::PortInUse { .. }), "{error}");
        assert!(error.to_string().contains("5353:5353/udp"), "{error}");
        let error = start("80:80");
        assert!(matches!(error, Error::PortPrivileged { .. }), "{error}");
        let links = netns.run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        assert!(!links.unwrap().contains("eth0"));
    }
    fake_host::run(|host| {
        let test = "a_port_that_cannot_be_had_is_an_error_that_names_it_before_anything_starts";
        both(host, test, user, |_, start| {
            let _tcp = TcpListener::bind("0.0.0.0:8080").unwrap();
            let _udp = UdpSocket::bind("127.0.0.1:5353").unwrap();
            start().finish();
        });
    });
}

#[test]
fn without_the_program_the_error_says_what_to_install() {
    fn user() {
        let netns = Netns::new().unwrap();
        assert_eq!(Pasta::find(), None);
        for options in [options(), options().program("/usr/bin/no-pasta")] {
            let error = Pasta::start(netns.as_fd(), &options).unwrap_err();
            assert!(matches!(error, Error::NoPasta { .. }), "{error}");
            assert!(error.to_string().contains("passt"), "{error}");
        }
    }
    fake_host::run(|host| {
        let test = "without_the_program_the_error_says_what_to_install";
        both(host, test, user, |_, _| {
            User::start(test, "PATH=/run").finish();
        });
    });
}

#[test]
fn a_starter_that_is_killed_leaves_no_pasta_whenever_it_is_killed() {
    fn user() {
        let netns = Netns::new().unwrap();
        tell("about to start");
        let pasta = Pasta::start(netns.as_fd(), &options()).unwrap();
        tell(pasta.id());
        // The namespace lives on with somebody else, as that of a container could.
        until_done();
    }
    fake_host::run(|host| {
        let test = "a_starter_that_is_killed_leaves_no_pasta_whenever_it_is_killed";
        both(host, test, user, |_, start| {
            let mut user = start();
            assert_eq!(user.tells(), "about to start");
            let pid = user.tells();
            let proc = Path::new("/proc").join(pid);
            assert!(is_alive(&proc));
            user.kill();
            host.wait_until("pasta is gone", TIMEOUT, || !is_alive(&proc));
            for moment in 0..40 {
                let mut user = start();
                user.tells();
                // Not to wait for something, but to strike at another point of its way each time.
                thread::sleep(Duration::from_micros(moment * 700));
                user.kill();
                let what = format!("pasta is gone, killed at moment {moment}");
                host.wait_until(&what, TIMEOUT, || pastas() == 0);
            }
        });
    });
}

#[test]
fn two_containers_are_connected_side_by_side_and_one_port_leads_to_one_of_them() {
    fn user() {
        let (one, two) = (Netns::new().unwrap(), Netns::new().unwrap());
        let to = |port: u16| options().forward(PortForward::new(port, 80));
        let first = Pasta::start(one.as_fd(), &to(8080)).unwrap();
        let error = Pasta::start(two.as_fd(), &to(8080)).unwrap_err();
        assert!(matches!(error, Error::PortInUse { .. }), "{error}");
        let second = Pasta::start(two.as_fd(), &to(8081)).unwrap();
        assert_eq!(first.address(), second.address());
        for netns in [&one, &two] {
            assert_eq!(from(netns, || ask_tcp("198.51.100.1:8000")).unwrap(), HOST);
        }
        serve_tcp(&one, "0.0.0.0:80");
        ask_tcp("127.0.0.1:8080").unwrap();
        ask_tcp("127.0.0.1:8081").unwrap_err();
        drop(first);
        assert_eq!(pastas(), 1);
        assert_eq!(from(&two, || ask_tcp("198.51.100.1:8000")).unwrap(), HOST);
    }
    fake_host::run(|host| {
        let test = "two_containers_are_connected_side_by_side_and_one_port_leads_to_one_of_them";
        both(host, test, user, |internet, start| {
            serve_tcp(&internet, "198.51.100.1:8000");
            start().finish();
        });
    });
}

#[test]
fn what_listens_on_the_hosts_loopback_is_not_reached_but_for_names_or_if_asked_for() {
    fn user() {
        let netns = Netns::new().unwrap();
        let options = options();
        let pasta = Pasta::start(netns.as_fd(), &options).unwrap();
        for address in [
            "127.0.0.1:7000".to_owned(),
            format!("{}:7000", pasta.gateway()),
        ] {
            // What is sent and lost is waited for in vain; nobody needs so long to be refused or answered.
            let short = Duration::from_millis(500);
            let connect = || TcpStream::connect_timeout(&address.parse().unwrap(), short);
            from(&netns, connect).unwrap_err();
            is_not_heard_by(&netns, &address);
        }
        // The way back of an answer is not open for others.
        let dns = pasta.dns()[0];
        let answer = from(&netns, || ask_udp(&format!("{dns}:53"))).unwrap();
        assert_eq!(answer, "hello 127.0.0.1");
        is_not_heard_by(&netns, &format!("{dns}:7000"));
        is_not_heard_by(&netns, &format!("{}:7000", pasta.gateway()));
        drop(pasta);
        let pasta = Pasta::start(netns.as_fd(), &options.host_loopback(true)).unwrap();
        let address = format!("{}:7000", pasta.gateway());
        assert_eq!(from(&netns, || ask_tcp(&address)).unwrap(), "127.0.0.1");
        assert_eq!(
            from(&netns, || ask_udp(&address)).unwrap(),
            "hello 127.0.0.1"
        );
    }
    fake_host::run(|host| {
        let test =
            "what_listens_on_the_hosts_loopback_is_not_reached_but_for_names_or_if_asked_for";
        both(host, test, user, |internet, start| {
            resolve_by(host, "127.0.0.53");
            serve_udp(&internet, "198.51.100.1:8000");
            let own = Netns::current().unwrap();
            serve_tcp(&own, "127.0.0.1:7000");
            serve_udp(&own, "127.0.0.1:7000");
            serve_udp(&own, "127.0.0.53:53");
            start().finish();
        });
    });
}

#[test]
fn a_port_of_udp_that_leads_to_a_lower_one_works_or_is_refused() {
    fn user() {
        let netns = Netns::new().unwrap();
        let options = options().forward("5353:53/udp".parse().unwrap());
        match Pasta::start(netns.as_fd(), &options) {
            Ok(_pasta) => {
                serve_udp(&netns, "0.0.0.0:53");
                tell("ready");
                until_done();
            }
            Err(error) => {
                assert!(matches!(error, Error::PastaTooOld { .. }), "{error}");
                assert!(error.to_string().contains("5353:53/udp"), "{error}");
                assert_eq!(pastas(), 0);
                tell("refused");
            }
        }
    }
    fake_host::run(|host| {
        let test = "a_port_of_udp_that_leads_to_a_lower_one_works_or_is_refused";
        both(host, test, user, |internet, start| {
            let mut user = start();
            match &*user.tells() {
                "ready" => {
                    let asked = from(&internet, || ask_udp(&format!("{HOST}:5353")));
                    assert_eq!(asked.unwrap(), format!("hello {INTERNET}"));
                }
                told => assert_eq!(told, "refused"),
            }
            user.finish();
        });
    });
}

#[test]
fn a_host_that_is_offline_has_containers_with_published_ports_all_the_same() {
    fn user() {
        let netns = Netns::new().unwrap();
        let options = options().forward(PortForward::new(8080, 80));
        let pasta = Pasta::start(netns.as_fd(), &options).unwrap();
        assert_eq!(pasta.dns(), [] as [IpAddr; 0]);
        serve_tcp(&netns, "0.0.0.0:80");
        ask_tcp("127.0.0.1:8080").unwrap();
    }
    fake_host::run(|host| {
        let test = "a_host_that_is_offline_has_containers_with_published_ports_all_the_same";
        both(host, test, user, |_, start| {
            host.sh("ip link del uplink0");
            resolve_by(host, "::1");
            start().finish();
        });
    });
}

#[test]
fn what_is_no_network_namespace_is_an_error_in_pastas_own_words() {
    fn user() {
        let file = File::open("/proc/self/ns/uts").unwrap();
        let error = Pasta::start(file.as_fd(), &options()).unwrap_err();
        let Error::PastaFailed { says, .. } = &error else {
            panic!("{error}");
        };
        assert!(!says.is_empty(), "{error}");
        assert_eq!(pastas(), 0);
    }
    fake_host::run(|host| {
        let test = "what_is_no_network_namespace_is_an_error_in_pastas_own_words";
        both(host, test, user, |_, start| start().finish());
    });
}

#[test]
fn every_step_by_which_pasta_is_started_and_ended_is_told() {
    fn user() {
        let netns = Netns::new().unwrap();
        let options = options().forward(PortForward::new(8080, 80));
        let told = Listener::during(|| {
            let pasta = Pasta::start(netns.as_fd(), &options).unwrap();
            pasta.remove().unwrap();
        });
        let mut rest = told.iter();
        for part in [
            "sin_port=htons(8080), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0",
            "O_CLOEXEC) = 0",
            "F_SETPIPE_SZ",
            "execve(\"/usr/bin/pasta\", [\"/usr/bin/pasta\", \"--foreground\"",
            "F_SETOWN",
            "F_SETSIG, SIGKILL) = 0",
            "O_ASYNC) = 0",
            "read(",
            "SIGKILL) = 0",
            "wait4(",
        ] {
            assert!(
                rest.any(|call| call.contains(part)),
                "{part} is not told, or not in order:\n{}",
                told.join("\n")
            );
        }
    }
    fake_host::run(|host| {
        let test = "every_step_by_which_pasta_is_started_and_ended_is_told";
        both(host, test, user, |_, start| start().finish());
    });
}
