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
    Actor, Beneath, BindPropagation, CommitOptions, ContainerStats, ContainerSummary, Copied,
    CopyEnd, CopyOptions, CopyStream, DeviceNode, Engine, Event, Events, ExecOptions, Exit,
    HealthCheck, HealthOptions, HealthStatus, ImagePrune, ImportOptions, Io, LogDriver, LogLine,
    LogOptions, LogQuery, Logs, MountIds, Mounted, Network, NetworkEndpoint, NetworkRequest,
    NetworkSummary, ProcessFacts, PullPolicy, Restart, RootDirectory, Roots, RunOptions,
    SeccompProfile, Share, StartOptions, Status, StorageDriver, StorageOptions, Tmpfs, Usage,
    Users, Volume, VolumeOptions, VolumeSource, VolumeSummary, VolumesFrom,
};
pub use error::{Error, Result, SeccompFault};
