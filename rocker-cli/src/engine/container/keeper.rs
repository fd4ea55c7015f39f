//! Who looks after a running container beside passing on signals and streams: keeps its log, checks its health, and sees to it
//! that it does not run longer than it may.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use rocker_ns::{Attendant, Output, Process};

use super::Container;
use super::probe::RunningProbe;
use super::record::{Health, HealthStatus, Probe, State};
use super::signal::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM};
use crate::engine::Engine;
use crate::engine::log::Log;
use crate::engine::options::HealthCheck;

/// How many checks are remembered, as with Docker.
const REMEMBERED: usize = 5;

/// Looks after one run of a container's program.
pub(crate) struct Keeper<'a> {
    engine: &'a Engine,
    container: &'a mut Container,
    log: Option<&'a mut Log>,
    /// When the program is to be killed.
    end: Option<Instant>,
    checks: Option<Checks>,
    wish: Option<(Wish, Instant)>,
}

/// What somebody wants who has sent a signal to the one who looks after a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The container is not wanted any more: Ctrl-C.
    ForGood,
    /// It is to end for now, as when the machine stops.
    ForNow,
    /// The same, if the program takes it so and ends: to many it means something else, such as to read a file anew.
    Perhaps,
}

/// In what time a program ends that takes a signal for the wish that it end.
const SOON: Duration = Duration::from_secs(2);

impl Wish {
    /// What a signal says of it.
    pub(crate) fn of(signal: i32) -> Option<Self> {
        match signal {
            SIGINT => Some(Self::ForGood),
            SIGTERM => Some(Self::ForNow),
            SIGHUP | SIGQUIT => Some(Self::Perhaps),
            _ => None,
        }
    }
}

/// The health checks of one run.
#[derive(Debug)]
struct Checks {
    check: HealthCheck,
    started: Instant,
    /// When the next one is due.
    next: Instant,
    /// The one that runs.
    probe: Option<RunningProbe>,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        container: &'a mut Container,
        log: Option<&'a mut Log>,
    ) -> Self {
        let now = Instant::now();
        let limit = container.options().time_limit;
        let checks = container.record.health.clone().map(|check| Checks {
            next: after(check.pause(true)),
            check,
            started: now,
            probe: None,
        });
        Self {
            engine,
            container,
            log,
            end: limit.and_then(|limit| now.checked_add(limit)),
            checks,
            wish: None,
        }
    }

    /// Begins a check.
    fn begin(&mut self, process: &Process) {
        let Some(checks) = &mut self.checks else {
            return;
        };
        let command = checks.check.command.clone();
        let limit = checks.check.timeout;
        match RunningProbe::start(self.engine, self.container.id(), process, command, limit) {
            Ok(probe) => checks.probe = Some(probe),
            Err(error) => {
                let now = SystemTime::now();
                self.note(Probe {
                    start: now,
                    end: now,
                    code: -1,
                    output: error.chain(),
                });
            }
        }
    }

    /// Writes down what a check has found.
    fn note(&mut self, probe: Probe) {
        let Some(checks) = &mut self.checks else {
            return;
        };
        checks.probe = None;
        let young = checks.started.elapsed() < checks.check.start_period;
        let Some(State::Running(running)) = &self.container.state else {
            return;
        };
        let mut running = running.clone();
        let health = running.health.get_or_insert_with(Health::default);
        let before = health.status;
        health.count(&probe, young, checks.check.retries);
        health.log.push(probe);
        if health.log.len() > REMEMBERED {
            health.log.remove(0);
        }
        let status = health.status;
        let young = young && status == HealthStatus::Starting;
        checks.next = after(checks.check.pause(young));
        if let Err(error) = self.container.enter(State::Running(running)) {
            tracing::warn!("{}", error.chain());
        }
        if status != before {
            let action = format!("health_status: {}", status.word());
            self.container.learn_changes();
            self.engine.tell(&self.container.record, &action, &[]);
        }
    }
}

/// The moment when so much time has passed; what is beyond all clocks is in a hundred years.
pub(crate) fn after(time: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + time.min(LONG)
}

impl HealthCheck {
    /// How long to wait before the next check of a container that is still starting, or not.
    fn pause(&self, starting: bool) -> Duration {
        match starting && !self.start_period.is_zero() {
            true => self.start_interval.min(self.interval),
            false => self.interval,
        }
    }
}

impl HealthStatus {
    /// Docker's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    /// Draws the conclusion from one more check.
    fn count(&mut self, probe: &Probe, young: bool, retries: u32) {
        if probe.code == 0 {
            (self.status, self.failing) = (HealthStatus::Healthy, 0);
            return;
        }
        // What fails while the program is still getting ready says nothing.
        if young && self.status == HealthStatus::Starting {
            return;
        }
        self.failing += 1;
        if self.failing >= retries {
            self.status = HealthStatus::Unhealthy;
        }
    }
}

impl Attendant for Keeper<'_> {
    fn heard(&mut self, output: Output, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.add(output, bytes);
        }
    }

    fn passed_on(&mut self, signal: i32) {
        if let Some(wish) = Wish::of(signal) {
            self.wish = Some((wish, Instant::now()));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let checks = self.checks.as_ref();
        let check = checks.and_then(|checks| match &checks.probe {
            Some(probe) => probe.limit(),
            None => Some(checks.next),
        });
        check.into_iter().chain(self.end).min()
    }

    fn wakers(&self) -> Vec<BorrowedFd<'_>> {
        let checks = self.checks.as_ref();
        let probe = checks.and_then(|checks| checks.probe.as_ref());
        probe.into_iter().flat_map(RunningProbe::wakers).collect()
    }

    fn attend(&mut self, program: &Process) -> rocker_ns::Result<()> {
        let now = Instant::now();
        if self.end.is_some_and(|end| end <= now) {
            self.end = None;
            program.signal(SIGKILL)?;
            if let Err(error) = self.engine.let_go_on(self.container.id(), true) {
                tracing::warn!("{}", error.chain());
            }
        }
        let (engine, record) = (self.engine, &self.container.record);
        let stands_still = || engine.is_paused(record) || engine.is_frozen(&record.id);
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        match &mut checks.probe {
            // What stands still is neither well nor unwell.
            None if checks.next <= now && stands_still() => {
                checks.next = after(checks.check.interval);
            }
            None if checks.next <= now => self.begin(program),
            None => {}
            Some(probe) => {
                // A check that stands still with it takes no time of its own.
                if probe.is_due(now) && stands_still() {
                    probe.prolong();
                }
                if let Some(found) = probe.turn(now) {
                    self.note(found);
                }
            }
        }
        Ok(())
    }
}

impl Keeper<'_> {
    /// Ends what is unfinished when the program has ended. Whether that was somebody's wish.
    pub(crate) fn finish(self) -> Option<Wish> {
        if let Some(log) = self.log {
            log.finish();
        }
        if let Some(probe) = self.checks.and_then(|checks| checks.probe) {
            probe.end();
        }
        let (wish, when) = self.wish?;
        (wish != Wish::Perhaps || when.elapsed() < SOON).then_some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_unhealthy_after_so_many_failures_in_a_row_and_young_ones_do_not_count() {
        let probe = |code| Probe {
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            code,
            output: String::new(),
        };
        let mut health = Health::default();
        health.count(&probe(1), true, 2);
        assert_eq!((health.status, health.failing), (HealthStatus::Starting, 0));
        health.count(&probe(1), false, 2);
        assert_eq!((health.status, health.failing), (HealthStatus::Starting, 1));
        health.count(&probe(0), false, 2);
        assert_eq!((health.status, health.failing), (HealthStatus::Healthy, 0));
        health.count(&probe(1), true, 2);
        health.count(&probe(7), false, 2);
        assert_eq!(
            (health.status, health.failing),
            (HealthStatus::Unhealthy, 2)
        );
    }
}
