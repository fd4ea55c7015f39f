//! The values of `run`'s flags.

use std::path::{Path, PathBuf, absolute};

use rocker_cgroup::CpuQuota;
use rocker_ns::DetachKeys;

use crate::{DeviceNode, Error, Result, Tmpfs, Volume};

/// The error for a value that a flag does not take.
pub(crate) fn bad(flag: &'static str, value: &str, expected: impl Into<String>) -> Error {
    Error::bad_value(flag, value.to_owned(), expected.into())
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

/// `PATH[:OPTION,…]`.
pub(crate) fn tmpfs(text: &str) -> Result<Tmpfs> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let known = |option: &str| match option.split_once('=') {
        Some(("size" | "nr_inodes" | "mode" | "uid" | "gid" | "nr_blocks", value)) => {
            !value.is_empty()
        }
        Some(_) => false,
        None => [
            "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev",
        ]
        .contains(&option),
    };
    let options: Vec<_> = options
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    let bad = |expected: &str| bad("--tmpfs", text, expected);
    if let Some(option) = options.iter().find(|option| !known(option)) {
        let expected =
            "size=, mode=, uid=, gid=, nr_inodes=, ro, rw and [no]exec, [no]suid, [no]dev";
        return Err(bad(&format!(
            "{expected} behind the colon, and not {option:?}"
        )));
    }
    let destination = PathBuf::from(path);
    if !destination.is_absolute() || destination == Path::new("/") {
        return Err(bad("an absolute path other than /"));
    }
    Ok(Tmpfs {
        destination,
        options,
    })
}

/// `SRC[:DST[:rwm]]`.
pub(crate) fn device(text: &str) -> Result<DeviceNode> {
    let bad = |expected: &str| bad("--device", text, expected);
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let access = |part: &str| matches!(part, "rwm" | "rw");
    let (destination, wanted) = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => (source, None),
        (Some(part), None, _) if !part.starts_with('/') => (source, Some(part)),
        (Some(destination), wanted, None) => (destination, wanted),
        _ => return Err(bad("SRC[:DST[:rwm]]")),
    };
    if wanted.is_some_and(|wanted| !access(wanted)) {
        return Err(bad(
            "rwm or rw: rocker has no device rules yet, so that a device which is there can be written to",
        ));
    }
    let (source, destination) = (PathBuf::from(source), PathBuf::from(destination));
    if !source.is_absolute() || !destination.starts_with("/dev") || destination == Path::new("/dev")
    {
        return Err(bad("a device of the host, and a place in /dev for it"));
    }
    Ok(DeviceNode {
        source,
        destination,
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
    fn file_systems_in_memory_have_a_place_and_options() {
        let made = tmpfs("/run:size=64m,mode=700,exec").unwrap();
        assert_eq!(made.destination, Path::new("/run"));
        assert_eq!(made.options, ["size=64m", "mode=700", "exec"]);
        assert!(tmpfs("/tmp").unwrap().options.is_empty());
        for text in ["", "tmp", "/", "/x:nonsense", "/x:size=", "/x:huge=always"] {
            assert!(tmpfs(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn devices_are_read_as_source_destination_and_access() {
        let read = |text| device(text).map(|one| (one.source, one.destination));
        let both = |source: &str, destination: &str| (source.into(), destination.into());
        assert_eq!(read("/dev/kvm").unwrap(), both("/dev/kvm", "/dev/kvm"));
        assert_eq!(read("/dev/a:/dev/b:rwm").unwrap(), both("/dev/a", "/dev/b"));
        assert_eq!(read("/dev/a:rw").unwrap(), both("/dev/a", "/dev/a"));
        for text in [
            "",
            "kvm",
            "/dev/a:/b",
            "/dev/a:/dev/b:r",
            "/dev/a:/dev/b:rw:x",
            "/dev/a:/dev",
        ] {
            assert!(read(text).is_err(), "{text:?}");
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
