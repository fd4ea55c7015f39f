//! `rocker start`

use std::ffi::OsString;
use std::io::{IsTerminal, stdin};

use clap::Args;

use super::request::keys;
use super::{Executable, Explain, each, engine, front, print};
use crate::{Error, Result, StartOptions};

/// Start containers that were made, or have ended
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker start -a web    stays in front of it, as run does")]
pub(crate) struct Start {
    /// Stay in front of it: its output comes here, and signals go there
    #[arg(short, long)]
    attach: bool,
    /// Connect standard input; stays in front of it as well
    #[arg(short, long)]
    interactive: bool,
    /// Leave the command to itself at these keys; none if empty
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    #[command(flatten)]
    explain: Explain,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    pub(crate) fn run(self) -> Result<u8> {
        if self.attach || self.interactive {
            return self.in_front();
        }
        if front::is_worker()? {
            let options = StartOptions {
                detach: true,
                ..StartOptions::default()
            };
            let name = &self.containers[0];
            return self.explain.around(Executable::Protected, |engine| {
                loop {
                    match engine.start(name, &options) {
                        // Somebody else was faster: it runs all the same, or has just ended.
                        Err(Error::AlreadyRunning { .. }) if engine.comes_up(name)? => {
                            return Ok(0);
                        }
                        Err(Error::AlreadyRunning { .. }) => {}
                        outcome => return outcome.map(|exit| exit.code),
                    }
                }
            });
        }
        Ok(each(&self.containers, |name| {
            start(name, self.explain.args())
        }))
    }

    /// Starts one container and stays in front of it.
    fn in_front(&self) -> Result<u8> {
        let [name] = &self.containers[..] else {
            let all = self.containers.join(" ");
            return Err(Error::bad_value("--attach", all, "one container"));
        };
        let io = engine()?.io_of(name)?;
        let for_a_person = io.terminal && self.interactive;
        if for_a_person && !stdin().is_terminal() {
            return Err(Error::NotATerminal);
        }
        let options = StartOptions {
            interactive: self.interactive,
            detach_keys: keys(&self.detach_keys)?.filter(|_| for_a_person),
            ..StartOptions::default()
        };
        if options.detach_keys.is_some() && !front::is_worker()? {
            return front::stand_in(true);
        }
        let exit = self
            .explain
            .around(Executable::Protected, |engine| engine.start(name, &options))?;
        Ok(exit.code)
    }
}

/// Starts a container in the background by a process that gets these `flags` as well, and says its name.
pub(super) fn start(name: &str, flags: Vec<OsString>) -> Result<()> {
    let found = engine()?.container(name)?;
    // The worker says itself what went wrong.
    if !found.status.is_up() && front::start(&found.id, flags)? != 0 {
        return Err(Error::NotStarted { name: found.name });
    }
    print(&format!("{name}\n"));
    Ok(())
}
