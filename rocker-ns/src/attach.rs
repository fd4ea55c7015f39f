//! Where others attach to a program that somebody else supervises.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::write;

use crate::client::{Client, Said, spoken};
use crate::packet::{LONGEST, PAYLOAD, Request};
use crate::pump::timeout;
use crate::{Error, Output, Result, Signals, WindowSize, socket, sys};

/// How many clients there may be.
const CLIENTS: usize = 32;

/// How long nobody is let in after the process or the machine has run out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Where others attach to a program: a socket of packets (`SOCK_SEQPACKET`, see
/// [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)) with a name in a directory.
///
/// [`Relay::attach`](crate::Relay::attach) serves it, and [`Attached`](crate::Attached) is the other end. Each client hears what the program
/// writes from then on. One that is too slow misses some of it, and is told how much; it holds up neither the program nor
/// others, and nothing grows. Only processes of the same user and of root are let in, 32 at the most.
///
/// The socket's name stays when this is dropped: a connection to it is refused then, and the next who listens replaces it.
#[derive(Debug)]
pub struct Attach {
    listener: OwnedFd,
    clients: Vec<Client>,
    /// What the clients have for the program, in order. A client has one packet of bytes in it at most.
    inputs: VecDeque<Input>,
    /// How many clients there have been.
    number: u64,
    has_terminal: bool,
    stdin_once: bool,
    /// Until when nobody is let in.
    paused: Option<Instant>,
}

#[derive(Debug)]
enum Input {
    Bytes { client: u64, bytes: Vec<u8> },
    End { client: u64 },
}

impl Input {
    fn client(&self) -> u64 {
        match self {
            Self::Bytes { client, .. } | Self::End { client } => *client,
        }
    }
}

/// What clients want of the program besides giving it input.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// The size of the terminal, as the last client has it.
    pub(crate) size: Option<WindowSize>,
    pub(crate) signals: Vec<i32>,
    /// Whether the program's input is to be closed.
    pub(crate) end_of_input: bool,
}

impl Attach {
    /// Listens at `name` in the directory `dir`, whose path may be of any length. The socket has mode 0600 less the umask; an
    /// old one of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Call`] when there is no such directory, or it cannot be written to.
    #[doc(alias = "SOCK_SEQPACKET")]
    pub fn listen(dir: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            listener: socket::listen(dir, name)?,
            clients: Vec::new(),
            inputs: VecDeque::new(),
            number: 0,
            has_terminal: false,
            stdin_once: false,
            paused: None,
        })
    }

    /// Whether the program's standard input is closed when the first client that gives it input has no more of it, be it
    /// that it is gone. Without that it stays open for the next. A terminal is never closed.
    pub fn stdin_once(&mut self, yes: bool) {
        self.stdin_once = yes;
    }

    /// Tells all clients how the program ended, those too that are too slow for its output, and lets go of them. The
    /// listener stays: the program may be started again.
    pub fn farewell(&mut self, code: u8) {
        self.let_in();
        for client in self.clients.drain(..) {
            client.farewell(code, self.has_terminal);
        }
        self.inputs.clear();
    }

    /// Looks after clients while no program runs: lets them in, and drops what they have for it. Returns at `until`, if
    /// that is given, or when a signal is held back.
    ///
    /// # Errors
    /// [`Error::Call`] when waiting fails.
    pub fn idle(&mut self, signals: &Signals, until: Option<Instant>) -> Result<()> {
        loop {
            let deadline = [until, self.deadline()].into_iter().flatten().min();
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.wanted(None));
            let ready = match poll(&mut fds, timeout(deadline)) {
                Ok(_) => ready(&fds),
                Err(Errno::EINTR) => Vec::new(),
                Err(errno) => {
                    return Err(Error::Call {
                        call: "poll".to_owned(),
                        why: "so that those who attach are let in",
                        source: errno.into(),
                    });
                }
            };
            drop(fds);
            let (own, rest) = ready.split_at(ready.len().min(1));
            self.turn(rest, None);
            if own.iter().any(|events| !events.is_empty())
                || until.is_some_and(|until| until <= Instant::now())
            {
                return Ok(());
            }
        }
    }

    /// A program begins to be relayed: those who wait hear it from its first byte.
    pub(crate) fn begin(&mut self, has_terminal: bool) {
        self.has_terminal = has_terminal;
        self.let_in();
    }

    /// When to look again without being woken.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.paused
    }

    /// What it waits for, where the program's input is `stdin`.
    pub(crate) fn wanted<'p>(
        &'p self,
        stdin: Option<BorrowedFd<'p>>,
    ) -> impl Iterator<Item = PollFd<'p>> {
        let listener = match self.paused {
            None => PollFlags::POLLIN,
            Some(_) => PollFlags::empty(),
        };
        let stdin = stdin.filter(|_| !self.inputs.is_empty());
        std::iter::once(PollFd::new(self.listener.as_fd(), listener))
            .chain(self.clients.iter().map(Client::wanted))
            .chain(stdin.map(|stdin| PollFd::new(stdin, PollFlags::POLLOUT)))
    }

    /// Does what can be done without waiting, where `ready` belongs to what was [wanted](Self::wanted).
    pub(crate) fn turn(&mut self, ready: &[PollFlags], stdin: Option<BorrowedFd<'_>>) -> Wishes {
        let mut wishes = Wishes::default();
        let (listener, clients) = ready.split_at(ready.len().min(1));
        let mut index = 0;
        for events in clients.iter().take(self.clients.len()) {
            if events.contains(PollFlags::POLLOUT) {
                self.clients[index].catch_up();
            }
            let is_to_be_heard = !events.difference(PollFlags::POLLOUT).is_empty();
            if is_to_be_heard && !self.hear_out(index, &mut wishes) {
                self.let_go(index);
            } else {
                index += 1;
            }
        }
        wishes.end_of_input = self.give_input(stdin);
        let pause_is_over = self.paused.is_some_and(|until| until <= Instant::now());
        if pause_is_over || listener.first().is_some_and(|events| !events.is_empty()) {
            self.let_in();
        }
        wishes
    }

    /// Tells the clients what the program has written.
    pub(crate) fn heard(&mut self, output: Output, bytes: &[u8]) {
        for bytes in bytes.chunks(PAYLOAD) {
            let mut packet = None;
            for client in self.clients.iter_mut().filter(|it| it.wants_output()) {
                let packet = packet.get_or_insert_with(|| spoken(output, bytes));
                client.hear(packet, bytes.len());
            }
        }
    }

    /// Takes a packet of a client; false when it is to be let go of.
    fn hear_out(&mut self, index: usize, wishes: &mut Wishes) -> bool {
        let client = &mut self.clients[index];
        let number = client.number;
        let mut buffer = [0; LONGEST];
        match client.listen(&mut buffer, self.has_terminal) {
            Said::Nothing => {}
            Said::Bye => return false,
            Said::Request(Request::Input(bytes)) => self.inputs.push_back(Input::Bytes {
                client: number,
                bytes: bytes.to_vec(),
            }),
            Said::Request(Request::InputEnd) => {
                self.inputs.push_back(Input::End { client: number });
            }
            Said::Request(Request::Resize(size)) => wishes.size = Some(size),
            Said::Request(Request::Signal(signal)) => wishes.signals.push(signal),
            Said::Request(Request::Hello { .. }) => {}
        }
        true
    }

    /// Lets go of a client. The input that it has given is still the program's.
    fn let_go(&mut self, index: usize) {
        let client = self.clients.remove(index);
        if client.gives_input() {
            let client = client.number;
            self.inputs.push_back(Input::End { client });
        }
    }

    /// Gives the program what the clients have for it, as far as it takes it. True when its input is to be closed.
    fn give_input(&mut self, stdin: Option<BorrowedFd<'_>>) -> bool {
        let mut is_over = false;
        while let Some(input) = self.inputs.front_mut() {
            if let (Input::Bytes { bytes, .. }, Some(stdin), false) = (&mut *input, stdin, is_over)
            {
                match write(stdin, bytes) {
                    Err(Errno::EINTR) => continue,
                    Ok(0) | Err(Errno::EAGAIN) => return false,
                    Ok(count) if count < bytes.len() => {
                        bytes.drain(..count);
                        continue;
                    }
                    Ok(_) => {}
                    // The program reads no more; nor will it what the others have.
                    Err(_) => is_over = true,
                }
            }
            is_over |= matches!(input, Input::End { .. }) && self.stdin_once;
            if let Some(Input::Bytes { client, .. }) = self.inputs.pop_front() {
                let client = self.clients.iter_mut().find(|it| it.number == client);
                client.into_iter().for_each(Client::took_input);
            }
        }
        is_over
    }

    /// Lets in who waits for it.
    fn let_in(&mut self) {
        self.paused = None;
        // Bounded, so that who knocks without pause holds up nothing.
        for _ in 0..CLIENTS {
            let socket = match sys::accept(self.listener.as_fd()) {
                Ok(socket) => socket,
                Err(error) => {
                    // Without a descriptor for it the client would wake this process again and again.
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
                    ) {
                        self.paused = Some(Instant::now() + PAUSE);
                    }
                    return;
                }
            };
            if !socket::is_trusted(&socket) {
                continue;
            }
            self.number += 1;
            let client = Client::new(socket, self.number);
            if self.clients.len() + self.orphans() >= CLIENTS {
                client.refuse();
                continue;
            }
            self.clients.push(client);
            // Most have said already what they want, and then miss nothing.
            let (index, mut wishes) = (self.clients.len() - 1, Wishes::default());
            if !self.hear_out(index, &mut wishes) {
                self.let_go(index);
            }
        }
    }

    /// How much input there is of clients that are gone. It takes their places, or it could grow without end.
    fn orphans(&self) -> usize {
        let is_here = |number| self.clients.iter().any(|client| client.number == number);
        let inputs = self.inputs.iter();
        inputs.filter(|input| !is_here(input.client())).count()
    }
}

impl AsFd for Attach {
    /// It can be read when somebody wants to be let in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// What has happened to each descriptor.
pub(crate) fn ready(fds: &[PollFd<'_>]) -> Vec<PollFlags> {
    let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::all());
    fds.iter().map(events).collect()
}
