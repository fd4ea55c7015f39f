//! The data of a regular file, with its holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use tar::EntryType;

use crate::calls;
use crate::error::{Error, Result};
use crate::member::Member;

/// How much is copied at once, in bytes.
const CHUNK: usize = 128 << 10;
/// The grain of holes in bytes: a block of the usual file systems.
const HOLE: usize = 4096;
/// The most pieces that a sparse file may have.
const MAX_PIECES: u64 = 1 << 20;

/// The pieces of a regular file.
pub(crate) struct Segments<'a, R> {
    data: &'a mut R,
    /// Offset and length of each piece, ascending.
    map: Vec<(u64, u64)>,
    real_size: u64,
    /// Whether blocks of zeros are holes: the tar crate fills those of the old GNU format with zeros.
    zeros_are_holes: bool,
}

impl<'a, R: Read> Segments<'a, R> {
    pub(crate) fn new(data: &'a mut R, member: &Member) -> Result<Self> {
        let Some(sparse) = &member.sparse else {
            let zeros_are_holes = member.kind == EntryType::GNUSparse;
            return Ok(Self {
                data,
                map: vec![(0, member.size)],
                real_size: member.size,
                zeros_are_holes,
            });
        };
        let malformed = || Error::Malformed {
            entry: member.name.clone(),
            why: "the map of a sparse file is not one",
        };
        let (map, header) = match &sparse.map {
            Some(map) => (map.clone(), 0),
            None => read_map(data).map_err(|_| malformed())?,
        };
        let mut end = 0;
        let mut held: u64 = header;
        for (offset, length) in &map {
            if *offset < end {
                return Err(malformed());
            }
            end = offset.checked_add(*length).ok_or_else(malformed)?;
            held = held.checked_add(*length).ok_or_else(malformed)?;
        }
        if end > sparse.real_size || held != member.size {
            return Err(malformed());
        }
        Ok(Self {
            data,
            map,
            real_size: sparse.real_size,
            zeros_are_holes: false,
        })
    }

    /// The size of the file in bytes, holes included.
    pub(crate) fn len(&self) -> u64 {
        self.real_size
    }

    /// Writes everything to the empty `file`.
    pub(crate) fn copy_to(
        &mut self,
        file: &File,
        member: &Member,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let failed = |operation, source| Error::Entry {
            operation,
            entry: member.name.clone(),
            source,
        };
        buffer.resize(CHUNK, 0);
        let mut written = 0;
        for (offset, length) in std::mem::take(&mut self.map) {
            let mut at = offset;
            let end = offset + length;
            while at < end {
                let room = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let count = fill(self.data, &mut buffer[..room])
                    .map_err(|source| Error::Archive { source })?;
                if count < room {
                    let missing = end - at - count as u64;
                    return Err(Error::Truncated {
                        entry: member.name.clone(),
                        missing,
                    });
                }
                written = self
                    .write(file, &buffer[..count], at, written)
                    .map_err(|source| failed("write", source))?;
                at += count as u64;
            }
        }
        if written < self.real_size {
            let why = "so that the file has its full length, with a hole at its end";
            calls::ftruncate(file.as_fd(), self.real_size, why)
                .map_err(|errno| failed("ftruncate", errno.into()))?;
        }
        Ok(())
    }

    /// Writes one chunk, and returns up to where the file goes now.
    fn write(&self, file: &File, chunk: &[u8], at: u64, mut written: u64) -> io::Result<u64> {
        if !self.zeros_are_holes {
            file.write_all_at(chunk, at)?;
            return Ok(at + chunk.len() as u64);
        }
        for (index, block) in chunk.chunks(HOLE).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                let at = at + (index * HOLE) as u64;
                file.write_all_at(block, at)?;
                written = at + block.len() as u64;
            }
        }
        Ok(written)
    }
}

/// Reads until `buffer` is full or the data end, and returns how much that is.
fn fill(data: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match data.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Reads the map of format 1.0, which stands in whole blocks before the data: decimal numbers, one a line, the count
/// first. Returns the pieces and the size of the map.
fn read_map(data: &mut impl Read) -> io::Result<(Vec<(u64, u64)>, u64)> {
    let mut blocks = MapReader {
        data,
        block: [0; 512],
        at: 512,
        read: 0,
    };
    let count = blocks.number()?;
    if count > MAX_PIECES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut map = Vec::new();
    for _ in 0..count {
        map.push((blocks.number()?, blocks.number()?));
    }
    Ok((map, blocks.read))
}

struct MapReader<'a, R> {
    data: &'a mut R,
    block: [u8; 512],
    at: usize,
    read: u64,
}

impl<R: Read> MapReader<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut value: u64 = 0;
        let mut digits = 0;
        loop {
            if self.at == self.block.len() {
                self.data.read_exact(&mut self.block)?;
                self.read += self.block.len() as u64;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' if digits < 19 => value = value * 10 + u64::from(byte - b'0'),
                b'\n' if digits > 0 => return Ok(value),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
            digits += 1;
        }
    }
}
