//! Standing between a person and a program: signals, the terminal, and the exit status.

use std::io::{self, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::str::FromStr;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::pump::Pump;
use crate::{Child, Error, RawMode, Result, Terminal, WindowSize, sys};

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
        // With SIGCHLD ignored, as some parents leave it, nobody would learn how the program ended.
        sys::default_disposition(libc::SIGCHLD);
        let set: SigSet = FORWARDED.into_iter().collect();
        let before = set
            .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
            .map_err(failed("rt_sigprocmask"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let incoming = SignalFd::with_flags(&set, flags).inspect_err(|_| {
            let _ = before.thread_set_mask();
        });
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
}

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
        let failed = |call: &'static str| {
            move |source: io::Error| Error::Call {
                call: call.to_owned(),
                why: "so that the program can be heard",
                source,
            }
        };
        let (mut inputs, mut outputs) = self.pumps().map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))?;
        self.pass_size();
        let raw = self
            .terminal
            .filter(|_| self.interactive)
            .and_then(|_| RawMode::enter(stdin()).ok());
        let mut requests = 0;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            let all = || inputs.iter().chain(&outputs);
            let mut fds = vec![
                PollFd::new(self.child.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.incoming.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(all().filter_map(Pump::wanted));
            let happened = match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(failed("poll")(error.into())),
                Ok(_) => fds
                    .iter()
                    .map(|fd| fd.any().unwrap_or(false))
                    .collect::<Vec<_>>(),
            };
            drop(fds);
            let mut ready = happened.into_iter().skip(2);
            for pump in inputs
                .iter_mut()
                .chain(&mut outputs)
                .filter(|pump| pump.wanted().is_some())
            {
                if ready.next() == Some(true) {
                    pump.turn();
                }
            }
            while let Some(signal) = self.signals.next() {
                if matches!(signal, libc::SIGINT | libc::SIGTERM) {
                    requests += 1;
                }
                match (signal, self.terminal) {
                    (libc::SIGWINCH, Some(_)) => self.pass_size(),
                    (libc::SIGTERM, _) if requests < PATIENCE => {
                        self.child.process().signal(self.stop_signal)?;
                    }
                    _ if requests >= PATIENCE => self.child.process().signal(libc::SIGKILL)?,
                    _ => self.child.process().signal(signal)?,
                }
            }
        };
        outputs
            .iter_mut()
            .for_each(|pump| pump.finish(&self.signals.incoming));
        drop(raw);
        Ok(status)
    }

    /// What goes to the program, and what comes from it.
    fn pumps(&mut self) -> io::Result<(Vec<Pump>, Vec<Pump>)> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        if let Some(terminal) = self.terminal {
            terminal.set_nonblocking()?;
            outputs.push(Pump::new(terminal, stdout())?);
            if self.interactive {
                inputs.push(Pump::new(stdin(), terminal)?);
            }
        }
        if let Some(pipe) = self.child.stdin.take() {
            // Taken, so that the program learns of the end of the input when the pump is done.
            inputs.push(Pump::new(stdin(), pipe)?);
        }
        if let Some(pipe) = &self.child.stdout {
            outputs.push(Pump::new(pipe, stdout())?);
        }
        if let Some(pipe) = &self.child.stderr {
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
