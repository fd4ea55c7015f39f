//! Flows and streams between sockets of the loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
/// Less than the relay reads at once, so that it is full of what any socket holds.
const CHUNK: usize = 16 << 10;

/// The two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    here.set_read_timeout(Some(LIMIT)).unwrap();
    (here, listener.accept().unwrap().0)
}

/// A flow, and who sends and receives at its ends.
struct Wire {
    sender: TcpStream,
    from: TcpStream,
    flow: Flow,
    pipes: usize,
    to: TcpStream,
    receiver: TcpStream,
}

impl Wire {
    fn new() -> Self {
        let (sender, from) = pair();
        let (receiver, to) = pair();
        from.set_nonblocking(true).unwrap();
        to.set_nonblocking(true).unwrap();
        Self {
            sender,
            from,
            flow: Flow::default(),
            pipes: 1,
            to,
            receiver,
        }
    }

    /// One turn, when there is something to be read for it.
    fn turn(&mut self) {
        let mut fds = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(LIMIT).unwrap();
        assert_eq!(poll(&mut fds, limit), Ok(1), "nothing has come");
        let mut buffer = [0; CHUNK];
        let whole = (self.flow).turn(&self.from, &self.to, &mut buffer, &mut self.pipes);
        assert!(whole);
        assert_eq!(self.pipes, usize::from(self.flow.pipe.is_none()));
    }

    /// Sends, and turns when all of it is there to be read.
    fn pass(&mut self, count: usize) {
        self.sender.write_all(&vec![7; count]).unwrap();
        let begun = Instant::now();
        let mut seen = vec![0; count];
        while !matches!(self.from.peek(&mut seen), Ok(there) if there == count) {
            assert!(begun.elapsed() < LIMIT, "{count} bytes do not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.turn();
    }

    /// How many turns it takes until the receiver has so many bytes, all of which are the same.
    fn turns(&mut self, bytes: usize) -> u32 {
        let mut turns = 0;
        let mut all = Vec::new();
        let limit = PollTimeout::try_from(LIMIT).unwrap();
        while all.len() < bytes {
            let mut fds =
                [&self.receiver, &self.from].map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
            assert!(poll(&mut fds, limit).unwrap() > 0, "nothing comes");
            let [received, sent] = fds.map(|fd| fd.any().unwrap());
            if received {
                let mut some = [0; CHUNK];
                let count = self.receiver.read(&mut some).unwrap();
                assert!(count > 0, "it ended after {} of {bytes}", all.len());
                all.extend_from_slice(&some[..count]);
            } else if sent && !self.flow.ended {
                self.turn();
                turns += 1;
                assert!(turns < 100, "it turns without end at {}", all.len());
            }
        }
        assert_eq!(all, vec![7; bytes]);
        turns
    }
}

#[test]
fn a_flow_has_a_pipe_while_it_is_fast() {
    let mut wire = Wire::new();
    wire.pass(CHUNK - 1);
    assert!(wire.flow.pipe.is_none());
    wire.pass(2 * CHUNK);
    assert!(wire.flow.pipe.is_some());
    // As much again was left, which a pipe takes.
    wire.turn();
    assert!(wire.flow.pipe.is_some());
    wire.pass(CHUNK - 1);
    assert!(wire.flow.pipe.is_none());
    wire.pass(CHUNK);
    assert!(wire.flow.pipe.is_some());
    wire.pass(CHUNK);
    wire.sender.shutdown(Shutdown::Write).unwrap();
    wire.turn();
    assert!(wire.flow.closed);
    let mut all = Vec::new();
    wire.receiver.read_to_end(&mut all).unwrap();
    assert_eq!(all, vec![7; 6 * CHUNK - 2]);
}

#[test]
fn urgent_data_stops_no_pipe_and_loses_nothing_that_is_behind_it() {
    for ends in [false, true] {
        let mut wire = Wire::new();
        wire.pass(2 * CHUNK);
        assert!(wire.flow.pipe.is_some());
        let urgent = send(wire.sender.as_raw_fd(), b"!", MsgFlags::MSG_OOB);
        assert_eq!(urgent, Ok(1));
        wire.sender.write_all(&[7; 5000]).unwrap();
        if ends {
            wire.sender.shutdown(Shutdown::Write).unwrap();
        }
        let turns = wire.turns(2 * CHUNK + 5000);
        assert!(turns < 10, "{turns}");
        if ends {
            wire.turn();
            assert!(wire.flow.closed);
        }
    }
}

/// A connection through a stream whose pipe to the server is full, since that reads nothing.
fn stuffed() -> (TcpStream, Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut client, inside) = pair();
    let mut stream = Stream::begin(inside, listener.local_addr().ok()).unwrap();
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(LIMIT)).unwrap();
    client.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    while !stream.up.pipe.as_ref().is_some_and(Pipe::holds) {
        assert!(begun.elapsed() < LIMIT, "no pipe is filled");
        if let Err(error) = client.write(&[7; 1 << 20]) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        stream.turn(&mut [0; CHUNK], &mut 2);
    }
    client.set_nonblocking(false).unwrap();
    (client, stream, server)
}

/// Turns as often as something happens, until it is over.
fn finish(stream: &mut Stream) {
    let begun = Instant::now();
    while !stream.is_over() {
        assert!(begun.elapsed() < LIMIT, "it does not end");
        let ends = stream.wanted();
        let ends = ends.iter().filter(|(_, flags)| !flags.is_empty());
        let mut fds: Vec<_> = ends.map(|(end, f)| PollFd::new(end.as_fd(), *f)).collect();
        poll(&mut fds, PollTimeout::try_from(LIMIT).unwrap()).unwrap();
        stream.turn(&mut [0; CHUNK], &mut 2);
    }
}

fn was_reset(mut end: TcpStream) -> bool {
    let read = end.read_to_end(&mut Vec::new());
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn a_server_that_breaks_off_with_bytes_in_the_pipe_ends_both() {
    let (client, mut stream, server) = stuffed();
    reset(&server);
    drop(server);
    finish(&mut stream);
    drop(stream);
    assert!(was_reset(client));
}

#[test]
fn a_client_that_breaks_off_with_bytes_in_the_pipe_ends_both() {
    let (client, mut stream, server) = stuffed();
    reset(&client);
    drop(client);
    let server = std::thread::spawn(move || was_reset(server));
    finish(&mut stream);
    drop(stream);
    assert!(server.join().unwrap());
}
