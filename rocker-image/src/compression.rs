//! [`Compression`]: how a layer's media type says that it is packed, and [`Decoder`], which unpacks it.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

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

/// Decompresses what it reads.
pub(crate) enum Decoder<R: BufRead> {
    None(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(compression: Compression, inner: R) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(inner),
            // A gzip file may be several members one behind another, as parallel compressors write them.
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(inner))),
            Compression::Zstd => {
                Self::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(inner)?))
            }
        })
    }

    pub(crate) fn get_mut(&mut self) -> &mut R {
        match self {
            Self::None(inner) => inner,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }

    pub(crate) fn into_inner(self) -> R {
        match self {
            Self::None(inner) => inner,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(inner) => inner.read(buf),
            Self::Gzip(decoder) => decoder.read(buf),
            Self::Zstd(decoder) => decoder.read(buf),
        }
    }
}
