//! The PAX records in front of an entry, split by their lengths as POSIX says.
//!
//! See [pax(1)](https://man7.org/linux/man-pages/man1/pax.1p.html), "pax Extended Header".

use std::collections::HashSet;

use nix::sys::time::TimeSpec;
use tar::Header;

/// The size of a block of a tar archive in bytes.
const BLOCK: usize = 512;

/// The records of one extended header.
#[derive(Debug, Default)]
pub(crate) struct Pax<'a> {
    /// Keys and values in their order.
    pub(crate) records: Vec<(&'a [u8], &'a [u8])>,
    /// The extended header's bytes.
    pub(crate) raw: &'a [u8],
}

/// How a sparse file in one of the PAX formats says where its data go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// The size of the file with its holes.
    pub(crate) real_size: u64,
    /// Offset and length of each piece of data (format 0.1), or `None` where the map stands before the data (1.0).
    pub(crate) map: Option<Vec<(u64, u64)>>,
}

impl<'a> Pax<'a> {
    /// Finds the extended header among the bytes that stand before an entry: first what fills the previous entry's
    /// last block, then whole blocks.
    pub(crate) fn find(headers: &'a [u8]) -> Result<Self, &'static str> {
        let mut rest = &headers[headers.len() % BLOCK..];
        while let Some((block, behind)) = rest.split_at_checked(BLOCK) {
            let header = Header::from_byte_slice(block);
            let kind = header.entry_type();
            let has_data =
                kind.is_pax_local_extensions() || kind.is_gnu_longname() || kind.is_gnu_longlink();
            if !has_data {
                break;
            }
            let size = header
                .entry_size()
                .map_err(|_| "the size of its extended header is not a number")?
                as usize;
            let data = behind.get(..size).ok_or("its extended header is cut off")?;
            if kind.is_pax_local_extensions() {
                return Self::parse(data);
            }
            rest = behind
                .get(size.next_multiple_of(BLOCK)..)
                .unwrap_or_default();
        }
        Ok(Self::default())
    }

    /// Splits `LENGTH KEY=VALUE\n` records.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, &'static str> {
        const WHY: &str = "a PAX record is not one";
        let mut records: Vec<(&[u8], &[u8])> = Vec::new();
        // A header has room for some hundred thousand records, too many to compare each with each.
        let mut known = HashSet::new();
        let mut rest = raw;
        while !rest.is_empty() {
            let space = rest
                .iter()
                .take(20)
                .position(|byte| *byte == b' ')
                .ok_or(WHY)?;
            let length = decimal(&rest[..space])
                .and_then(|length| usize::try_from(length).ok())
                .ok_or(WHY)?;
            let record = rest
                .get(space + 1..length)
                .and_then(|record| record.strip_suffix(b"\n"))
                .ok_or(WHY)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WHY)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if !known.insert(key) {
                return Err("a PAX record stands there twice");
            }
            records.push((key, value));
            rest = &rest[length..];
        }
        Ok(Self { records, raw })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.records
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| *value)
    }

    /// The description of a sparse file, formats 0.1 and 1.0 of GNU tar.
    pub(crate) fn sparse(&self, most: u64) -> Result<Option<Sparse>, &'static str> {
        let number = |key| {
            self.get(key)
                .map(|text| decimal(text).ok_or("a number of a sparse file is not one"))
        };
        if let Some(major) = number(b"GNU.sparse.major").transpose()? {
            if major != 1 || number(b"GNU.sparse.minor").transpose()? != Some(0) {
                return Err("an unknown format of sparse files");
            }
            let real_size = number(b"GNU.sparse.realsize")
                .transpose()?
                .ok_or("a sparse file without a size")?;
            return Ok(Some(Sparse {
                real_size,
                map: None,
            }));
        }
        let Some(map) = self.get(b"GNU.sparse.map") else {
            let other = self
                .records
                .iter()
                .any(|(key, _)| key.starts_with(b"GNU.sparse."));
            return if other {
                Err("an unknown format of sparse files")
            } else {
                Ok(None)
            };
        };
        let real_size = number(b"GNU.sparse.size")
            .transpose()?
            .ok_or("a sparse file without a size")?;
        let numbers: Option<Vec<u64>> = map.split(|byte| *byte == b',').map(decimal).collect();
        let numbers =
            numbers.filter(|numbers| numbers.len() % 2 == 0 && numbers.len() as u64 <= most);
        let numbers = numbers.ok_or("the map of a sparse file is not one")?;
        let map = numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        Ok(Some(Sparse {
            real_size,
            map: Some(map),
        }))
    }
}

/// The first value of `key` as a reader finds it that splits records at every newline.
pub(crate) fn first_by_lines<'a>(raw: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let lines = tar::PaxExtensions::new(raw);
    lines
        .flatten()
        .find(|record| record.key_bytes() == key)
        .map(|record| record.value_bytes())
}

/// A number of digits only.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A time as PAX writes it: seconds since the epoch, perhaps negative, perhaps with a fraction.
pub(crate) fn time(text: &[u8]) -> Option<TimeSpec> {
    let (negative, text) = text
        .strip_prefix(b"-")
        .map_or((false, text), |text| (true, text));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next().filter(|fraction| !fraction.is_empty()) {
        // Digits beyond the ninth are finer than a file system's clock.
        let digits = fraction
            .iter()
            .copied()
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .collect::<Vec<_>>();
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        nanoseconds = i64::try_from(decimal(&digits)?).ok()?;
    }
    Some(match (negative, nanoseconds) {
        (false, _) => TimeSpec::new(seconds, nanoseconds),
        (true, 0) => TimeSpec::new(-seconds, 0),
        (true, _) => TimeSpec::new(-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_newlines() {
        let pax = Pax::parse(b"25 SCHILY.xattr.user.a=\n\n\n6 a=b\n").unwrap_err();
        assert_eq!(pax, "a PAX record is not one");
        let pax = Pax::parse(b"26 SCHILY.xattr.user.a=\n\n\n6 a=b\n").unwrap();
        assert_eq!(pax.get(b"SCHILY.xattr.user.a"), Some(&b"\n\n"[..]));
        assert_eq!(pax.get(b"a"), Some(&b"b"[..]));
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        for bad in [
            &b"99 a=b\n"[..],
            b"6 a=b",
            b"x a=b\n",
            b"5 ab\n",
            b"0 a=b\n",
            b"6 a=b\n6 a=c\n",
            b" 6 a=b\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_have_nanoseconds_and_signs() {
        assert_eq!(time(b"12.5"), Some(TimeSpec::new(12, 500_000_000)));
        assert_eq!(time(b"12"), Some(TimeSpec::new(12, 0)));
        assert_eq!(time(b"1.0000000019"), Some(TimeSpec::new(1, 1)));
        assert_eq!(time(b"-1.25"), Some(TimeSpec::new(-2, 750_000_000)));
        for bad in [&b""[..], b"x", b"1.x", b"--1", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Pax::parse(&raw);
            let _ = Pax::find(&raw);
            let _ = time(&raw);
        }
    }
}
