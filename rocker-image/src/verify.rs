//! The one pass over a layer: blob → digest and size → the store's copy → decompression → diff-id → whoever unpacks.
//!
//! [`BlobReader`] is the first half, up to the decompression, and [`LayerReader`] the whole. Neither reports its end
//! before what it has read is known to be right, which is what [`LayerSink`](crate::LayerSink) promises.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::ahead::read_ahead;
use crate::budget::{Budget, Share};
use crate::compression::{Compression, Decoder};
use crate::digest::{Digest, Hasher};
use crate::store::Partial;
use crate::{Descriptor, Error, LayerSink, Result};

/// How much of a file is read at once.
const FILE_CHUNK: usize = 128 * 1024;

/// A piece of a blob as it came from the network, in whatever type the HTTP client keeps it.
pub(crate) type Chunk = Box<dyn AsRef<[u8]> + Send>;

/// What a download passes on.
pub(crate) enum Part {
    Data(Chunk),
    /// All of it came. A channel that closes without this was abandoned.
    End,
}

/// Where the bytes of a blob come from.
pub(crate) enum Source {
    Download(mpsc::Receiver<Part>),
    File(File),
}

impl Source {
    /// The next piece, which is never empty; `None` at the end.
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let chunk: Chunk = match self {
                Self::Download(parts) => match parts.blocking_recv() {
                    Some(Part::Data(chunk)) => chunk,
                    Some(Part::End) => return Ok(None),
                    None => {
                        return Err(Error::Read {
                            source: io::Error::other("the download was abandoned"),
                        });
                    }
                },
                Self::File(file) => {
                    let mut chunk = vec![0; FILE_CHUNK];
                    match file.read(&mut chunk) {
                        Ok(0) => return Ok(None),
                        Ok(length) => chunk.truncate(length),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(source) => return Err(Error::Read { source }),
                    }
                    Box::new(chunk)
                }
            };
            if !(*chunk).as_ref().is_empty() {
                return Ok(Some(chunk));
            }
        }
    }
}

/// Reads a blob, hashes it, and copies it into the store. What an earlier download left in the copy comes first.
pub(crate) struct BlobReader {
    source: Source,
    expected: Descriptor,
    hasher: Option<Hasher>,
    copy: Option<Partial>,
    chunk: Chunk,
    /// How much of `chunk` is consumed.
    at: usize,
    received: u64,
    ended: bool,
    failure: Option<Error>,
}

impl BlobReader {
    pub(crate) fn new(source: Source, expected: Descriptor, copy: Option<Partial>) -> Self {
        let hasher = Some(Hasher::new(expected.digest.algorithm()));
        let chunk = Box::new([0; 0]);
        Self {
            source,
            expected,
            hasher,
            copy,
            chunk,
            at: 0,
            received: 0,
            ended: false,
            failure: None,
        }
    }

    /// Gets the next chunk and does with it all that is to be done before anybody sees it.
    fn advance(&mut self) -> Result<()> {
        if let Some(chunk) = self.next_kept()? {
            return self.take(chunk, false);
        }
        match self.source.next() {
            Ok(Some(chunk)) => self.take(chunk, true),
            Ok(None) => {
                self.ended = true;
                Ok(())
            }
            Err(error) => {
                // Nothing is known to be wrong with what came so far.
                if let Some(copy) = &mut self.copy {
                    copy.keep();
                }
                Err(error)
            }
        }
    }

    /// The next piece of what an earlier download left, until there is no more.
    fn next_kept(&mut self) -> Result<Option<Chunk>> {
        let Some(copy) = &self.copy else {
            return Ok(None);
        };
        if self.received >= copy.kept() {
            return Ok(None);
        }
        let mut chunk = vec![0; FILE_CHUNK];
        let length = loop {
            match copy.read_kept(&mut chunk, self.received) {
                Ok(0) => {
                    return Err(Error::Read {
                        source: io::ErrorKind::UnexpectedEof.into(),
                    });
                }
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { source }),
            }
        };
        chunk.truncate(length);
        Ok(Some(Box::new(chunk)))
    }

    fn take(&mut self, chunk: Chunk, is_new: bool) -> Result<()> {
        let bytes = (*chunk).as_ref();
        self.received += bytes.len() as u64;
        if self.received > self.expected.size {
            return Err(self.wrong_size());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if let Some(copy) = self.copy.as_mut().filter(|_| is_new) {
            copy.write(bytes)?;
        }
        self.chunk = chunk;
        self.at = 0;
        Ok(())
    }

    /// Whether some of it was written to the disk before, where it may have been damaged.
    fn is_of_earlier(&self) -> bool {
        matches!(self.source, Source::File(_))
            || self.copy.as_ref().is_some_and(|copy| copy.kept() > 0)
    }

    /// Has nothing stay of the copy, unless it is whole.
    fn forget(&mut self) {
        if let Some(copy) = &mut self.copy {
            copy.forget();
        }
    }

    /// What is to be said of a blob that somebody has read as far as they could: what was wrong with it, if anything.
    pub(crate) fn verdict(mut self) -> Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.finish(),
        }
    }

    /// Reads what is left, and compares size and digest.
    fn finish(&mut self) -> Result<()> {
        while !self.ended {
            self.advance()?;
        }
        self.at = (*self.chunk).as_ref().len();
        if self.received != self.expected.size {
            return Err(self.wrong_size());
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.expected.digest => Err(Error::WrongDigest {
                object: format!("blob {}", self.expected.digest),
                expected: self.expected.digest.clone(),
                found,
            }),
            _ => Ok(()),
        }
    }

    fn wrong_size(&self) -> Error {
        Error::WrongSize {
            object: format!("blob {}", self.expected.digest),
            expected: self.expected.size,
            found: self.received,
        }
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == (*self.chunk).as_ref().len() && !self.ended {
            if self.failure.is_none() {
                self.failure = self.advance().err();
            }
            if let Some(failure) = &self.failure {
                return Err(io::Error::other(failure.to_string()));
            }
        }
        Ok(&(*self.chunk).as_ref()[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let length = available.read(buf)?;
        self.consume(length);
        Ok(length)
    }
}

/// Whether a system call has failed, which says nothing of what was read.
fn is_of_the_system(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let found = error.downcast_ref::<io::Error>();
        if found.is_some_and(|error| error.raw_os_error().is_some()) {
            return true;
        }
        // An io::Error that wraps another error has that one's source for its own.
        cause = match found.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// Reads a layer uncompressed, and reports its end only if both digests and the size are right.
pub(crate) struct LayerReader {
    decoder: Decoder<BlobReader>,
    diff_id: Digest,
    hasher: Option<Hasher>,
    verdict: Option<Result<()>>,
    ahead: bool,
    turn: Option<Turn>,
    /// What it may have of its image's bytes; without, as many as it likes.
    share: Option<Share>,
}

/// One of so many that read layers at once. Whoever waits for one has it when this is dropped.
pub(crate) type Turn = OwnedSemaphorePermit;

impl LayerReader {
    pub(crate) fn new(blob: BlobReader, compression: Compression, diff_id: Digest) -> Result<Self> {
        let digest = blob.expected.digest.clone();
        let decoder =
            Decoder::one_of_many(compression, blob).map_err(|source| Error::Decompress {
                blob: digest,
                source,
            })?;
        let hasher = Some(Hasher::new(diff_id.algorithm()));
        Ok(Self {
            decoder,
            diff_id,
            hasher,
            verdict: None,
            ahead: false,
            turn: None,
            share: None,
        })
    }

    /// Gives the turn back as soon as the end is read: until all is on the disk, the processors are somebody else's.
    pub(crate) fn in_turn(self, turn: Turn) -> Self {
        let turn = Some(turn);
        Self { turn, ..self }
    }

    /// Refuses to become more than what is left of the image's budget.
    pub(crate) fn within(self, budget: &Arc<Budget>) -> Self {
        let share = Some(Share::of(budget));
        Self { share, ..self }
    }

    /// Whether a thread of its own reads, so that whoever unpacks has only the files to write.
    pub(crate) fn ahead(self, ahead: bool) -> Self {
        Self { ahead, ..self }
    }

    /// Has `sink` unpack the layer, holds it to its contract, and returns the copy of the blob, which is right.
    pub(crate) fn unpack(mut self, sink: &dyn LayerSink) -> Result<Option<Partial>> {
        let diff_id = self.diff_id.clone();
        let (result, ended) = match self.ahead {
            true => {
                let unpacked = read_ahead(&mut self, |layer| sink.unpack(&diff_id, layer));
                unpacked.unwrap_or_else(|error| (Err(error), false))
            }
            false => {
                let result = sink.unpack(&diff_id, &mut self);
                (result, matches!(self.verdict, Some(Ok(()))))
            }
        };
        if let Err(error) = &result
            && self.verdict.is_none()
            && !is_of_the_system(error)
        {
            // What the sink cannot make sense of may be no more than damaged: its digest shows.
            let damage = self.decoder.get_mut().finish().err();
            let is_damage = |error: &Error| {
                matches!(error, Error::WrongDigest { .. } | Error::WrongSize { .. })
            };
            self.verdict = damage.filter(is_damage).map(Err);
        }
        if let Some(share) = &mut self.share {
            match share.is_spent() {
                // Nobody goes on with a download of what is refused.
                true => self.decoder.get_mut().forget(),
                false if result.is_ok() => share.keep(),
                false => {}
            }
        }
        match (self.verdict, result) {
            // What is wrong with the layer is the cause of whatever the sink makes of it.
            (Some(Err(failure)), _) => Err(failure),
            (_, Err(source)) => Err(Error::Unpack {
                diff_id: self.diff_id,
                source,
            }),
            (_, Ok(())) if !ended => Err(Error::SinkStoppedEarly {
                diff_id: self.diff_id,
            }),
            (_, Ok(())) => Ok(self.decoder.into_inner().copy),
        }
    }

    /// At the end of the decompressed stream.
    fn at_end(&mut self) -> Result<()> {
        self.decoder.get_mut().finish()?;
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.diff_id => Err(Error::WrongDigest {
                object: format!(
                    "layer {}, uncompressed,",
                    self.decoder.get_mut().expected.digest
                ),
                expected: self.diff_id.clone(),
                found,
            }),
            _ => Ok(()),
        }
    }

    /// When it becomes more than there is room for. What is damaged becomes anything, so where it may be, its digest is what
    /// counts. A registry that sends such a layer now is not listened to any longer.
    fn too_large(&mut self, refused: Error) -> Error {
        let blob = self.decoder.get_mut();
        if blob.is_of_earlier()
            && let Err(damage) = blob.finish()
        {
            return damage;
        }
        if let Some(share) = &self.share {
            share.spend();
        }
        refused
    }

    /// When the decompression fails. A damaged blob is the more exact name of that than what its damage looks like to
    /// the decompressor, so the rest is read for its digest.
    fn cause(&mut self, source: io::Error) -> Error {
        let blob = self.decoder.get_mut();
        if let Some(failure) = blob.failure.take() {
            return failure;
        }
        match blob.finish() {
            Err(failure) => failure,
            Ok(()) => Error::Decompress {
                blob: blob.expected.digest.clone(),
                source,
            },
        }
    }
}

impl Read for LayerReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outcome = match &self.verdict {
            Some(Ok(())) => return Ok(0),
            Some(Err(failure)) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    failure.to_string(),
                ));
            }
            None if buf.is_empty() => return Ok(0),
            None => self.decoder.read(buf),
        };
        let verdict = match outcome {
            Ok(0) => {
                let verdict = self.at_end();
                self.decoder.rest();
                self.turn = None;
                verdict
            }
            Ok(length) => {
                let room = self.share.as_mut();
                match room.map_or(Ok(()), |share| share.take(length as u64)) {
                    Ok(()) => {
                        if let Some(hasher) = &mut self.hasher {
                            hasher.update(&buf[..length]);
                        }
                        return Ok(length);
                    }
                    Err(refused) => Err(self.too_large(refused)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => Err(self.cause(error)),
        };
        let result = match &verdict {
            Ok(()) => Ok(0),
            Err(failure) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                failure.to_string(),
            )),
        };
        self.verdict = Some(verdict);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// A reader of `blob`, which was announced as `announced` and comes in pieces of `step` bytes.
    fn reader(
        blob: &[u8],
        announced: &[u8],
        diff_id: Digest,
        compression: Compression,
        step: usize,
    ) -> LayerReader {
        let (sender, parts) = mpsc::channel(blob.len() / step + 2);
        for piece in blob.chunks(step) {
            sender
                .try_send(Part::Data(Box::new(piece.to_vec())))
                .ok()
                .unwrap();
        }
        sender.try_send(Part::End).ok().unwrap();
        let expected = Descriptor::new("", Digest::sha256(announced), announced.len() as u64);
        LayerReader::new(
            BlobReader::new(Source::Download(parts), expected, None),
            compression,
            diff_id,
        )
        .unwrap()
    }

    fn read(mut reader: LayerReader) -> (io::Result<Vec<u8>>, Option<Result<()>>) {
        let mut content = Vec::new();
        let result = reader.read_to_end(&mut content).map(|_| content);
        (result, reader.verdict)
    }

    #[test]
    fn a_right_layer_is_read_whole_in_any_pieces_and_compression() {
        let tar = b"some layer".repeat(5000);
        let two_members = [gzip(&tar[..7]), gzip(&tar[7..])].concat();
        let zstd = zstd::encode_all(&*tar, 1).unwrap();
        for (blob, compression) in [
            (tar.clone(), Compression::None),
            (gzip(&tar), Compression::Gzip),
            (two_members, Compression::Gzip),
            (zstd, Compression::Zstd),
        ] {
            for step in [1, 7, 1 << 20] {
                let (content, verdict) = read(reader(
                    &blob,
                    &blob,
                    Digest::sha256(&tar),
                    compression,
                    step,
                ));
                assert!(content.unwrap() == tar);
                assert!(matches!(verdict, Some(Ok(()))));
            }
        }
    }

    #[test]
    fn no_wrong_byte_anywhere_is_ever_followed_by_the_end_of_the_stream() {
        let tar = b"some layer".repeat(50);
        let right = gzip(&tar);
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            let (content, verdict) = read(reader(
                &wrong,
                &right,
                Digest::sha256(&tar),
                Compression::Gzip,
                64,
            ));
            assert!(content.is_err());
            assert!(
                matches!(verdict, Some(Err(Error::WrongDigest { .. }))),
                "byte {at}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_blob_that_is_right_but_another_layer_is_refused_by_its_diff_id() {
        let blob = gzip(b"something");
        let (content, verdict) = read(reader(
            &blob,
            &blob,
            Digest::sha256(b"else"),
            Compression::Gzip,
            64,
        ));
        assert!(content.is_err());
        assert!(matches!(verdict, Some(Err(Error::WrongDigest { .. }))));
    }

    /// Cannot make sense of anything.
    struct Confused;

    impl LayerSink for Confused {
        fn contains(&self, _: &Digest) -> bool {
            false
        }

        fn unpack(&self, _: &Digest, tar: &mut dyn Read) -> io::Result<()> {
            tar.read_exact(&mut [0])?;
            Err(io::Error::other("no archive"))
        }
    }

    #[test]
    fn what_a_sink_cannot_make_sense_of_is_damaged_if_its_digest_says_so() {
        let right = b"some layer".repeat(50);
        let mut wrong = right.clone();
        wrong[7] ^= 1;
        let id = Digest::sha256(&right);
        for ahead in [false, true] {
            let of = |blob| reader(blob, &right, id.clone(), Compression::None, 64).ahead(ahead);
            let outcome = of(&wrong).unpack(&Confused);
            assert!(
                matches!(outcome, Err(Error::WrongDigest { .. })),
                "{outcome:?}"
            );
            let outcome = of(&right).unpack(&Confused);
            assert!(matches!(outcome, Err(Error::Unpack { .. })), "{outcome:?}");
        }
    }

    #[test]
    fn too_little_and_too_much_are_refused() {
        let blob = gzip(b"something");
        for wrong in [&blob[..blob.len() - 1], &[&blob[..], b"x"].concat()] {
            let (content, verdict) = read(reader(
                wrong,
                &blob,
                Digest::sha256(b"something"),
                Compression::Gzip,
                8,
            ));
            assert!(content.is_err());
            assert!(
                matches!(verdict, Some(Err(Error::WrongSize { .. }))),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_download_that_is_abandoned_is_not_taken_for_one_that_ended() {
        let (sender, parts) = mpsc::channel(4);
        sender
            .try_send(Part::Data(Box::new(b"abc".to_vec())))
            .ok()
            .unwrap();
        drop(sender);
        let expected = Descriptor::new("", Digest::sha256(b"abc"), 3);
        let blob = BlobReader::new(Source::Download(parts), expected, None);
        let (content, verdict) =
            read(LayerReader::new(blob, Compression::None, Digest::sha256(b"abc")).unwrap());
        assert!(content.is_err());
        assert!(matches!(verdict, Some(Err(Error::Read { .. }))));
    }
}
