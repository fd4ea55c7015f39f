//! Clients of a program, whose packets are written out here: this is what they look like.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use rocker_ns::{
    Attach, AttachEnd, AttachOptions, Attached, Attendant, Child, ExitCode, Output, Relay, Signals,
    Stdio, Step, Terminal,
};

use crate::fake_host;
use crate::{OWN, devpts, shell};

const NAME: &str = "attach.sock";
const STDIN: u8 = 1;
const OUTPUT: u8 = 2;

/// A client that says what it is told to.
struct Raw(OwnedFd);

impl Raw {
    fn connect(dir: &Path) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let address = UnixAddr::new(&dir.join(NAME)).unwrap();
        connect(client.as_raw_fd(), &address).unwrap();
        Self(client)
    }

    /// One that has said hello, and may not have been heard yet.
    fn hello(dir: &Path, flags: u8) -> Self {
        let client = Self::connect(dir);
        client.say(&[b'H', 1, flags]);
        client
    }

    fn say(&self, packet: &[u8]) {
        send(self.0.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    fn give(&self, input: &str) {
        self.say(&[b"i", input.as_bytes()].concat());
    }

    /// The next packet; empty when the supervisor has let go.
    fn hear(&self) -> Vec<u8> {
        let mut buffer = vec![0; 5000];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(count) => return buffer[..count].to_vec(),
                Err(nix::errno::Errno::ECONNRESET) => {}
                Err(errno) => panic!("{errno}"),
            }
        }
    }

    /// The next packet, which is of that kind.
    fn expect(&self, kind: u8) -> Vec<u8> {
        let packet = self.hear();
        assert_eq!(packet.first(), Some(&kind), "{packet:?}");
        packet[1..].to_vec()
    }

    /// All that it hears until the program ends.
    fn rest(&self) -> Heard {
        let mut heard = Heard::default();
        loop {
            let packet = self.hear();
            match packet.first() {
                Some(b'1') => heard.stdout.extend(&packet[1..]),
                Some(b'2') => heard.stderr.extend(&packet[1..]),
                Some(b'l') => {
                    heard.left_out += u64::from_le_bytes(packet[1..].try_into().unwrap());
                }
                Some(b't') => {}
                Some(b'x') => {
                    heard.code = Some(packet[1]);
                    assert_eq!(self.hear(), b"", "nothing comes after the end");
                    return heard;
                }
                _ => panic!("{packet:?}"),
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    left_out: u64,
    code: Option<u8>,
}

/// Keeps what it hears, and tells how much that is.
#[derive(Default)]
struct Log {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    turns: usize,
    told: Option<mpsc::Sender<usize>>,
}

impl Attendant for Log {
    fn heard(&mut self, output: Output, bytes: &[u8]) {
        match output {
            Output::Stdout => self.stdout.extend(bytes),
            Output::Stderr => self.stderr.extend(bytes),
        }
        if let Some(told) = &self.told {
            let _ = told.send(self.stdout.len());
        }
    }

    fn attend(&mut self, _: &rocker_ns::Process) -> rocker_ns::Result<()> {
        self.turns += 1;
        Ok(())
    }
}

fn piped(script: &str) -> Child {
    let mut command = shell(script);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Supervises the child in the background until it ends, and tells its clients.
fn supervise(
    child: &mut Child,
    terminal: Option<&Terminal>,
    attach: &mut Attach,
    log: &mut Log,
) -> u8 {
    let signals = Signals::hold().unwrap();
    let mut relay = Relay::new(child, &signals).in_background(true);
    relay = relay.attendant(log).attach(attach);
    if let Some(terminal) = terminal {
        relay = relay.terminal(terminal, false);
    }
    let code = relay.run().unwrap().exit_code();
    attach.farewell(code);
    code
}

/// What came of a piped program, to which the clients speak meanwhile.
fn run(dir: &Path, script: &str, clients: impl FnOnce(&Path) + Send) -> (Log, u8) {
    let mut attach = Attach::listen(dir, NAME).unwrap();
    run_with(dir, script, &mut attach, clients)
}

fn run_with(
    dir: &Path,
    script: &str,
    attach: &mut Attach,
    clients: impl FnOnce(&Path) + Send,
) -> (Log, u8) {
    let mut log = Log::default();
    let mut child = piped(script);
    let code = thread::scope(|scope| {
        scope.spawn(|| clients(dir));
        supervise(&mut child, None, attach, &mut log)
    });
    (log, code)
}

#[test]
fn two_clients_and_the_attendant_hear_the_same() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let script = "read go; head -c 40000 /dev/zero | tr '\\0' x; echo wrong >&2; exit 7";
        let (log, code) = run(&dir, script, |dir| {
            let (one, two) = (Raw::hello(dir, OUTPUT), Raw::hello(dir, STDIN | OUTPUT));
            assert_eq!(one.expect(b'W'), [1, 0]);
            assert_eq!(two.expect(b'W'), [1, 0]);
            two.give("go\n");
            let (one, two) = (one.rest(), two.rest());
            assert_eq!(one, two);
            let (stdout, stderr) = (vec![b'x'; 40000], b"wrong\n".to_vec());
            let (left_out, code) = (0, Some(7));
            assert_eq!(
                one,
                Heard {
                    stdout,
                    stderr,
                    left_out,
                    code
                }
            );
        });
        assert_eq!(
            (log.stdout.len(), log.stderr, code),
            (40000, b"wrong\n".to_vec(), 7)
        );
    });
}

#[test]
fn a_stuck_client_holds_up_nobody_and_learns_what_it_missed_and_how_it_ended() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let (sender, receiver) = mpsc::channel();
        let script = "read go; head -c 30000000 /dev/zero; exit 3";
        run(&dir, script, |dir| {
            let client = Raw::hello(dir, STDIN | OUTPUT);
            client.give("go\n");
            sender.send(client).unwrap();
            let other = Raw::hello(dir, 0);
            other.expect(b'W');
            assert_eq!(other.rest().code, Some(3));
        });
        // The program is gone by now, and has not waited.
        let stuck = receiver.recv().unwrap();
        stuck.expect(b'W');
        let heard = stuck.rest();
        assert!(heard.left_out > 20_000_000, "{}", heard.left_out);
        assert_eq!(heard.stdout.len() as u64 + heard.left_out, 30_000_000);
        assert_eq!(heard.code, Some(3));
    });
}

#[test]
fn a_slow_client_hears_on_once_it_reads_again() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let mut attach = Attach::listen(&dir, NAME).unwrap();
        let (told, sizes) = mpsc::channel();
        let mut log = Log {
            told: Some(told),
            ..Log::default()
        };
        let mut child = piped("read go; head -c 5000000 /dev/zero; read go; echo more");
        thread::scope(|scope| {
            let dir = &dir;
            scope.spawn(move || {
                let client = Raw::hello(dir, STDIN | OUTPUT);
                client.expect(b'W');
                client.give("go\n");
                while sizes.recv().unwrap() < 5_000_000 {}
                let mut heard = 0;
                let left_out = loop {
                    let packet = client.hear();
                    match packet[0] {
                        b'1' => heard += packet.len() as u64 - 1,
                        b'l' => break u64::from_le_bytes(packet[1..].try_into().unwrap()),
                        b't' => {}
                        _ => panic!("{packet:?}"),
                    }
                };
                assert_eq!(heard + left_out, 5_000_000);
                client.give("go\n");
                assert_eq!(client.rest().stdout, b"more\n");
            });
            supervise(&mut child, None, &mut attach, &mut log);
        });
    });
}

#[test]
fn the_input_of_all_clients_reaches_the_program_even_of_those_that_are_gone() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let (log, _) = run(&dir, "read a; read b; read c; echo $a $b $c", |dir| {
            let one = Raw::hello(dir, STDIN);
            one.expect(b'W');
            one.give("one\n");
            // Closed at once, with a welcome or an answer unread.
            drop(one);
            let two = Raw::hello(dir, STDIN);
            two.expect(b'W');
            two.give("two\n");
            two.expect(b't');
            two.give("three\n");
            assert_eq!(two.rest().code, Some(0));
        });
        assert_eq!(log.stdout, b"one two three\n");
    });
}

#[test]
fn with_stdin_once_the_first_end_of_input_is_the_programs() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let mut attach = Attach::listen(&dir, NAME).unwrap();
        attach.stdin_once(true);
        let (log, _) = run_with(&dir, "cat; echo over", &mut attach, |dir| {
            let client = Raw::hello(dir, STDIN | OUTPUT);
            client.expect(b'W');
            client.give("hello ");
            client.say(b"e");
            assert_eq!(client.rest().stdout, b"hello over\n");
        });
        assert_eq!(log.stdout, b"hello over\n");
        // A client that is gone has no more to say either; and the program may be started again.
        let (log, _) = run_with(&dir, "cat; echo over", &mut attach, |dir| {
            let client = Raw::hello(dir, STDIN);
            client.expect(b'W');
            client.give("bye ");
        });
        assert_eq!(log.stdout, b"bye over\n");
    });
}

#[test]
fn a_program_that_reads_nothing_gets_signals_all_the_same_and_nothing_spins() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done";
        let (log, code) = run(&dir, script, |dir| {
            let client = Raw::hello(dir, STDIN);
            client.expect(b'W');
            // What a pipe holds, and one packet more.
            let input = "x".repeat(4096);
            for _ in 0..16 {
                client.give(&input);
                client.expect(b't');
            }
            client.give(&input);
            // Gone, with its input not taken: it must not wake the supervisor for ever.
            drop(client);
            let other = Raw::hello(dir, STDIN | OUTPUT);
            other.expect(b'W');
            other.give(&input);
            thread::sleep(Duration::from_millis(100));
            let number = 10_i32.to_le_bytes();
            other.say(&[&b"s"[..], &number].concat());
            assert_eq!(other.rest().code, Some(9));
        });
        assert_eq!(code, 9);
        assert!(log.turns < 80, "{} turns", log.turns);
    });
}

#[test]
fn a_client_gives_the_terminal_its_size_and_its_input() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let mut attach = Attach::listen(&dir, NAME).unwrap();
        let mut command = shell("read go; stty size; exit 5");
        let setup = [Step::private_mounts(), Step::mount_proc(), devpts()];
        command.unshare(OWN).setup(setup).terminal(true);
        let mut created = command.create().unwrap();
        let terminal = created.terminal().unwrap().unwrap();
        let mut child = created.start().unwrap();
        let mut log = Log::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                let client = Raw::hello(&dir, STDIN | OUTPUT);
                assert_eq!(client.expect(b'W'), [1, 1]);
                client.say(&[b'r', 33, 0, 77, 0]);
                client.give("go\n");
                let heard = client.rest();
                let text = String::from_utf8_lossy(&heard.stdout).into_owned();
                assert!(text.contains("33 77"), "{text}");
                assert_eq!(heard.code, Some(5));
            });
            supervise(&mut child, Some(&terminal), &mut attach, &mut log);
        });
    });
}

#[test]
fn who_talks_nonsense_is_let_go_of_and_others_are_not() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        run(&dir, "read go; exit 6", |dir| {
            let good = Raw::hello(dir, STDIN);
            good.expect(b'W');
            let long = vec![b'i'; 4098];
            let input = [b"i".as_slice(), b"too early"].concat();
            let wrong: [&[u8]; 7] = [
                b"?",
                b"H",
                &[b'H', 1, 99],
                &long,
                &input,
                b"r1234",
                &[b's', 9, 0, 0, 0],
            ];
            for packet in wrong {
                let client = Raw::connect(dir);
                client.say(packet);
                assert_eq!(client.hear(), b"", "{packet:?}");
            }
            // After a proper hello, too.
            let no_signal = [b's', 99, 0, 0, 0];
            let wrong: [&[u8]; 5] = [b"?", b"r1", &no_signal, &[b'H', 1, 0], b"inot asked for"];
            for packet in wrong {
                let client = Raw::hello(dir, OUTPUT);
                client.expect(b'W');
                client.say(packet);
                assert_eq!(client.hear(), b"", "{packet:?}");
            }
            let old = Raw::connect(dir);
            old.say(&[b'H', 2, 0]);
            assert_eq!(old.hear(), b"R");
            assert_eq!(old.hear(), b"");
            good.give("go\n");
            assert_eq!(good.rest().code, Some(6));
        });
    });
}

#[test]
fn there_are_32_clients_at_most() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        run(&dir, "read go", |dir| {
            let mut clients: Vec<Raw> = (0..32).map(|_| Raw::hello(dir, STDIN)).collect();
            clients.iter().for_each(|client| drop(client.expect(b'W')));
            let error = Attached::connect(dir, NAME, AttachOptions::default()).unwrap_err();
            assert!(
                error.to_string().contains("turned this client away"),
                "{error}"
            );
            // The place of one that is gone is free, if not at once.
            clients.pop();
            let last = loop {
                let client = Raw::hello(dir, STDIN);
                if client.hear()[0] == b'W' {
                    break client;
                }
            };
            last.give("go\n");
            assert_eq!(last.rest().code, Some(0));
        });
    });
}

#[test]
fn clients_of_another_user_are_let_go_of() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        run(&dir, "read go", |dir| {
            let path = dir.join(NAME);
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.mode() & 0o777, 0o600);
            let as_nobody = || {
                let mut command = std::process::Command::new(std::env::current_exe().unwrap());
                command.args(["attach::a_client", "--exact", "--nocapture", "--ignored"]);
                let output = command.env(CLIENT, dir).uid(65534).output().unwrap();
                String::from_utf8_lossy(&output.stderr).into_owned()
            };
            let said = as_nobody();
            assert!(said.contains("Permission denied"), "{said}");
            // Even if the name were open to all.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            let said = as_nobody();
            assert!(said.contains("nobody listens"), "{said}");
            let client = Raw::hello(dir, STDIN);
            client.expect(b'W');
            client.give("go\n");
        });
    });
}

/// Set for [`a_client`], to the directory of the socket.
const CLIENT: &str = "ROCKER_TEST_CLIENT";

/// Not a test, but what a test starts as another process.
#[test]
#[ignore = "a part of other tests"]
fn a_client() {
    let dir = std::env::var_os(CLIENT).unwrap_or(OsString::from("/nowhere"));
    let signals = Signals::hold().unwrap();
    let options = AttachOptions {
        stdin: true,
        output: true,
        ..AttachOptions::default()
    };
    match Attached::connect(Path::new(&dir), NAME, options) {
        Ok(Some(attached)) => eprintln!("<{:?}>", attached.run(&signals).unwrap()),
        Ok(None) => eprintln!("<nobody listens>"),
        Err(error) => eprintln!("<{}>", crate::chain(&error)),
    }
}

#[test]
fn a_client_process_relays_its_own_streams_until_the_program_ends() {
    fake_host::run(|host| {
        // Longer than an address can be.
        let dir = host.dir(&format!("{}/{}", "long".repeat(30), "path".repeat(30)));
        assert!(dir.as_os_str().len() > 200);
        let mut attach = Attach::listen(&dir, NAME).unwrap();
        attach.stdin_once(true);
        let script = "tr a-z A-Z; echo wrong >&2; exit 8";
        run_with(&dir, script, &mut attach, |dir| {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["attach::a_client", "--exact", "--nocapture", "--ignored"]);
            fs::write("/run/input", "word ".repeat(20_000)).unwrap();
            command.stdin(fs::File::open("/run/input").unwrap());
            let output = command.env(CLIENT, dir).output().unwrap();
            let (stdout, stderr) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            assert_eq!(stdout.matches("WORD ").count(), 20_000, "{stderr}");
            assert!(stderr.contains("wrong\n<Exited(8)>"), "{stderr}");
        });
    });
}

#[test]
fn nobody_listens_where_there_is_no_socket_or_a_stale_one() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let connect = || Attached::connect(&dir, NAME, AttachOptions::default()).unwrap();
        assert!(connect().is_none());
        drop(Attach::listen(&dir, NAME).unwrap());
        assert!(connect().is_none());
        let nowhere = Attached::connect(&dir.join("nowhere"), NAME, AttachOptions::default());
        assert!(nowhere.unwrap().is_none());
        // An old socket is no obstacle.
        drop(Attach::listen(&dir, NAME).unwrap());
    });
}

#[test]
fn who_waits_learns_of_the_end_and_of_a_supervisor_that_is_gone() {
    fake_host::run(|host| {
        let dir = host.dir("attach");
        let connect = || Attached::connect(&dir, NAME, AttachOptions::default());
        run(&dir, "read go; exit 11", |dir| {
            let mut waiting = connect().unwrap().unwrap();
            assert!(!waiting.has_terminal());
            let passed = waiting.wait(Some(Duration::from_millis(20))).unwrap();
            assert_eq!(passed, None);
            let giving = Raw::hello(dir, STDIN);
            giving.give("go\n");
            let ended = waiting.wait(Some(Duration::MAX)).unwrap();
            assert_eq!(ended, Some(AttachEnd::Exited(11)));
            // It is not forgotten.
            assert_eq!(waiting.wait(None).unwrap(), ended);
        });
        let mut attach = Attach::listen(&dir, NAME).unwrap();
        let signals = Signals::hold().unwrap();
        let client = thread::scope(|scope| {
            let client = scope.spawn(|| connect().unwrap().unwrap());
            // No program runs, and clients are let in all the same.
            while !client.is_finished() {
                let until = std::time::Instant::now() + Duration::from_millis(10);
                attach.idle(&signals, Some(until)).unwrap();
            }
            client.join().unwrap()
        });
        let mut client = client;
        drop(attach);
        assert_eq!(client.wait(None).unwrap(), Some(AttachEnd::Lost));
    });
}
