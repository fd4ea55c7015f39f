//! Which system calls a program may make: a profile as data, see seccomp(2).

mod alternatives;
mod architecture;
mod compile;
mod condition;
mod container;
mod decision;
mod filter;
mod numbers;
mod search;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use architecture::SeccompArchitecture;
pub use filter::SeccompFilter;

use crate::Result;

/// A profile of system calls: which may be made, and what becomes of the others. See
/// [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html).
///
/// **What decides.** Of several rules that match a call the strictest counts, whatever their order, as the kernel has it among
/// several filters: kill, trap, an error, a tracer, a note in the log, and last the call itself. A call that no rule matches gets the
/// default action. A rule without conditions that only repeats the default action says nothing, and is none.
///
/// **What the profile does not know.** Where the default action keeps a call from being made, a call that is newer than the profile
/// gets `ENOSYS` in its place, so that a C library falls back to the older call which the profile has. A call is newer if this crate
/// has no name for its number, or if its number is above the highest that the profile names on that architecture.
///
/// **Architectures.** A machine's second, 32-bit architecture has numbers of its own, and a program may use both. The native
/// architecture is always part of a filter. A call of one that is not listed kills the process; one of another kind of machine
/// cannot be made, and is left out. A name that an architecture does not have is passed over there.
///
/// **Arguments** are the 64 bits that the kernel shows to a filter, whatever the call makes of them: one that takes an `int` looks at
/// the lower half. Of a 32-bit architecture only the lower halves count, since a 64-bit program that makes a 32-bit call (`int 0x80`)
/// may leave anything in the upper ones; a value that is a negative number of 32 bits, widened, means that number there.
///
/// ```
/// use rocker_ns::{Seccomp, SeccompAction, SeccompArg, SeccompOp, SeccompRule};
///
/// // Everything but mounts, and sockets of no other kind than AF_UNIX (1).
/// let filter = Seccomp::new(SeccompAction::Allow)
///     .rule(SeccompRule::new(["mount", "move_mount", "umount2"], SeccompAction::Errno(1)))
///     .rule(
///         SeccompRule::new(["socket"], SeccompAction::Errno(97)) // EAFNOSUPPORT
///             .arg(SeccompArg::new(0, SeccompOp::NotEqual, 1)),
///     )
///     .compile()?;
/// assert!(filter.len() < 40);
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seccomp {
    /// What becomes of a call that no rule matches.
    pub default_action: SeccompAction,
    /// The architectures whose calls may be made, beside the native one.
    pub architectures: Vec<SeccompArchitecture>,
    /// What becomes of the other calls.
    pub rules: Vec<SeccompRule>,
    /// Whether the kernel notes in its log what is not simply allowed (`SECCOMP_FILTER_FLAG_LOG`, Linux 4.14).
    pub log: bool,
    /// Whether the program does without the protection from speculative store bypass that kernels before 5.16 give to whoever has a
    /// filter, at a price (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`, Linux 4.17).
    pub allow_speculation: bool,
}

/// What becomes of some calls, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeccompRule {
    /// The calls, as in section 2 of the manual.
    pub names: Vec<Cow<'static, str>>,
    /// What becomes of them.
    pub action: SeccompAction,
    /// What must hold of their arguments: all of it.
    pub args: Vec<SeccompArg>,
}

/// What must hold of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeccompArg {
    /// The argument's place, from 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub op: SeccompOp,
    /// With what it is compared; for [`SeccompOp::MaskedEqual`] the mask.
    pub value: u64,
    /// For [`SeccompOp::MaskedEqual`], what the masked argument is compared with.
    pub value_two: u64,
}

/// How an argument is compared, as an unsigned number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeccompOp {
    /// The argument is another one.
    NotEqual,
    /// It is smaller.
    Less,
    /// It is smaller or the same.
    LessOrEqual,
    /// It is the same.
    Equal,
    /// It is greater or the same.
    GreaterOrEqual,
    /// It is greater.
    Greater,
    /// Where the mask has ones, it is the same as the second value.
    MaskedEqual,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeccompAction {
    /// The process ends by `SIGSYS` (Linux 4.14).
    KillProcess,
    /// The thread ends by `SIGSYS`, and leaves the others in whatever state they are.
    KillThread,
    /// The thread gets the signal `SIGSYS`, and may handle it.
    Trap,
    /// The call is not made, and fails with this errno.
    Errno(u16),
    /// A process that traces this one decides, and gets this number; without one the call fails with `ENOSYS`.
    Trace(u16),
    /// The call is made, and noted in the log (Linux 4.14).
    Log,
    /// The call is made.
    Allow,
}

impl Seccomp {
    /// A profile without rules.
    #[must_use]
    pub fn new(default_action: SeccompAction) -> Self {
        Self {
            default_action,
            architectures: Vec::new(),
            rules: Vec::new(),
            log: false,
            allow_speculation: false,
        }
    }

    /// Adds an architecture whose calls may be made.
    #[must_use]
    pub fn architecture(mut self, architecture: SeccompArchitecture) -> Self {
        self.architectures.push(architecture);
        self
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, rule: SeccompRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// The profile as a program for the kernel.
    ///
    /// The number of a call is found by halving. Of the [default profile](Seccomp::container_default), some 430 instructions, a call
    /// costs at most 15, and 22 if its arguments matter. From Linux 5.11 on, what is allowed whatever its arguments costs none: the
    /// kernel runs the program once for each number beforehand. (One call no filter sees from Linux 6.14 on: `uretprobe`, which the
    /// kernel makes itself.)
    ///
    /// # Errors
    /// [`Error::SeccompArgument`](crate::Error::SeccompArgument) for a place that no argument has,
    /// [`Error::SeccompTooLong`](crate::Error::SeccompTooLong) for a program that the kernel would not take.
    pub fn compile(&self) -> Result<SeccompFilter> {
        compile::compile(self, SeccompArchitecture::NATIVE)
    }
}

impl SeccompRule {
    /// A rule for the calls of these names, whatever their arguments.
    #[must_use]
    pub fn new(
        names: impl IntoIterator<Item = impl Into<Cow<'static, str>>>,
        action: SeccompAction,
    ) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            action,
            args: Vec::new(),
        }
    }

    /// Adds something that must hold of an argument.
    #[must_use]
    pub fn arg(mut self, arg: SeccompArg) -> Self {
        self.args.push(arg);
        self
    }
}

impl SeccompArg {
    /// Compares the argument at place `index` with `value`.
    #[must_use]
    pub fn new(index: u8, op: SeccompOp, value: u64) -> Self {
        Self {
            index,
            op,
            value,
            value_two: 0,
        }
    }

    /// Compares the bits of the argument at place `index` that `mask` has with those of `value`.
    #[must_use]
    pub fn masked(index: u8, mask: u64, value: u64) -> Self {
        Self {
            index,
            op: SeccompOp::MaskedEqual,
            value: mask,
            value_two: value,
        }
    }
}

impl SeccompAction {
    /// What a filter returns to the kernel.
    fn code(self) -> u32 {
        match self {
            SeccompAction::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            SeccompAction::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            SeccompAction::Trap => libc::SECCOMP_RET_TRAP,
            SeccompAction::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            SeccompAction::Trace(number) => libc::SECCOMP_RET_TRACE | u32::from(number),
            SeccompAction::Log => libc::SECCOMP_RET_LOG,
            SeccompAction::Allow => libc::SECCOMP_RET_ALLOW,
        }
    }

    /// Whether it keeps a call from being made. (A tracer is asked about each, and knows what to do with new ones.)
    fn denies(self) -> bool {
        !matches!(
            self,
            SeccompAction::Trace(_) | SeccompAction::Log | SeccompAction::Allow
        )
    }
}
