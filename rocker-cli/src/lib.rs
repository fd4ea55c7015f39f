#![doc = include_str!("../README.md")]

mod advice;
mod commands;
mod engine;
mod error;
mod explain;
mod manual;
mod page;
mod table;
mod trace;

pub use commands::main;
pub use engine::{
    ContainerSummary, DeviceNode, Engine, ExecOptions, Exit, Io, Network, PullPolicy, Roots,
    RunOptions, SeccompProfile, Share, Status, Tmpfs, Users, Volume,
};
pub use error::{Error, Result, SeccompFault};
