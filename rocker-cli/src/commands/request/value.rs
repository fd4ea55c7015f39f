//! The values of `run`'s flags.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::{major, minor};
use rocker_cgroup::{CpuQuota, DeviceAccess};
use rocker_ns::DetachKeys;

use crate::engine::time;
use crate::{DeviceNode, Error, Result, Tmpfs};

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

/// A time as Docker takes it: `500ms`, `30s`, `1m30s`, `1.5h`.
pub(crate) fn duration(flag: &'static str, text: &str) -> Result<Duration> {
    let wrong = || bad(flag, text, "a time such as 500ms, 30s or 1m30s");
    let mut whole = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, behind) = rest.split_at(digits.ok_or_else(wrong)?);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        whole += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = behind;
    }
    match text.is_empty() {
        true => Err(wrong()),
        false => Duration::try_from_secs_f64(whole).map_err(|_| wrong()),
    }
}

/// A moment as Docker takes it: in RFC 3339, in seconds since 1970, or how long ago it was, such as `10m`. A day alone, or a
/// time without a zone, is of UTC.
pub(crate) fn moment(flag: &'static str, text: &str) -> Result<SystemTime> {
    let wrong = || {
        let expected = "a time such as 2026-11-25T12:00:00Z, 1795430096, or 10m for so long ago";
        bad(flag, text, expected)
    };
    if let Ok(seconds) = text.parse::<f64>() {
        let since = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        return UNIX_EPOCH.checked_add(since).ok_or_else(wrong);
    }
    if let Ok(ago) = duration(flag, text) {
        return SystemTime::now().checked_sub(ago).ok_or_else(wrong);
    }
    let whole = [
        text.to_owned(),
        format!("{text}Z"),
        format!("{text}T00:00:00Z"),
    ];
    let found = whole.iter().find_map(|text| time::parse(text));
    found.ok_or_else(wrong)
}

/// `NAME=VALUE`, or `NAME` alone for an empty value.
pub(crate) fn labels<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, String> {
    let both = |text: &'a String| text.split_once('=').unwrap_or((text, ""));
    texts
        .into_iter()
        .map(both)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The lines of a file of variables or labels, without comments.
pub(crate) fn lines_of(flag: &'static str, path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| {
        bad(
            flag,
            &path.to_string_lossy(),
            format!("a file of lines NAME=VALUE ({error})"),
        )
    })?;
    let lines = text.lines().map(str::trim_start);
    let kept = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    kept.map(|line| match line.split('=').next() {
        Some(name) if name.is_empty() || name.contains(char::is_whitespace) => Err(bad(
            flag,
            &path.to_string_lossy(),
            format!("lines NAME=VALUE, and not {line:?}"),
        )),
        _ => Ok(line.to_owned()),
    })
    .collect()
}

/// A number of MiB, in bytes.
pub(crate) fn mebibytes(flag: &'static str, number: u64) -> Result<u64> {
    number
        .checked_mul(1 << 20)
        .ok_or_else(|| bad(flag, &number.to_string(), "fewer MiB"))
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
    let access = |part: &str| !part.is_empty() && part.chars().all(|letter| "rwm".contains(letter));
    let (destination, wanted) = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => (source, None),
        (Some(part), None, _) if !part.starts_with('/') => (source, Some(part)),
        (Some(destination), wanted, None) => (destination, wanted),
        _ => return Err(bad("SRC[:DST[:rwm]]")),
    };
    let access = match wanted {
        Some(wanted) if !access(wanted) => {
            return Err(bad("some of the letters r, w and m behind the last colon"));
        }
        Some(wanted) => wanted.parse()?,
        None => DeviceAccess::ALL,
    };
    let (source, destination) = (PathBuf::from(source), PathBuf::from(destination));
    if !source.is_absolute() || !destination.starts_with("/dev") || destination == Path::new("/dev")
    {
        return Err(bad("a device of the host, and a place in /dev for it"));
    }
    Ok(DeviceNode {
        source,
        destination,
        access,
    })
}

/// `PATH:RATE` of a block device, whose numbers it has.
pub(crate) fn rate(flag: &'static str, text: &str, unit: Unit) -> Result<(u32, u32, u64)> {
    let bad = |expected: &str| bad(flag, text, expected);
    let form = match unit {
        Unit::Bytes => "PATH:RATE of a block device, such as /dev/sda:1mb",
        Unit::Operations => "PATH:RATE of a block device, such as /dev/sda:100",
        Unit::Weight => "PATH:WEIGHT of a block device, such as /dev/sda:300",
    };
    let (path, rate) = text.rsplit_once(':').ok_or_else(|| bad(form))?;
    let rate = match unit {
        Unit::Bytes => bytes(flag, rate).map_err(|_| bad(form))?,
        Unit::Operations | Unit::Weight => rate.parse().map_err(|_| bad(form))?,
    };
    let found = fs::metadata(path).map_err(|error| bad(&format!("{form} ({error})")))?;
    if !found.file_type().is_block_device() {
        return Err(bad(form));
    }
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok((
        number(major(found.rdev())),
        number(minor(found.rdev())),
        rate,
    ))
}

/// What is counted of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Operations,
    Weight,
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
    fn times_are_dockers() {
        let millis = |text| duration("--timeout", text).map(|time| time.as_millis());
        for (text, expected) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(millis(text).unwrap(), expected, "{text}");
        }
        for text in ["", "30", "s", "-1s", "1x", "1s2", "1e999h", "..s"] {
            assert!(duration("--timeout", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn moments_are_said_in_several_ways() {
        let at = |text| moment("--since", text).map(time::text);
        for (text, expected) in [
            ("1970-01-02", "1970-01-02T00:00:00.000000000Z"),
            ("1970-01-02T01:00:00", "1970-01-02T01:00:00.000000000Z"),
            (
                "1970-01-02T01:00:00+01:00",
                "1970-01-02T00:00:00.000000000Z",
            ),
            ("86400.5", "1970-01-02T00:00:00.500000000Z"),
        ] {
            assert_eq!(at(text).unwrap(), expected, "{text}");
        }
        let ago = SystemTime::now().duration_since(moment("--since", "2m").unwrap());
        assert!((119..=121).contains(&ago.unwrap().as_secs()));
        for text in ["", "yesterday", "-5", "1970-13-01"] {
            assert!(moment("--since", text).is_err(), "{text:?}");
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
        let access = |text| device(text).unwrap().access.to_string();
        assert_eq!(
            ["/dev/a", "/dev/a:r", "/dev/a:/dev/b:mr"].map(access),
            ["rwm", "r", "rm"]
        );
        for text in [
            "",
            "kvm",
            "/dev/a:/b",
            "/dev/a:/dev/b:x",
            "/dev/a:/dev/b:rr",
            "/dev/a:/dev/b:",
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
}
