//! Work that has to be undone, whoever interrupts it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rocker_ns::Signals;

use crate::{Error, Result};

/// How soon a signal is noticed.
const SOON: Duration = Duration::from_millis(50);

/// SIGHUP, SIGINT, SIGQUIT and SIGTERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// Does `work` with signals held back. One that would end this process sets what `work` is given, so that it comes to an end in good
/// order.
pub(crate) fn interruptible<T: Send>(
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> Result<T> {
    let signals = Signals::hold()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (done, wait) = mpsc::channel::<()>();
        let worker = {
            let stop = &stop;
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            scope.spawn(move || {
                // Dropped when the work is over, however.
                let _done = done;
                tracing::dispatcher::with_default(&dispatch, || work(stop))
            })
        };
        while wait.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
            if signals
                .take()
                .is_some_and(|signal| ENDING.contains(&signal))
            {
                stop.store(true, Ordering::Relaxed);
            }
        }
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether somebody wants no more of it.
pub(crate) fn check(stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}
