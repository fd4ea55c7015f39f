//! Standing between a person and a program: signals, the terminal, and the exit status.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{read, write};

use crate::{Child, Error, RawMode, Result, Terminal, WindowSize};

/// The signals that concern the program rather than the one who relays.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Signals to this process, held back until they can be passed on to a program.
///
/// They are blocked in the calling thread for as long as this lives. In a program with several threads the others must
/// block them too, or they are delivered there.
#[derive(Debug)]
#[must_use = "dropping it lets signals through again"]
pub struct Signals {
    incoming: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Holds back the signals that a container's program is to get: hangup, interrupt, quit, terminate, continue, user
    /// signals, alarm, and changes of the window size.
    ///
    /// # Errors
    /// [`Error::Call`] when no more files can be opened.
    pub fn hold() -> Result<Self> {
        let failed = |call: &'static str| {
            move |errno: Errno| Error::Call {
                call: call.to_owned(),
                why: "so that signals can be passed on to the program",
                source: errno.into(),
            }
        };
        let set: SigSet = FORWARDED.into_iter().collect();
        let before = set
            .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
            .map_err(failed("rt_sigprocmask"))?;
        let incoming = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self {
            incoming: incoming.map_err(failed("signalfd4"))?,
            before,
        })
    }

    /// The next signal that came in, by number.
    fn next(&self) -> Option<i32> {
        let info = self.incoming.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Err(error) = self.before.thread_set_mask() {
            tracing::warn!(%error, "the signal mask could not be restored");
        }
    }
}

/// Passes signals, and where there is a terminal its bytes and size, to a program until it ends.
///
/// ```no_run
/// use rocker_ns::{Command, Relay, Signals};
///
/// let signals = Signals::hold()?;
/// let mut child = Command::new("/bin/sh").spawn()?;
/// let status = Relay::new(&mut child, &signals).run()?;
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Debug)]
pub struct Relay<'a> {
    child: &'a mut Child,
    signals: &'a Signals,
    screen: Option<Screen<'a>>,
}

/// A program's terminal and the streams of the person in front of it.
#[derive(Debug)]
struct Screen<'a> {
    terminal: &'a Terminal,
    input: Option<BorrowedFd<'a>>,
    output: BorrowedFd<'a>,
    /// What was typed and the program has not taken yet.
    typed: Vec<u8>,
}

impl<'a> Relay<'a> {
    /// Relays signals to `child`.
    pub fn new(child: &'a mut Child, signals: &'a Signals) -> Self {
        Self {
            child,
            signals,
            screen: None,
        }
    }

    /// Relays the program's terminal as well: from `input`, if given, and to `output`. An input that is a terminal is in
    /// raw mode for as long as the program runs, and passes its size on.
    #[must_use]
    pub fn terminal(
        mut self,
        terminal: &'a Terminal,
        input: Option<BorrowedFd<'a>>,
        output: BorrowedFd<'a>,
    ) -> Self {
        self.screen = Some(Screen {
            terminal,
            input,
            output,
            typed: Vec::new(),
        });
        self
    }

    /// Relays until the program ends, and returns how.
    ///
    /// # Errors
    /// [`Error::Call`] when waiting fails.
    pub fn run(mut self) -> Result<ExitStatus> {
        let failed = |call: &'static str| {
            move |source: io::Error| Error::Call {
                call: call.to_owned(),
                why: "so that the program can be heard",
                source,
            }
        };
        let mut raw = None;
        if let Some(screen) = &self.screen {
            screen
                .terminal
                .set_nonblocking()
                .map_err(failed("fcntl(F_SETFL)"))?;
            screen.pass_size();
            raw = screen.input.and_then(|input| RawMode::enter(input).ok());
        }
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            self.turn().map_err(failed("poll"))?;
        };
        if let Some(screen) = &mut self.screen {
            // What the program wrote last; the kernel keeps only some pages of it.
            screen.show(64);
        }
        drop(raw);
        Ok(status)
    }

    /// Waits until something happens, and handles it.
    fn turn(&mut self) -> io::Result<()> {
        let mut fds = vec![
            PollFd::new(self.child.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.incoming.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(screen) = &self.screen {
            let wanted = if screen.typed.is_empty() {
                PollFlags::POLLIN
            } else {
                PollFlags::POLLIN | PollFlags::POLLOUT
            };
            fds.push(PollFd::new(screen.terminal.as_fd(), wanted));
            // What the program does not take is not read either, so that nothing grows.
            if let Some(input) = screen.input.filter(|_| screen.typed.is_empty()) {
                fds.push(PollFd::new(input, PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(()),
            other => other?,
        };
        let happened: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        while let Some(signal) = self.signals.next() {
            match &self.screen {
                Some(screen) if signal == libc::SIGWINCH => screen.pass_size(),
                _ => self
                    .child
                    .process()
                    .signal(signal)
                    .map_err(io::Error::other)?,
            }
        }
        let mut closed = false;
        if let Some(screen) = &mut self.screen {
            if happened.get(2) == Some(&true) {
                closed = screen.show(4);
                screen.hand_over();
            }
            if happened.get(3) == Some(&true) {
                screen.take();
                screen.hand_over();
            }
        }
        if closed {
            // It polls as ready for as long as no process has the terminal open: leave the processor to the others.
            let mut fds = [PollFd::new(self.child.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(50_u8));
        }
        Ok(())
    }
}

impl Screen<'_> {
    fn pass_size(&self) {
        if let Some(size) = self
            .input
            .and_then(WindowSize::of)
            .or_else(|| WindowSize::of(self.output))
        {
            let _ = self.terminal.resize(size);
        }
    }

    /// Shows what the program wrote, `chunks` times at most, so that a talkative one keeps nobody from typing. Returns
    /// whether no process has the terminal open any more.
    fn show(&mut self, chunks: usize) -> bool {
        let mut buffer = [0; 8192];
        for _ in 0..chunks {
            let count = match read(self.terminal.as_fd(), &mut buffer) {
                Ok(count @ 1..) => count,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return false,
                Ok(_) | Err(_) => return true,
            };
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                match write(self.output, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => {
                        let mut fds = [PollFd::new(self.output, PollFlags::POLLOUT)];
                        let _ = poll(&mut fds, PollTimeout::NONE);
                    }
                    // Nobody looks any more; the program may go on.
                    Err(_) => break,
                }
            }
        }
        false
    }

    /// Takes what was typed.
    fn take(&mut self) {
        let Some(input) = self.input else { return };
        let mut buffer = [0; 4096];
        match read(input, &mut buffer) {
            Ok(0) => self.input = None,
            Ok(count) => self.typed.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.input = None,
        }
    }

    /// Hands over what was typed, as much as the program takes.
    fn hand_over(&mut self) {
        while !self.typed.is_empty() {
            match write(self.terminal.as_fd(), &self.typed) {
                Ok(written) => drop(self.typed.drain(..written)),
                Err(_) => return,
            }
        }
    }
}
