//! Signals to this process that are meant for a program.

use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::trace::traced;
use crate::{Error, Result, sys};

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

    /// The number of the next signal that was held back; none where none has come. It counts as dealt with from then on.
    ///
    /// For who waits while no program runs; [`Relay`](crate::Relay) takes them for its program.
    #[must_use = "the signal is not delivered again"]
    pub fn take(&self) -> Option<i32> {
        self.next().map(|signal| signal.number)
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
    pub(crate) is_passed_on: bool,
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

/// In which time a signal that a process has sent, and that is passed on from it, is one and the same: it was sent to a group
/// of processes, of which one [stands in](crate::stand_in) for another.
const ECHO: Duration = Duration::from_millis(500);

/// Tells a signal from its echo: it has just come, and comes once more by way of the process that stands in, or the other
/// way round.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// The last signal, and when it came.
    last: Option<(Incoming, Instant)>,
}

impl Echo {
    /// Whether the signal is the echo of the one before.
    pub(crate) fn is(&mut self, signal: Incoming) -> bool {
        let is_echo = self.last.is_some_and(|(last, when)| {
            last.number == signal.number
                && last.sender == signal.sender
                && last.is_passed_on != signal.is_passed_on
                && when.elapsed() < ECHO
        });
        if !is_echo {
            self.last = Some((signal, Instant::now()));
        }
        is_echo
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
