//! `rocker version`

use clap::Args;
use serde_json::json;

use super::print;
use crate::Result;
use crate::template::Template;

/// Show which rocker this is
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker version -f '{{.Version}}'")]
pub(crate) struct Version {
    /// json, or a template such as '{{.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    pub(crate) fn run(self) -> Result<u8> {
        let (version, os, arch) = (
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            super::info::architecture(),
        );
        let kernel = super::info::kernel();
        let document = json!({"Version": version, "Os": os, "Arch": arch, "KernelVersion": kernel});
        print(&match self.format.as_deref() {
            None => format!("Version:   {version}\nOS/Arch:   {os}/{arch}\nKernel:    {kernel}\n"),
            Some("json") => format!("{document}\n"),
            Some(text) => format!("{}\n", Template::parse(text)?.render(&document)?),
        });
        Ok(0)
    }
}
