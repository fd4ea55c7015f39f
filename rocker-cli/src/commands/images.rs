//! `rocker images`

use std::time::SystemTime;

use clap::Args;

use super::{engine, print};
use crate::Result;
use crate::engine::time;
use crate::table::{self, Table};

/// List images
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker images --digests")]
pub(crate) struct Images {
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Whole IDs
    #[arg(long)]
    no_trunc: bool,
    /// Also the manifests' digests
    #[arg(long)]
    digests: bool,
}

impl Images {
    pub(crate) fn run(self) -> Result<u8> {
        let now = SystemTime::now();
        let mut header = vec!["REPOSITORY", "TAG"];
        if self.digests {
            header.push("DIGEST");
        }
        header.extend(["IMAGE ID", "CREATED", "SIZE"]);
        let mut table = Table::new(header);
        let mut ids = Vec::new();
        for image in engine()?.images()? {
            let digest = image.config_digest();
            let id = if self.no_trunc {
                digest.to_string()
            } else {
                digest.hex()[..12].to_owned()
            };
            let created = image.created().and_then(time::parse);
            let created = created.map_or_else(
                || "N/A".to_owned(),
                |at| format!("{} ago", table::ago(now, at)),
            );
            for (repository, tag) in names(&image) {
                let mut row = vec![repository, tag];
                if self.digests {
                    row.push(image.manifest_digest().to_string());
                }
                row.extend([id.clone(), created.clone(), table::size(image.size())]);
                table.row(row);
            }
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        print(&if self.quiet {
            ids.iter().map(|id| format!("{id}\n")).collect()
        } else {
            table.to_string()
        });
        Ok(0)
    }
}

/// The image's names as repository and tag; an image without one is still listed.
fn names(image: &rocker_image::Image) -> Vec<(String, String)> {
    const NONE: &str = "<none>";
    let name = |reference: &rocker_image::Reference| {
        let familiar = reference.familiar();
        let without_digest = familiar.split('@').next().unwrap_or_default();
        let tag = reference.tag().unwrap_or(NONE);
        let repository = without_digest
            .strip_suffix(tag)
            .and_then(|name| name.strip_suffix(':'))
            .unwrap_or(without_digest);
        (repository.to_owned(), tag.to_owned())
    };
    let names: Vec<_> = image.references().iter().map(name).collect();
    if names.is_empty() {
        vec![(NONE.to_owned(), NONE.to_owned())]
    } else {
        names
    }
}
