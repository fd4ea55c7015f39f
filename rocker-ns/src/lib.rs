#![doc = include_str!("../README.md")]

mod attach;
mod attached;
mod attendant;
mod attest;
mod build;
mod call;
mod capability;
#[expect(
    unsafe_code,
    reason = "between clone3 and execve there are only raw system calls"
)]
mod child;
mod client;
#[expect(unsafe_code, reason = "the one place that makes processes")]
mod clone;
mod command;
mod created;
mod detach;
mod error;
mod executable;
mod id_map;
mod init;
mod kernel_file;
mod lsm;
mod namespace;
mod outside;
mod packet;
mod plan;
mod process;
mod pump;
mod relay;
mod report;
mod rlimit;
mod rootless;
mod seccomp;
mod session;
mod signals;
mod socket;
mod stdio;
mod step;
mod steps;
#[expect(unsafe_code, reason = "system calls without a safe wrapper")]
mod sys;
mod terminal;
mod trace;
mod user;

pub use attach::Attach;
pub use attached::{AttachEnd, AttachOptions, Attached};
pub use attendant::{Attendant, Output};
pub use attest::{Expected, Fact};
pub use capability::Capabilities;
pub use command::Command;
pub use created::Created;
pub use detach::DetachKeys;
pub use error::{Error, Result};
pub use executable::{executable_is_protected, protect_executable, start_over};
pub use id_map::IdMap;
pub use namespace::Namespace;
pub use plan::Plan;
pub use process::{Child, ExitCode, Process};
pub use relay::Relay;
pub use rlimit::Rlimit;
pub use rootless::{
    SubordinateIds, become_root, become_root_beside, granted_ids, id_map_namespace,
    in_user_namespace, own_gid_map, own_uid_map, owns,
};
pub use seccomp::{
    Seccomp, SeccompAction, SeccompArchitecture, SeccompArg, SeccompFilter, SeccompOp, SeccompRule,
};
pub use session::{Line, die_with, leave_session, stand_in, stood_in_by};
pub use signals::{Signals, signal_number};
pub use stdio::Stdio;
pub use step::{Arg, Step, Strings};
pub use terminal::{RawMode, Terminal, WindowSize};
pub use user::User;
