//! Who looks after a program beside the relay.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::{Process, Result};

/// Which of a program's streams. What it writes to its terminal counts as standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Somebody who looks after a program beside the [`Relay`](crate::Relay): hears what it writes, and has things of its own to
/// do meanwhile.
///
/// All of it happens in the relay's thread: what takes long holds up the program's streams.
///
/// ```
/// use rocker_ns::{Attendant, Output};
///
/// /// Counts what a program has to say.
/// #[derive(Default)]
/// struct Counter(usize);
///
/// impl Attendant for Counter {
///     fn heard(&mut self, _: Output, bytes: &[u8]) {
///         self.0 += bytes.len();
///     }
/// }
/// ```
pub trait Attendant {
    /// What the program has just written, at most 4096 bytes, in the order in which it was read. Between standard output and
    /// standard error there is no order.
    fn heard(&mut self, output: Output, bytes: &[u8]);

    /// A signal to this process that has just been passed on to the program, such as `SIGTERM` (and not the stop signal that the
    /// program got in its place), see [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html).
    fn passed_on(&mut self, signal: i32) {
        let _ = signal;
    }

    /// When it wants to be woken at the latest; none for never. One that has passed is due at once, so
    /// [`attend`](Self::attend) has to move it.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Descriptors that wake it when they can be read, see [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html). As
    /// long as one can be read it wakes again, so [`attend`](Self::attend) has to read it.
    fn wakers(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Does what is due. It is called after each wake-up, whatever the cause, so it must be cheap.
    ///
    /// # Errors
    /// What is to end the relay; the program goes on.
    fn attend(&mut self, program: &Process) -> Result<()> {
        let _ = program;
        Ok(())
    }
}
