//! `rocker pull`

use clap::Args;
use rocker_image::{Platform, PullOptions, Reference};

use super::progress::Bars;
use super::tls::Tls;
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
    #[command(flatten)]
    tls: Tls,
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
            engine.pull_as(&self.image, &options, self.tls.client(), &bars)
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
