//! `rocker logs`

use std::io::{self, Write, stderr, stdout};

use clap::Args;
use rocker_ns::Output;

use super::engine;
use super::request::value;
use crate::engine::time;
use crate::{LogLine, LogQuery, Result};

/// Show what the command of a container has written
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker logs -f --tail 20 web")]
pub(crate) struct Logs {
    /// Go on with what it writes from now on
    #[arg(short, long)]
    follow: bool,
    /// Nothing from before: a time, or 10m for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Nothing from after
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only so many of the last lines, or all
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    tail: String,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The container: its name, or the beginning of its ID
    container: String,
}

impl Logs {
    pub(crate) fn run(self) -> Result<u8> {
        let moment = |flag, text: &Option<String>| {
            text.as_ref()
                .map(|text| value::moment(flag, text))
                .transpose()
        };
        let query = LogQuery {
            follow: self.follow,
            since: moment("--since", &self.since)?,
            until: moment("--until", &self.until)?,
            tail: match self.tail.as_str() {
                "all" | "-1" => None,
                count => {
                    let wrong = |_| value::bad("--tail", count, "a number of lines, or all");
                    Some(count.parse().map_err(wrong)?)
                }
            },
        };
        let mut starts = [true, true];
        for line in engine()?.logs(&self.container, query)? {
            // Whoever has seen enough has gone.
            if self.show(&line?, &mut starts).is_err() {
                break;
            }
        }
        Ok(0)
    }

    /// Writes a line where the command has written it. `starts` says of both whether a line begins there.
    fn show(&self, line: &LogLine, starts: &mut [bool; 2]) -> io::Result<()> {
        let (to, start): (&mut dyn Write, _) = match line.output {
            Output::Stdout => (&mut stdout().lock(), &mut starts[0]),
            Output::Stderr => (&mut stderr().lock(), &mut starts[1]),
        };
        if self.timestamps && *start {
            write!(to, "{} ", time::text(line.time))?;
        }
        *start = line.text.ends_with('\n');
        to.write_all(line.text.as_bytes())?;
        match self.follow {
            true => to.flush(),
            false => Ok(()),
        }
    }
}
