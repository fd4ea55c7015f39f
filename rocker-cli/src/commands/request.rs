//! What `run` takes and `plan` shows: the options of a container, as a person types them.

use std::path::PathBuf;

use clap::Args;
use rocker_image::Platform;

use crate::{Io, PullPolicy, Result, RunOptions};

mod files;
mod life;
mod limits;
mod mount;
pub(crate) mod network;
pub(crate) mod resources;
mod security;
mod sharing;
mod storage;
pub(crate) mod value;
mod volume;

use files::Files;
use life::Life;
use limits::Limits;
use network::Networking;
use security::Security;
use sharing::Sharing;
pub(crate) use value::keys;

/// A container as it is asked for.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Connect standard input
    #[arg(short, long, help_heading = "Container")]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long, help_heading = "Container")]
    tty: bool,
    /// Remove the container when it ends
    #[arg(long, help_heading = "Container")]
    rm: bool,
    /// Name the container
    #[arg(long, help_heading = "Container")]
    name: Option<String>,

    /// Run an init in front of the command, which reaps what nobody waits for
    #[arg(long, help_heading = "Container")]
    init: bool,
    /// Leave the command to itself at these keys; none if empty
    #[arg(
        long,
        value_name = "KEYS",
        default_value = "ctrl-p,ctrl-q",
        help_heading = "Container"
    )]
    detach_keys: String,

    /// Set a variable; NAME alone takes it from here
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Command")]
    env: Vec<String>,
    /// Set the variables of a file
    #[arg(long, value_name = "PATH", help_heading = "Command")]
    env_file: Vec<PathBuf>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR", help_heading = "Command")]
    workdir: Option<String>,
    /// Run as this user
    #[arg(short, long, value_name = "USER[:GROUP]", help_heading = "Command")]
    user: Option<String>,
    /// Run this instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM", help_heading = "Command")]
    entrypoint: Option<String>,

    /// Add a supplementary group
    #[arg(long, value_name = "GROUP", help_heading = "Command")]
    group_add: Vec<String>,

    #[command(flatten)]
    life: Life,
    #[command(flatten)]
    limits: Limits,
    /// Limit each process: NAME=SOFT[:HARD], such as nofile=1024
    #[arg(long, value_name = "LIMIT", help_heading = "Limits")]
    ulimit: Vec<String>,
    /// How readily to be killed when memory runs out: -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1000..=1000), help_heading = "Limits")]
    oom_score_adj: Option<i16>,

    #[command(flatten)]
    files: Files,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES", help_heading = "Files")]
    shm_size: Option<String>,
    /// Give it a device of the host
    #[arg(long, value_name = "SRC[:DST[:rwm]]", help_heading = "Files")]
    device: Vec<String>,
    /// How changes are kept: driver=overlay, vfs (a copy) or tmpfs (in memory, lost at the end; size=BYTES)
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Files")]
    storage_opt: Vec<String>,

    /// Publish a port: [[ADDRESS:]HOST[-LAST]:]PORT[-LAST][/udp]
    #[arg(short, long, value_name = "PORTS", help_heading = "Network")]
    publish: Vec<String>,
    /// Publish all ports that are exposed, under ones that are free
    #[arg(short = 'P', long, help_heading = "Network")]
    publish_all: bool,
    /// Say that it serves a port: PORT[-LAST][/udp]
    #[arg(long, value_name = "PORTS", help_heading = "Network")]
    expose: Vec<String>,
    #[command(flatten)]
    networking: Networking,

    #[command(flatten)]
    sharing: Sharing,
    #[command(flatten)]
    security: Security,

    /// always, missing or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "missing",
        help_heading = "Image"
    )]
    pull: String,
    /// Such as linux/arm64
    #[arg(long, value_name = "PLATFORM", help_heading = "Image")]
    platform: Option<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Other options")]
    help: Option<bool>,

    /// The image
    #[arg(value_name = "IMAGE", help_heading = "Arguments", display_order = 1)]
    image: String,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        help_heading = "Arguments",
        display_order = 2,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

impl Request {
    /// Whether the person in front of it is to be connected to a terminal of the command's.
    pub(crate) fn is_for_a_person(&self) -> bool {
        self.tty && self.interactive
    }

    /// The same in the words of the engine.
    pub(crate) fn options(&self) -> Result<RunOptions<'static>> {
        let mut options = RunOptions::new(&self.image);
        options.command = self.command.clone();
        options.entrypoint = self.entrypoint.clone();
        options.name = self.name.clone();
        options.remove = self.rm;
        options.io = Io {
            interactive: self.interactive,
            terminal: self.tty,
        };
        options.init = self.init;
        options.detach_keys = keys(&self.detach_keys)?.filter(|_| self.is_for_a_person());
        for path in &self.env_file {
            options.env.extend(value::lines_of("--env-file", path)?);
        }
        options.env.extend_from_slice(&self.env);
        options.workdir = self.workdir.clone();
        options.user = self.user.clone();
        self.networking.add_to(&mut options)?;
        let ports = self.publish.iter().map(|text| Ok(text.parse()?));
        options.ports = ports.collect::<Result<_>>()?;
        options.publish_all = self.publish_all;
        options.expose = self.expose.clone();
        self.limits.add_to(&mut options)?;
        options.group_add = self.group_add.clone();
        let limits = self.ulimit.iter().map(|text| Ok(text.parse()?));
        options.rlimits = limits.collect::<Result<_>>()?;
        options.oom_score_adj = self.oom_score_adj;
        self.files.add_to(&mut options)?;
        let size = self.shm_size.as_ref();
        let size = size.map(|text| value::bytes("--shm-size", text));
        options.shm_size = size.transpose()?;
        let devices = self.device.iter().map(|text| value::device(text));
        options.devices = devices.collect::<Result<_>>()?;
        self.life.add_to(&mut options)?;
        self.sharing.add_to(&mut options)?;
        self.security.add_to(&mut options)?;
        options.storage = storage::options(&self.storage_opt)?;
        options.pull = self.pull_policy()?;
        options.platform = self
            .platform
            .as_deref()
            .map(str::parse::<Platform>)
            .transpose()?;
        Ok(options)
    }

    fn pull_policy(&self) -> Result<PullPolicy> {
        match self.pull.as_str() {
            "always" => Ok(PullPolicy::Always),
            "missing" => Ok(PullPolicy::Missing),
            "never" => Ok(PullPolicy::Never),
            other => Err(value::bad("--pull", other, "always, missing or never")),
        }
    }
}
