//! One client of a program, as its supervisor sees it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::packet::{Event, LONGEST, Request, VERSION};
use crate::{Output, socket};

/// What of the program's output may be on its way to a client, in bytes as setsockopt(2) counts them.
const SEND_BUFFER: usize = 128 << 10;

/// A client. Its output has no buffer but the socket's, and of its input there is one packet at most.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    /// What it is known by; no other client has the same.
    pub(crate) number: u64,
    /// Whether it has said what it wants.
    greeted: bool,
    gives_input: bool,
    wants_output: bool,
    /// How much it was too slow for, in bytes; more is left out until it has heard that.
    left_out: u64,
    /// Whether its last input has not been answered.
    waits: bool,
    /// Whether the answer is due, and there was no room for it.
    is_owed: bool,
}

/// What came of listening to a client.
#[derive(Debug)]
pub(crate) enum Said<'b> {
    /// Nothing that concerns others.
    Nothing,
    /// Something for the program.
    Request(Request<'b>),
    /// It has no more to say, and is to be let go of.
    Bye,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd, number: u64) -> Self {
        // A farewell has to fit into a full buffer. So only a part is used of what the machine allows, which is found
        // out by asking for more.
        let _ = setsockopt(&socket, sockopt::SndBuf, &(8 * SEND_BUFFER));
        let granted = getsockopt(&socket, sockopt::SndBuf).unwrap_or(SEND_BUFFER);
        // The kernel grants twice of what it is asked for.
        let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER.min(granted / 4));
        Self {
            socket,
            number,
            greeted: false,
            gives_input: false,
            wants_output: false,
            left_out: 0,
            waits: false,
            is_owed: false,
        }
    }

    pub(crate) fn gives_input(&self) -> bool {
        self.gives_input
    }

    /// What it waits for.
    pub(crate) fn wanted(&self) -> PollFd<'_> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, self.left_out > 0 || self.is_owed);
        PollFd::new(self.socket.as_fd(), events)
    }

    /// Takes one packet of it, if there is one.
    pub(crate) fn listen<'b>(
        &mut self,
        buffer: &'b mut [u8; LONGEST],
        has_terminal: bool,
    ) -> Said<'b> {
        let length = match socket::receive(&self.socket, buffer) {
            Err(Errno::EAGAIN) => return Said::Nothing,
            Err(_) | Ok(0) => return Said::Bye,
            Ok(length) => length,
        };
        // Longer ones are nothing that a client says.
        let Some(request) = buffer.get(..length).and_then(Request::decode) else {
            return Said::Bye;
        };
        match request {
            Request::Hello {
                version,
                stdin,
                output,
            } if !self.greeted => {
                if version != VERSION {
                    self.refuse();
                    return Said::Bye;
                }
                (self.gives_input, self.wants_output) = (stdin, output);
                self.greet(has_terminal);
                Said::Nothing
            }
            Request::Input(_) if self.gives_input && !self.waits => {
                self.waits = true;
                Said::Request(request)
            }
            Request::InputEnd if self.gives_input => {
                self.gives_input = false;
                Said::Request(request)
            }
            Request::Resize(_) | Request::Signal(_) if self.greeted => Said::Request(request),
            _ => Said::Bye,
        }
    }

    fn greet(&mut self, has_terminal: bool) {
        self.greeted = true;
        let _ = self.send(Event::Welcome {
            version: VERSION,
            has_terminal,
        });
    }

    /// Turns it away.
    pub(crate) fn refuse(&self) {
        let _ = self.send(Event::Refused);
    }

    /// Whether it wants to hear what the program writes.
    pub(crate) fn wants_output(&self) -> bool {
        self.greeted && self.wants_output
    }

    /// Tells it what the program has written: `packet`, with `count` bytes of output.
    pub(crate) fn hear(&mut self, packet: &[u8], count: usize) {
        // Once there is something left out, nothing may come before the news of it.
        if self.left_out > 0 || socket::send(&self.socket, packet) == Err(Errno::EAGAIN) {
            self.left_out = self.left_out.saturating_add(count as u64);
        }
    }

    /// Its input has been dealt with.
    pub(crate) fn took_input(&mut self) {
        self.is_owed = true;
        self.catch_up();
    }

    /// Tells it what there was no room for.
    pub(crate) fn catch_up(&mut self) {
        if self.is_owed && self.send(Event::Taken) {
            (self.is_owed, self.waits) = (false, false);
        }
        if self.left_out > 0 && self.send(Event::LeftOut(self.left_out)) {
            self.left_out = 0;
        }
    }

    /// Tells it how the program has ended, whether or not its buffer is full.
    pub(crate) fn farewell(mut self, code: u8, has_terminal: bool) {
        let _ = setsockopt(&self.socket, sockopt::SndBuf, &(8 * SEND_BUFFER));
        if !self.greeted {
            self.greet(has_terminal);
        }
        self.catch_up();
        let _ = self.send(Event::Exited(code));
    }

    /// False when there is no room. What cannot be sent for another reason is done with: the client is gone, as will be
    /// noticed when it is listened to.
    fn send(&self, event: Event<'_>) -> bool {
        socket::send(&self.socket, &event.encode()) != Err(Errno::EAGAIN)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A packet of what the program has written.
pub(crate) fn spoken(output: Output, bytes: &[u8]) -> Vec<u8> {
    match output {
        Output::Stdout => Event::Stdout(bytes).encode(),
        Output::Stderr => Event::Stderr(bytes).encode(),
    }
}
