//! `rocker tag`

use clap::Args;

use super::{engine, plainly};
use crate::Result;

/// Give an image another name
///
/// An image that had that name before stays, without a name if it has no other.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker tag app registry.example/team/app:1")]
pub(crate) struct Tag {
    /// The image: a name, or the beginning of an ID
    #[arg(value_name = "SOURCE[:TAG]")]
    image: String,
    /// Its new name
    #[arg(value_name = "TARGET[:TAG]")]
    target: String,
}

impl Tag {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| engine()?.tag(&self.image, &self.target))
    }
}
