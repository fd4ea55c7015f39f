//! Terminals: the program's own, and that of the person in front of it.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::trace::traced;
use crate::{Error, Result, sys};

/// The parent's end of a program's terminal: what is written to it the program reads, and the other way round, see
/// [pty(7)](https://man7.org/linux/man-pages/man7/pty.7.html).
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl Terminal {
    pub(crate) fn new(master: OwnedFd) -> Self {
        Self { master }
    }

    /// Tells the program the size of its terminal, by `SIGWINCH` if it runs.
    ///
    /// # Errors
    /// [`Error::Call`] when the terminal is gone.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        sys::set_window_size(self.as_fd(), size).map_err(|source| Error::Call {
            call: format!(
                "ioctl(TIOCSWINSZ, {{{} rows, {} columns}})",
                size.rows, size.columns
            ),
            why: "so that the program knows the size of its terminal",
            source,
        })
    }

    /// From now on, reads and writes of this end fail instead of waiting.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&self.master, FcntlArg::F_GETFL)?);
        fcntl(&self.master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(())
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

impl WindowSize {
    /// The size of the terminal behind a file descriptor; none where it is no terminal.
    #[must_use]
    pub fn of(terminal: impl AsFd) -> Option<Self> {
        sys::window_size(terminal.as_fd()).ok()
    }
}

/// A terminal in raw mode: each key reaches the program as it is, Ctrl-C too. Dropping it restores the mode before.
#[derive(Debug)]
#[must_use = "dropping it restores the terminal's mode"]
pub struct RawMode<T: AsFd> {
    _before: SavedMode<T>,
}

impl<T: AsFd> RawMode<T> {
    /// Puts `terminal` into raw mode, see
    /// [termios(3)](https://man7.org/linux/man-pages/man3/termios.3.html).
    ///
    /// # Errors
    /// [`Error::NotATerminal`] when it is none.
    pub fn enter(terminal: T) -> Result<Self> {
        let before = SavedMode::of(terminal)?;
        let mut raw = before.mode.clone();
        cfmakeraw(&mut raw);
        let number = before.terminal.as_fd().as_raw_fd();
        let why = "so that every key reaches the program, Ctrl-C too";
        let args = || format!("{number}, TCSETSW, {{raw}}");
        let set = traced("ioctl", why, args, || {
            Ok(tcsetattr(&before.terminal, SetArg::TCSADRAIN, &raw)?)
        });
        set.map_err(failed("tcsetattr", why))?;
        Ok(Self { _before: before })
    }
}

/// The mode of a terminal, to which it returns when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it restores the terminal's mode"]
pub(crate) struct SavedMode<T: AsFd> {
    terminal: T,
    mode: Termios,
}

impl<T: AsFd> SavedMode<T> {
    pub(crate) fn of(terminal: T) -> Result<Self> {
        if !terminal.as_fd().is_terminal() {
            return Err(Error::NotATerminal);
        }
        let number = terminal.as_fd().as_raw_fd();
        let why = "so that the terminal's mode is known, to be restored";
        let args = || format!("{number}, TCGETS, {{…}}");
        let mode = traced("ioctl", why, args, || Ok(tcgetattr(&terminal)?));
        let mode = mode.map_err(failed("tcgetattr", why))?;
        Ok(Self { terminal, mode })
    }
}

impl<T: AsFd> Drop for SavedMode<T> {
    fn drop(&mut self) {
        // From the background it is somebody else's to change, and who tries is stopped.
        let changed = tcgetattr(&self.terminal).is_ok_and(|mode| mode != self.mode);
        if !changed || tcgetpgrp(&self.terminal).is_ok_and(|group| group != getpgrp()) {
            return;
        }
        if let Err(error) = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.mode) {
            tracing::warn!(%error, "the terminal's mode could not be restored");
        }
    }
}

fn failed(call: &'static str, why: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Call {
        call: call.to_owned(),
        why,
        source,
    }
}
