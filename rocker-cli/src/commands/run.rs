//! `rocker run`

use std::io::{IsTerminal, Write, stderr, stdin};

use clap::Args;
use rocker_cgroup::Max;

use super::request::Request;
use super::{Executable, Explain, front, print};
use crate::{Error, Result, RunOptions};

/// Run a command in a new container
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "rocker run [OPTIONS] IMAGE[:TAG|@DIGEST] [COMMAND] [ARG]..."
)]
#[command(
    after_help = "Example: rocker run --rm -it --cpus 0.5 --mem 64 -v ./src:/src:ro debian bash"
)]
pub(crate) struct Run {
    /// Leave it to itself as soon as it runs, and print its ID
    #[arg(short, long, help_heading = "Container")]
    detach: bool,
    #[command(flatten)]
    request: Request,
    #[command(flatten, next_help_heading = "Other options")]
    explain: Explain,
}

impl Run {
    pub(crate) fn run(self) -> Result<u8> {
        if self.request.is_for_a_person() && !self.detach && !stdin().is_terminal() {
            return Err(Error::NotATerminal);
        }
        let mut options = self.request.options()?;
        options.detach = self.detach;
        if (options.detach || options.detach_keys.is_some()) && !front::is_worker()? {
            return front::stand_in(!self.detach);
        }
        let bars = self.explain.bars();
        let options = match self.detach {
            true => options.telling(&|id| print(&format!("{id}\n"))),
            false => options,
        };
        let options = options.watched_by(&bars);
        let exit = self
            .explain
            .around(Executable::Protected, |engine| engine.run(&options))?;
        if let Some(level) = &exit.oom_level {
            let _ = writeln!(stderr(), "rocker: {}", oom_notice(level, &options));
        }
        Ok(exit.code)
    }
}

fn oom_notice(level: &str, options: &RunOptions<'_>) -> String {
    let limit = match options.limits.memory_bytes {
        Some(Max::At(bytes)) => format!("; the container's limit is {} MiB", bytes >> 20),
        _ => String::new(),
    };
    format!(
        "out of memory: the kernel killed a process, since there was no more within {level}{limit}"
    )
}
