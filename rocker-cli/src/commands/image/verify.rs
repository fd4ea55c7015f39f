//! `rocker image verify`

use clap::Args;
use rocker_image::{Part, Reference, Verified};
use serde_json::json;

use crate::Result;
use crate::commands::listing::escaped;
use crate::commands::{engine, plainly, print};
use crate::table::{Table, printable};

/// Check whether images are what their names say
///
/// All that an image is made of is hashed. Layers that are damaged are moved away, so that the next pull fetches them again; the
/// exit status is 1 then.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker image verify debian:12-slim")]
pub(crate) struct Verify {
    /// For programs: json, one object a line
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
    /// Names, or beginnings of IDs; all images if there are none
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verify {
    pub(crate) fn run(self) -> Result<u8> {
        let mut damaged = false;
        let status = plainly(|| {
            let images = engine()?.verify_images(&self.images)?;
            damaged = images.iter().any(|image| !image.faults.is_empty());
            print(&match self.format {
                Some(_) => images.iter().map(line).collect(),
                None => shown(&images),
            });
            Ok(())
        })?;
        Ok(status | u8::from(damaged))
    }
}

fn line(image: &Verified) -> String {
    let names: Vec<_> = image.references.iter().map(Reference::familiar).collect();
    let faults: Vec<_> = image
        .faults
        .iter()
        .map(|fault| {
            let (blob, part) = (fault.blob.to_string(), word(fault.part));
            json!({"Blob": blob, "Part": part, "Problem": fault.problem})
        })
        .collect();
    let line = json!({
        "Names": names,
        "Id": image.id.as_ref().map(ToString::to_string),
        "Digest": image.manifest.to_string(),
        "Blobs": image.blobs,
        "Damaged": !faults.is_empty(),
        "Faults": faults,
    });
    escaped(&format!("{line}\n"))
}

/// A table of all images, and behind it what is wrong.
fn shown(images: &[Verified]) -> String {
    let mut table = Table::new(["IMAGE", "IMAGE ID", "BLOBS", "STATE"]);
    let mut faults = String::new();
    for image in images {
        let name = image.references.first();
        let name = name.map_or_else(|| "<none>".to_owned(), Reference::familiar);
        let id = image.id.as_ref().and_then(|id| id.hex().get(..12));
        let state = if image.faults.is_empty() {
            "ok"
        } else {
            "DAMAGED"
        };
        for fault in &image.faults {
            let problem = printable(&fault.problem);
            faults.push_str(&format!(
                "{name}: {} {}: {problem}\n",
                word(fault.part),
                fault.blob
            ));
        }
        table.row([
            name,
            id.unwrap_or("?").to_owned(),
            image.blobs.to_string(),
            state.to_owned(),
        ]);
    }
    if !faults.is_empty() {
        faults = format!("\n{faults}`rocker pull` fetches again what is damaged.\n");
    }
    format!("{table}{faults}")
}

fn word(part: Part) -> &'static str {
    match part {
        Part::Manifest => "manifest",
        Part::Config => "configuration",
        Part::Layer => "layer",
        _ => "blob",
    }
}
