//! A container as data: the ordered list of system calls that make it.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::step::{Arg, Step};
use crate::{Error, Result};

/// How many steps there are beside those of a root file system, some more than usual.
const USUAL: usize = 128;

/// A file that was taken out of a plan: nobody else's, or one that others hold too.
pub(crate) type Taken = std::result::Result<OwnedFd, Arc<OwnedFd>>;

/// The ordered list of system calls that the child makes between `clone3(2)` and `execve(2)`, and nothing else.
///
/// It is complete before the child exists, so that the child needs neither memory nor locks to follow it. Its
/// [`Display`](fmt::Display) form is what `rocker plan` prints: a number, the call, and what it is for.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// An empty plan, with room for `further` steps beside those that there always are.
    pub(crate) fn with_room_for(further: usize) -> Self {
        Self {
            steps: Vec::with_capacity(further + USUAL),
        }
    }

    /// The steps, in the order in which the child makes them.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Appends a step and returns its index, for [`Arg::Result`].
    pub(crate) fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Appends a list whose [`Arg::Result`]s count from its own beginning.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for a step that refers to itself or to a later one.
    pub(crate) fn append(&mut self, steps: Vec<Step>) -> Result<()> {
        let base = self.steps.len();
        for (index, mut step) in steps.into_iter().enumerate() {
            let early = |arg: &Arg| matches!(arg, Arg::Result(source) if *source >= index);
            if step.needs.is_some_and(|needed| needed >= index) {
                return Err(Error::BadNeed { call: step.call() });
            }
            if let Some(place) = step.args.iter().position(early) {
                return Err(Error::BadArgument {
                    call: step.call(),
                    place,
                });
            }
            step.rebase(base);
            self.steps.push(step);
        }
        Ok(())
    }

    /// Takes the files that the steps mention, once each; their numbers stay. They are to be open until the child has its own copies of
    /// them, whoever else holds them.
    ///
    /// Whoever does so before the child is made spares the kernel copies of all the pages that the plan is on: from then on nobody
    /// writes to it, who drops it neither. Nor does he write who drops a file that nobody else holds.
    pub(crate) fn take_files(&mut self) -> Vec<Taken> {
        let args = self.steps.iter_mut().flat_map(|step| &mut step.args);
        let files = args.filter_map(|arg| {
            let Arg::Fd(fd) = arg else { return None };
            let number = Arg::Int(i64::from(fd.as_raw_fd()));
            match std::mem::replace(arg, number) {
                Arg::Fd(fd) => Some(fd),
                _ => None,
            }
        });
        let mut files: Vec<_> = files.collect();
        files.sort_unstable_by_key(Arc::as_ptr);
        files.dedup_by(|one, other| Arc::ptr_eq(one, other));
        files.into_iter().map(Arc::try_unwrap).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "{index:>4}  {step}\n      {}", step.why)?;
        }
        Ok(())
    }
}
