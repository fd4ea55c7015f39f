//! The rocker of an ordinary user: uid 1000 of a fake host, with subordinate ids and without.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::debian;
use crate::fake_host::{self, Host};
use crate::support::{ALICES_HOME, Done, Rocker, Scene};
use crate::tmux::Tmux;

const LIMIT: Duration = Duration::from_secs(20);

/// Grants alice the ids from 100000 on, as adduser(8) does.
pub fn grant_ids(host: &Host) {
    subordinate_ids(host, "alice:100000:65536");
}

/// As on a machine where nobody has thought of it.
fn grant_nothing(host: &Host) {
    subordinate_ids(host, "");
}

fn subordinate_ids(host: &Host, line: &str) {
    host.sh(&format!(
        "mkdir -p /run/etc; echo '{line}' >/run/etc/subid; touch /etc/subuid /etc/subgid
         mount --bind /run/etc/subid /etc/subuid; mount --bind /run/etc/subid /etc/subgid"
    ));
}

/// The names and owners of files in the layer of the only container.
fn owners(scene: &Scene<'_>, names: &str) -> String {
    let upper = scene.root.join("containers");
    let script = format!(
        "cd {}/*/upper && stat -c '%n %u:%g' {names}",
        upper.display()
    );
    scene.host.sh(&script)
}

fn pasta_runs(host: &Host) -> bool {
    let script = "ps -C pasta,pasta.avx2,passt,passt.avx2 -o stat= | grep -qv ^Z";
    host.try_sh(script).status.success()
}

/// What the kernel calls the user namespace of a container's program.
fn user_namespace(scene: &Scene<'_>, container: &str) -> String {
    scene.ok(&format!("exec {container} readlink /proc/self/ns/user"))
}

#[test]
fn the_first_command_of_the_readme_needs_no_root() {
    fake_host::run(|host| {
        for granted in [true, false] {
            match granted {
                true => grant_ids(host),
                false => grant_nothing(host),
            }
            let rocker = Rocker::of_alice(host);
            let said = rocker.ok("run --rm hello");
            assert!(said.starts_with("Hello from inside"), "{said}");
            assert!(said.contains("pasta"), "{said}");
            rocker.assert_all_gone("hello");
            assert!(rocker.ok("images").contains("hello"));
            rocker.ok("rmi hello");
            assert_eq!(rocker.ok("images -q"), "");
            host.sh("umount /dev/net /etc/passwd");
        }
    });
}

#[test]
fn images_and_containers_are_handled_as_by_root() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        assert!(scene.ok("images").contains("127.0.0.1:5000/busybox"));
        assert_eq!(scene.run("run --name kept $I sh -c 'exit 7'").code, 7);
        let idle = scene.start_idle("--rm --name web");
        let listed = scene.ok("ps -a");
        assert!(
            listed.contains("web") && listed.contains("Exited (7)"),
            "{listed}"
        );
        assert_eq!(scene.ok("exec web id -u"), "0\n");
        assert_eq!(scene.ok("exec -u nobody web id -u"), "65534\n");
        assert_eq!(
            scene.ok("exec -u 33:34 -w /etc -e A=b web sh -c 'id -u; id -g; pwd; echo $A'"),
            "33\n34\n/etc\nb\n"
        );
        assert_eq!(scene.run("exec web sh -c 'exit 9'").code, 9);
        // Its cgroup is the caller's own, as nobody gave it one; all else is as asked for.
        let compared = scene.run("inspect --actual web");
        assert_eq!(compared.code, 0, "{compared:?}");
        let refused = scene.run("rmi $I").failed(1);
        assert!(refused.contains("in use"), "{refused}");
        assert_eq!(idle.end().code, 0);
        scene.ok("rm kept");
        scene.ok("rmi $I");
        assert_eq!(scene.ok("images -q"), "");
        scene.assert_all_gone("containers of an ordinary user");
        assert!(!pasta_runs(host));
        // And all that there is, is the user's own.
        let foreign = host.sh(&format!("find {ALICES_HOME} /run/user/1000 ! -uid 1000"));
        assert_eq!(foreign, "");
    });
}

#[test]
fn with_subordinate_ids_the_users_of_a_container_are_others_than_the_caller() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let script = "touch /mine /theirs && chown 33:34 /theirs && stat -c %u:%g /mine /theirs";
        let seen = scene.ok(&format!("run --name kept $I sh -c '{script}'"));
        assert_eq!(seen, "0:0\n33:34\n");
        assert_eq!(
            owners(&scene, "mine theirs"),
            "mine 1000:1000\ntheirs 100032:100033\n"
        );
        // The files are gone although they are not the user's own.
        scene.ok("rm kept");
        scene.assert_all_gone("rm");
        // Users of the image are users: they have groups, and their processes are somebody else's on the host.
        let mut run = scene.start("run -i --rm -u 7:8 $I sh -c 'id -u; id -g; cat'");
        assert_eq!((run.line(), run.line()), ("7".to_owned(), "8".to_owned()));
        let outside = host.sh("ps -o uid=,gid= -p $(pgrep -xf cat)");
        assert_eq!(
            outside.split_whitespace().collect::<Vec<_>>(),
            ["100006", "100007"]
        );
        assert_eq!(run.end().code, 0);
        // The last one there is, and the first that there is not.
        assert_eq!(scene.ok("run --rm -u 65536 $I id -u"), "65536\n");
        let error = scene.fails(125, "run --rm -u 65537 $I id -u");
        assert!(error.contains("65537"), "{error}");
        scene.assert_all_gone("users");
    });
}

#[test]
fn with_one_id_everybody_is_the_caller_and_giving_files_away_is_believed_to_work() {
    fake_host::run(|host| {
        grant_nothing(host);
        let scene = Scene::of_alice(host);
        let script =
            "touch /theirs && chown 33:34 /theirs && stat -c %u:%g /theirs; cat /proc/self/uid_map";
        let seen = scene.ok(&format!("run --name kept $I sh -c '{script}'"));
        let words: Vec<_> = seen.split_whitespace().collect();
        assert_eq!(words, ["0:0", "0", "1000", "1"]);
        assert_eq!(owners(&scene, "theirs"), "theirs 1000:1000\n");
        scene.ok("rm kept");
        let error = scene.fails(125, "run --rm -u 33 $I id");
        assert!(error.contains("33"), "{error}");
        let idle = scene.start_idle("--rm --name web");
        assert_eq!(scene.ok("exec web id -u"), "0\n");
        let error = scene.fails(125, "exec -u nobody web id");
        assert!(error.contains("65534"), "{error}");
        assert_eq!(scene.ok("exec web echo still"), "still\n");
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("containers of one user");
    });
}

#[test]
fn a_volume_of_the_users_own_files_keeps_its_owner() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let dir = format!("{ALICES_HOME}/volume");
        host.sh(&format!(
            "mkdir {dir} && echo hello >{dir}/greeting && chown -R 1000:1000 {dir}"
        ));
        let seen = scene.ok(&format!("run --rm -v {dir}:/v $I sh -c 'cat /v/greeting; stat -c %u /v/greeting; echo x >/v/by-root'"));
        assert_eq!(seen, "hello\n0\n");
        // Who keeps the id writes as the same user, inside and outside.
        let seen = scene.ok(&format!("run --rm --userns keep-id -v {dir}:/v $I sh -c 'id -u; stat -c %u /v/greeting; echo x >/v/by-me'"));
        assert_eq!(seen, "1000\n1000\n");
        for name in ["by-root", "by-me"] {
            assert_eq!(
                fs::metadata(format!("{dir}/{name}")).unwrap().uid(),
                1000,
                "{name}"
            );
        }
        let done = scene.run(&format!("run --rm -v {dir}:/v:ro $I touch /v/x"));
        assert!(done.err.contains("Read-only"), "{done:?}");
        // What the user may not read, the container's root may not either.
        host.sh("mkdir /run/secret; echo s >/run/secret/file; chmod 711 /run/secret; chmod 600 /run/secret/file");
        let done = scene.run("run --rm -v /run/secret:/v $I cat /v/file");
        assert!(
            done.code == 1 && done.err.contains("Permission denied"),
            "{done:?}"
        );
        scene.assert_all_gone("volumes");
    });
}

#[test]
fn whatever_ends_a_container_nothing_is_left() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        for (args, code) in [
            ("run --rm $I true", 0),
            ("run --rm --init $I sh -c 'exit 9'", 9),
            ("run --rm --network none --read-only $I true", 0),
            ("run --rm --network host $I true", 0),
            ("run --rm --userns keep-id --init --read-only $I true", 0),
            ("run --rm $I nosuch", 127),
            ("run $I /etc", 126),
            ("run -v /nothing:/x $I true", 125),
            ("run -p 80:80 $I true", 125),
            ("run --userns auto $I true", 125),
            ("run --network bridge $I true", 125),
            ("run --network front $I true", 125),
            ("network create front", 1),
        ] {
            let done = scene.run(args);
            assert_eq!(done.code, code, "{done:?}");
            scene.assert_all_gone(args);
            assert!(!pasta_runs(host), "{args}");
        }
        let script =
            "touch /x; chown 5:5 /x; trap \"exit 3\" TERM; echo up; while :; do sleep 0.01; done";
        for (signal, code) in [("TERM", 3), ("KILL", -1)] {
            let mut run = scene.start(&format!("run --rm --name web $I sh -c '{script}'"));
            assert_eq!(run.line(), "up");
            run.signal(signal);
            assert_eq!(run.end().code, code);
            assert_eq!(scene.ok("ps -aq"), "");
            host.wait_until("pasta has ended", LIMIT, || !pasta_runs(host));
            scene.assert_all_gone(signal);
        }
        let mut run = scene.start(&format!("run --name web $I sh -c '{script}'"));
        assert_eq!(run.line(), "up");
        scene.ok("rm -f web");
        assert_eq!(run.end().code, 137);
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn containers_that_are_started_at_once_are_all_reached_afterwards() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let names: Vec<_> = (0..20).map(|count| format!("web{count}")).collect();
        let mut all: Vec<_> = names
            .iter()
            .map(|name| {
                scene.start(&format!(
                    "run -i --rm --name {name} $I sh -c 'echo up; cat'"
                ))
            })
            .collect();
        for one in &mut all {
            assert_eq!(one.line(), "up");
        }
        assert_eq!(scene.ok("ps -q").lines().count(), 20);
        let mut namespaces: Vec<_> = names
            .iter()
            .map(|name| user_namespace(&scene, name))
            .collect();
        namespaces.dedup();
        assert_eq!(namespaces.len(), 1, "{namespaces:?}");
        // As each has a network of its own, they have the same address.
        for one in all {
            let done = one.end();
            assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        }
        scene.assert_all_gone("twenty containers");
    });
}

#[test]
fn a_terminal_works_and_can_be_left() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        // It is root's terminal, as after su(1).
        let tmux = Tmux::start(host, &scene);
        let alice = "setpriv --reuid=1000 --regid=1000 --clear-groups";
        tmux.types(&format!(
            "chmod 666 $(tty); {alice} rocker run --rm -it --name web $I sh; echo code $?"
        ));
        tmux.shows("~ #");
        tmux.types("tty; stty size; id -u");
        tmux.shows("/dev/pts/0");
        tmux.shows("30 100");
        tmux.types("sleep 1000");
        tmux.process("sleep 1000", true);
        tmux.key("C-c");
        tmux.process("sleep 1000", false);
        tmux.types("exit 5");
        tmux.shows("code 5");
        tmux.types(&format!(
            "clear; {alice} rocker run --rm -it --name web $I sleep 5000; echo code $?"
        ));
        tmux.process("sleep 5000", true);
        tmux.key("C-p");
        tmux.key("C-q");
        tmux.shows("code 0");
        assert_eq!(scene.ok("exec web id -u"), "0\n");
        tmux.types(&format!(
            "clear; {alice} rocker exec -it -u nobody web sh; echo code $?"
        ));
        tmux.shows("~ $");
        tmux.types("exit 6");
        tmux.shows("code 6");
        scene.ok("exec -d web sleep 6000");
        tmux.process("sleep 6000", true);
        tmux.end();
        scene.ok("rm -f web");
        host.wait_until("nobody looks after it", LIMIT, || {
            !host
                .try_sh("ps -C rocker -o stat= | grep -qv ^Z")
                .status
                .success()
        });
        scene.assert_all_gone("terminals");
    });
}

/// Connects the host with a machine elsewhere, which answers for names.
pub fn internet(host: &Host) {
    host.sh("for conf in /proc/sys/net/ipv6/conf/default/disable_ipv6; do [ ! -e $conf ] || echo 1 >$conf; done
         ip netns add internet
         ip link add up0 type veth peer name down0 netns internet
         ip addr add 198.51.100.2/24 dev up0; ip link set up0 up
         ip -n internet addr add 198.51.100.1/24 dev down0; ip -n internet link set down0 up
         ip -n internet link set lo up; ip route add default via 198.51.100.1
         echo nameserver 198.51.100.1 >/run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf");
}

/// A name server for which every name has one address.
const NAME_SERVER: &str = "
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((\"198.51.100.1\", 53))
while True:
    asked, whom = server.recvfrom(512)
    end = asked.index(0, 12) + 5
    answer = bytes([192, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, 7])
    server.sendto(asked[:2] + bytes([129, 128, 0, 1, 0, 1, 0, 0, 0, 0]) + asked[12:end] + answer, whom)
";

/// A server that says what it hears. It hears first, as what speaks first is lost on its way through pastas of spring 2023.
const ECHO_SERVER: &str = "
import socket
server = socket.create_server((\"198.51.100.1\", 80))
while True:
    client, _ = server.accept()
    client.sendall(client.recv(100))
    client.close()
";

/// Runs a script on the machine elsewhere.
fn elsewhere(script: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "internet", "sh", "-c", script]);
    command
}

#[test]
fn a_published_port_is_reached_from_elsewhere_and_the_server_sees_the_client() {
    fake_host::run(|host| {
        grant_ids(host);
        internet(host);
        let scene = Scene::of_alice(host);
        // It hears first, because of pastas of spring 2023.
        let server = "while :; do nc -l -p 80 -e sh -c \"read line; netstat -tn | grep :80\"; done & echo up; cat";
        let mut web = scene.start(&format!(
            "run -i --rm --name web -p 8080:80 $I sh -c '{server}'"
        ));
        assert_eq!(web.line(), "up");
        let ask =
            "until echo hello | busybox nc -w 5 198.51.100.2 8080 | grep 198.51.100.1; do :; done";
        let heard = elsewhere(ask).output().unwrap();
        let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
        assert!(heard.contains("198.51.100.1:"), "{heard}");
        // A port that is taken is an error that says which.
        let line = scene.fails(125, "run --rm -p 8080:80 $I true");
        assert!(line.contains("8080"), "{line}");
        let line = scene.fails(125, "run --rm -p 80:80 $I true");
        assert!(line.contains("1024"), "{line}");
        assert_eq!(web.end().code, 0);
        assert_eq!(host.sh("ss -Hlnt 'sport = 8080'"), "");
        scene.assert_all_gone("a published port");
    });
}

#[test]
fn a_container_reaches_the_outside_by_address_and_by_name() {
    fake_host::run(|host| {
        grant_ids(host);
        internet(host);
        let scene = Scene::of_alice(host);
        let mut dns = elsewhere(&format!("exec python3 -c '{NAME_SERVER}'"))
            .spawn()
            .unwrap();
        let seen = scene.ok("run --rm $I sh -c 'until nslookup -type=a far.example >/tmp/a 2>&1; do :; done; cat /tmp/a'");
        assert!(seen.contains("203.0.113.7"), "{seen}");
        dns.kill().unwrap();
        dns.wait().unwrap();
        let mut server = elsewhere(&format!("exec python3 -c '{ECHO_SERVER}'"))
            .spawn()
            .unwrap();
        host.wait_until("it listens", LIMIT, || {
            let listening = elsewhere("ss -Hlnt 'sport = 80'").output().unwrap();
            !listening.stdout.is_empty()
        });
        // It does not end its half first, the answer to which is lost on the same way.
        let ask = "nc 198.51.100.1 80 -e sh -c \"echo far; read line; echo \\$line >/tmp/heard\"; cat /tmp/heard";
        assert_eq!(scene.ok(&format!("run --rm $I sh -c '{ask}'")), "far\n");
        server.kill().unwrap();
        server.wait().unwrap();
        let out = scene.ok("run --rm --network none $I sh -c 'cd /sys/class/net; echo *; ping -c 1 -W 5 127.0.0.1 >/dev/null && echo self'");
        assert_eq!(out, "lo\nself\n");
        let namespace = "readlink /proc/self/ns/net; ls /sys/class/net";
        assert_eq!(
            scene.ok(&format!("run --rm --network host $I sh -c '{namespace}'")),
            host.sh(namespace)
        );
        scene.assert_all_gone("networks");
    });
}

#[test]
fn without_a_tunnel_or_its_program_there_is_a_warning_and_a_container_by_itself() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        host.sh("chmod 600 /dev/net/tun");
        let done = scene.run("run --rm $I ls /sys/class/net");
        assert_eq!((done.code, done.out.as_str()), (0, "lo\n"), "{done:?}");
        assert!(done.err.contains("/dev/net/tun"), "{done:?}");
        // Who asked for nothing else hears nothing.
        assert_eq!(scene.run("run --rm --network none $I true").err, "");
        for args in [
            "run --rm -p 8080:80 $I true",
            "run --rm --network pasta $I true",
        ] {
            let line = scene.fails(125, args);
            assert!(line.contains("pasta") || line.contains("tun"), "{line}");
        }
        scene.assert_all_gone("runs without a tunnel");
    });
}

#[test]
fn a_limit_that_cannot_be_kept_is_an_error_that_names_it() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        for (flags, names) in [
            ("--mem 64", "memory"),
            ("--pids 20", "processes"),
            ("--cpus 0.5", "CPUs"),
            ("--mem 64 --pids 20", "memory, processes"),
            ("--oom-score-adj=-999", "memory runs out"),
            ("--ulimit nofile=99999999", "nofile"),
        ] {
            let line = scene.fails(125, &format!("run --rm {flags} $I true"));
            assert!(line.contains(names), "{flags}: {line}");
            scene.assert_all_gone(flags);
        }
        assert_eq!(scene.ok("run --rm --ulimit nofile=100 --oom-score-adj 500 $I sh -c 'ulimit -n; cat /proc/self/oom_score_adj'"), "100\n500\n");
    });
}

#[test]
fn with_one_group_no_other_one_is_added() {
    fake_host::run(|host| {
        grant_nothing(host);
        let scene = Scene::of_alice(host);
        let line = scene.fails(125, "run --rm --group-add 29 $I true");
        assert!(
            line.contains("--group-add") && line.contains("subordinate"),
            "{line}"
        );
        scene.assert_all_gone("--group-add");
    });
}

#[test]
fn attributes_work_without_root_as_with_it() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        host.sh("mknod -m 666 /dev/net/sink c 1 3");
        for flags in [
            "--read-only --tmpfs /t:size=1m,exec --shm-size 1m",
            "--init --hostname h --domainname d --group-add 77 -u 33:34",
            "--sysctl net.ipv4.ip_forward=1 --sysctl kernel.msgmax=9000 --ulimit nofile=100",
            "--device /dev/net/sink:/dev/mine --security-opt no-new-privileges",
            "--ipc host --uts host --network host",
            "--privileged",
            "--cap-add ALL --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
            "--cap-drop ALL --network none",
            "--userns keep-id --init --read-only",
        ] {
            let idle = scene.start_idle(&format!("--rm --name web {flags}"));
            let compared = scene.run("inspect --actual web");
            assert_eq!(compared.code, 0, "{flags}: {compared:?}");
            assert_eq!(scene.ok("exec web echo here"), "here\n", "{flags}");
            if flags.contains("/dev/mine") {
                assert_eq!(
                    scene.ok("exec web sh -c 'echo x >/dev/mine && cat /dev/mine'"),
                    ""
                );
            }
            assert_eq!(idle.end().code, 0, "{flags}");
            scene.assert_all_gone(flags);
        }
    });
}

#[test]
fn what_a_container_of_another_shell_runs_is_killed_by_force_whoever_it_runs_as() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        let web = scene.start_idle("--rm --name web");
        assert_eq!(
            scene.ok("run --rm --ipc container:web $I readlink /proc/self/ns/ipc"),
            scene.ok("exec web readlink /proc/self/ns/ipc")
        );
        // A user of the container that the caller has no power over on the host.
        scene.ok("exec -d -u 33 web sleep 1003");
        // What shares processes could not be ended as a whole.
        for flags in ["--pid host", "--pid container:web"] {
            let line = scene.fails(125, &format!("run --rm {flags} $I true"));
            assert!(line.contains("--pid"), "{line}");
        }
        scene.ok("rm -f web");
        assert_eq!(web.end().code, 137);
        scene.assert_all_gone("rm -f");
    });
}

/// Runs `rocker run --rm hello` as uid 1000 with nothing but these variables.
fn bare(host: &Host, variables: &[(&str, &str)]) -> Done {
    let rocker = Rocker::of_alice(host);
    bare_again(&rocker, variables)
}

fn bare_again(rocker: &Rocker<'_>, variables: &[(&str, &str)]) -> Done {
    let set: Vec<_> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    rocker.script(&format!(
        "exec env -i PATH=$PATH {} rocker run --rm hello",
        set.join(" ")
    ))
}

#[test]
fn without_home_and_session_directories_are_in_tmp_and_nobody_elses() {
    fake_host::run(|host| {
        grant_ids(host);
        // The test's own program is on the host's /tmp, perhaps: it runs already, and rocker is copied.
        let done = bare(
            host,
            &[
                ("XDG_RUNTIME_DIR", "/run/user/1000"),
                ("HOME", "/run/alice"),
            ],
        );
        assert_eq!(done.code, 0, "{done:?}");
        let rocker = Rocker::of_alice(host);
        host.sh("rm -r /run/user; mount -t tmpfs -o mode=1777 tmpfs /tmp");
        let done = bare_again(&rocker, &[]);
        assert_eq!(done.code, 0, "{done:?}");
        let made = host.sh("stat -c '%n %u %a' /tmp/*");
        assert_eq!(
            made,
            "/tmp/rocker-1000 1000 700\n/tmp/rocker-1000-data 1000 700\n"
        );
        for dir in ["/tmp/rocker-1000", "/tmp/rocker-1000-data"] {
            for theirs in [
                format!("mkdir -m 777 {dir}; chown 1001 {dir}"),
                format!("mkdir -m 777 {dir}; chown 1000 {dir}"),
                format!("mkdir -m 700 /tmp/other; chown 1000 /tmp/other; ln -s /tmp/other {dir}"),
                format!("touch {dir}; chown 1000 {dir}"),
            ] {
                host.sh(&format!("rm -rf /tmp/*; {theirs}"));
                let line = bare_again(&rocker, &[]).failed(125);
                assert!(line.contains(dir), "{theirs}: {line}");
            }
        }
        // A link of one's own leads where one wants.
        host.sh("rm -rf /tmp/*; mkdir /run/disk; chown 1000 /run/disk; ln -s /run/disk /tmp/rocker-1000-data; chown -h 1000 /tmp/rocker-1000-data");
        let done = bare_again(&rocker, &[]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(host.sh("ls /run/disk").contains("images"));
    });
}

#[test]
fn a_session_directory_that_is_not_the_users_own_is_refused() {
    fake_host::run(|host| {
        grant_ids(host);
        let rocker = Rocker::of_alice(host);
        host.sh("mkdir -m 777 /run/theirs /run/theirs/rocker; mkdir /run/closed; ln -s /run/theirs /run/link");
        for dir in [
            "/run/theirs",
            "/run/closed",
            "/run/link",
            "/run/nothing/at/all",
        ] {
            let done = bare_again(&rocker, &[("XDG_RUNTIME_DIR", dir), ("HOME", ALICES_HOME)]);
            let line = done.failed(125);
            assert!(line.contains(&format!("{dir}/rocker")), "{line}");
        }
        // One that is relative is none.
        let done = bare_again(
            &rocker,
            &[("XDG_RUNTIME_DIR", "relative"), ("HOME", ALICES_HOME)],
        );
        assert_eq!(done.code, 0, "{done:?}");
    });
}

#[test]
fn where_nobody_may_make_user_namespaces_there_is_advice() {
    fake_host::run(|host| {
        grant_ids(host);
        let rocker = Rocker::of_alice(host);
        // The bound that the machine's first user namespace has is not for a fake host to change. Here is another one with the same
        // users, whose bound holds for all that is made in it.
        let mut around = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo inside; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 7];
        around
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        for map in ["gid_map", "uid_map"] {
            fs::write(format!("/proc/{}/{map}", around.id()), "0 0 65536\n").unwrap();
        }
        let output = Command::new("nsenter")
            .args(["-U", "-S", "0", "-G", "0", "-t", &around.id().to_string()])
            .args(["sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --reuid=1000 --regid=1000 --clear-groups rocker run --rm hello"])
            .envs(rocker.variables())
            .output()
            .unwrap();
        drop(around.stdin.take());
        around.wait().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.contains("likely:") && said.contains("max_user_namespaces"),
            "{said}"
        );
        rocker.assert_all_gone("an attempt");
    });
}

#[test]
fn debian_takes_packages_and_users_as_far_as_there_are_ids() {
    debian::make();
    fake_host::run(|host| {
        for granted in [true, false] {
            match granted {
                true => grant_ids(host),
                false => grant_nothing(host),
            }
            let scene = Scene::of_alice_without_image(host);
            let name = scene.push_layers(&[debian::tar()], "debian", r#"{"Cmd":["bash"]}"#);
            scene.ok(&format!("pull -q {name}"));
            let script = r##"exec 2>&1; set -e
                touch /file; chown www-data:33 /file; stat -c "%U:%G" /file
                useradd -m new; adduser --quiet --system --group other; id -u new; id -u other
                mkdir -p /p/DEBIAN /p/usr/share/hi; cd /p
                printf "Package: hi\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n" >DEBIAN/control
                printf "#!/bin/sh\nset -e\nchown www-data /usr/share/hi\nadduser --quiet --system hi\n" >DEBIAN/postinst
                chmod 755 DEBIAN/postinst; dpkg-deb -b /p /hi.deb >/dev/null; dpkg -i /hi.deb >/dev/null
                dpkg --verify; stat -c %U /usr/share/hi
                cp -a /file /copy; tar -cC / file | tar -xC /tmp; install -o www-data /file /third
                apt-get $APT remove -y hi >/dev/null
                su new -c "id -un" 2>/dev/null || echo nobody else"##;
            let apt = if granted {
                ""
            } else {
                "-o APT::Sandbox::User=root"
            };
            let file = host.dir("scripts").join("try.sh");
            fs::write(&file, script).unwrap();
            let seen = scene.ok(&format!(
                "run --rm --network none -e APT='{apt}' -v {0}:/try.sh {name} bash /try.sh",
                file.display()
            ));
            let owner = if granted { "www-data" } else { "root" };
            let group = if granted { "www-data" } else { "root" };
            let as_new = if granted { "new" } else { "nobody else" };
            assert_eq!(
                seen,
                format!("{owner}:{group}\n1000\n100\n{owner}\n{as_new}\n")
            );
            scene.assert_all_gone("Debian");
            host.sh(&format!(
                "umount /dev/net /etc/passwd; rm -r {ALICES_HOME} /run/user"
            ));
        }
    });
}
