//! The client, before a supervisor that says what it is told to.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;

use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};

use super::*;

/// A client and what is around it.
struct Scene {
    attached: Attached,
    supervisor: OwnedFd,
    stdin: (PipeReader, PipeWriter),
    stdout: (PipeReader, PipeWriter),
    stderr: (PipeReader, PipeWriter),
}

impl Scene {
    fn new(has_terminal: bool, options: AttachOptions) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (socket, supervisor) = pair.unwrap();
        let attached = Attached {
            socket,
            has_terminal,
            options,
            ended: None,
        };
        let [stdin, stdout, stderr] = [(); 3].map(|()| pipe().unwrap());
        Self {
            attached,
            supervisor,
            stdin,
            stdout,
            stderr,
        }
    }

    fn say(&self, event: Event<'_>) {
        socket::send(&self.supervisor, &event.encode()).unwrap();
    }

    /// Lets the client go on to its end, and returns that, and what it has written to both streams.
    fn run(self, signals: &Signals) -> (AttachEnd, String, String, OwnedFd) {
        let end = {
            let streams = Streams {
                stdin: self.stdin.0.as_fd(),
                stdout: self.stdout.1.as_fd(),
                stderr: self.stderr.1.as_fd(),
            };
            self.attached.relay(signals, &streams).unwrap()
        };
        let text = |(mut reader, writer): (PipeReader, PipeWriter)| {
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        };
        (end, text(self.stdout), text(self.stderr), self.supervisor)
    }
}

/// What the client has said.
fn heard(supervisor: &OwnedFd) -> Vec<u8> {
    let mut buffer = [0; LONGEST];
    let flags = MsgFlags::MSG_DONTWAIT;
    let count = recv(supervisor.as_raw_fd(), &mut buffer, flags).unwrap();
    buffer[..count].to_vec()
}

fn options() -> AttachOptions {
    AttachOptions {
        stdin: true,
        output: true,
        keys: Some(DetachKeys::default()),
        pass_signals: true,
    }
}

#[test]
fn what_is_said_goes_where_it_belongs_and_what_is_left_out_is_told() {
    let signals = Signals::hold().unwrap();
    let scene = Scene::new(false, options());
    scene.say(Event::Stdout(b"out "));
    scene.say(Event::LeftOut(12345));
    scene.say(Event::Stderr(b"err"));
    scene.say(Event::Stdout(b"again"));
    scene.say(Event::Exited(9));
    let (end, stdout, stderr, _) = scene.run(&signals);
    assert_eq!(end, AttachEnd::Exited(9));
    assert_eq!(stdout, "out again");
    assert_eq!(
        stderr,
        "rocker: 12345 bytes left out, since this reader was too slow; a log has them, if one is kept\nerr"
    );
}

#[test]
fn the_keys_leave_a_terminal_and_mean_nothing_without_one() {
    let signals = Signals::hold().unwrap();
    let mut scene = Scene::new(true, options());
    scene.stdin.1.write_all(b"ls\r\x10\x11more").unwrap();
    let (end, .., supervisor) = scene.run(&signals);
    assert_eq!(end, AttachEnd::Detached);
    assert_eq!(heard(&supervisor), Request::Input(b"ls\r").encode());
    assert_eq!(heard(&supervisor), b"", "and it is gone");

    let mut scene = Scene::new(false, options());
    scene.stdin.1.write_all(b"\x10\x11").unwrap();
    // Another one than the last end of the pipe, so that the input ends.
    scene.stdin.1 = pipe().unwrap().1;
    let supervisor = scene.supervisor.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut fds = [PollFd::new(supervisor.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, timeout(None)).unwrap();
            assert_eq!(heard(&supervisor), Request::Input(b"\x10\x11").encode());
            socket::send(&supervisor, &Event::Taken.encode()).unwrap();
            poll(&mut fds, timeout(None)).unwrap();
            assert_eq!(heard(&supervisor), Request::InputEnd.encode());
            socket::send(&supervisor, &Event::Exited(0).encode()).unwrap();
        });
        assert_eq!(scene.run(&signals).0, AttachEnd::Exited(0));
    });
}

#[test]
fn more_input_is_only_sent_when_the_last_was_taken() {
    let signals = Signals::hold().unwrap();
    let mut scene = Scene::new(false, options());
    scene.stdin.1.write_all(&[7; 3 * PAYLOAD]).unwrap();
    let supervisor = scene.supervisor.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut fds = [PollFd::new(supervisor.as_fd(), PollFlags::POLLIN)];
            for _ in 0..3 {
                poll(&mut fds, timeout(None)).unwrap();
                assert_eq!(heard(&supervisor).len(), LONGEST);
                let early = socket::receive(&supervisor, &mut [0; 1]);
                assert_eq!(early, Err(Errno::EAGAIN));
                socket::send(&supervisor, &Event::Taken.encode()).unwrap();
            }
            socket::send(&supervisor, &Event::Exited(0).encode()).unwrap();
        });
        assert_eq!(scene.run(&signals).0, AttachEnd::Exited(0));
    });
}

#[test]
fn signals_are_the_programs_or_end_the_client() {
    let signals = Signals::hold().unwrap();
    let scene = Scene::new(false, options());
    raise(Signal::SIGINT).unwrap();
    scene.say(Event::Stdout(b"x"));
    let supervisor = scene.supervisor.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut fds = [PollFd::new(supervisor.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, timeout(None)).unwrap();
            assert_eq!(heard(&supervisor), Request::Signal(2).encode());
            socket::send(&supervisor, &Event::Exited(130).encode()).unwrap();
        });
        assert_eq!(scene.run(&signals).0, AttachEnd::Exited(130));
    });

    let scene = Scene::new(false, AttachOptions::default());
    raise(Signal::SIGINT).unwrap();
    assert_eq!(scene.run(&signals).0, AttachEnd::Detached);
}

#[test]
fn a_supervisor_that_is_gone_and_a_reader_that_is_gone_end_the_client() {
    let signals = Signals::hold().unwrap();
    let mut scene = Scene::new(false, options());
    scene.supervisor = OwnedFd::from(pipe().unwrap().0);
    assert_eq!(scene.run(&signals).0, AttachEnd::Lost);

    let mut scene = Scene::new(false, options());
    scene.say(Event::Stdout(b"x"));
    scene.stdout.0 = pipe().unwrap().0;
    let (end, ..) = scene.run(&signals);
    assert_eq!(end, AttachEnd::Detached);
}
