//! Bytes on their way from one file to another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use crate::DetachKeys;

/// The most that is on its way: what a pipe that polls as writable takes without waiting (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// What a terminal, which does not say it, may hold of a program's output at the most.
const TERMINAL_ROOM: usize = 128 << 10;

/// Moves bytes without ever waiting for one side while the other has something to say: it is asked what it waits for, and
/// takes its turn when that has happened.
#[derive(Debug)]
pub(crate) struct Pump {
    from: OwnedFd,
    to: To,
    pending: Vec<u8>,
    /// Whether there is nothing more to be read.
    ended: bool,
    /// What is not to be passed on, but ends it all.
    keys: Option<DetachKeys>,
    left: bool,
    /// Whether what was read could not be written.
    unheard: bool,
}

/// Where a pump's bytes go.
#[derive(Debug)]
enum To {
    /// To a file.
    File(OwnedFd),
    /// Nowhere: who hears them is all that there is.
    Nowhere,
    /// There is nothing more to be written, and the file is closed, so that the reader learns of the end.
    Closed,
}

impl Pump {
    /// A pump over descriptors of its own.
    pub(crate) fn new(from: impl AsFd, to: impl AsFd) -> io::Result<Self> {
        let to = To::File(to.as_fd().try_clone_to_owned()?);
        Self::over(from, to)
    }

    /// A pump that reads whatever there is, for those who hear it.
    pub(crate) fn to_nowhere(from: impl AsFd) -> io::Result<Self> {
        Self::over(from, To::Nowhere)
    }

    fn over(from: impl AsFd, to: To) -> io::Result<Self> {
        Ok(Self {
            from: from.as_fd().try_clone_to_owned()?,
            to,
            pending: Vec::new(),
            ended: false,
            keys: None,
            left: false,
            unheard: false,
        })
    }

    /// The same pump, which looks for `keys` in what it reads.
    pub(crate) fn until(mut self, keys: Option<DetachKeys>) -> Self {
        self.keys = keys;
        self
    }

    /// Whether the keys were found.
    pub(crate) fn is_left(&self) -> bool {
        self.left
    }

    /// Whether there is nothing more to be moved.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.to, To::Closed)
    }

    /// What the pump waits for; none when it is done.
    pub(crate) fn wanted(&self) -> Option<PollFd<'_>> {
        match &self.to {
            To::File(to) if !self.pending.is_empty() => {
                Some(PollFd::new(to.as_fd(), PollFlags::POLLOUT))
            }
            To::File(_) | To::Nowhere => Some(PollFd::new(self.from.as_fd(), PollFlags::POLLIN)),
            To::Closed => None,
        }
    }

    /// Whether nobody listens any more to what there may still be to read.
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Takes its turn: reads or writes once. What it has read is told to `hear`.
    pub(crate) fn turn(&mut self, hear: &mut dyn FnMut(&[u8])) {
        match &self.to {
            To::Closed => return,
            To::File(to) if !self.pending.is_empty() => match write(to, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // Nobody listens any more.
                Err(_) => {
                    self.pending.clear();
                    self.ended = true;
                    self.unheard = true;
                }
            },
            To::File(_) | To::Nowhere => self.read(hear),
        }
        if self.ended && self.pending.is_empty() {
            self.to = To::Closed;
        }
    }

    fn read(&mut self, hear: &mut dyn FnMut(&[u8])) {
        let mut buffer = [0; CHUNK];
        match read(&self.from, &mut buffer) {
            Ok(count @ 1..) => {
                hear(&buffer[..count]);
                if matches!(self.to, To::Nowhere) {
                    return;
                }
                self.pending.extend_from_slice(&buffer[..count]);
                if let Some(keys) = &mut self.keys {
                    self.left = keys.filter(&mut self.pending);
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The end; for a terminal an error says that no process has it open any more.
            Ok(_) | Err(_) => self.ended = true,
        }
    }

    /// Moves what has been written so far, until a descriptor that can be read, such as that of a signal, says that it is
    /// enough. What is then still there is told to `hear` alone.
    pub(crate) fn finish(&mut self, enough: &impl AsFd, hear: &mut dyn FnMut(&[u8])) {
        let mut heard = 0;
        let room = self.room();
        // Somebody else may have the other end, and never cease to write: what is read is no more than was there.
        while heard < room || !self.pending.is_empty() {
            let timeout = if self.pending.is_empty() {
                PollTimeout::ZERO
            } else {
                PollTimeout::NONE
            };
            let is_heard_only = matches!(self.to, To::Nowhere);
            let Some(wanted) = self.wanted() else { return };
            let mut fds = [wanted, PollFd::new(enough.as_fd(), PollFlags::POLLIN)];
            let watched = if is_heard_only { 1 } else { 2 };
            match poll(&mut fds[..watched], timeout) {
                Ok(0) => return,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
                Ok(_) if fds[1..watched].iter().any(|fd| fd.any() == Some(true)) => {
                    self.pending.clear();
                    self.to = To::Nowhere;
                }
                Ok(_) => self.turn(&mut |bytes| {
                    heard += bytes.len();
                    hear(bytes);
                }),
            }
        }
    }

    /// How much can have been written that was not read.
    fn room(&self) -> usize {
        let room = fcntl(&self.from, FcntlArg::F_GETPIPE_SZ).ok();
        room.and_then(|room| usize::try_from(room).ok())
            .unwrap_or(TERMINAL_ROOM)
    }
}

/// How long poll(2) is to wait until `deadline`, for ever if there is none. Rounded up, or it would return too early, and again.
pub(crate) fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    let milliseconds = i32::try_from(milliseconds).unwrap_or(i32::MAX);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_slow_reader_holds_up_the_writer_and_nothing_else() {
        let (from, mut writer) = io::pipe().unwrap();
        let (mut reader, to) = io::pipe().unwrap();
        let mut pump = Pump::new(&from, to).unwrap();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let thread = {
            let sent = sent.clone();
            std::thread::spawn(move || writer.write_all(&sent))
        };
        // Nobody reads yet: the pump fills what there is room for, and then waits without blocking or growing.
        loop {
            let mut fds = [pump.wanted().unwrap()];
            if poll(&mut fds, PollTimeout::from(200_u8)).unwrap() == 0 {
                break;
            }
            pump.turn(&mut |_| {});
            assert!(pump.pending.len() <= CHUNK);
        }
        assert!(!pump.pending.is_empty(), "it waits to write");
        let thread_reads = std::thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).map(|_| received)
        });
        while let Some(wanted) = pump.wanted() {
            poll(&mut [wanted], PollTimeout::NONE).unwrap();
            pump.turn(&mut |_| {});
        }
        thread.join().unwrap().unwrap();
        drop(pump);
        assert_eq!(thread_reads.join().unwrap().unwrap(), sent);
    }

    #[test]
    fn the_last_words_are_moved_and_silence_is_not_waited_for() {
        let (from, mut writer) = io::pipe().unwrap();
        let (mut reader, to) = io::pipe().unwrap();
        let (enough, _open) = io::pipe().unwrap();
        let mut pump = Pump::new(from, to).unwrap();
        writer.write_all(&[7; 3 * CHUNK]).unwrap();
        pump.finish(&enough, &mut |_| {});
        drop(pump);
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received, [7; 3 * CHUNK]);
    }

    #[test]
    fn the_end_of_the_input_is_passed_on() {
        let (from, writer) = io::pipe().unwrap();
        let (mut reader, to) = io::pipe().unwrap();
        let mut pump = Pump::new(from, &to).unwrap();
        drop((writer, to));
        pump.turn(&mut |_| {});
        assert!(pump.wanted().is_none());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
