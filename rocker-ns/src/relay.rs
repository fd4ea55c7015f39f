//! Standing between a person and a program: signals, the terminal, and the exit status.

use std::io::{self, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::pump::Pump;
use crate::trace::traced;
use crate::{Child, DetachKeys, Error, RawMode, Result, Terminal, WindowSize, sys};

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
            move |source| Error::Call {
                call: call.to_owned(),
                why: "so that signals can be passed on to the program",
                source,
            }
        };
        // With SIGCHLD ignored, as some parents leave it, nobody would learn how the program ended.
        sys::default_disposition(libc::SIGCHLD);
        let set: SigSet = FORWARDED.into_iter().collect();
        let why = "so that signals which are meant for the program do not end this process";
        let args = || "SIG_BLOCK, [HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH]".to_owned();
        let before = traced("rt_sigprocmask", why, args, || {
            Ok(set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?)
        });
        let before = before.map_err(failed("rt_sigprocmask"))?;
        let why = "so that they can be waited for, and passed on to the program";
        let args = || {
            "-1, [HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH], SFD_CLOEXEC|SFD_NONBLOCK".to_owned()
        };
        let incoming = traced("signalfd4", why, args, || {
            Ok(SignalFd::with_flags(
                &set,
                SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
            )?)
        });
        let incoming = incoming.inspect_err(|_| {
            let _ = before.thread_set_mask();
        });
        Ok(Self {
            incoming: incoming.map_err(failed("signalfd4"))?,
            before,
        })
    }

    /// The next signal that came in.
    pub(crate) fn next(&self) -> Option<Incoming> {
        let info = self.incoming.read_signal().ok().flatten()?;
        Some(Incoming {
            number: i32::try_from(info.ssi_signo).ok()?,
            sender: info.ssi_pid,
            is_from_a_process: info.ssi_code <= 0,
            is_passed_on: info.ssi_code == libc::SI_QUEUE,
        })
    }
}

/// A signal that was held back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) number: i32,
    /// The process that sent it.
    pub(crate) sender: u32,
    /// Whether one did, and not the kernel, as for a key on the terminal; see `si_code` in sigaction(2).
    pub(crate) is_from_a_process: bool,
    /// Whether it comes by way of a process that [stands in](crate::stand_in) for this one.
    is_passed_on: bool,
}

impl AsFd for Signals {
    /// It can be read when a signal is held back.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.incoming.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What came in too late was meant for the program, and is not to end this process in its place.
        while self.next().is_some() {}
        if let Err(error) = self.before.thread_set_mask() {
            tracing::warn!(%error, "the signal mask could not be restored");
        }
    }
}

/// The number of a signal by its name or number, as images give it: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; see
/// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html). None where there is no such signal.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    let known = |number: &i32| (1..=libc::SIGRTMAX()).contains(number);
    if let Ok(number) = name.parse() {
        return Some(number).filter(known);
    }
    let name = name.to_ascii_uppercase();
    let short = name.trim_start_matches("SIG");
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('+')?.parse::<i32>().ok()
        };
        return offset
            .and_then(|offset| libc::SIGRTMIN().checked_add(offset))
            .filter(known);
    }
    Signal::from_str(&format!("SIG{short}"))
        .ok()
        .map(|signal| signal as i32)
}

/// Passes signals, piped streams and the terminal between this process and a program, until the program ends.
///
/// What the program has [piped](crate::Stdio::piped) goes to and from this process's own standard streams. What is slow to
/// be taken is not read either: nothing grows, and signals get through all the same. A program that three requests to
/// end (interrupt or terminate) leave unimpressed is killed.
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
    terminal: Option<&'a Terminal>,
    interactive: bool,
    stop_signal: i32,
    /// How many requests to end it the program has had.
    requests: u32,
    /// Since when nobody looks at its terminal.
    hung_up: Option<Instant>,
    /// The last signal that was passed on, and when.
    last: Option<(Incoming, Instant)>,
}

/// How long a program without a terminal may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// In which time a signal that a process has sent, and that is passed on from it, is one and the same: it was sent to a group
/// of processes, of which one [stands in](crate::stand_in) for another.
const ECHO: Duration = Duration::from_millis(500);

/// How many requests to end a program may overhear.
const PATIENCE: u32 = 3;

impl<'a> Relay<'a> {
    /// Relays between this process and `child`.
    pub fn new(child: &'a mut Child, signals: &'a Signals) -> Self {
        Self {
            child,
            signals,
            terminal: None,
            interactive: false,
            stop_signal: libc::SIGTERM,
            requests: 0,
            hung_up: None,
            last: None,
        }
    }

    /// The signal by which the program wants to be asked to end: it gets that one in place of SIGTERM.
    #[must_use]
    pub fn stop_signal(mut self, signal: i32) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Relays the program's terminal to standard output and, if `interactive`, from standard input. An input that is a
    /// terminal is in raw mode for as long as the program runs, and passes its size on.
    #[must_use]
    pub fn terminal(mut self, terminal: &'a Terminal, interactive: bool) -> Self {
        self.terminal = Some(terminal);
        self.interactive = interactive;
        self
    }

    /// Relays until the program ends, and returns how.
    ///
    /// # Errors
    /// [`Error::Call`] when waiting fails.
    pub fn run(mut self) -> Result<ExitStatus> {
        loop {
            // Without keys there is no other way out.
            if let Some(status) = self.relay(None)? {
                return Ok(status);
            }
        }
    }

    /// Relays until the program ends, and returns how, or until the person in front of the terminal types `keys`: then
    /// there is nothing to return, the terminal is as it was, and the program goes on.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_until_detached(mut self, keys: DetachKeys) -> Result<Option<ExitStatus>> {
        self.relay(Some(keys))
    }

    fn relay(&mut self, keys: Option<DetachKeys>) -> Result<Option<ExitStatus>> {
        let pumps = self.pumps(keys);
        let (mut inputs, mut outputs) = pumps.map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))?;
        self.pass_size();
        let raw = self
            .terminal
            .filter(|_| self.interactive)
            .and_then(|_| RawMode::enter(stdin()).ok());
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            let pumps = || inputs.iter().chain(&outputs);
            let ready = self.wait(pumps().filter_map(Pump::wanted))?;
            let pumps = inputs.iter_mut().chain(&mut outputs);
            let waiting = pumps.filter(|pump| pump.wanted().is_some());
            for (pump, ready) in waiting.zip(ready) {
                if ready {
                    pump.turn();
                }
            }
            if inputs.iter().any(Pump::is_left) {
                break None;
            }
            // Closed, so that the program learns that nobody reads what it writes.
            outputs.retain(|pump| !pump.is_unheard() || self.terminal.is_some());
            if self.terminal.is_some() && outputs.iter().any(Pump::is_unheard) {
                self.hang_up()?;
            }
            self.pass_signals()?;
        };
        if status.is_some() {
            let enough = self.signals;
            outputs.iter_mut().for_each(|pump| pump.finish(enough));
        }
        drop(raw);
        Ok(status)
    }

    /// Waits until the program has ended, a signal has come, or one of the pumps has got what it waits for. Says which of
    /// them have.
    fn wait<'p>(&'p self, pumps: impl Iterator<Item = PollFd<'p>>) -> Result<Vec<bool>> {
        let of_the_program = PollFd::new(self.child.as_fd(), PollFlags::POLLIN);
        let of_signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let mut fds: Vec<_> = [of_the_program, of_signals]
            .into_iter()
            .chain(pumps)
            .collect();
        let timeout = match self.hung_up {
            None => PollTimeout::NONE,
            Some(_) => PollTimeout::from(100_u8),
        };
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(error) => Err(failed("poll")(error.into())),
            Ok(_) => Ok(fds[2..]
                .iter()
                .map(|fd| fd.any().unwrap_or(false))
                .collect()),
        }
    }

    /// Ends a program whose terminal nobody looks at any more: by SIGHUP first, as the end of a terminal does.
    fn hang_up(&mut self) -> Result<()> {
        match self.hung_up {
            None => {
                self.hung_up = Some(Instant::now());
                self.child.process().signal(libc::SIGHUP)
            }
            Some(since) if since.elapsed() >= GRACE => self.child.process().signal(libc::SIGKILL),
            Some(_) => Ok(()),
        }
    }

    /// Passes on the signals that have come in.
    fn pass_signals(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.next() {
            if self.is_echo(signal) {
                continue;
            }
            self.last = Some((signal, Instant::now()));
            if matches!(signal.number, libc::SIGINT | libc::SIGTERM) {
                self.requests += 1;
            }
            let number = match signal.number {
                libc::SIGWINCH if self.terminal.is_some() => {
                    self.pass_size();
                    continue;
                }
                _ if self.requests >= PATIENCE => libc::SIGKILL,
                libc::SIGTERM => self.stop_signal,
                other => other,
            };
            self.child.process().signal(number)?;
        }
        Ok(())
    }

    /// Whether a signal has just come, and now once more by way of the process that stands in, or the other way round.
    fn is_echo(&self, signal: Incoming) -> bool {
        self.last.is_some_and(|(last, when)| {
            last.number == signal.number
                && last.sender == signal.sender
                && last.is_passed_on != signal.is_passed_on
                && when.elapsed() < ECHO
        })
    }

    /// What goes to the program, and what comes from it.
    fn pumps(&mut self, keys: Option<DetachKeys>) -> io::Result<(Vec<Pump>, Vec<Pump>)> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        if let Some(terminal) = self.terminal {
            terminal.set_nonblocking()?;
            outputs.push(Pump::new(terminal, stdout())?);
            if self.interactive {
                inputs.push(Pump::new(stdin(), terminal)?.until(keys));
            }
        }
        if let Some(pipe) = self.child.stdin.take() {
            // Taken, so that the program learns of the end of the input when the pump is done.
            inputs.push(Pump::new(stdin(), pipe)?);
        }
        if let Some(pipe) = self.child.stdout.take() {
            outputs.push(Pump::new(pipe, stdout())?);
        }
        if let Some(pipe) = self.child.stderr.take() {
            outputs.push(Pump::new(pipe, stderr())?);
        }
        Ok((inputs, outputs))
    }

    fn pass_size(&self) {
        let size = WindowSize::of(stdin()).or_else(|| WindowSize::of(stdout()));
        if let (Some(terminal), Some(size)) = (self.terminal, size) {
            let _ = terminal.resize(size);
        }
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
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (name, number) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("10", 10),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
        ] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
        for name in [
            "",
            "0",
            "-9",
            "65",
            "NOSUCH",
            "RTMIN-1",
            "RTMIN+99",
            "SIGRTMIN+2147483647",
        ] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }
}
