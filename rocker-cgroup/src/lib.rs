#![doc = include_str!("../README.md")]

mod applied;
mod backoff;
mod base;
mod cgroup;
mod controller;
mod cpu_quota;
mod create;
mod delegation;
mod directory;
mod error;
mod file;
mod freeze;
mod hierarchy;
mod kill;
mod limits;
mod list_format;
mod mountinfo;
mod name;
mod remove;
mod render;
mod stats;
#[expect(
    unsafe_code,
    reason = "pidfd_open and pidfd_send_signal have no safe wrapper"
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
pub use error::{Error, Result};
pub use hierarchy::{Hierarchy, Version};
pub use limits::{Limits, Max};
pub use render::Write;
pub use stats::Stats;
pub use view::CgroupMountView;
