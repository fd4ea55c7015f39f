//! Who looks after a program beside the relay.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use rocker_ns::{
    Attach, Attendant, Child, DetachKeys, Error, ExitCode, Output, Process, Relay, Signals, Stdio,
    Step,
};

use crate::fake_host;
use crate::{OWN, devpts, shell};

/// Ends the program at a time, by a word in a pipe, or when it has said something; or leaves it then.
struct Watch {
    since: Instant,
    after: Option<Duration>,
    pipe: Option<PipeReader>,
    word: &'static str,
    leaves: bool,
    text: String,
    turns: usize,
    is_over: bool,
}

impl Watch {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            after: None,
            pipe: None,
            word: "no such word",
            leaves: false,
            text: String::new(),
            turns: 0,
            is_over: false,
        }
    }
}

impl Attendant for Watch {
    fn heard(&mut self, _: Output, bytes: &[u8]) {
        self.text += &String::from_utf8_lossy(bytes);
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = self.after.map(|after| self.since + after);
        deadline.filter(|_| !self.is_over)
    }

    fn wakers(&self) -> Vec<BorrowedFd<'_>> {
        let pipe = self.pipe.as_ref().filter(|_| !self.is_over);
        pipe.map(AsFd::as_fd).into_iter().collect()
    }

    fn attend(&mut self, program: &Process) -> rocker_ns::Result<()> {
        self.turns += 1;
        let is_due = match &mut self.pipe {
            Some(_) if self.is_over => false,
            Some(pipe) => {
                // Nothing else wakes it before.
                pipe.read_exact(&mut [0]).unwrap();
                true
            }
            None => self
                .deadline()
                .is_some_and(|deadline| deadline <= Instant::now()),
        };
        if is_due || self.text.contains(self.word) {
            self.is_over = true;
            if self.leaves {
                return Err(Error::Gone);
            }
            program.signal(9)?;
        }
        Ok(())
    }
}

fn piped(script: &str) -> Child {
    let mut command = shell(script);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_deadline_wakes_the_attendant_and_silence_does_not() {
    fake_host::run(|host| {
        let signals = Signals::hold().unwrap();
        let mut attach = Attach::listen(&host.dir("attach"), "attach.sock").unwrap();
        let mut watch = Watch::new();
        watch.after = Some(Duration::from_millis(200));
        let mut child = piped("read nothing");
        let relay = Relay::new(&mut child, &signals).in_background(true);
        let status = relay.attach(&mut attach).attendant(&mut watch).run();
        assert_eq!(status.unwrap().exit_code(), 137);
        assert!(watch.since.elapsed() >= Duration::from_millis(200));
        // For the deadline, the ends of both pipes, and the end itself.
        assert!(watch.turns <= 5, "{} turns", watch.turns);
    });
}

#[test]
fn a_descriptor_wakes_the_attendant() {
    fake_host::run(|_| {
        let signals = Signals::hold().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let mut watch = Watch::new();
        watch.pipe = Some(reader);
        let mut child = piped("read nothing");
        writer.write_all(b"x").unwrap();
        let relay = Relay::new(&mut child, &signals).in_background(true);
        assert_eq!(relay.attendant(&mut watch).run().unwrap().exit_code(), 137);
        assert!(watch.is_over);
    });
}

#[test]
fn what_still_has_the_pipes_does_not_hold_up_the_end() {
    fake_host::run(|_| {
        let signals = Signals::hold().unwrap();
        for script in [
            "sleep 1000 & echo last; exit 4",
            "echo last; yes last & exit 4",
        ] {
            let mut watch = Watch::new();
            let mut child = piped(script);
            let relay = Relay::new(&mut child, &signals).in_background(true);
            let status = relay.attendant(&mut watch).run().unwrap();
            assert_eq!(status.exit_code(), 4);
            assert!(watch.text.starts_with("last\n"));
            assert!(watch.since.elapsed() < Duration::from_secs(10));
        }
    });
}

#[test]
fn all_that_was_written_is_heard_after_the_end() {
    fake_host::run(|_| {
        let signals = Signals::hold().unwrap();
        let mut watch = Watch::new();
        let mut child = piped("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; read go");
        // The program writes all of it, and ends, before anybody reads.
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        while child.process().is_alive() {
            thread::yield_now();
        }
        let relay = Relay::new(&mut child, &signals).in_background(true);
        relay.attendant(&mut watch).run().unwrap();
        assert_eq!(watch.text.len(), 120_000);
    });
}

#[test]
fn signals_reach_a_program_in_the_background_or_are_taken_where_there_is_none() {
    fake_host::run(|_| {
        let signals = Signals::hold().unwrap();
        assert_eq!(signals.take(), None);
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(signals.take(), Some(15));
        assert_eq!(signals.take(), None);
        let mut child = piped("trap 'exit 9' USR1; while :; do sleep 0.01; done");
        raise(Signal::SIGTERM).unwrap();
        let relay = Relay::new(&mut child, &signals).in_background(true);
        // The shell may not have come to its trap yet; either way it ends by that signal.
        let code = relay.stop_signal(10).run().unwrap().exit_code();
        assert!([9, 138].contains(&code), "{code}");
    });
}

#[test]
fn a_second_relay_hears_on_where_the_first_has_left() {
    fake_host::run(|_| {
        let signals = Signals::hold().unwrap();
        // In the foreground, by an error of its attendant.
        let mut watch = Watch::new();
        (watch.word, watch.leaves) = ("one", true);
        let mut child = piped("echo one; read go; echo two $go; exit 5");
        // This process's own input, which the program is to get nothing of.
        let (silence, _open) = io::pipe().unwrap();
        nix::unistd::dup2_stdin(&silence).unwrap();
        let left = Relay::new(&mut child, &signals).attendant(&mut watch).run();
        assert!(matches!(left, Err(Error::Gone)));
        assert_eq!(watch.text, "one\n");
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut watch = Watch::new();
        let relay = Relay::new(&mut child, &signals).in_background(true);
        assert_eq!(relay.attendant(&mut watch).run().unwrap().exit_code(), 5);
        assert_eq!(watch.text, "two go\n");
    });
}

#[test]
fn a_program_goes_on_in_the_background_with_its_terminal_once_the_keys_are_typed() {
    fake_host::run(|_| {
        let signals = Signals::hold().unwrap();
        let mut command = shell("echo one; read go; echo two $go; exit 5");
        let setup = [Step::private_mounts(), Step::mount_proc(), devpts()];
        command.unshare(OWN).setup(setup).terminal(true);
        let mut created = command.create().unwrap();
        let terminal = created.terminal().unwrap().unwrap();
        let mut child = created.start().unwrap();
        let (typed, mut keys) = io::pipe().unwrap();
        nix::unistd::dup2_stdin(&typed).unwrap();
        keys.write_all(b"\x10\x11").unwrap();
        let mut watch = Watch::new();
        let relay = Relay::new(&mut child, &signals).terminal(&terminal, true);
        let left = relay.attendant(&mut watch);
        let left = left.run_until_detached(DetachKeys::default()).unwrap();
        assert!(left.is_none());
        let mut master = File::from(terminal.as_fd().try_clone_to_owned().unwrap());
        master.write_all(b"go\n").unwrap();
        let relay = Relay::new(&mut child, &signals).terminal(&terminal, true);
        let relay = relay.in_background(true).attendant(&mut watch);
        assert_eq!(relay.run().unwrap().exit_code(), 5);
        assert!(watch.text.contains("one\r\n"), "{}", watch.text);
        assert!(watch.text.contains("two go\r\n"), "{}", watch.text);
    });
}
