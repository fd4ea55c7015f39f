//! What becomes of a container whose program has ended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Whether a container is started again when its program ends, as Docker's `--restart` has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Restart {
    /// It is not.
    #[default]
    No,
    /// When the exit status is not 0.
    OnFailure {
        /// How often at most; none for without end.
        most: Option<u32>,
    },
    /// Always, until somebody stops it; after a boot also one that was stopped.
    Always,
    /// Always, until somebody stops it; after a boot only if nobody had.
    UnlessStopped,
}

impl Restart {
    /// Whether a container that has ended with `code`, and was started again `restarts` times, is to be started again.
    pub(crate) fn wants(self, code: u8, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { most } => code != 0 && most.is_none_or(|most| restarts < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Whether `rocker system boot` starts a container that has run; `stopped` says that somebody had stopped it.
    pub(crate) fn wants_at_boot(self, stopped: bool) -> bool {
        match self {
            Self::No | Self::OnFailure { .. } => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped,
        }
    }
}

/// How long to wait before the container is started again: longer each time that it has ended soon, up to a minute, as Docker does.
pub(crate) fn pause_before(haste: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    let factor = 1_u32.checked_shl(haste).unwrap_or(u32::MAX);
    FIRST.saturating_mul(factor).min(LONGEST)
}

/// A program that ran for so long is not one that fails at once: the next pause is the first one again.
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { most: None } => f.write_str("on-failure"),
            Self::OnFailure { most: Some(most) } => write!(f, "on-failure:{most}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

impl FromStr for Restart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (policy, most) = match text.split_once(':') {
            Some((policy, most)) => (policy, Some(most)),
            None => (text, None),
        };
        match (policy, most) {
            ("no", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None) => Ok(Self::OnFailure { most: None }),
            ("on-failure", Some(most)) if let Ok(most) = most.parse() => {
                // Docker's own way to say: without end.
                let most = Some(most).filter(|most| *most > 0);
                Ok(Self::OnFailure { most })
            }
            _ => Err(Error::bad_value(
                "--restart",
                text,
                "no, on-failure[:N], always or unless-stopped",
            )),
        }
    }
}

impl From<Restart> for String {
    fn from(policy: Restart) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for Restart {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_with_docker() {
        for text in [
            "no",
            "on-failure",
            "on-failure:3",
            "always",
            "unless-stopped",
        ] {
            assert_eq!(text.parse::<Restart>().unwrap().to_string(), text);
        }
        assert_eq!(
            "on-failure:0".parse::<Restart>().unwrap().to_string(),
            "on-failure"
        );
        for text in [
            "",
            "yes",
            "always:3",
            "on-failure:",
            "on-failure:-1",
            "no:1",
        ] {
            assert!(text.parse::<Restart>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_policy_says_when_and_how_often() {
        let three = Restart::OnFailure { most: Some(3) };
        assert!(three.wants(1, 2) && !three.wants(1, 3) && !three.wants(0, 0));
        assert!(Restart::Always.wants(0, 1000) && !Restart::No.wants(1, 0));
        assert!(Restart::Always.wants_at_boot(true));
        assert!(!Restart::UnlessStopped.wants_at_boot(true));
        assert!(Restart::UnlessStopped.wants_at_boot(false));
    }

    #[test]
    fn pauses_grow_to_a_minute_and_no_further() {
        assert_eq!(pause_before(0), Duration::from_millis(100));
        assert_eq!(pause_before(3), Duration::from_millis(800));
        assert_eq!(pause_before(1000), Duration::from_secs(60));
    }
}
