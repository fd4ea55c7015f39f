//! Which files a container sees, and which of them it may change, as a person types it.

use std::path::absolute;

use clap::Args;

use super::mount::{Wanted, mount};
use super::{value, volume};
use crate::{Result, RootDirectory, RunOptions};

/// Volumes, and the root file system.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Show a volume, or a directory or file of the host
    #[arg(
        short,
        long,
        value_name = "[SRC:]DST[:OPTIONS]",
        help_heading = "Files"
    )]
    volume: Vec<String>,
    /// The same in words: type=bind, volume, tmpfs or image, source=…, target=…
    #[arg(long, value_name = "MOUNT", help_heading = "Files")]
    mount: Vec<String>,
    /// Show the volumes of another container
    #[arg(long, value_name = "CONTAINER[:ro]", help_heading = "Files")]
    volumes_from: Vec<String>,
    /// A file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]", help_heading = "Files")]
    tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long, help_heading = "Files")]
    read_only: bool,
    /// Whether /run, /tmp and /var/tmp are in memory then
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        help_heading = "Files"
    )]
    read_only_tmpfs: bool,
    /// Take IMAGE for a directory of the host; as DIR:O it stays as it is
    #[arg(long, help_heading = "Files")]
    rootfs: bool,
}

impl Files {
    /// Adds the same, in the words of the engine.
    pub(super) fn add_to(&self, options: &mut RunOptions<'_>) -> Result<()> {
        let volumes = self.volume.iter().map(|text| volume::volume(text));
        options.volumes = volumes.collect::<Result<_>>()?;
        let tmpfs = self.tmpfs.iter().map(|text| value::tmpfs(text));
        options.tmpfs = tmpfs.collect::<Result<_>>()?;
        for text in &self.mount {
            match mount(text)? {
                Wanted::Volume(volume) => options.volumes.push(*volume),
                Wanted::Tmpfs(tmpfs) => options.tmpfs.push(tmpfs),
            }
        }
        let from = self.volumes_from.iter().map(|text| volume::from(text));
        options.volumes_from = from.collect::<Result<_>>()?;
        options.read_only = self.read_only;
        options.read_only_tmpfs = self.read_only_tmpfs;
        if self.rootfs {
            let (path, overlay) = match options.image.strip_suffix(":O") {
                Some(path) => (path, true),
                None => (options.image.as_str(), false),
            };
            let whole = absolute(path);
            let path = whole.map_err(|error| value::bad("--rootfs", path, error.to_string()))?;
            options.root_directory = Some(RootDirectory { path, overlay });
        }
        Ok(())
    }
}
