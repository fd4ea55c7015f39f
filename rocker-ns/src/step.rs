//! One system call of the child, as data.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::call::{self, Call};
use crate::{Error, Result, SeccompFilter, trace};

/// One system call that the child makes between `clone3(2)` and `execve(2)`: its name, its arguments, and why it is
/// made.
///
/// A step is data: it can be printed, counted, compared and stored. The child executes it without allocating, since
/// everything its arguments point to was made beforehand.
///
/// ```
/// use rocker_ns::{Arg, Step};
///
/// let step = Step::new("mkdirat", vec![Arg::Cwd, Arg::string("data")?, Arg::flags(0o755, "0755")])?
///     .because("so that the program finds its directory")
///     .tolerating(&[17]); // EEXIST
/// assert_eq!(step.to_string(), r#"mkdirat(AT_FDCWD, "data", 0755)"#);
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Step {
    pub(crate) call: &'static Call,
    pub(crate) args: Vec<Arg>,
    pub(crate) tolerates: Cow<'static, [i32]>,
    pub(crate) why: Cow<'static, str>,
    pub(crate) role: Role,
    pub(crate) needs: Option<usize>,
    pub(crate) primitive: &'static str,
}

/// What the child does with a step's result beyond failing on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing: the next step follows.
    Plain,
    /// A result of 0 means that the parent is gone, and is a failure.
    Wait,
    /// A path that does not begin at the root is a failure.
    Inside,
    /// A positive result means that this process has made the one that goes on, and ends here.
    Fork,
    /// A positive result means that this process has made the one that goes on, and becomes its init.
    Init,
    /// Success does not return.
    Exec,
}

/// An argument of a [`Step`].
#[derive(Debug, Clone)]
pub enum Arg {
    /// A null pointer.
    Null,
    /// A plain number.
    Int(i64),
    /// A number that reads better by name, such as a mode or a set of flags.
    Flags {
        /// What the kernel gets.
        value: u64,
        /// What the reader gets, such as `MS_NOSUID|MS_NODEV`.
        names: Cow<'static, str>,
    },
    /// A string, which the kernel gets as a pointer to its bytes and a NUL.
    Str(Box<CStr>),
    /// A structure or buffer, which the kernel gets as a pointer.
    Bytes {
        /// The bytes pointed to.
        bytes: Box<[u8]>,
        /// What the reader gets, such as `{flags=O_PATH, resolve=RESOLVE_IN_ROOT}`.
        shown: Cow<'static, str>,
    },
    /// A file descriptor of the parent; it stays open for as long as the step exists.
    Fd(Arc<OwnedFd>),
    /// What an earlier step returned, by its index in the same list of steps.
    Result(usize),
    /// `AT_FDCWD`: relative to the working directory.
    Cwd,
    /// Arguments and environment for `execve(2)`: an array of pointers to strings, and a null pointer.
    Strings(Arc<Strings>),
    /// A filter, which the kernel gets as a pointer to its length and to its program (`struct sock_fprog`).
    Filter(SeccompFilter),
}

/// An array of strings for the kernel: pointers to them, and a null pointer. A [`Command`](crate::Command) makes those of its program; they can be
/// looked at by whoever has its plan, and not made otherwise.
pub struct Strings {
    strings: Box<[Box<CStr>]>,
    /// The addresses of the strings, and 0. They lie on the heap, where they stay wherever this is moved to.
    addresses: Box<[usize]>,
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where they lie says nothing to a reader.
        f.debug_list().entries(&self.strings).finish()
    }
}

impl Strings {
    pub(crate) fn new(strings: impl Iterator<Item = Result<Box<CStr>>>) -> Result<Self> {
        let strings = strings.collect::<Result<Box<[_]>>>()?;
        let addresses = strings.iter().map(|text| text.as_ptr() as usize);
        let addresses = addresses.chain([0]).collect();
        Ok(Self { strings, addresses })
    }

    /// Where the array lies.
    pub(crate) fn address(&self) -> usize {
        self.addresses.as_ptr() as usize
    }
}

impl Arg {
    /// A string argument.
    ///
    /// # Errors
    /// [`Error::Nul`] when the string holds a NUL byte, which the kernel would take for its end.
    pub fn string(text: impl Into<Vec<u8>>) -> Result<Self> {
        CString::new(text)
            .map(|text| Arg::Str(text.into()))
            .map_err(|source| Error::Nul { source })
    }

    /// A structure or buffer, and what the reader gets.
    pub fn bytes(bytes: impl Into<Box<[u8]>>, shown: impl Into<Cow<'static, str>>) -> Self {
        Arg::Bytes {
            bytes: bytes.into(),
            shown: shown.into(),
        }
    }

    /// A number that is shown by name.
    pub fn flags(value: u64, names: impl Into<Cow<'static, str>>) -> Self {
        Arg::Flags {
            value,
            names: names.into(),
        }
    }
}

impl Step {
    /// A step that makes the system call `call` with `args`.
    ///
    /// Not every call of the kernel is allowed, but those that set a container up and cannot harm the memory of the
    /// process that makes them: mounts, files, namespaces. Numbers and pointers must stand where the call has them,
    /// and a length must be that of its buffer.
    ///
    /// # Errors
    /// [`Error::UnknownCall`] for a call outside of that set, [`Error::BadArgument`] for arguments that do not fit it.
    pub fn new(call: &str, args: Vec<Arg>) -> Result<Self> {
        let call = call::find(call)
            .filter(|found| found.public)
            .ok_or_else(|| Error::UnknownCall {
                call: call.to_owned(),
            })?;
        call.check(&args)?;
        Ok(Self::of(call, args))
    }

    /// Like [`Step::new`], for the calls and arguments that only this crate makes.
    pub(crate) fn internal(call: &'static str, args: Vec<Arg>) -> Self {
        let call = call::find(call).expect("the crate's own steps use calls of its table");
        debug_assert!(call.check(&args).is_ok(), "{} {args:?}", call.name);
        Self::of(call, args)
    }

    fn of(call: &'static Call, args: Vec<Arg>) -> Self {
        Self {
            call,
            args,
            tolerates: Cow::Borrowed(&[]),
            why: Cow::Borrowed(""),
            role: Role::Plain,
            needs: None,
            primitive: trace::PRIMITIVE,
        }
    }

    /// Says what the step is for, in a clause such as "so that the program finds its files"; it stands in `--explain` output and in the error when the step fails.
    #[must_use]
    pub fn because(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.why = why.into();
        self
    }

    /// Names the errors (as errno values) that do not count as a failure.
    #[must_use]
    pub fn tolerating(mut self, errnos: impl Into<Cow<'static, [i32]>>) -> Self {
        self.tolerates = errnos.into();
        self
    }

    /// Names the primitive that the step belongs to, such as `fs` for a step of a root file system; `ns` without. Events
    /// about the step carry it.
    #[must_use]
    pub fn part_of(mut self, primitive: &'static str) -> Self {
        self.primitive = primitive;
        self
    }

    /// Names the step of the same list without whose success this one is not made. It then counts as failed and tolerated.
    #[must_use]
    pub fn needing(mut self, index: Option<usize>) -> Self {
        self.needs = index;
        self
    }

    pub(crate) fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Moves references to results by `base` places, for a list that becomes part of a longer one.
    pub(crate) fn rebase(&mut self, base: usize) {
        self.needs = self.needs.map(|index| index + base);
        for arg in &mut self.args {
            if let Arg::Result(index) = arg {
                *index += base;
            }
        }
    }

    /// The name of the system call.
    #[must_use]
    pub fn call(&self) -> &'static str {
        self.call.name
    }

    /// The arguments, in the kernel's order.
    #[must_use]
    pub fn args(&self) -> &[Arg] {
        &self.args
    }

    /// The primitive that the step belongs to.
    #[must_use]
    pub fn primitive(&self) -> &'static str {
        self.primitive
    }

    /// The step of the same list without whose success this one is not made.
    #[must_use]
    pub fn needs(&self) -> Option<usize> {
        self.needs
    }

    /// What the step is for.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Writes the arguments as strace(1) would, with `result` giving what earlier steps returned.
    pub(crate) fn render_args(&self, result: impl Fn(usize) -> Option<i64>) -> String {
        let mut text = String::new();
        for (place, arg) in self.args.iter().enumerate() {
            if place > 0 {
                text.push_str(", ");
            }
            match arg {
                Arg::Result(index) => match result(*index) {
                    Some(value) => text.push_str(&value.to_string()),
                    None => text.push_str(&format!("<{index}>")),
                },
                arg => text.push_str(&arg.to_string()),
            }
        }
        text
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.call.name, self.render_args(|_| None))
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Null => f.write_str("NULL"),
            Arg::Int(number) => write!(f, "{number}"),
            Arg::Flags { names, .. } => f.write_str(names),
            Arg::Str(text) => write_quoted(f, text.to_bytes()),
            Arg::Bytes { shown, .. } => f.write_str(shown),
            Arg::Fd(fd) => write!(f, "{}", fd.as_raw_fd()),
            Arg::Result(index) => write!(f, "<{index}>"),
            Arg::Cwd => f.write_str("AT_FDCWD"),
            Arg::Strings(strings) => {
                f.write_str("[")?;
                for (place, text) in strings.strings.iter().enumerate() {
                    if place > 0 {
                        f.write_str(", ")?;
                    }
                    write_quoted(f, text.to_bytes())?;
                }
                f.write_str("]")
            }
            Arg::Filter(filter) => write!(f, "{{len={}, filter=…}}", filter.len()),
        }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    write!(f, "\"{}\"", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_shown_without_their_addresses() {
        let texts = [c"true", c"a b"].map(|text| Ok(text.into()));
        let strings = Strings::new(texts.into_iter()).unwrap();
        assert_eq!(format!("{strings:?}"), "[\"true\", \"a b\"]");
    }

    #[test]
    fn a_step_reads_like_a_line_of_strace() {
        let step = Step::new(
            "mount",
            vec![
                Arg::string("proc").unwrap(),
                Arg::string("/proc").unwrap(),
                Arg::string("proc").unwrap(),
                Arg::flags(14, "MS_NOSUID|MS_NODEV|MS_NOEXEC"),
                Arg::Null,
            ],
        )
        .unwrap();
        assert_eq!(
            step.to_string(),
            r#"mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)"#
        );
    }

    #[test]
    fn references_to_results_show_the_index_before_and_the_value_after() {
        let mut step = Step::new("fchdir", vec![Arg::Result(3)]).unwrap();
        step.rebase(2);
        assert_eq!(step.to_string(), "fchdir(<5>)");
        assert_eq!(step.render_args(|index| (index == 5).then_some(9)), "9");
    }

    #[test]
    fn control_characters_and_quotes_are_escaped() {
        let step = Step::new("chdir", vec![Arg::string("a\"\x1b[2J").unwrap()]).unwrap();
        assert_eq!(step.to_string(), r#"chdir("a\"\x1b[2J")"#);
    }

    #[test]
    fn calls_that_could_harm_memory_are_not_for_outsiders() {
        for call in ["mmap", "ioctl", "prctl", "read", "execve", "nonsense"] {
            assert!(
                matches!(Step::new(call, vec![]), Err(Error::UnknownCall { .. })),
                "{call}"
            );
        }
    }

    #[test]
    fn a_length_must_be_that_of_its_buffer() {
        let how = || Arg::bytes([0; 24], "{}");
        let call = |len| {
            Step::new(
                "openat2",
                vec![Arg::Cwd, Arg::string("x").unwrap(), how(), Arg::Int(len)],
            )
        };
        assert!(call(24).is_ok());
        assert!(matches!(
            call(32),
            Err(Error::BadArgument {
                call: "openat2",
                place: 3
            })
        ));
    }

    #[test]
    fn a_number_cannot_stand_for_a_pointer() {
        assert!(matches!(
            Step::new("chdir", vec![Arg::Int(7)]),
            Err(Error::BadArgument {
                call: "chdir",
                place: 0
            })
        ));
    }
}
