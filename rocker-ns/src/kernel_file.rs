//! Files of `/proc`, whose content the kernel makes up as it is read.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

/// More than the kernel says of a process in one file, mostly. It says again what it has said already to whoever asks in small pieces.
const USUAL: usize = 8 << 10;

/// The whole text of an open file.
pub(crate) fn text_of(mut file: File) -> io::Result<String> {
    let mut bytes = vec![0; USUAL];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// The whole text of the file at `path`.
pub(crate) fn read(path: &str) -> io::Result<String> {
    text_of(File::open(path)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_text_of_any_length_is_read_whole() {
        for length in [0, 1, USUAL - 1, USUAL, USUAL + 1, 5 * USUAL] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all("x".repeat(length).as_bytes()).unwrap();
            let read = text_of(file.reopen().unwrap()).unwrap();
            assert_eq!(read.len(), length);
        }
        assert!(read("/proc/self/status").unwrap().contains("\nSigIgn:"));
    }
}
