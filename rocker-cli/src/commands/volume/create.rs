//! `rocker volume create`

use clap::Args;

use crate::commands::request::value;
use crate::commands::{engine, plainly, print};
use crate::{Result, VolumeOptions};

/// Make a volume
///
/// A directory that outlives the containers that have it, and that all of them see. The first container that has it fills it with what its image has in its place.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker volume create data\n\
                  Example: rocker volume create --opt type=none --opt o=bind --opt device=/srv/data data")]
pub(crate) struct Create {
    /// For Docker's sake: local, the only one
    #[arg(short, long, default_value = "local", hide_default_value = true)]
    driver: String,
    /// Add a label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// type=none, o=bind[,ro] and device=DIR for a directory of the host
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// The name, for those who write it so
    #[arg(
        long = "name",
        value_name = "VOLUME",
        hide = true,
        conflicts_with = "name"
    )]
    named: Option<String>,
    /// The name; one is made up without
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

impl Create {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            if self.driver != "local" {
                return Err(value::bad(
                    "--driver",
                    &self.driver,
                    "local, which is the only one",
                ));
            }
            let options = VolumeOptions {
                name: self.name.clone().or(self.named.clone()),
                labels: value::labels(&self.label),
                options: value::labels(&self.opt),
            };
            let name = engine()?.create_volume(&options)?;
            print(&format!("{name}\n"));
            Ok(())
        })
    }
}
