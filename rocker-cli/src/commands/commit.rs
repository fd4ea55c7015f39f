//! `rocker commit`

use clap::{ArgAction, Args};

use super::{engine, plainly, print};
use crate::{CommitOptions, Result};

/// Make an image of a container
///
/// Of its image, with one layer more for what the container has changed. It is run as the container was. What is in volumes is no
/// part of it. Prints the image's ID.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker commit -m 'with curl' -c 'CMD [\"curl\", \"--help\"]' web example.com/web:2"
)]
pub(crate) struct Commit {
    /// Who makes it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// What the image's history is to say
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// A line of a Dockerfile to apply: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "LINE")]
    change: Vec<String>,
    /// Whether the container stands still while its files are read; it does where it can
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pause: Option<bool>,
    /// A name, or the beginning of an ID
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Commit {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let options = CommitOptions {
                name: self.name,
                author: self.author,
                message: self.message,
                changes: self.change,
                pause: self.pause,
            };
            let image = engine()?.commit(&self.container, &options)?;
            print(&format!("{}\n", image.config_digest()));
            Ok(())
        })
    }
}
