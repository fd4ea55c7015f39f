#![doc = include_str!("../README.md")]

mod applied;
mod apply;
mod backoff;
mod base;
mod bpf;
mod cgroup;
mod controller;
mod cpu_quota;
mod create;
mod delegation;
mod device;
mod device_program;
mod directory;
mod error;
mod events;
mod file;
mod former;
mod freeze;
mod hierarchy;
mod io_limit;
mod kill;
mod limits;
mod list_format;
mod mountinfo;
mod name;
#[cfg(feature = "oci")]
mod oci;
mod oom;
mod remove;
mod render;
mod stats;
#[expect(
    unsafe_code,
    reason = "pidfd_open, pidfd_send_signal and bpf have no safe wrapper"
)]
mod sys;
mod trace;
mod tree;
mod view;

pub use applied::{Applied, Compat, InForce, SkipReason, Skipped};
pub use cgroup::Cgroup;
pub use controller::Controller;
pub use cpu_quota::CpuQuota;
pub use delegation::Undelegated;
pub use device::{DeviceAccess, DeviceKind, DeviceRule};
pub use error::{Error, Result};
pub use events::{Event, Events};
pub use former::Former;
pub use hierarchy::{Hierarchy, Version};
pub use io_limit::{IoLimit, RdmaLimit};
pub use limits::{Limits, Max};
pub use oom::OomLevel;
pub use render::Write;
pub use stats::{IoStats, Pressure, Stall, Stats};
pub use view::CgroupMountView;
