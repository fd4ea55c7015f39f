//! `rocker volume inspect`

use clap::Args;

use crate::Result;
use crate::commands::inspect;

/// Show all that is known of volumes
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker volume inspect -f '{{.Mountpoint}}' data")]
pub(crate) struct Inspect {
    /// A template such as '{{.Mountpoint}}', a pointer such as /Labels, or json for one object a line
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<u8> {
        inspect::Inspect::of_volumes(self.volumes, self.format).run()
    }
}
