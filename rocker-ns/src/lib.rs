#![doc = include_str!("../README.md")]

mod build;
mod call;
mod capability;
#[expect(
    unsafe_code,
    reason = "between clone3 and execve there are only raw system calls"
)]
mod child;
#[expect(unsafe_code, reason = "the one place that makes processes")]
mod clone;
mod command;
mod created;
mod detach;
mod error;
mod executable;
mod init;
mod namespace;
mod plan;
mod process;
mod pump;
mod relay;
mod report;
mod seccomp;
mod session;
mod stdio;
mod step;
mod steps;
#[expect(unsafe_code, reason = "system calls without a safe wrapper")]
mod sys;
mod terminal;
mod trace;
mod user;

pub use capability::Capabilities;
pub use command::{Command, IdMap};
pub use created::Created;
pub use detach::DetachKeys;
pub use error::{Error, Result};
pub use executable::protect_executable;
pub use namespace::Namespace;
pub use plan::Plan;
pub use process::{Child, ExitCode, Process};
pub use relay::{Relay, Signals, signal_number};
pub use seccomp::{
    Seccomp, SeccompAction, SeccompArchitecture, SeccompArg, SeccompFilter, SeccompOp, SeccompRule,
};
pub use session::{Line, die_with, leave_session, stand_in};
pub use stdio::Stdio;
pub use step::{Arg, Step};
pub use terminal::{RawMode, Terminal, WindowSize};
pub use user::User;
