//! `rocker push`

use clap::Args;
use rocker_image::Reference;

use super::progress::Bars;
use super::tls::Tls;
use super::{Executable, Explain, plainly, print};
use crate::{Error, Result};

/// Push an image to a registry
///
/// The name says which registry: `rocker tag app registry.example/team/app:1` gives an image such a name.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker push registry.example/team/app:1")]
pub(crate) struct Push {
    /// Print only the name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    explain: Explain,
    /// The image
    #[arg(value_name = "IMAGE[:TAG]")]
    image: String,
}

impl Push {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let name: Reference = self.image.parse()?;
            let Some(tag) = name.tag().filter(|_| name.digest().is_none()) else {
                let expected = "a name with a tag: a digest is what a push has for its result";
                return Err(Error::bad_value("IMAGE", &self.image, expected));
            };
            let bars = match self.quiet {
                true => Bars::hidden(),
                false => self.explain.bars().pushing(),
            };
            let work =
                |engine: &crate::Engine| engine.push_as(&self.image, self.tls.client(), &bars);
            let pushed = self.explain.around(Executable::AsItIs, work)?.manifest;
            print(&match self.quiet {
                true => format!("{name}\n"),
                false => format!(
                    "The push refers to repository [{}/{}]\n{tag}: digest: {} size: {}\n",
                    name.domain(),
                    name.repository(),
                    pushed.digest,
                    pushed.size
                ),
            });
            Ok(())
        })
    }
}
