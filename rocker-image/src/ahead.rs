//! Reading ahead: one thread decompresses and hashes a layer while another one writes its files.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

/// How much is passed on at once.
const PIECE: usize = 256 * 1024;
/// How many pieces there are, on their way or being filled.
const PIECES: usize = 4;

/// Whether a thread more for each of `layers` finds a processor that has nothing else to do.
pub(crate) fn is_worthwhile(layers: usize) -> bool {
    thread::available_parallelism().is_ok_and(|processors| layers < processors.get())
}

/// Does `work` with a reader that has what `source` reads, which a thread of its own reads meanwhile. Returns what comes of it, and
/// whether it has read to the end of `source`.
pub(crate) fn read_ahead<T>(
    source: &mut (impl Read + Send),
    work: impl FnOnce(&mut dyn Read) -> T,
) -> io::Result<(T, bool)> {
    let (filled, full) = sync_channel(PIECES);
    let (emptied, empty) = channel();
    for _ in 1..PIECES {
        // Its other end is here.
        let _ = emptied.send(vec![0; PIECE]);
    }
    thread::scope(|scope| {
        thread::Builder::new()
            .name("rocker-inflate".to_owned())
            .spawn_scoped(scope, move || fill(source, &empty, &filled))?;
        let mut reader = Ahead {
            full,
            emptied,
            piece: vec![0; PIECE],
            at: 0,
            length: 0,
            ended: false,
        };
        let outcome = work(&mut reader);
        Ok((outcome, reader.ended))
    })
}

/// What has been read: so many bytes of the buffer, none at the end.
type Piece = io::Result<(Vec<u8>, usize)>;

/// Reads to the end, to an error, or until nobody wants to have more.
fn fill(source: &mut impl Read, empty: &Receiver<Vec<u8>>, filled: &SyncSender<Piece>) {
    while let Ok(mut buffer) = empty.recv() {
        let mut length = 0;
        let read = loop {
            match source.read(&mut buffer[length..]) {
                Ok(0) => break Ok(()),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if length == buffer.len() {
                break Ok(());
            }
        };
        let is_last = read.is_err() || length == 0;
        if filled.send(read.map(|()| (buffer, length))).is_err() || is_last {
            return;
        }
    }
}

/// The other end.
struct Ahead {
    full: Receiver<Piece>,
    emptied: std::sync::mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    length: usize,
    ended: bool,
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.length && !self.ended && !buf.is_empty() {
            // Nobody fills it any more where the end was read.
            let _ = self.emptied.send(std::mem::take(&mut self.piece));
            let gone = |_| io::Error::other("the thread that reads ahead is gone");
            (self.piece, self.length) = self.full.recv().map_err(gone)??;
            self.at = 0;
            self.ended = self.length == 0;
        }
        let count = (&self.piece[self.at..self.length]).read(buf)?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads in pieces of one size, and fails at its end if it is to.
    struct Source<'a> {
        bytes: &'a [u8],
        step: usize,
        fails: bool,
    }

    impl Read for Source<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.bytes.is_empty() && self.fails {
                return Err(io::Error::other("as told"));
            }
            let step = self.step.min(buf.len());
            self.bytes.read(&mut buf[..step])
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_read_ahead_is_what_there_is(length in 0..3 * PIECES * PIECE, step in 1..2 * PIECE, fails: bool) {
            let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let mut source = Source { bytes: &bytes, step, fails };
            let mut found = Vec::new();
            let (outcome, ended) = read_ahead(&mut source, |reader| reader.read_to_end(&mut found)).unwrap();
            prop_assert_eq!(outcome.is_err(), fails);
            prop_assert_eq!(ended, !fails);
            // Of the last piece nothing is passed on where its reading failed.
            prop_assert!(bytes.starts_with(&found));
            prop_assert!(fails || found.len() == bytes.len());
        }
    }

    #[test]
    fn who_stops_early_waits_for_nobody() {
        let bytes = vec![7; 100 * PIECE];
        let mut source = Source {
            bytes: &bytes,
            step: PIECE,
            fails: false,
        };
        let (count, ended) = read_ahead(&mut source, |reader| reader.read(&mut [0; 10])).unwrap();
        assert_eq!((count.unwrap(), ended), (10, false));
        assert!(source.bytes.len() > 90 * PIECE);
    }
}
