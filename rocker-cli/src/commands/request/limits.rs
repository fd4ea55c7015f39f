//! What a container may use, as a person types it.

use clap::Args;
use rocker_cgroup::Max;

use super::value;
use crate::Result;

/// The limits that are asked for.
#[derive(Debug, Args)]
pub(super) struct Limits {
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
}

impl Limits {
    /// The same in the words of rocker-cgroup.
    pub(super) fn limits(&self) -> Result<rocker_cgroup::Limits> {
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
