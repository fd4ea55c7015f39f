//! Waiting for the kernel where it offers no event to wait for.

use std::thread;
use std::time::{Duration, Instant};

/// The first pause; the kernel is usually done by then.
const FIRST: Duration = Duration::from_micros(200);
/// No pause is longer than this, so that the end is noticed soon.
const LONGEST: Duration = Duration::from_millis(20);

/// Pauses that double, up to a deadline.
///
/// cgroup v1 reports neither "frozen" nor "empty" as an event, so that looking again is the only way that works on
/// every kernel.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Waits for at most `limit` in all.
    pub(crate) fn new(limit: Duration) -> Backoff {
        Backoff {
            pause: FIRST,
            deadline: Instant::now() + limit,
        }
    }

    /// Pauses once and returns true; returns false, at once, when the time is up.
    pub(crate) fn pause(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(LONGEST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_up_at_the_deadline_and_not_before() {
        let start = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(30));
        while backoff.pause() {}
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(!backoff.pause());
    }
}
