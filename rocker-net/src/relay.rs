//! Passing on, by sockets, what no rule of the packet filter leads to a container.
//!
//! One thread serves all ports of a container, by one poll(2). Nothing in it waits for anybody: what is slow to be taken is
//! not read either. What comes slowly is copied, and what comes fast goes by a pipe, in larger pieces.

mod internal;
mod pipe;
mod tcp;
mod udp;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use crate::listening::{Listening, Socket};
use internal::Internal;
use pipe::PIPES;
use tcp::Stream;
use udp::Sessions;

/// How many connections are passed on at once; others wait in the kernel's queue.
const STREAMS: usize = 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// After which time it is tried again to take a connection that could not be: descriptors were short, say.
const PAUSE: Duration = Duration::from_millis(100);

/// How long an answer of [`Addresses`] holds for datagrams, of which each would ask anew.
const FRESH: Duration = Duration::from_millis(100);

/// Says which addresses the container has now.
pub(crate) type Addresses = Box<dyn Fn() -> Vec<IpAddr> + Send + Sync>;

/// Where to.
#[derive(Default)]
pub(crate) struct Target {
    addresses: Mutex<Option<Addresses>>,
    /// Those who are refused.
    internal: Mutex<Option<Internal>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

impl Target {
    /// Who says it from now on.
    pub(crate) fn set(&self, addresses: Addresses) {
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(addresses);
    }

    /// Refuses those from now on who are on internal networks of this state directory.
    pub(crate) fn refuse_internal(&self, state_dir: PathBuf) {
        *self.internal.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Internal::of(state_dir));
    }

    /// Whether nothing is passed on for `peer`.
    fn refuses(&self, peer: SocketAddr) -> bool {
        let mut internal = self.internal.lock().unwrap_or_else(PoisonError::into_inner);
        internal.as_mut().is_some_and(|internal| internal.has(peer))
    }

    /// The first of the container's addresses, that of IPv4 if there is one: it is what servers listen on most.
    fn now(&self) -> Option<IpAddr> {
        let source = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let addresses = source.as_ref()?();
        let four = addresses.iter().find(|address| address.is_ipv4());
        four.or(addresses.first()).copied()
    }
}

/// The thread that passes on; it ends with this value.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Closed to end the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(listening: Vec<Listening>, target: Arc<Target>) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let mut desk = Desk {
            listening,
            target,
            stopped,
            streams: Vec::new(),
            sessions: Sessions::default(),
            buffer: vec![0; CHUNK],
            paused: None,
            known: None,
        };
        let thread = thread::Builder::new()
            .name("rocker-ports".to_owned())
            // It has its buffers elsewhere.
            .stack_size(256 << 10)
            .spawn(move || {
                spare_from_sigpipe();
                desk.run();
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// Has this thread told by an error alone that nobody reads any more: splice(2) has no `MSG_NOSIGNAL`, and not every program ignores the signal.
/// See [pthread_sigmask(3)](https://man7.org/linux/man-pages/man3/pthread_sigmask.3.html).
fn spare_from_sigpipe() {
    if let Err(error) = SigSet::from(Signal::SIGPIPE).thread_block() {
        tracing::warn!(%error, "SIGPIPE is not blocked in the thread that passes on published ports");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread that passes on published ports has panicked");
        }
    }
}

/// What the thread looks after.
struct Desk {
    listening: Vec<Listening>,
    target: Arc<Target>,
    stopped: UnixStream,
    streams: Vec<Stream>,
    sessions: Sessions,
    buffer: Vec<u8>,
    /// Until when no connections are taken.
    paused: Option<Instant>,
    /// Where datagrams go, and since when that is known.
    known: Option<(Instant, Option<IpAddr>)>,
}

impl Desk {
    fn run(&mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::warn!(%error, "published ports are passed on no more");
                    return;
                }
            };
            let mut ready = ready.into_iter();
            let mut next = || ready.next().unwrap_or(PollFlags::empty());
            if !next().is_empty() {
                return;
            }
            let taken: usize = self.streams.iter().map(Stream::pipes).sum();
            let mut pipes = PIPES.saturating_sub(taken);
            let arrived: Vec<bool> = self.listening.iter().map(|_| !next().is_empty()).collect();
            for stream in &mut self.streams {
                let ends = stream.wanted().map(|(_, flags)| !flags.is_empty());
                let happened = ends.map(|waited| waited && !next().is_empty());
                if happened.contains(&true) {
                    stream.turn(&mut self.buffer, &mut pipes);
                }
            }
            self.streams.retain(|stream| !stream.is_over());
            self.sessions
                .turn(&mut next, &self.listening, &mut self.buffer);
            for (number, _) in arrived.iter().enumerate().filter(|(_, arrived)| **arrived) {
                self.take(number);
            }
        }
    }

    /// Waits until there is something to do, and says of each descriptor what has happened to it.
    fn wait(&mut self) -> Result<Vec<PollFlags>, Errno> {
        let now = Instant::now();
        self.sessions.expire(now);
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        let full = self.streams.len() >= STREAMS || self.paused.is_some();
        let mut fds = vec![PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
        for port in &self.listening {
            let wanted = match &port.socket {
                Socket::Tcp(_) if full => PollFlags::empty(),
                _ => PollFlags::POLLIN,
            };
            fds.push(PollFd::new(port.socket.as_fd(), wanted));
        }
        let ends = self.streams.iter().flat_map(Stream::wanted);
        let ends = ends.filter(|(_, flags)| !flags.is_empty());
        fds.extend(ends.map(|(end, flags)| PollFd::new(end.as_fd(), flags)));
        fds.extend(self.sessions.wanted());
        let timeout = match (self.paused, self.sessions.are_none()) {
            (Some(_), _) => PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::NONE),
            (None, false) => PollTimeout::try_from(udp::IDLE).unwrap_or(PollTimeout::NONE),
            (None, true) => PollTimeout::NONE,
        };
        poll(&mut fds, timeout)?;
        let happened = fds.iter().map(|fd| fd.revents());
        Ok(happened
            .map(|flags| flags.unwrap_or(PollFlags::empty()))
            .collect())
    }

    /// Takes what has come to a port.
    fn take(&mut self, number: usize) {
        let Some(port) = self.listening.get(number) else {
            return;
        };
        let at = |address| SocketAddr::new(address, port.container_port);
        match &port.socket {
            Socket::Tcp(listener) => {
                // One at a time: whoever else has come is taken in the next turn.
                match listener.accept() {
                    Ok((client, peer)) => {
                        let target = self.target.now().filter(|_| !self.target.refuses(peer));
                        let target = target.map(at);
                        self.streams.extend(Stream::begin(client, target));
                    }
                    Err(error) if is_short(&error) => self.paused = Some(Instant::now() + PAUSE),
                    // The client has thought better of it.
                    Err(_) => {}
                }
            }
            Socket::Udp(socket) => {
                let known = self.known.filter(|(since, _)| since.elapsed() < FRESH);
                let known = known.unwrap_or_else(|| (Instant::now(), self.target.now()));
                self.known = Some(known);
                let target = known.1.map(at);
                let refuses = |peer| self.target.refuses(peer);
                self.sessions
                    .take(number, socket, target, refuses, &mut self.buffer);
            }
        }
    }
}

/// Whether an error says that something is short, and may not be later.
fn is_short(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// What came of reading or writing without waiting.
enum Moved {
    /// So many bytes; 0 is the end of a file that is read.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// The connection is broken.
    Broken,
}

fn moved(result: io::Result<usize>) -> Moved {
    match result {
        Ok(count) => Moved::Bytes(count),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Moved::Nothing
        }
        Err(_) => Moved::Broken,
    }
}

fn read(mut from: impl Read, buffer: &mut [u8]) -> Moved {
    moved(from.read(buffer))
}

fn write(mut to: impl Write, bytes: &[u8]) -> Moved {
    moved(to.write(bytes))
}
