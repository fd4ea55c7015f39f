//! What `run` takes and `plan` shows: the options of a container, as a person types them.

use clap::Args;
use rocker_cgroup::Max;
use rocker_image::Platform;

use crate::{Io, Network, PullPolicy, Result, RunOptions, Volume};

mod value;

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

    /// Set a variable; NAME alone takes it from here
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Command")]
    env: Vec<String>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR", help_heading = "Command")]
    workdir: Option<String>,
    /// Run as this user
    #[arg(short, long, value_name = "USER[:GROUP]", help_heading = "Command")]
    user: Option<String>,
    /// Run this instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM", help_heading = "Command")]
    entrypoint: Option<String>,

    /// CPUs to use, such as 0.5
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    cpus: Option<String>,
    /// Memory, with an optional unit b, k, m or g
    #[arg(short, long, value_name = "BYTES", help_heading = "Limits")]
    memory: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(
        long,
        value_name = "BYTES",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    memory_swap: Option<String>,
    /// Memory in MiB
    #[arg(
        long,
        value_name = "MIB",
        allow_hyphen_values = true,
        conflicts_with = "memory",
        help_heading = "Limits"
    )]
    mem: Option<u64>,
    /// Swap in MiB, beside the memory
    #[arg(
        long,
        value_name = "MIB",
        conflicts_with = "memory_swap",
        help_heading = "Limits"
    )]
    swap: Option<u64>,
    /// Processes and threads; -1 for no limit
    #[arg(
        long,
        visible_alias = "pids",
        value_name = "N",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    pids_limit: Option<i64>,

    /// Show a directory or file of the host
    #[arg(short, long, value_name = "SRC:DST[:ro]", help_heading = "Files")]
    volume: Vec<String>,
    /// Make the root file system read-only
    #[arg(long, help_heading = "Files")]
    read_only: bool,

    /// bridge, none or host
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        default_value = "bridge",
        help_heading = "Network"
    )]
    network: String,
    /// Name the host
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Network")]
    hostname: Option<String>,

    /// Add a capability
    #[arg(long, value_name = "CAP", help_heading = "Security")]
    cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAP", help_heading = "Security")]
    cap_drop: Vec<String>,
    /// All capabilities, nothing hidden: as strong as root on the host
    #[arg(long, help_heading = "Security")]
    privileged: bool,

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
        options.env = self.env.clone();
        options.workdir = self.workdir.clone();
        options.user = self.user.clone();
        options.hostname = self.hostname.clone();
        options.volumes = self
            .volume
            .iter()
            .map(|text| value::volume(text))
            .collect::<Result<Vec<Volume>>>()?;
        options.network = self.network()?;
        options.limits = self.limits()?;
        options.cap_add = self.cap_add.clone();
        options.cap_drop = self.cap_drop.clone();
        options.privileged = self.privileged;
        options.read_only = self.read_only;
        options.pull = self.pull_policy()?;
        options.platform = self
            .platform
            .as_deref()
            .map(str::parse::<Platform>)
            .transpose()?;
        Ok(options)
    }

    fn network(&self) -> Result<Network> {
        match self.network.as_str() {
            "bridge" | "default" => Ok(Network::Bridge),
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            other => Err(value::bad("--network", other, "bridge, none or host")),
        }
    }

    fn pull_policy(&self) -> Result<PullPolicy> {
        match self.pull.as_str() {
            "always" => Ok(PullPolicy::Always),
            "missing" => Ok(PullPolicy::Missing),
            "never" => Ok(PullPolicy::Never),
            other => Err(value::bad("--pull", other, "always, missing or never")),
        }
    }

    fn limits(&self) -> Result<rocker_cgroup::Limits> {
        let mut limits = rocker_cgroup::Limits::default();
        if let Some(cpus) = &self.cpus {
            limits = limits.cpu(value::cpus(cpus)?);
        }
        let memory = match (&self.memory, self.mem) {
            (Some(text), _) => Some(value::bytes("--memory", text)?),
            (None, Some(mebibytes)) => Some(value::mebibytes("--mem", mebibytes)?),
            (None, None) => None,
        };
        if let Some(memory) = memory {
            limits = limits.memory_bytes(memory);
        }
        let swap = match (&self.memory_swap, self.swap) {
            (Some(text), _) if text == "-1" => Some(Max::Unlimited),
            (Some(text), _) => Some(Max::At(value::bytes("--memory-swap", text)?)),
            (None, Some(mebibytes)) => {
                let swap = value::mebibytes("--swap", mebibytes)?;
                let memory = memory.ok_or_else(|| {
                    value::bad("--swap", &mebibytes.to_string(), "--mem beside it")
                })?;
                Some(Max::At(memory.saturating_add(swap)))
            }
            (None, None) => None,
        };
        if let Some(swap) = swap {
            limits = limits.memory_swap_bytes(swap);
        }
        match self.pids_limit {
            None => {}
            Some(count) if count <= 0 => limits = limits.pids(Max::Unlimited),
            Some(count) => limits = limits.pids(Max::At(count.unsigned_abs())),
        }
        limits.validate()?;
        Ok(limits)
    }
}
