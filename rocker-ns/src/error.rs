//! What can go wrong, each failure with the system call that reported it.

use std::ffi::{NulError, OsString};
use std::io;
use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step of the plan failed in the child, which is gone.
    #[error("{call} failed in the new process, at step {index} of its plan, made {why}")]
    Step {
        /// The step's index in the plan.
        index: usize,
        /// The system call with its arguments.
        call: String,
        /// What the step was for.
        why: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program does not exist in the container (exit status 127 by convention).
    #[error("command {program:?} not found where the program would run; tried {}", .tried.join(", "))]
    NotFound {
        /// The program as it was asked for.
        program: OsString,
        /// The paths at which it was looked for.
        tried: Vec<String>,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program exists and cannot be executed (exit status 126 by convention).
    #[error("command {program:?} exists but cannot be executed{}", hint(.source))]
    NotExecutable {
        /// The program as it was asked for.
        program: OsString,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program's working directory does not exist, or cannot be entered (exit status 126 by convention).
    #[error(
        "the working directory {path:?} cannot be entered: {call}, made so that the program starts there"
    )]
    WorkingDirectory {
        /// The directory, as the program would see it.
        path: PathBuf,
        /// The system call with its arguments.
        call: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The child was killed while it set itself up.
    #[error("the new process was killed before step {index} of its plan: {call}")]
    Killed {
        /// The index of the first step that was not made.
        index: usize,
        /// The system call with its arguments.
        call: String,
    },
    /// A system call of the parent failed.
    #[error("{call}, made {why}")]
    Call {
        /// The system call with its arguments.
        call: String,
        /// What it was for.
        why: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file of `/proc` could not be read or written.
    #[error("{operation} {path}")]
    Proc {
        /// `read`, `write` or `open`.
        operation: &'static str,
        /// The file.
        path: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel cannot do what was asked for.
    #[error("this kernel has no {what}; they need {needs}")]
    Unsupported {
        /// What is missing.
        what: String,
        /// The least kernel that has it, and its configuration.
        needs: &'static str,
    },
    /// The process to be joined is gone.
    #[error("the process to join has ended")]
    Gone,
    /// The kernel's account of a process differs from what was asked for; the process is gone.
    #[error("the kernel says otherwise than was asked for: {what} is {actual:?} and not {asked:?}")]
    NotAsAsked {
        /// What it is about.
        what: String,
        /// What was asked for.
        asked: String,
        /// What there is.
        actual: String,
    },
    /// A helper that maps the ids of a user namespace has refused, or did not run.
    #[error("{}{}", .program.display(), if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Helper {
        /// `newuidmap` or `newgidmap`, with its directory.
        program: PathBuf,
        /// What it wrote on standard error.
        said: String,
        /// Why it did not run.
        source: Option<io::Error>,
    },
    /// A string for the kernel holds a NUL byte.
    #[error("a NUL byte in a string for the kernel")]
    Nul {
        /// Where it stands.
        source: NulError,
    },
    /// A plan cannot make this system call.
    #[error("the system call {call} has no place in a plan")]
    UnknownCall {
        /// The name given.
        call: String,
    },
    /// The arguments do not fit the system call.
    #[error("argument {place} of {call} is not what the call takes")]
    BadArgument {
        /// The system call.
        call: &'static str,
        /// The argument's place, from 0.
        place: usize,
    },
    /// A step needs one that is not made before it.
    #[error("a {call} of the plan needs a step that is not before it")]
    BadNeed {
        /// The system call.
        call: &'static str,
    },
    /// No capability has this name.
    #[error("no capability is called {name:?}; capabilities(7) lists them")]
    UnknownCapability {
        /// The name given.
        name: String,
    },
    /// A condition of a seccomp profile is about an argument that no system call has.
    #[error(
        "a seccomp rule for {names} looks at argument {index}; arguments are counted from 0 to 5"
    )]
    SeccompArgument {
        /// The system calls of the rule.
        names: String,
        /// The place given.
        index: u8,
    },
    /// A seccomp profile makes a longer program than the kernel takes.
    #[error(
        "the seccomp profile makes a program of {instructions} instructions; the kernel takes 4096"
    )]
    SeccompTooLong {
        /// How many instructions it has.
        instructions: usize,
    },
    /// The user or group of a process could not be made out.
    #[error("no {kind} {name:?} in the image's /etc/{file}")]
    UnknownUser {
        /// `user` or `group`.
        kind: &'static str,
        /// The name given.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// A numeric user or group id is outside of what the kernel can hold.
    #[error("{id:?} is not a user or group id: ids are whole numbers from 0 to 4294967294")]
    BadId {
        /// The id given.
        id: String,
    },
    /// Not a resource limit.
    #[error("{text:?} is not a resource limit: {why}; getrlimit(2) lists them")]
    BadRlimit {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a sequence of keys.
    #[error(
        "{keys:?} is not a sequence of keys: characters, or ctrl- and one of a-z @ [ \\ ] ^ _, with commas between them"
    )]
    BadKeys {
        /// What was given.
        keys: String,
    },
    /// Not a run of ids.
    #[error(
        "{text:?} is not a run of ids: three numbers, the first inside, the first outside, and how many"
    )]
    BadIdMap {
        /// What was given.
        text: String,
    },
    /// The supervisor of a program takes no client now, or none that speaks this version.
    #[error(
        "{}: the program's supervisor has turned this client away: it has too many, or is of another version of rocker", .socket.display()
    )]
    TurnedAway {
        /// Where it listens.
        socket: PathBuf,
    },
    /// Standard input is not a terminal.
    #[error("the input device is not a terminal")]
    NotATerminal,
}

/// What a refused execve(2) most likely means.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EACCES) => " (is it a program, and has it the x permission?)",
        Some(libc::ENOEXEC) => " (is it for another architecture, or a script without `#!`?)",
        _ => "",
    }
}

impl Error {
    /// The exit status that a shell or container engine reports for this error: 127 where the command was not found, 126
    /// where it cannot be executed, 125 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NotFound { .. } => 127,
            Error::NotExecutable { .. } | Error::WorkingDirectory { .. } => 126,
            _ => 125,
        }
    }
}
