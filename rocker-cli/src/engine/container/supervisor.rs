//! The one who looks after a container: the parent of its program, from its start to its last end.

use std::thread;
use std::time::{Duration, Instant};

use rocker_cgroup::Hierarchy;
use rocker_ns::{Attach, DetachKeys, Signals};

use super::Container;
use super::keeper::Wish;
use super::process::{Leave, Streams};
use crate::Result;
use crate::engine::Engine;
use crate::engine::log::Log;
use crate::engine::network::ports::Ports;
use crate::engine::options::{Io, LogDriver};
use crate::engine::rootfs::base::Base;

/// The socket of the run directory by which others attach to the program.
pub(crate) const ATTACH: &str = "attach";

/// Who has a container run, and how much of its streams is theirs.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) io: Io,
    pub(crate) detach: bool,
    pub(crate) detach_keys: Option<&'a DetachKeys>,
    /// Who is told once that the program runs.
    pub(crate) running: Option<&'a (dyn Fn(&str) + Sync)>,
    pub(crate) fail_at: Option<usize>,
}

/// What the program of a container is run with, time and again.
pub(crate) struct Supervisor<'a> {
    pub(crate) base: &'a Base,
    pub(crate) hierarchy: &'a Hierarchy,
    pub(crate) signals: &'a Signals,
    pub(crate) caller: Caller<'a>,
    pub(crate) leave: Leave<'a>,
    pub(crate) streams: Streams,
    pub(crate) log: Option<Log>,
    pub(crate) attach: Attach,
    /// The ports of the host that lead into it: they stay its own while it is started again.
    pub(crate) ports: Ports,
    /// Whether its program has run at all.
    pub(crate) has_run: bool,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// How often in a row it has ended soon.
    pub(crate) haste: u32,
    /// Whether somebody wants the container to end, as a signal says.
    pub(crate) wish: Option<Wish>,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        engine: &Engine,
        container: &Container,
        base: &'a Base,
        hierarchy: &'a Hierarchy,
        signals: &'a Signals,
        caller: Caller<'a>,
    ) -> Result<Self> {
        let options = container.options();
        // Before anything that somebody could notice: a port that is taken is the first thing to fail.
        let ports = Ports::take(engine, container, base)?;
        // Who runs a container in front of him, and keeps nothing of it, has heard all that there is to hear.
        let passing = options.remove && !caller.detach;
        let driver = options.log.driver.unwrap_or(match passing {
            true => LogDriver::None,
            false => LogDriver::JsonFile,
        });
        let log = match driver {
            LogDriver::JsonFile => Some(Log::open(container.data(), options.log)?),
            LogDriver::None => None,
        };
        let mut attach = Attach::listen(container.run_dir(), ATTACH)?;
        attach.stdin_once(!caller.detach);
        Ok(Self {
            base,
            hierarchy,
            signals,
            leave: match caller.detach {
                true => Leave::AtOnce,
                false => Leave::at(caller.detach_keys),
            },
            streams: match (caller.detach, &log) {
                (true, _) => Streams::Others,
                (false, Some(_)) => Streams::Shared,
                (false, None) => Streams::Callers,
            },
            caller,
            log,
            attach,
            ports,
            has_run: false,
            restarts: 0,
            haste: 0,
            wish: None,
        })
    }

    /// Waits before the container is started again; false when its end is wanted meanwhile.
    pub(crate) fn pause(&mut self, container: &Container, time: Duration) -> bool {
        /// How soon it is seen that somebody wants it to end.
        const TURN: Duration = Duration::from_millis(50);
        let end = Instant::now() + time;
        loop {
            // What would end the program ends the waiting for it.
            while let Some(signal) = self.signals.take() {
                self.wish = Wish::of(signal).or(self.wish);
            }
            if self.wish.is_some() || container.asked_to_stop().is_some() {
                return false;
            }
            let now = Instant::now();
            if now >= end {
                return true;
            }
            let turn = end.min(now + TURN);
            if let Err(error) = self.attach.idle(self.signals, Some(turn)) {
                tracing::warn!(%error, "nobody can attach meanwhile");
                thread::sleep(turn.saturating_duration_since(Instant::now()));
            }
        }
    }
}
