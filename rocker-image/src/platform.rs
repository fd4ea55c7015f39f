//! [`Platform`]: what an image is made for, and which image of an index fits.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Error, Result};

/// An operating system and a processor architecture, named as Go names them: `linux/amd64`, `linux/arm64/v8`.
///
/// The default is the machine that the program was built for.
///
/// Specified in the [OCI image index](https://github.com/opencontainers/image-spec/blob/main/image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Platform {
    /// The operating system, as in `GOOS`.
    pub os: String,
    /// The processor architecture, as in `GOARCH`.
    pub architecture: String,
    /// The variant of the architecture, such as `v7` of `arm`.
    pub variant: Option<String>,
}

impl Platform {
    /// What an entry of an index says of it.
    pub(crate) fn of_entry(&self) -> Value {
        let mut entry = json!({"architecture": self.architecture, "os": self.os});
        if let Some(variant) = &self.variant {
            entry["variant"] = variant.as_str().into();
        }
        entry
    }

    /// Whether something made for `self` is what is asked for by `wanted`: the same operating system and architecture,
    /// and no later variant. Where `self` names no variant, as most images do not, any will do.
    pub fn fits(&self, wanted: &Self) -> bool {
        let same = self.os == wanted.os && self.architecture == wanted.architecture;
        self.fitness(wanted).is_some() || (same && self.variant.is_none())
    }

    /// How well something made for `self` runs where `wanted` is asked for: `None` if not at all, and more is better.
    ///
    /// A later variant of an architecture runs what was made for an earlier one, so the latest that is not above the
    /// wanted one is best.
    pub(crate) fn fitness(&self, wanted: &Self) -> Option<(u32, u32)> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        if self.variant == wanted.variant {
            return Some((u32::MAX, u32::MAX));
        }
        let (own, most) = (self.level()?, wanted.level()?);
        (own <= most).then_some(own)
    }

    /// The variant as a number, with what the architecture means where it names none.
    fn level(&self) -> Option<(u32, u32)> {
        let variant = match (&self.variant, self.architecture.as_str()) {
            (Some(variant), _) => variant.as_str(),
            (None, "arm") => "v7",
            (None, "arm64") => "v8",
            (None, _) => "v1",
        };
        let digits = variant.strip_prefix('v')?;
        let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
}

impl Default for Platform {
    fn default() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            same => same,
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Parses `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`. The usual other names of an architecture (`x86_64`,
    /// `aarch64`, `armhf`) are understood.
    fn from_str(input: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidPlatform {
            input: input.into(),
            reason,
        };
        let parts: Vec<&str> = input.split('/').collect();
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(|part| word(part)) {
            return Err(invalid(
                "a part of it is empty or has other characters than letters, digits, '_', '-' and '.'",
            ));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_lowercase())),
            _ => {
                return Err(invalid(
                    "it is not OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT",
                ));
            }
        };
        let (architecture, variant) = match (architecture.to_lowercase().as_str(), variant) {
            ("x86_64" | "x86-64", variant) => ("amd64".to_owned(), variant),
            ("aarch64", variant) => ("arm64".to_owned(), variant),
            ("armhf", None) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", None) => ("arm".to_owned(), Some("v6".to_owned())),
            (other, variant) => (other.to_owned(), variant),
        };
        Ok(Self {
            os: os.to_lowercase(),
            architecture,
            variant,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.os, self.architecture);
        if let Some(variant) = &self.variant {
            text.push('/');
            text.push_str(variant);
        }
        // A platform may have come from a registry.
        crate::Untrusted::from(text).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn best<'a>(wanted: &str, offered: &[&'a str]) -> Option<&'a str> {
        let wanted = platform(wanted);
        let fitting = offered
            .iter()
            .filter_map(|text| Some((platform(text).fitness(&wanted)?, *text)));
        fitting
            .max_by_key(|(fitness, _)| *fitness)
            .map(|(_, text)| text)
    }

    #[test]
    fn a_platform_is_two_or_three_words() {
        assert_eq!(platform("linux/arm64/v8").to_string(), "linux/arm64/v8");
        assert_eq!(platform("Linux/x86_64"), platform("linux/amd64"));
        assert_eq!(platform("linux/armhf"), platform("linux/arm/v7"));
        for wrong in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/v7/x",
            "linux/a b",
            "linux/\x1b[0m",
        ] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_latest_variant_that_still_runs_is_chosen() {
        assert_eq!(
            best(
                "linux/arm/v7",
                &["linux/arm/v5", "linux/arm/v6", "linux/arm64"]
            ),
            Some("linux/arm/v6")
        );
        assert_eq!(
            best("linux/arm/v6", &["linux/arm/v5", "linux/arm/v7"]),
            Some("linux/arm/v5")
        );
        assert_eq!(
            best("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]),
            Some("linux/arm64/v8")
        );
        assert_eq!(
            best("linux/amd64", &["linux/amd64/v3", "linux/amd64"]),
            Some("linux/amd64")
        );
        assert_eq!(
            best(
                "linux/amd64/v3",
                &["linux/amd64/v4", "linux/amd64/v2", "linux/amd64"]
            ),
            Some("linux/amd64/v2")
        );
        assert_eq!(
            best(
                "linux/amd64",
                &["windows/amd64", "linux/s390x", "linux/amd64/v2"]
            ),
            None
        );
    }

    #[test]
    fn an_image_without_a_variant_fits_any() {
        assert!(platform("linux/arm64").fits(&platform("linux/arm64/v8")));
        assert!(platform("linux/arm64/v8").fits(&platform("linux/arm64")));
        assert!(platform("linux/arm").fits(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm/v7").fits(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm64").fits(&platform("linux/amd64")));
    }

    proptest! {
        #[test]
        fn what_parses_shows_as_what_parses_to_the_same(text in "[a-zA-Z0-9_/.-]{0,30}|linux/arm/v[0-9]") {
            if let Ok(platform) = text.parse::<Platform>() {
                prop_assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
            }
        }
    }
}
