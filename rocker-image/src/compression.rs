//! [`Compression`]: how a layer's media type says that it is packed, and [`Decoder`], which unpacks it.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::window::{self, Leave};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Reads it from a layer's media type; `None` if that is unknown.
    ///
    /// The "foreign" and "nondistributable" types only say who may pass the layer on. It is asked for at the registry
    /// like any other; the URLs that such a descriptor may have are never used.
    pub(crate) fn of(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar" => Self::None,
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Self::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// How many bytes tell what a file is compressed with.
const MAGIC: usize = 6;

/// What a file that begins so is compressed with.
///
/// # Errors
///
/// The name of a compression that is known and not understood.
pub(crate) fn of_head(head: &[u8]) -> Result<Compression, &'static str> {
    match head {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err("xz"),
        [b'B', b'Z', b'h', ..] => Err("bzip2"),
        _ => Ok(Compression::None),
    }
}

/// Reads as much of the beginning as tells the compression, and gives it back in front of the rest.
pub(crate) fn sniff<R: Read>(
    mut inner: R,
) -> io::Result<(Result<Compression, &'static str>, impl BufRead + use<R>)> {
    let mut head = Vec::with_capacity(MAGIC);
    (&mut inner).take(MAGIC as u64).read_to_end(&mut head)?;
    let found = of_head(&head);
    let rest = BufReader::with_capacity(128 * 1024, inner);
    Ok((found, Cursor::new(head).chain(rest)))
}

/// Decompresses what it reads, whatever that is compressed with: gzip, zstd, or nothing.
pub(crate) fn decompressed<R: Read>(inner: R) -> io::Result<impl Read + use<R>> {
    let (found, inner) = sniff(inner)?;
    let compression = found.map_err(|name| {
        let text = format!("it is compressed with {name}, and only gzip and zstd are understood");
        io::Error::new(io::ErrorKind::Unsupported, text)
    })?;
    Decoder::new(compression, inner)
}

/// What is decompressed may be so many times as much as what is read, once it is more than [`ROOM`]. gzip cannot do much more, and
/// honest layers are far from it.
const RATIO: u64 = 1000;
const ROOM: u64 = 1 << 30;

/// Decompresses what it reads.
pub(crate) struct Decoder<R: BufRead> {
    /// It is taken out only to be put back, or when this ends.
    format: Option<Format<Counted<R>>>,
    /// How many bytes there are of it decompressed.
    made: u64,
    /// Where it is one of several.
    leave: Option<Leave>,
}

const THERE: &str = "the format is taken out only to be put back";

enum Format<R: BufRead> {
    None(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(compression: Compression, inner: R) -> io::Result<Self> {
        Self::with(compression, inner, None)
    }

    /// The same for one of several at once, which together are to take no more memory than one may: it may have to wait.
    pub(crate) fn one_of_many(compression: Compression, mut inner: R) -> io::Result<Self> {
        let leave = match compression {
            // What cannot be read says so when it is.
            Compression::Zstd => Some(Leave::wait(inner.fill_buf().unwrap_or_default())),
            _ => None,
        };
        Self::with(compression, inner, leave)
    }

    fn with(compression: Compression, inner: R, leave: Option<Leave>) -> io::Result<Self> {
        let inner = Counted { inner, count: 0 };
        let format = match compression {
            Compression::None => Format::None(inner),
            // A gzip file may be several members one behind another, as parallel compressors write them.
            Compression::Gzip => Format::Gzip(Box::new(MultiGzDecoder::new(inner))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(inner)?;
                decoder.window_log_max(leave.as_ref().map_or(window::LARGEST, Leave::limit))?;
                Format::Zstd(Box::new(decoder))
            }
        };
        Ok(Self {
            format: Some(format),
            made: 0,
            leave,
        })
    }

    /// Gives back the memory that decompressing takes, now that there is nothing more to decompress.
    pub(crate) fn rest(&mut self) {
        let counted = self.format.take().map(Format::into_source);
        self.format = counted.map(Format::None);
        self.leave = None;
    }

    pub(crate) fn get_mut(&mut self) -> &mut R {
        &mut self.counted().inner
    }

    pub(crate) fn into_inner(self) -> R {
        self.format.expect(THERE).into_source().inner
    }

    fn counted(&mut self) -> &mut Counted<R> {
        match self.format.as_mut().expect(THERE) {
            Format::None(inner) => inner,
            Format::Gzip(decoder) => decoder.get_mut(),
            Format::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl<R: BufRead> Format<R> {
    fn into_source(self) -> R {
        match self {
            Self::None(inner) => inner,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = match self.format.as_mut().expect(THERE) {
            Format::None(inner) => return inner.read(buf),
            Format::Gzip(decoder) => decoder.read(buf),
            Format::Zstd(decoder) => decoder.read(buf),
        }?;
        self.made += length as u64;
        if self.made > ROOM && self.made / RATIO > self.counted().count {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it becomes more than a thousand times as much, and more than a gibibyte, when it is decompressed",
            ));
        }
        Ok(length)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buf)?;
        self.count += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros without end, compressed: a frame that says nothing of its size, and blocks of one byte that is repeated (RFC 8878,
    /// section 3.1.1.2).
    struct Bomb {
        head: &'static [u8],
    }

    const BLOCK: &[u8] = &[0x02, 0x00, 0x10, 0x00];

    impl Read for Bomb {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.head.is_empty() {
                self.head = BLOCK;
            }
            self.head.read(buf)
        }
    }

    #[test]
    fn what_grows_a_thousandfold_is_refused_before_it_has_filled_a_disk() {
        let bomb = Bomb {
            head: &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68],
        };
        let mut decoder = Decoder::new(Compression::Zstd, BufReader::new(bomb)).unwrap();
        let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("thousand times"), "{error}");
        assert!(decoder.made < ROOM + (1 << 20));
    }

    #[test]
    fn a_frame_that_wants_more_memory_than_is_usual_is_refused() {
        for (exponent, fits) in [(15_u8, true), (16, false), (21, false)] {
            let frame = [
                &[0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3][..],
                &[0x01, 0, 0],
            ]
            .concat();
            let mut decoder = Decoder::new(Compression::Zstd, &*frame).unwrap();
            let outcome = io::copy(&mut decoder, &mut io::sink());
            assert_eq!(outcome.is_ok(), fits, "2^{}: {outcome:?}", exponent + 10);
        }
    }
}
