//! The `rocker` command from end to end on the real kernel: every test runs the built binary in a fake host of its own,
//! mostly on images from a real registry.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "../../../tests/fake_host/mod.rs"]
mod fake_host;
#[path = "../../../tests/registry/mod.rs"]
mod registry;
#[path = "../../../tests/probe/static_c.rs"]
mod static_c;

mod alice;
mod support;
mod tmux;

mod advice;
mod archives;
mod attach;
mod attributes;
mod cgroups;
mod changes;
mod commit;
mod completion;
mod cp;
mod crash;
mod crash_commands;
mod crash_networks;
mod crash_steps;
mod crash_volumes;
mod cve;
mod damaged;
mod debian;
mod detach;
mod doctor;
mod errors;
mod events;
mod exec;
mod explain;
mod flags;
mod full_disk;
mod health;
mod identity;
mod image_config;
mod image_import;
mod image_names;
mod image_prune;
mod image_verify;
mod images;
mod isolation;
mod killed_supervisor;
mod lifecycle;
mod limits;
mod listing;
mod log_files;
mod login;
mod logs;
mod many;
mod mount;
mod network;
mod networks;
mod networks_files;
mod networks_flushed;
mod networks_names;
mod networks_pasta;
mod networks_ports;
mod networks_spoof;
mod pause;
mod plan;
mod ports;
mod probe;
mod refused_images;
mod resource_flags;
mod restart_policy;
mod rootless;
mod run_flags;
mod shared_mounts;
mod signals;
mod started;
mod storage;
mod storm;
mod strace;
mod supervised;
mod system;
mod terminal;
mod tidy;
mod unhindered;
mod update;
mod userns;
mod volume_mounts;
mod volume_store;
mod volumes;
