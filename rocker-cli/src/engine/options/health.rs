//! How it is found out whether a container does what it is there for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A check of a container's health, as Docker has it: a program that is run in it time and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The program and its arguments. Exit status 0 is healthy, any other one is not.
    pub command: Vec<String>,
    /// From the end of one check to the beginning of the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How many have to fail in a row until the container is unhealthy.
    pub retries: u32,
    /// For how long after the start a failed check does not count.
    pub start_period: Duration,
    /// In place of `interval`, for as long as that is.
    pub start_interval: Duration,
}

/// What a caller says of the check, over what the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthOptions {
    /// Whether there is none, whatever the image says.
    pub disabled: bool,
    /// The program, run by `/bin/sh -c`.
    pub command: Option<String>,
    /// See [`HealthCheck::interval`].
    pub interval: Option<Duration>,
    /// See [`HealthCheck::timeout`].
    pub timeout: Option<Duration>,
    /// See [`HealthCheck::retries`].
    pub retries: Option<u32>,
    /// See [`HealthCheck::start_period`].
    pub start_period: Option<Duration>,
    /// See [`HealthCheck::start_interval`].
    pub start_interval: Option<Duration>,
}

/// The `Healthcheck` of an image's configuration in Docker's format, for which OCI has no word. Times are nanoseconds, and 0 is
/// for the default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OfImage {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    retries: u32,
    start_period: u64,
    start_interval: u64,
}

impl HealthOptions {
    /// The check that comes of both; none where neither asks for one.
    pub(crate) fn over(&self, image: Option<&OfImage>) -> Option<HealthCheck> {
        if self.disabled {
            return None;
        }
        let nothing = OfImage::default();
        let image = image.unwrap_or(&nothing);
        let by_shell = |text: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()];
        let command = match (&self.command, &image.test[..]) {
            (Some(text), _) if !text.is_empty() => by_shell(text),
            (_, [kind, text]) if kind == "CMD-SHELL" => by_shell(text),
            (_, [kind, command @ ..]) if kind == "CMD" && !command.is_empty() => command.to_vec(),
            _ => return None,
        };
        let time = |own: Option<Duration>, image: u64, seconds| match (own, image) {
            (Some(own), _) if !own.is_zero() => own,
            (_, 0) => Duration::from_secs(seconds),
            (_, image) => Duration::from_nanos(image),
        };
        Some(HealthCheck {
            command,
            interval: time(self.interval, image.interval, 30),
            timeout: time(self.timeout, image.timeout, 30),
            retries: self
                .retries
                .filter(|own| *own > 0)
                .or(Some(image.retries).filter(|image| *image > 0))
                .unwrap_or(3),
            start_period: time(self.start_period, image.start_period, 0),
            start_interval: time(self.start_interval, image.start_interval, 5),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> OfImage {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_the_caller_says_comes_over_what_the_image_says() {
        let image = image(r#"{"Test":["CMD","/check","-x"],"Interval":2000000000,"Retries":5}"#);
        let check = HealthOptions::default().over(Some(&image)).unwrap();
        assert_eq!(check.command, ["/check", "-x"]);
        let seconds = |time: Duration| time.as_secs();
        assert_eq!((seconds(check.interval), check.retries), (2, 5));
        assert_eq!(
            (seconds(check.timeout), seconds(check.start_interval)),
            (30, 5)
        );
        let own = HealthOptions {
            command: Some("test -e /up".to_owned()),
            interval: Some(Duration::from_secs(1)),
            ..HealthOptions::default()
        };
        let check = own.over(Some(&image)).unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "test -e /up"]);
        assert_eq!((seconds(check.interval), check.retries), (1, 5));
    }

    #[test]
    fn there_is_none_unless_somebody_asks_for_one() {
        let options = HealthOptions::default();
        assert_eq!(options.over(None), None);
        for text in [
            r#"{"Test":["NONE"]}"#,
            r#"{"Test":[]}"#,
            "{}",
            r#"{"Test":["CMD"]}"#,
        ] {
            assert_eq!(options.over(Some(&image(text))), None, "{text}");
        }
        let disabled = HealthOptions {
            disabled: true,
            ..HealthOptions::default()
        };
        let image = image(r#"{"Test":["CMD-SHELL","true"]}"#);
        assert_eq!(disabled.over(Some(&image)), None);
        assert!(options.over(Some(&image)).is_some());
    }
}
