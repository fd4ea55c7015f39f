//! `rocker history`

use std::time::SystemTime;

use clap::{ArgAction, Args};
use rocker_image::Image;
use serde_json::{Value, json};

use super::listing::listing;
use super::{engine, plainly, print};
use crate::Result;
use crate::engine::time;
use crate::table::{self, printable};

/// How much of a command is shown, as with Docker.
const SHOWN: usize = 45;

/// Show how an image was made
///
/// One line for each step, the last one first. Sizes are those of the layers as they are stored, which is compressed as a rule.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker history --no-trunc debian:12-slim")]
pub(crate) struct History {
    /// Times and sizes for people; with =false for programs
    #[arg(
        short = 'H',
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    human: bool,
    /// Whole IDs and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// json, a template such as '{{.CreatedBy}}', or the same behind the word table
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The image: a name, or the beginning of an ID
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl History {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let image = engine()?.find_image(&self.image)?;
            let rows = self.rows(&image, SystemTime::now());
            if self.quiet && self.format.is_none() {
                let id = |row: &Value| format!("{}\n", row["ID"].as_str().unwrap_or_default());
                print(&rows.iter().map(id).collect::<String>());
                return Ok(());
            }
            let created = if self.human {
                "CreatedSince"
            } else {
                "CreatedAt"
            };
            let columns = ["ID", created, "CreatedBy", "Size", "Comment"];
            print(&listing(self.format.as_deref(), &columns, &rows, heading)?);
            Ok(())
        })
    }

    /// The steps under Docker's names, the last one first.
    fn rows(&self, image: &Image, now: SystemTime) -> Vec<Value> {
        let mut sizes = image.layers().iter().map(|layer| layer.size);
        let steps = image.config().history().as_deref().unwrap_or_default();
        let mut rows = Vec::new();
        for step in steps {
            let size = match step.empty_layer() {
                Some(true) => 0,
                _ => sizes.next().unwrap_or(0),
            };
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let at = step.created().as_deref().and_then(time::parse);
            rows.push(self.row(
                at,
                &text(step.created_by()),
                size,
                &text(step.comment()),
                now,
            ));
        }
        // Of these layers the history says nothing.
        rows.extend(sizes.map(|size| self.row(None, "", size, "", now)));
        rows.reverse();
        let digest = image.config_digest();
        if let Some(last) = rows.first_mut() {
            last["ID"] = match self.no_trunc {
                true => digest.to_string().into(),
                false => digest.hex()[..12].into(),
            };
        }
        rows
    }

    fn row(
        &self,
        at: Option<SystemTime>,
        by: &str,
        size: u64,
        comment: &str,
        now: SystemTime,
    ) -> Value {
        let since = at.map_or_else(
            || "N/A".to_owned(),
            |at| format!("{} ago", table::ago(now, at)),
        );
        let by = match printable(by) {
            long if !self.no_trunc && long.chars().count() > SHOWN => {
                let begin: String = long.chars().take(SHOWN - 1).collect();
                format!("{begin}…")
            }
            short => short,
        };
        json!({
            "ID": "<missing>",
            "CreatedSince": since,
            "CreatedAt": at.map_or_else(|| "N/A".to_owned(), time::text),
            "CreatedBy": by,
            "Size": match self.human {
                true => table::size(size),
                false => size.to_string(),
            },
            "Comment": comment,
        })
    }
}

/// Docker's heads of columns.
fn heading(name: &str) -> String {
    match name {
        "ID" => "IMAGE".to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        "CreatedBy" => "CREATED BY".to_owned(),
        other => other.to_uppercase(),
    }
}
