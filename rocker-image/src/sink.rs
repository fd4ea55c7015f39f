//! [`LayerSink`]: who unpacks the layers.

use std::io::{self, Read};

use crate::Digest;

/// Takes the layers of an image, uncompressed and verified while they are read, and unpacks them somewhere.
///
/// # The contract
///
/// The bytes cannot be known to be right before the last of them has been read, so a layer becomes final in two steps:
///
/// 1. [`unpack`](Self::unpack) reads the archive **to its end**, that is until `read` returns 0, and unpacks it
///    somewhere temporary. A tar archive ends before its stream does, in blocks of zeros, and many readers stop there:
///    copy what is left to [`io::sink()`]. The size and the digest of the blob and the digest of the uncompressed
///    archive are compared *before* the reader reports its end: where one is wrong, `read` returns an error instead.
/// 2. Only when it has seen the end does it make the layer final, for instance by a rename. If it got an error, it takes
///    away what it has unpacked and returns the error.
///
/// A sink that returns `Ok` without having read to the end is a bug, which is caught: the pull fails with
/// [`Error::SinkStoppedEarly`](crate::Error::SinkStoppedEarly).
///
/// Several layers are unpacked at once, on threads of their own, in any order: a layer does not wait for those below it.
/// Two processes may unpack the same layer at the same moment, and both must come to a good end.
pub trait LayerSink: Send + Sync {
    /// Whether the layer is there, unpacked and final. Should return soon.
    fn contains(&self, diff_id: &Digest) -> bool;

    /// Unpacks `tar`, the uncompressed archive whose digest is `diff_id`, and makes the layer final when the reader has
    /// reported its end.
    ///
    /// # Errors
    ///
    /// Whatever goes wrong. An error of the reader may be passed on or wrapped; the pull reports its cause either way.
    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()>;
}

/// Reads and verifies a layer that nobody has to unpack.
#[derive(Debug)]
pub(crate) struct Discard;

impl LayerSink for Discard {
    fn contains(&self, _: &Digest) -> bool {
        false
    }

    fn unpack(&self, _: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        io::copy(tar, &mut io::sink()).map(drop)
    }
}
