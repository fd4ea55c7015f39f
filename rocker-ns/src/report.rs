//! What the child did, in memory that it shares with the parent.
//!
//! The child writes one record a step: its result and when it ran. So the parent knows exactly how far the child came,
//! even when it was killed, and can print the plan with results and times. The child uses atomics in a mapping made
//! beforehand, and nothing else.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::Result;
use crate::sys::{self, Mapping};

/// The shared memory.
#[derive(Debug)]
pub(crate) struct Report {
    mapping: Mapping,
    steps: usize,
}

/// The beginning of the shared memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Header {
    /// How many steps were begun.
    pub(crate) begun: AtomicU32,
    /// One more than the index of the step that failed.
    failed: AtomicU32,
    /// The errno of that step.
    errno: AtomicI32,
    /// Whether the child also notes the time.
    timed: AtomicU32,
    /// Where a call that reads puts what it read.
    scratch: AtomicU64,
}

/// What is known of one step.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Record {
    result: AtomicI64,
    /// Nanoseconds of CLOCK_MONOTONIC.
    started: AtomicU64,
    ended: AtomicU64,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// What it returned, or minus the errno.
    pub(crate) result: i64,
    /// When it began, in nanoseconds of CLOCK_MONOTONIC; 0 when times were not asked for.
    pub(crate) started: u64,
    /// How long it took, in nanoseconds.
    pub(crate) took: u64,
}

impl Report {
    /// A report for a plan of `steps` steps.
    pub(crate) fn new(steps: usize, timed: bool) -> Result<Self> {
        let mapping = Mapping::shared(size_of::<Header>() + steps * size_of::<Record>())?;
        let report = Self { mapping, steps };
        report
            .header()
            .timed
            .store(u32::from(timed), Ordering::Relaxed);
        Ok(report)
    }

    pub(crate) fn header(&self) -> &Header {
        self.mapping.header()
    }

    fn record(&self, index: usize) -> Option<&Record> {
        self.records().get(index)
    }

    pub(crate) fn records(&self) -> &[Record] {
        self.mapping.records(self.steps)
    }

    /// How a step ended, if it did.
    pub(crate) fn done(&self, index: usize) -> Option<Done> {
        let record = self.record(index).filter(|_| index < self.begun())?;
        let started = record.started.load(Ordering::Acquire);
        let took = record.ended.load(Ordering::Acquire).saturating_sub(started);
        Some(Done {
            result: record.result.load(Ordering::Acquire),
            started,
            took,
        })
    }

    /// How many steps were begun.
    pub(crate) fn begun(&self) -> usize {
        self.header().begun.load(Ordering::Acquire) as usize
    }

    /// The step that failed, and its errno.
    pub(crate) fn failure(&self) -> Option<(usize, i32)> {
        let failed = self.header().failed.load(Ordering::Acquire);
        Some((
            failed.checked_sub(1)? as usize,
            self.header().errno.load(Ordering::Acquire),
        ))
    }
}

/// The child's side: all of it is allowed between `clone3` and `execve`.
impl Header {
    pub(crate) fn begin(&self, index: usize, record: Option<&Record>) {
        if let Some(record) = record.filter(|_| self.timed.load(Ordering::Relaxed) != 0) {
            record.started.store(sys::monotonic(), Ordering::Relaxed);
        }
        self.begun.store(index as u32 + 1, Ordering::Release);
    }

    pub(crate) fn end(&self, record: Option<&Record>, result: isize) {
        let Some(record) = record else { return };
        record.result.store(result as i64, Ordering::Release);
        if self.timed.load(Ordering::Relaxed) != 0 {
            record.ended.store(sys::monotonic(), Ordering::Release);
        }
    }

    /// Where a call that reads puts what it read: eight bytes.
    pub(crate) fn scratch(&self) -> usize {
        self.scratch.as_ptr() as usize
    }

    pub(crate) fn fail(&self, index: usize, errno: i32) {
        self.errno.store(errno, Ordering::Relaxed);
        self.failed.store(index as u32 + 1, Ordering::Release);
    }
}

impl Record {
    pub(crate) fn result(&self) -> i64 {
        self.result.load(Ordering::Relaxed)
    }
}
