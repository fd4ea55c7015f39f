//! A pipe between two sockets: what has come to one goes out by the other without having been in this process's memory.

use std::io::{self, PipeReader, PipeWriter};
use std::net::TcpStream;

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};

use super::{Moved, is_short, moved};

/// How many there may be at once, for all connections together: each takes two descriptors, and holds up to [`BYTES`], in as many
/// pieces as those are pages (256 of 4 KiB). A small piece keeps all the memory that it was cut from, mostly 32 KiB: of somebody who
/// sends nothing else after he was fast, a pipe holds up to 8 MiB of the kernel's memory, and all of them 256 MiB.
pub(super) const PIPES: usize = 32;
/// How much one holds: what anybody may ask for (`fs.pipe-max-size`). Of what comes fast, so much is passed on by a call.
const BYTES: usize = 1 << 20;

/// What is on its way from one socket to another, in the kernel.
pub(super) struct Pipe {
    read: PipeReader,
    write: PipeWriter,
    bytes: usize,
    held: usize,
}

impl Pipe {
    /// See [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html).
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        // Where the limit is lower, it holds what any pipe does, and takes more calls.
        let sized = fcntl(&write, FcntlArg::F_SETPIPE_SZ(BYTES as i32));
        let bytes = sized.map_or(64 << 10, |bytes| bytes as usize);
        Ok(Self {
            read,
            write,
            bytes,
            held: 0,
        })
    }

    /// Whether something is in it.
    pub(super) fn holds(&self) -> bool {
        self.held > 0
    }

    /// Takes what has come to a socket, as far as there is room; that it is nothing, or the end, is no more than a guess.
    /// See [splice(2)](https://man7.org/linux/man-pages/man2/splice.2.html).
    pub(super) fn fill(&mut self, from: &TcpStream) -> Moved {
        // It may be full before so many bytes are in it, of small pieces: then there is nothing to be had, as if nothing had come.
        let room = self.bytes.saturating_sub(self.held);
        if room == 0 {
            return Moved::Nothing;
        }
        let filled = splice(from, None, &self.write, None, room, at_once());
        let filled = match filled.map_err(io::Error::from) {
            // A pipe takes more memory than a copy.
            Err(error) if is_short(&error) => Moved::Nothing,
            filled => moved(filled),
        };
        if let Moved::Bytes(count) = filled {
            self.held += count;
        }
        filled
    }

    /// Gives another socket as much as it takes.
    pub(super) fn drain(&mut self, to: &TcpStream) -> Moved {
        let drained = splice(&self.read, None, to, None, self.held, at_once());
        let drained = moved(drained.map_err(io::Error::from));
        if let Moved::Bytes(count) = drained {
            self.held = self.held.saturating_sub(count);
        }
        drained
    }
}

/// Without waiting for the pipe; the sockets do not wait by themselves.
fn at_once() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_NONBLOCK
}
