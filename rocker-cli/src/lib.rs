#![doc = include_str!("../README.md")]

mod advice;
mod commands;
mod engine;
mod error;
mod explain;
mod manual;
mod page;
mod table;
mod template;
mod trace;

pub use commands::main;
pub use engine::{
    Actor, ContainerSummary, DeviceNode, Engine, Event, Events, ExecOptions, Exit, HealthCheck,
    HealthOptions, HealthStatus, ImagePrune, ImportOptions, Io, LogDriver, LogLine, LogOptions,
    LogQuery, Logs, Network, NetworkEndpoint, NetworkRequest, NetworkSummary, PullPolicy, Restart,
    Roots, RunOptions, SeccompProfile, Share, StartOptions, Status, Tmpfs, Usage, Users, Volume,
};
pub use error::{Error, Result, SeccompFault};
