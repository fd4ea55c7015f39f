//! One connection: two sockets, and what is on its way between them.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::linger;
use nix::poll::PollFlags;
use nix::sys::socket::sockopt::{Linger, SocketError};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, setsockopt, socket,
};

use super::pipe::Pipe;
use super::{Moved, read, write};

/// A connection from a client to the container.
pub(super) struct Stream {
    client: TcpStream,
    server: TcpStream,
    /// Whether the container has yet to answer.
    connecting: bool,
    up: Flow,
    down: Flow,
    over: bool,
}

/// One direction of it.
#[derive(Default)]
struct Flow {
    /// What was read, and could not be written yet.
    rest: Vec<u8>,
    /// By which it goes in place of that, while it is fast.
    pipe: Option<Pipe>,
    /// Whether there is nothing more to be read.
    ended: bool,
    /// Whether that was passed on.
    closed: bool,
}

impl Flow {
    /// Moves what can be moved; false when the connection is broken. So many more `pipes` there may be.
    fn turn(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        buffer: &mut [u8],
        pipes: &mut usize,
    ) -> bool {
        let whole = match self.pipe.take() {
            Some(pipe) => self.splice(pipe, from, to, buffer, pipes),
            None => self.copy(from, to, buffer, pipes),
        };
        if self.ended && !self.holds() && !self.closed {
            self.closed = true;
            return whole && to.shutdown(Shutdown::Write).is_ok();
        }
        whole
    }

    /// Moves by a pipe, which is kept for as long as more comes at once than could be copied.
    fn splice(
        &mut self,
        mut pipe: Pipe,
        from: &TcpStream,
        to: &TcpStream,
        buffer: &mut [u8],
        pipes: &mut usize,
    ) -> bool {
        if matches!(pipe.fill(from), Moved::Broken) {
            return false;
        }
        if !pipe.holds() {
            // splice(2) finds nothing, or the end, where urgent data is in the way; read(2) goes past it, and knows what the end is.
            *pipes += 1;
            return self.copy(from, to, buffer, pipes);
        }
        match pipe.drain(to) {
            Moved::Broken => return false,
            Moved::Bytes(count) if !pipe.holds() && count < buffer.len() => *pipes += 1,
            Moved::Bytes(_) | Moved::Nothing => self.pipe = Some(pipe),
        }
        true
    }

    fn copy(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        buffer: &mut [u8],
        pipes: &mut usize,
    ) -> bool {
        if !self.rest.is_empty() {
            match write(to, &self.rest) {
                Moved::Bytes(count) => drop(self.rest.drain(..count)),
                Moved::Nothing => {}
                Moved::Broken => return false,
            }
        }
        if self.rest.is_empty() && !self.ended {
            match read(from, buffer) {
                Moved::Bytes(0) => self.ended = true,
                Moved::Bytes(count) => {
                    let written = match write(to, &buffer[..count]) {
                        Moved::Bytes(written) => written,
                        Moved::Nothing => 0,
                        Moved::Broken => return false,
                    };
                    self.rest.extend_from_slice(&buffer[written..count]);
                    // As much as there was room for: it comes fast. Where there can be no pipe, it is copied as before.
                    if count == buffer.len() && self.rest.is_empty() && *pipes > 0 {
                        self.pipe = Pipe::new().ok();
                        *pipes -= usize::from(self.pipe.is_some());
                    }
                }
                Moved::Nothing => {}
                Moved::Broken => return false,
            }
        }
        true
    }

    /// Whether something was read that is not written yet.
    fn holds(&self) -> bool {
        !self.rest.is_empty() || self.pipe.as_ref().is_some_and(Pipe::holds)
    }

    /// Whether something may come to be read.
    fn reads(&self) -> bool {
        !self.ended && !self.holds()
    }
}

impl Stream {
    /// Begins to connect a client with the container; None, and the client is told that nobody is there, where that is so.
    pub(super) fn begin(client: TcpStream, target: Option<SocketAddr>) -> Option<Self> {
        let ready = client.set_nonblocking(true);
        match (ready, target.map(dial)) {
            (Ok(()), Some(Ok(server))) => {
                for end in [&client, &server] {
                    // The two ends write as they like; to hold back small pieces once more would only be late.
                    let _ = end.set_nodelay(true);
                }
                Some(Self {
                    client,
                    server,
                    connecting: true,
                    up: Flow::default(),
                    down: Flow::default(),
                    over: false,
                })
            }
            _ => {
                reset(&client);
                None
            }
        }
    }

    /// How many pipes it has.
    pub(super) fn pipes(&self) -> usize {
        [&self.up, &self.down]
            .map(|flow| usize::from(flow.pipe.is_some()))
            .iter()
            .sum()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What is to be waited for, of the client and of the server; an end of which it is nothing is not to be looked at, since one that is
    /// gone would be reported again and again.
    pub(super) fn wanted(&self) -> [(&TcpStream, PollFlags); 2] {
        let wanted = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, reads);
            flags.set(PollFlags::POLLOUT, writes);
            flags
        };
        let (client, server) = match self.connecting {
            true => (PollFlags::empty(), PollFlags::POLLOUT),
            false => (
                wanted(self.up.reads(), self.down.holds()),
                wanted(self.down.reads(), self.up.holds()),
            ),
        };
        [(&self.client, client), (&self.server, server)]
    }

    /// Does what can be done after something has happened to its sockets.
    pub(super) fn turn(&mut self, buffer: &mut [u8], pipes: &mut usize) {
        if self.connecting {
            let connected = matches!(getsockopt(&self.server, SocketError), Ok(0));
            if !connected {
                return self.break_off();
            }
            self.connecting = false;
        }
        let whole = self.up.turn(&self.client, &self.server, buffer, pipes)
            && self.down.turn(&self.server, &self.client, buffer, pipes);
        if !whole {
            return self.break_off();
        }
        self.over = self.up.closed && self.down.closed;
    }

    /// Ends it as one that was broken off, at both ends.
    fn break_off(&mut self) {
        reset(&self.client);
        reset(&self.server);
        self.over = true;
    }
}

/// Has the other end told, when this one is closed, that it was broken off.
fn reset(stream: &TcpStream) {
    let at_once = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = setsockopt(stream, Linger, &at_once);
}

/// A socket that is about to be connected.
fn dial(to: SocketAddr) -> Result<TcpStream, Errno> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
