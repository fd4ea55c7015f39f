//! `rocker pull`

use clap::{ArgAction, Args};
use rocker_image::{ClientOptions, Platform, PullOptions, Reference};

use super::progress::Bars;
use super::{Executable, Explain, print};
use crate::Result;

/// Pull an image from a registry
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker pull debian:12-slim")]
pub(crate) struct Pull {
    /// Such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    /// Print only the image's digest
    #[arg(short, long)]
    quiet: bool,
    /// Whether the registry has to prove who it is; with =false it may also speak plain HTTP
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    tls_verify: bool,
    #[command(flatten)]
    explain: Explain,
    /// The image
    #[arg(value_name = "IMAGE[:TAG|@DIGEST]")]
    image: String,
}

impl Pull {
    pub(crate) fn run(self) -> Result<u8> {
        let mut options = PullOptions::default();
        if let Some(platform) = &self.platform {
            options = options.platform(platform.parse::<Platform>()?);
        }
        let reference: Reference = self.image.parse()?;
        let bars = if self.quiet {
            Bars::hidden()
        } else {
            self.explain.bars()
        };
        let pulled = self.explain.around(Executable::AsItIs, |engine| {
            let client = ClientOptions::from_env().tls_verify(self.tls_verify);
            engine.pull_as(&self.image, &options, client, &bars)
        })?;
        let digest = pulled.image.manifest_digest();
        if self.quiet {
            print(&format!("{digest}\n"));
        } else {
            let status = if pulled.changed {
                "Downloaded newer image for"
            } else {
                "Image is up to date for"
            };
            print(&format!(
                "Digest: {digest}\nStatus: {status} {}\n",
                reference.familiar()
            ));
        }
        Ok(0)
    }
}
