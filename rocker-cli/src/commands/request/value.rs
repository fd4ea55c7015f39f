//! The values of `run`'s flags.

use std::path::{Path, PathBuf, absolute};

use rocker_cgroup::CpuQuota;
use rocker_ns::DetachKeys;

use crate::{Error, Result, Volume};

/// The error for a value that a flag does not take.
pub(crate) fn bad(flag: &'static str, value: &str, expected: impl Into<String>) -> Error {
    Error::BadValue {
        flag,
        value: value.to_owned(),
        expected: expected.into(),
    }
}

/// The keys that leave a command; none for an empty text.
pub(crate) fn keys(text: &str) -> Result<Option<DetachKeys>> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(text.parse()?))
}

/// `0.5` and the like.
pub(crate) fn cpus(text: &str) -> Result<CpuQuota> {
    let expected = "a number of CPUs above 0, such as 0.5";
    let number = text
        .parse::<f64>()
        .map_err(|_| bad("--cpus", text, expected))?;
    if !number.is_finite() || number <= 0.0 {
        return Err(bad("--cpus", text, expected));
    }
    Ok(CpuQuota::from_cpus(number)?)
}

/// A number of bytes with an optional unit, as Docker takes it: `64m`, `1.5g`, `1000000`, `512KiB`.
pub(crate) fn bytes(flag: &'static str, text: &str) -> Result<u64> {
    let expected = "a number of bytes above 0, or with a unit: 64m, 1g";
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower[digits.len()..]
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(bad(flag, text, expected)),
    };
    let whole = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    let bytes = match whole {
        Some(bytes) => bytes,
        None => match digits.parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 && digits.contains('.') => {
                (number * factor as f64) as u64
            }
            _ => return Err(bad(flag, text, expected)),
        },
    };
    if bytes == 0 {
        Err(bad(flag, text, expected))
    } else {
        Ok(bytes)
    }
}

/// A number of MiB, in bytes.
pub(crate) fn mebibytes(flag: &'static str, number: u64) -> Result<u64> {
    number
        .checked_mul(1 << 20)
        .ok_or_else(|| bad(flag, &number.to_string(), "fewer MiB"))
}

/// `SRC:DST[:ro|rw]`; a relative source is one below the working directory.
pub(crate) fn volume(text: &str) -> Result<Volume> {
    let wrong = |why: &str| bad("--volume", text, why);
    let mut parts = text.split(':');
    let (Some(source), Some(destination)) = (parts.next(), parts.next()) else {
        return Err(wrong("SRC:DST, or SRC:DST:ro"));
    };
    let read_only = match parts.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(wrong("ro or rw behind the second colon")),
    };
    if parts.next().is_some() || source.is_empty() {
        return Err(wrong("SRC:DST, or SRC:DST:ro"));
    }
    if !source.contains('/') && !source.starts_with('.') {
        return Err(wrong(
            "a path as the source, such as /data or ./data (named volumes do not exist yet)",
        ));
    }
    let destination = PathBuf::from(destination);
    if !destination.is_absolute() || destination == Path::new("/") {
        return Err(wrong("an absolute destination other than /"));
    }
    let source = absolute(source).map_err(|error| wrong(&error.to_string()))?;
    Ok(Volume {
        source,
        destination,
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, expected) in [
            ("1", 1),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("1g", 1 << 30),
            ("1.5k", 1536),
            ("2KiB", 2048),
            ("3mb", 3 << 20),
            ("7b", 7),
        ] {
            assert_eq!(bytes("--memory", text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "m",
            "1x",
            "1 g",
            "nan",
            "inf",
            "18446744073709551616",
            "18446744073709551615k",
            "1e3",
        ] {
            assert!(
                matches!(bytes("--memory", text), Err(Error::BadValue { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn cpus_are_positive_numbers() {
        assert_eq!(cpus("0.04").unwrap(), CpuQuota::from_cpus(0.04).unwrap());
        for text in ["0", "-1", "x", "nan", "inf", ""] {
            assert!(
                matches!(cpus(text), Err(Error::BadValue { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn volumes_are_read_as_source_destination_and_access() {
        let volume = |text: &str| {
            super::volume(text).map(|volume| (volume.source, volume.destination, volume.read_only))
        };
        assert_eq!(volume("/a:/b").unwrap(), ("/a".into(), "/b".into(), false));
        assert_eq!(
            volume("/a:/b:ro").unwrap(),
            ("/a".into(), "/b".into(), true)
        );
        assert!(volume("./a:/b").unwrap().0.is_absolute());
        for text in [
            "/a",
            "/a:",
            ":/b",
            "/a:b",
            "/a:/b:rx",
            "/a:/b:ro:x",
            "name:/b",
            "/a:/",
        ] {
            assert!(
                matches!(volume(text), Err(Error::BadValue { .. })),
                "{text:?}"
            );
        }
    }
}
