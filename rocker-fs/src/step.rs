//! One system call as data: made in the parent, executed in the child.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// One system call that a child makes on its way into its root file system.
///
/// A list of steps is executed in order by somebody else's child, which need not allocate for it: every argument is a
/// number or a pointer into the step. A step fails the list when its call does, except with an errno of `tolerates`;
/// what it returned is then -1 for those who refer to it. A call that says EINTR, or an `openat2` that says EAGAIN, is to
/// be made again.
///
/// [`Display`](fmt::Display) writes it as strace(1) would; `<n>` is what the step at index `n` returned.
///
/// The fields are the whole of it, and stay so: whoever executes steps may match on all of them.
#[derive(Debug, Clone)]
pub struct Step {
    /// The system call by the kernel's name for it.
    pub call: &'static str,
    /// All its arguments, in the kernel's order.
    pub args: Vec<Arg>,
    /// Errnos that do not matter.
    pub tolerates: &'static [i32],
    /// The step of the same list without whose success this one is not made; it counts as failed then, and is tolerated.
    pub needs: Option<usize>,
    /// What the step is for: a fragment of a sentence.
    pub why: Cow<'static, str>,
}

/// One argument of a [`Step`].
#[derive(Debug, Clone)]
pub enum Arg {
    /// A null pointer.
    Null,
    /// A number.
    Int(i64),
    /// A set of flags, or one constant.
    Flags {
        /// The number.
        value: u64,
        /// How C writes it.
        names: Cow<'static, str>,
    },
    /// A pointer to a string with a NUL at its end.
    Str(Box<CStr>),
    /// A pointer to a structure.
    Bytes {
        /// The structure as it is in memory.
        bytes: Box<[u8]>,
        /// How strace(1) shows it.
        shown: Cow<'static, str>,
    },
    /// A descriptor that the parent has opened and the child inherits under the same number.
    Fd(Arc<OwnedFd>),
    /// What the step at this index of the same list returned; -1 where it failed and that was tolerated.
    Result(usize),
    /// `AT_FDCWD`: the working directory.
    Cwd,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.call)?;
        for (index, arg) in self.args.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{arg}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Flags { names, .. } => f.write_str(names),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Bytes { shown, .. } => f.write_str(shown),
            Self::Fd(fd) => write!(f, "{}", fd.as_raw_fd()),
            Self::Result(index) => write!(f, "<{index}>"),
            Self::Cwd => f.write_str("AT_FDCWD"),
        }
    }
}
