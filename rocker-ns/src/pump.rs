//! Bytes on their way from one file to another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use crate::DetachKeys;

/// The most that is on its way: what a pipe that polls as writable takes without waiting (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// Moves bytes without ever waiting for one side while the other has something to say: it is asked what it waits for, and
/// takes its turn when that has happened.
#[derive(Debug)]
pub(crate) struct Pump {
    from: OwnedFd,
    /// None when there is nothing more to be written, so that the reader learns of the end.
    to: Option<OwnedFd>,
    pending: Vec<u8>,
    /// Whether there is nothing more to be read.
    ended: bool,
    /// What is not to be passed on, but ends it all.
    keys: Option<DetachKeys>,
    left: bool,
    /// Whether what was read could not be written.
    unheard: bool,
}

impl Pump {
    /// A pump over descriptors of its own.
    pub(crate) fn new(from: impl AsFd, to: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            from: from.as_fd().try_clone_to_owned()?,
            to: Some(to.as_fd().try_clone_to_owned()?),
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

    /// What the pump waits for; none when it is done.
    pub(crate) fn wanted(&self) -> Option<PollFd<'_>> {
        let to = self.to.as_ref()?;
        Some(match self.pending.is_empty() {
            true => PollFd::new(self.from.as_fd(), PollFlags::POLLIN),
            false => PollFd::new(to.as_fd(), PollFlags::POLLOUT),
        })
    }

    /// Whether nobody listens any more to what there may still be to read.
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Takes its turn: reads or writes once.
    pub(crate) fn turn(&mut self) {
        let Some(to) = &self.to else { return };
        if self.pending.is_empty() {
            let mut buffer = [0; CHUNK];
            match read(&self.from, &mut buffer) {
                Ok(count @ 1..) => {
                    self.pending.extend_from_slice(&buffer[..count]);
                    if let Some(keys) = &mut self.keys {
                        self.left = keys.filter(&mut self.pending);
                    }
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // The end; for a terminal an error says that no process has it open any more.
                Ok(_) | Err(_) => self.ended = true,
            }
        } else {
            match write(to, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // Nobody listens any more.
                Err(_) => {
                    self.pending.clear();
                    self.ended = true;
                    self.unheard = true;
                }
            }
        }
        if self.ended && self.pending.is_empty() {
            self.to = None;
        }
    }

    /// Moves what has been written so far, until a descriptor that can be read, such as that of a signal, says that it is
    /// enough.
    pub(crate) fn finish(&mut self, enough: &impl AsFd) {
        loop {
            let timeout = if self.pending.is_empty() {
                PollTimeout::ZERO
            } else {
                PollTimeout::NONE
            };
            let Some(wanted) = self.wanted() else { return };
            let mut fds = [wanted, PollFd::new(enough.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) => return,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
                Ok(_) if fds[1].any() == Some(true) => return,
                Ok(_) => {}
            }
            self.turn();
        }
    }
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
            pump.turn();
            assert!(pump.pending.len() <= CHUNK);
        }
        assert!(!pump.pending.is_empty(), "it waits to write");
        let thread_reads = std::thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).map(|_| received)
        });
        while let Some(wanted) = pump.wanted() {
            poll(&mut [wanted], PollTimeout::NONE).unwrap();
            pump.turn();
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
        pump.finish(&enough);
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
        pump.turn();
        assert!(pump.wanted().is_none());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
