//! A container as data: the ordered list of system calls that make it.

use std::ffi::c_char;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use crate::step::{Arg, Role, Step};
use crate::{Error, Result};

/// How many steps there are beside those of a root file system, some more than usual.
const USUAL: usize = 128;

/// The ordered list of system calls that the child makes between `clone3(2)` and `execve(2)`, and nothing else.
///
/// It is complete before the child exists, so that the child needs neither memory nor locks to follow it. Its
/// [`Display`](fmt::Display) form is what `rocker plan` prints: a number, the call, and what it is for.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
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
    pub(crate) fn append(&mut self, steps: &[Step]) -> Result<()> {
        let base = self.steps.len();
        self.steps.reserve(steps.len() + USUAL);
        for (index, step) in steps.iter().enumerate() {
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
            self.steps.push(step.clone().rebase(base));
        }
        Ok(())
    }

    /// Takes the files that the steps mention; their numbers stay. They are to be open until the child has its own copies of them.
    ///
    /// Whoever does so before the child is made spares the kernel copies of all the pages that the plan is on.
    pub(crate) fn take_files(&mut self) -> Vec<Arc<OwnedFd>> {
        let args = self.steps.iter_mut().flat_map(|step| &mut step.args);
        let mut files = Vec::new();
        for arg in args {
            if let Arg::Fd(fd) = arg {
                let number = Arg::Int(i64::from(fd.as_raw_fd()));
                if let Arg::Fd(fd) = std::mem::replace(arg, number) {
                    files.push(fd);
                }
            }
        }
        files
    }

    /// The same list in the form that the child executes. `scratch` is where calls that read put what they read.
    pub(crate) fn encode(&self, scratch: *mut u8) -> Encoded<'_> {
        let mut behind = Behind::default();
        let steps = self
            .steps
            .iter()
            .map(|step| RawStep::new(step, scratch, &mut behind))
            .collect();
        Encoded {
            steps,
            _behind: behind,
            _plan: self,
        }
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

/// A [`Plan`] as machine words. It borrows the plan, into whose memory the words point.
#[derive(Debug)]
pub(crate) struct Encoded<'plan> {
    pub(crate) steps: Vec<RawStep>,
    _behind: Behind,
    _plan: &'plan Plan,
}

/// What the words point to that has pointers in it.
#[derive(Debug, Default)]
struct Behind {
    strings: Vec<Box<[*const c_char]>>,
    filters: Vec<Box<[libc::sock_fprog]>>,
}

/// The number of argument registers of a system call.
const WORDS: usize = 6;

/// A step as the child executes it.
#[derive(Debug)]
pub(crate) struct RawStep {
    pub(crate) number: libc::c_long,
    /// The arguments; where `results` names a step, its result is put in their place.
    pub(crate) words: [usize; WORDS],
    pub(crate) results: [Option<u32>; WORDS],
    /// The errnos that are no failure; points into the plan.
    pub(crate) tolerates: *const [i32],
    pub(crate) role: Role,
    /// The step without whose success this one is not made.
    pub(crate) needs: Option<u32>,
}

impl RawStep {
    fn new(step: &Step, scratch: *mut u8, behind: &mut Behind) -> Self {
        let mut raw = Self {
            number: step.call.number,
            words: [0; WORDS],
            results: [None; WORDS],
            tolerates: ptr::from_ref(&*step.tolerates),
            role: step.role,
            needs: step.needs.and_then(|index| u32::try_from(index).ok()),
        };
        for (place, arg) in step.args.iter().enumerate() {
            raw.words[place] = match arg {
                Arg::Null => 0,
                // Negative numbers reach the kernel in two's complement, as from C.
                Arg::Int(number) => *number as usize,
                Arg::Flags { value, .. } => *value as usize,
                Arg::Str(text) => text.as_ptr() as usize,
                Arg::Bytes { .. } if step.role == Role::Wait => scratch as usize,
                Arg::Bytes { bytes, .. } => bytes.as_ptr() as usize,
                Arg::Fd(fd) => fd.as_raw_fd() as usize,
                Arg::Cwd => libc::AT_FDCWD as usize,
                Arg::Strings(strings) => {
                    let array: Box<[*const c_char]> = strings
                        .iter()
                        .map(|text| text.as_ptr())
                        .chain([ptr::null()])
                        .collect();
                    let pointer = array.as_ptr() as usize;
                    behind.strings.push(array);
                    pointer
                }
                Arg::Filter(filter) => {
                    let program = filter.program();
                    let whole = Box::new([libc::sock_fprog {
                        len: program.len() as u16, // of at most 4096
                        filter: program.as_ptr().cast_mut().cast(),
                    }]);
                    let pointer = whole.as_ptr() as usize;
                    behind.filters.push(whole);
                    pointer
                }
                Arg::Result(index) => {
                    raw.results[place] = u32::try_from(*index).ok();
                    0
                }
            };
        }
        raw
    }
}
