//! `rocker logs`

use std::io::{self, BufWriter, StdoutLock, Write, stdout};

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
        let mut screen = Screen {
            stdout: BufWriter::with_capacity(CHUNK, stdout().lock()),
            timestamps: self.timestamps,
            starts: [true, true],
        };
        for line in engine()?.logs(&self.container, query)? {
            // Whoever has seen enough has gone.
            if screen.show(&line?, self.follow).is_err() {
                break;
            }
        }
        let _ = screen.stdout.flush();
        Ok(0)
    }
}

/// How much is written at once where nobody waits for each line.
const CHUNK: usize = 64 << 10;

/// Where lines are shown.
struct Screen {
    stdout: BufWriter<StdoutLock<'static>>,
    timestamps: bool,
    /// Whether a line begins on standard output, and on standard error.
    starts: [bool; 2],
}

impl Screen {
    /// Writes a line where the command has written it.
    fn show(&mut self, line: &LogLine, at_once: bool) -> io::Result<()> {
        let mut stderr;
        let (to, start): (&mut dyn Write, _) = match line.output {
            Output::Stdout => (&mut self.stdout, &mut self.starts[0]),
            Output::Stderr => {
                // What was written before is seen before.
                self.stdout.flush()?;
                stderr = io::stderr().lock();
                (&mut stderr, &mut self.starts[1])
            }
        };
        if self.timestamps && *start {
            write!(to, "{} ", time::text(line.time))?;
        }
        *start = line.text.ends_with('\n');
        to.write_all(line.text.as_bytes())?;
        match at_once {
            true => to.flush(),
            false => Ok(()),
        }
    }
}
