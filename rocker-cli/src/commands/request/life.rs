//! How a container lives: what it is found by, how it ends, and what is kept of what it writes.

use std::path::{PathBuf, absolute};
use std::time::Duration;

use clap::Args;

use super::value;
use crate::{HealthOptions, LogDriver, LogOptions, Result, RunOptions};

/// The part of a request that says how the container lives.
#[derive(Debug, Args)]
pub(super) struct Life {
    /// What becomes of it when it ends: no, on-failure[:N], always or unless-stopped
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "no",
        hide_default_value = true,
        help_heading = "Life"
    )]
    restart: String,
    /// The signal that asks the command to end
    #[arg(long, value_name = "SIGNAL", help_heading = "Life")]
    stop_signal: Option<String>,
    /// How many seconds it may take to end, 10 by default
    #[arg(long, value_name = "SECONDS", help_heading = "Life")]
    stop_timeout: Option<u64>,
    /// Kill it after so many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Life")]
    timeout: Option<u64>,
    /// Remove another container of that name first
    #[arg(long, requires = "name", help_heading = "Life")]
    replace: bool,
    /// Label it
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Life")]
    label: Vec<String>,
    /// Label it with the lines of a file
    #[arg(long, value_name = "PATH", help_heading = "Life")]
    label_file: Vec<PathBuf>,
    /// Add an annotation to its OCI specification
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Life")]
    annotation: Vec<String>,
    /// Write its ID to a new file
    #[arg(long, value_name = "PATH", help_heading = "Life")]
    cidfile: Option<PathBuf>,
    /// Write the host's number of its first process to a file
    #[arg(long, value_name = "PATH", help_heading = "Life")]
    pidfile: Option<PathBuf>,

    /// Where its output is kept: json-file or none
    #[arg(long, value_name = "DRIVER", help_heading = "Log")]
    log_driver: Option<String>,
    /// max-size=BYTES and max-file=N, to begin new files and drop old ones
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Log")]
    log_opt: Vec<String>,

    /// Check its health with this shell command
    #[arg(long, value_name = "COMMAND", help_heading = "Health")]
    health_cmd: Option<String>,
    /// How long to wait between checks, 30s by default
    #[arg(long, value_name = "TIME", help_heading = "Health")]
    health_interval: Option<String>,
    /// How long one may take, 30s by default
    #[arg(long, value_name = "TIME", help_heading = "Health")]
    health_timeout: Option<String>,
    /// How many have to fail in a row, 3 by default
    #[arg(long, value_name = "N", help_heading = "Health")]
    health_retries: Option<u32>,
    /// For how long after the start they do not count
    #[arg(long, value_name = "TIME", help_heading = "Health")]
    health_start_period: Option<String>,
    /// How long to wait between checks until then, 5s by default
    #[arg(long, value_name = "TIME", help_heading = "Health")]
    health_start_interval: Option<String>,
    /// Do not check its health, whatever the image says
    #[arg(long, conflicts_with = "health_cmd", help_heading = "Health")]
    no_healthcheck: bool,
}

impl Life {
    pub(super) fn add_to(&self, options: &mut RunOptions<'_>) -> Result<()> {
        options.restart = self.restart.parse()?;
        if options.remove && options.restart != crate::Restart::No {
            let expected =
                "no together with --rm: a container that is removed is not started again";
            return Err(value::bad("--restart", &self.restart, expected));
        }
        if let Some(signal) = &self.stop_signal
            && rocker_ns::signal_number(signal).is_none()
        {
            let expected = "a signal such as TERM, SIGQUIT or 3";
            return Err(value::bad("--stop-signal", signal, expected));
        }
        options.stop_signal = self.stop_signal.clone();
        options.stop_timeout = self.stop_timeout.map(Duration::from_secs);
        options.time_limit = self
            .timeout
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs);
        options.replace = self.replace;
        let mut labels = Vec::new();
        for path in &self.label_file {
            labels.extend(value::lines_of("--label-file", path)?);
        }
        options.labels = value::labels(labels.iter().chain(&self.label));
        options.annotations = value::labels(&self.annotation);
        let whole = |flag, path: &Option<PathBuf>| {
            let wrong = |error: std::io::Error| value::bad(flag, "", error.to_string());
            path.as_ref().map(absolute).transpose().map_err(wrong)
        };
        options.id_file = whole("--cidfile", &self.cidfile)?;
        options.pid_file = whole("--pidfile", &self.pidfile)?;
        options.log = self.log()?;
        options.health = self.health()?;
        Ok(())
    }

    fn log(&self) -> Result<LogOptions> {
        let mut log = LogOptions {
            driver: match self.log_driver.as_deref() {
                None => None,
                Some("json-file") => Some(LogDriver::JsonFile),
                Some("none") => Some(LogDriver::None),
                Some(other) => return Err(value::bad("--log-driver", other, "json-file or none")),
            },
            ..LogOptions::default()
        };
        for option in &self.log_opt {
            let wrong = |expected| value::bad("--log-opt", option, expected);
            match option.split_once('=') {
                Some(("max-size", "-1")) => log.max_size = None,
                Some(("max-size", size)) => log.max_size = Some(value::bytes("--log-opt", size)?),
                Some(("max-file", count)) => {
                    let count = count.parse().ok().filter(|count| *count > 0);
                    log.max_files = Some(count.ok_or_else(|| wrong("max-file=N, at least 1"))?);
                }
                _ => return Err(wrong("max-size=BYTES or max-file=N")),
            }
        }
        if log.max_files.is_some_and(|files| files > 1) && log.max_size.is_none() {
            let expected = "max-size=BYTES beside max-file: without it no file is ever full";
            return Err(value::bad("--log-opt", "max-file", expected));
        }
        Ok(log)
    }

    fn health(&self) -> Result<HealthOptions> {
        let time = |flag, text: &Option<String>| {
            text.as_ref()
                .map(|text| value::duration(flag, text))
                .transpose()
        };
        Ok(HealthOptions {
            // Docker's other way to say that there is none.
            disabled: self.no_healthcheck || self.health_cmd.as_deref() == Some("none"),
            command: self.health_cmd.clone(),
            interval: time("--health-interval", &self.health_interval)?,
            timeout: time("--health-timeout", &self.health_timeout)?,
            retries: self.health_retries,
            start_period: time("--health-start-period", &self.health_start_period)?,
            start_interval: time("--health-start-interval", &self.health_start_interval)?,
        })
    }
}
