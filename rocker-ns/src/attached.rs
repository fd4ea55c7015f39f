//! A client of a program that somebody else supervises.

use std::io::{self, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{read, write};

use crate::attach::ready;
use crate::packet::{Event, LONGEST, PAYLOAD, Request, VERSION};
use crate::pump::timeout;
use crate::signals::Echo;
use crate::{DetachKeys, Error, RawMode, Result, Signals, WindowSize, socket};

/// What a client of a program wants.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// To give the program this process's standard input.
    pub stdin: bool,
    /// To hear what the program writes.
    pub output: bool,
    /// To leave the program by these keys, if it has a terminal.
    pub keys: Option<DetachKeys>,
    /// To pass signals to this process on to the program. Without it those that ask a process to end make it leave the program.
    pub pass_signals: bool,
}

/// How a client has parted from a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachEnd {
    /// The program has ended, with this [exit code](crate::ExitCode).
    Exited(u8),
    /// The client has left the program, which goes on: by the keys, by a signal, or since nobody reads its output.
    Detached,
    /// The supervisor is gone without a word.
    Lost,
}

/// A client of a program that another process supervises, and for which that one [listens](crate::Attach). Dropping it leaves
/// the program.
///
/// ```no_run
/// use std::path::Path;
/// use rocker_ns::{AttachOptions, Attached, Signals};
///
/// let signals = Signals::hold()?;
/// let options = AttachOptions { output: true, ..AttachOptions::default() };
/// if let Some(attached) = Attached::connect(Path::new("/run/mine"), "attach.sock", options)? {
///     println!("{:?}", attached.run(&signals)?);
/// }
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaves the program"]
pub struct Attached {
    socket: OwnedFd,
    has_terminal: bool,
    options: AttachOptions,
    /// How the program has ended, if that came at once.
    ended: Option<AttachEnd>,
}

/// This process's own streams.
struct Streams<'s> {
    stdin: BorrowedFd<'s>,
    stdout: BorrowedFd<'s>,
    stderr: BorrowedFd<'s>,
}

/// What goes from standard input to the program.
struct Input {
    is_open: bool,
    /// Whether the supervisor is ready for more.
    is_taken: bool,
    /// Whether the keys were typed.
    is_left: bool,
    /// What is still to be sent.
    bytes: Vec<u8>,
}

impl Input {
    fn new(is_open: bool) -> Self {
        Self {
            is_open,
            is_taken: true,
            is_left: false,
            bytes: Vec::new(),
        }
    }

    fn is_wanted(&self) -> bool {
        self.is_open && self.is_taken && self.bytes.is_empty()
    }

    fn read(&mut self, stdin: BorrowedFd<'_>, keys: &mut Option<DetachKeys>) {
        let mut buffer = [0; PAYLOAD];
        match read(stdin, &mut buffer) {
            Ok(count @ 1..) => self.bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => return,
            // The end; for a terminal an error says that it is gone.
            Ok(_) | Err(_) => self.is_open = false,
        }
        if let Some(keys) = keys {
            self.is_left = keys.filter(&mut self.bytes);
            self.is_open &= !self.is_left;
        }
    }
}

impl Attached {
    /// Attaches to the program whose supervisor listens at `name` in the directory `dir`. None where nobody listens. It waits
    /// for the supervisor's answer, ten seconds at the most.
    ///
    /// # Errors
    /// [`Error::Call`] without permission, when the supervisor is of another user, or does not answer (`ETIMEDOUT`);
    /// [`Error::TurnedAway`] when it has too many clients or speaks another version.
    pub fn connect(dir: &Path, name: &str, options: AttachOptions) -> Result<Option<Self>> {
        let Some(socket) = socket::connect(dir, name)? else {
            return Ok(None);
        };
        let mut attached = Self {
            socket,
            has_terminal: false,
            options,
            ended: None,
        };
        attached.send(Request::Hello {
            version: VERSION,
            stdin: attached.options.stdin,
            output: attached.options.output,
        });
        let patience = Duration::from_secs(socket::PATIENCE.unsigned_abs());
        let deadline = Instant::now() + patience;
        let mut buffer = [0; LONGEST];
        loop {
            if let Some(event) = attached.receive(&mut buffer)? {
                return match event {
                    Some(Event::Welcome {
                        version: VERSION,
                        has_terminal,
                    }) => {
                        attached.has_terminal = has_terminal;
                        Ok(Some(attached))
                    }
                    None => Ok(None),
                    Some(_) => Err(Error::TurnedAway {
                        socket: dir.join(name),
                    }),
                };
            }
            if deadline <= Instant::now() {
                return Err(failed("recv")(Errno::ETIMEDOUT.into()));
            }
            attached.readable(Some(deadline))?;
        }
    }

    /// Whether the program has a terminal, so that there is one stream of output, and keys have a meaning.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// Relays between this process's own standard streams and the program's until it ends, the keys are typed, or the
    /// supervisor is gone.
    ///
    /// A standard input that is a terminal is in raw mode meanwhile, if it is given to a program that has a terminal. That one's
    /// size becomes the size of this process's own, and follows it. What the program writes while this process is
    /// too slow to take it is left out, and a line on standard error says how much.
    ///
    /// # Errors
    /// [`Error::Call`] when waiting fails.
    pub fn run(self, signals: &Signals) -> Result<AttachEnd> {
        let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
        let streams = Streams {
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
        };
        self.relay(signals, &streams)
    }

    /// Waits for the end of the program only; what it writes is not heard. With a timeout: None when it has passed.
    ///
    /// # Errors
    /// [`Error::Call`] when waiting fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<AttachEnd>> {
        // One that is further away than a clock can say is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut buffer = [0; LONGEST];
        loop {
            if self.ended.is_some() {
                return Ok(self.ended);
            }
            match self.receive(&mut buffer)? {
                Some(Some(Event::Exited(code))) => self.ended = Some(AttachEnd::Exited(code)),
                Some(None) => self.ended = Some(AttachEnd::Lost),
                Some(Some(_)) => {}
                None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Ok(None);
                }
                None => self.readable(deadline)?,
            }
        }
    }

    fn relay(mut self, signals: &Signals, streams: &Streams<'_>) -> Result<AttachEnd> {
        let is_typed_at = self.options.stdin && self.has_terminal;
        let _raw = is_typed_at.then(|| RawMode::enter(streams.stdin).ok());
        self.send_size(streams);
        let mut keys = self.options.keys.take().filter(|_| self.has_terminal);
        let mut input = Input::new(self.options.stdin);
        // What is to be written, and where to.
        let mut pending = Vec::new();
        let mut to = streams.stdout;
        let mut echo = Echo::default();
        loop {
            if input.is_taken && !input.bytes.is_empty() {
                let rest = input.bytes.split_off(input.bytes.len().min(PAYLOAD));
                self.send(Request::Input(&input.bytes));
                (input.bytes, input.is_taken) = (rest, false);
            }
            if input.is_left && input.bytes.is_empty() {
                return Ok(AttachEnd::Detached);
            }
            // Nothing is asked that cannot be dealt with: poll(2) reports what is closed whether or not it was asked for.
            let waits_to_write = !pending.is_empty();
            let output = match waits_to_write {
                true => PollFd::new(to, PollFlags::POLLOUT),
                false => PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            };
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), output];
            if input.is_wanted() {
                fds.push(PollFd::new(streams.stdin, PollFlags::POLLIN));
            }
            let ready = match poll(&mut fds, timeout(None)) {
                Ok(_) => ready(&fds),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed("poll")(errno.into())),
            };
            let is_ready = |index: usize| ready.get(index).is_some_and(|events| !events.is_empty());
            if is_ready(0) && self.pass_signals(signals, &mut echo, streams) {
                return Ok(AttachEnd::Detached);
            }
            if is_ready(1) && waits_to_write {
                match write(to, &pending) {
                    Ok(count) => drop(pending.drain(..count)),
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    Err(_) => return Ok(AttachEnd::Detached),
                }
            } else if is_ready(1) {
                let mut buffer = [0; LONGEST];
                match self.receive(&mut buffer)? {
                    Some(Some(Event::Exited(code))) => return Ok(AttachEnd::Exited(code)),
                    Some(None) => return Ok(AttachEnd::Lost),
                    Some(Some(Event::Taken)) => input.is_taken = true,
                    Some(Some(event)) => {
                        let (text, is_output) = text(event, self.has_terminal);
                        pending = text;
                        to = if is_output {
                            streams.stdout
                        } else {
                            streams.stderr
                        };
                    }
                    None => {}
                }
            }
            if is_ready(2) {
                input.read(streams.stdin, &mut keys);
                if !input.is_open && !input.is_left {
                    self.send(Request::InputEnd);
                }
            }
        }
    }

    /// Deals with the signals that have come in. True when one asks this process to end.
    fn pass_signals(&self, signals: &Signals, echo: &mut Echo, streams: &Streams<'_>) -> bool {
        while let Some(signal) = signals.next() {
            match signal.number {
                libc::SIGWINCH if self.has_terminal => self.send_size(streams),
                _ if echo.is(signal) => {}
                number if self.options.pass_signals => self.send(Request::Signal(number)),
                libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM => return true,
                _ => {}
            }
        }
        false
    }

    fn send_size(&self, streams: &Streams<'_>) {
        let size = WindowSize::of(streams.stdin).or_else(|| WindowSize::of(streams.stdout));
        if let Some(size) = size.filter(|_| self.has_terminal) {
            self.send(Request::Resize(size));
        }
    }

    /// Sends a packet. If the supervisor is gone, the next that is received says so.
    fn send(&self, request: Request<'_>) {
        let _ = socket::send_waiting(&self.socket, &request.encode());
    }

    /// What the supervisor says, if it has said something; none inside when it is gone.
    fn receive<'b>(&self, buffer: &'b mut [u8; LONGEST]) -> Result<Option<Option<Event<'b>>>> {
        match socket::receive(&self.socket, buffer) {
            Err(Errno::EAGAIN) => Ok(None),
            Ok(0) => Ok(Some(None)),
            Ok(length) => match buffer.get(..length).and_then(Event::decode) {
                Some(event) => Ok(Some(Some(event))),
                None => Err(failed("recv")(Errno::EPROTO.into())),
            },
            Err(errno) => Err(failed("recv")(errno.into())),
        }
    }

    /// Waits until the supervisor says something, or `deadline` has passed.
    fn readable(&self, deadline: Option<Instant>) -> Result<()> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(deadline)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(failed("poll")(errno.into())),
        }
    }
}

impl AsFd for Attached {
    /// It can be read when [`wait`](Attached::wait) may have something to return.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What an event is for a person, and whether it belongs to standard output.
fn text(event: Event<'_>, has_terminal: bool) -> (Vec<u8>, bool) {
    match event {
        Event::Stdout(bytes) => (bytes.to_vec(), true),
        Event::Stderr(bytes) => (bytes.to_vec(), false),
        Event::LeftOut(count) => {
            // In raw mode a line does not begin at the left by itself.
            let (before, after) = if has_terminal {
                ("\r\n", "\r\n")
            } else {
                ("", "\n")
            };
            let line = format!(
                "{before}rocker: {count} bytes left out, since this reader was too slow; a log has them, if one is kept{after}"
            );
            (line.into_bytes(), false)
        }
        _ => (Vec::new(), true),
    }
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Call {
        call: call.to_owned(),
        why: "so that the program can be heard",
        source,
    }
}

#[cfg(test)]
mod tests;
