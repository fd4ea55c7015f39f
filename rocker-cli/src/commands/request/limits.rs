//! What a container may use, as a person types it: what is said when it is made, and not changed later.

use clap::Args;
use rocker_cgroup::{DeviceRule, IoLimit};

use super::resources::Resources;
use super::value::{self, Unit};
use crate::{Result, RunOptions, Share};

/// The limits that are asked for.
#[derive(Debug, Args)]
pub(super) struct Limits {
    #[command(flatten)]
    resources: Resources,
    /// How readily memory is swapped out, 0 to 100
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    memory_swappiness: Option<i64>,
    /// Have its processes wait in place of being killed when memory runs out
    #[arg(long, help_heading = "Limits")]
    oom_kill_disable: bool,
    /// Share of one busy block device: PATH:WEIGHT
    #[arg(long, value_name = "DEVICE", help_heading = "Limits")]
    blkio_weight_device: Vec<String>,
    /// Bytes a second to read of a device: PATH:RATE, such as /dev/sda:1mb
    #[arg(long, value_name = "RATE", help_heading = "Limits")]
    device_read_bps: Vec<String>,
    /// Bytes a second to write to a device
    #[arg(long, value_name = "RATE", help_heading = "Limits")]
    device_write_bps: Vec<String>,
    /// Operations a second to read of a device: PATH:N
    #[arg(long, value_name = "RATE", help_heading = "Limits")]
    device_read_iops: Vec<String>,
    /// Operations a second to write to a device
    #[arg(long, value_name = "RATE", help_heading = "Limits")]
    device_write_iops: Vec<String>,
    /// Allow a device by a rule such as 'c 42:* rmw'
    #[arg(long, value_name = "RULE", help_heading = "Limits")]
    device_cgroup_rule: Vec<String>,
    /// Have its cgroup in this one, which is made where it is missing, and stays
    #[arg(long, value_name = "PATH", help_heading = "Limits")]
    cgroup_parent: Option<String>,
    /// Whose cgroups it sees: private or host
    #[arg(
        long,
        value_name = "MODE",
        default_value = "private",
        hide_default_value = true,
        help_heading = "Limits"
    )]
    cgroupns: String,
    /// Set a file of cgroup v2: memory.high=64M
    #[arg(long, value_name = "FILE=VALUE", help_heading = "Limits")]
    cgroup_conf: Vec<String>,
}

impl Limits {
    /// The same in the words of the engine.
    pub(super) fn add_to(&self, options: &mut RunOptions<'_>) -> Result<()> {
        let limits = &mut options.limits;
        match self.memory_swappiness {
            // Docker's word for "as it is".
            None | Some(-1) => {}
            Some(number) => {
                let swappiness = u8::try_from(number);
                let expected = "a number from 0 to 100";
                limits.memory_swappiness = Some(swappiness.map_err(|_| {
                    value::bad("--memory-swappiness", &number.to_string(), expected)
                })?);
            }
        }
        limits.oom_kill_disable = self.oom_kill_disable.then_some(true);
        self.add_io(limits)?;
        for text in &self.cgroup_conf {
            let expected = "a file of a controller and its value, such as memory.high=64M";
            let both = text.split_once('=');
            let (file, value) = both.ok_or_else(|| value::bad("--cgroup-conf", text, expected))?;
            limits.unified.insert(file.to_owned(), value.to_owned());
        }
        self.resources.add_to(limits)?;
        for text in &self.device_cgroup_rule {
            let rule = text.parse::<DeviceRule>();
            let expected = "a rule such as 'c 42:* rmw'";
            let rule = rule.map_err(|_| value::bad("--device-cgroup-rule", text, expected))?;
            options.device_rules.push(rule);
        }
        options.cgroup_parent = self.cgroup_parent()?;
        options.cgroup = match self.cgroupns.as_str() {
            "private" => Share::Own,
            "host" => Share::Host,
            other => return Err(value::bad("--cgroupns", other, "private or host")),
        };
        Ok(())
    }

    fn add_io(&self, limits: &mut rocker_cgroup::Limits) -> Result<()> {
        type Set = fn(IoLimit, u64) -> IoLimit;
        // What is no weight at all is refused with the others.
        let weight: Set = |limit, weight| limit.weight(u16::try_from(weight).unwrap_or(u16::MAX));
        let flags: [(&'static str, &[String], Unit, Set); 5] = [
            (
                "--blkio-weight-device",
                &self.blkio_weight_device,
                Unit::Weight,
                weight,
            ),
            (
                "--device-read-bps",
                &self.device_read_bps,
                Unit::Bytes,
                IoLimit::read_bps,
            ),
            (
                "--device-write-bps",
                &self.device_write_bps,
                Unit::Bytes,
                IoLimit::write_bps,
            ),
            (
                "--device-read-iops",
                &self.device_read_iops,
                Unit::Operations,
                IoLimit::read_iops,
            ),
            (
                "--device-write-iops",
                &self.device_write_iops,
                Unit::Operations,
                IoLimit::write_iops,
            ),
        ];
        for (flag, texts, unit, set) in flags {
            for text in texts {
                let (major, minor, rate) = value::rate(flag, text, unit)?;
                let known = limits
                    .io
                    .iter()
                    .position(|one| (one.major, one.minor) == (major, minor));
                match known {
                    Some(at) => limits.io[at] = set(limits.io[at], rate),
                    None => limits.io.push(set(IoLimit::new(major, minor), rate)),
                }
            }
        }
        Ok(())
    }

    /// With one slash in front: it is somebody else's, and stays.
    fn cgroup_parent(&self) -> Result<Option<String>> {
        let Some(text) = &self.cgroup_parent else {
            return Ok(None);
        };
        let path = text.trim_matches('/');
        let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
        match path.split('/').all(is_plain) {
            true => Ok(Some(format!("/{path}"))),
            false => Err(value::bad(
                "--cgroup-parent",
                text,
                "a path below the place where containers have their cgroups, such as /batch",
            )),
        }
    }
}
