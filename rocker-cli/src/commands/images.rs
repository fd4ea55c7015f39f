//! `rocker images`

use std::time::SystemTime;

use clap::Args;
use rocker_image::{Image, Reference};
use serde_json::{Value, json};

use super::filter::Filters;
use super::glob;
use super::listing::listing;
use super::request::value;
use super::{engine, plainly, print};
use crate::engine::time;
use crate::{Engine, Error, Result, table};

/// What is shown where there is no name.
const NONE: &str = "<none>";

/// What can be filtered by.
const FILTERS: [&str; 6] = ["reference", "dangling", "label", "before", "since", "until"];

/// List images
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker images --filter dangling=true\n\
                  Example: rocker images --format '{{.Repository}}:{{.Tag}} {{.Size}}' 'debian*'")]
pub(crate) struct Images {
    /// Also those between the layers of others, of which there are none here
    #[arg(short, long)]
    all: bool,
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Whole IDs
    #[arg(long)]
    no_trunc: bool,
    /// Also the manifests' digests
    #[arg(long)]
    digests: bool,
    /// Only those with: reference=PATTERN, dangling=true|false, label=NAME[=VALUE], before=IMAGE, since=IMAGE, until=TIME
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, a template such as '{{.Repository}}:{{.Tag}}', or the same behind the word table
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only those of this name, in which * and ? stand for what is between two slashes
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

impl Images {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| self.list())
    }

    fn list(&self) -> Result<()> {
        let filters = Filters::parse(&self.filter, &FILTERS)?;
        let engine = engine()?;
        let images = wanted(&engine, &filters)?;
        let mut patterns = filters.of("reference").to_vec();
        patterns.extend(self.repository.clone());
        let now = SystemTime::now();
        let (mut rows, mut ids) = (Vec::new(), Vec::new());
        for image in &images {
            let all = image.references().iter().map(Some);
            let mut names: Vec<Option<&Reference>> = match image.references() {
                [] => vec![None],
                _ => all.collect(),
            };
            names.retain(|name| {
                patterns.is_empty() || name.is_some_and(|name| is_called(name, &patterns))
            });
            let id = self.id(image);
            if !names.is_empty() && !ids.contains(&id) {
                ids.push(id);
            }
            rows.extend(names.into_iter().map(|name| self.row(image, name, now)));
        }
        if self.quiet && self.format.is_none() {
            print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
            return Ok(());
        }
        let digest = self.digests.then_some("Digest");
        let columns: Vec<_> = ["Repository", "Tag"]
            .into_iter()
            .chain(digest)
            .chain(["ID", "CreatedSince", "Size"])
            .collect();
        print(&listing(self.format.as_deref(), &columns, &rows, heading)?);
        Ok(())
    }

    fn id(&self, image: &Image) -> String {
        let digest = image.config_digest();
        match self.no_trunc {
            true => digest.to_string(),
            false => digest.hex()[..12].to_owned(),
        }
    }

    /// What there is to show of an image by one of its names, under Docker's names.
    fn row(&self, image: &Image, name: Option<&Reference>, now: SystemTime) -> Value {
        let (repository, tag) = name.map_or((NONE.to_owned(), NONE.to_owned()), parts);
        let created = made(image);
        let since = created.map_or_else(
            || "N/A".to_owned(),
            |at| format!("{} ago", table::ago(now, at)),
        );
        let labels = image
            .config()
            .labels_of_config()
            .cloned()
            .unwrap_or_default();
        let list: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": image.manifest_digest().to_string(),
            "ID": self.id(image),
            "CreatedSince": since,
            "CreatedAt": created.map_or_else(|| "N/A".to_owned(), time::text),
            "Size": table::size(image.size()),
            "VirtualSize": table::size(image.size()),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
            "Containers": "N/A",
            "Labels": list.join(","),
            "Label": labels,
        })
    }
}

/// The images that the filters leave, the newest first.
fn wanted(engine: &Engine, filters: &Filters) -> Result<Vec<Image>> {
    let moment = |name: &str| {
        let found = filters.of(name).last();
        let found = found.map(|name| engine.find_image(name)).transpose();
        found.map(|found| found.and_then(|image| made(&image)))
    };
    let (mut before, since) = (moment("before")?, moment("since")?);
    if let Some(until) = filters.of("until").last() {
        let until = value::moment("--filter", until)?;
        before = Some(before.map_or(until, |before| before.min(until)));
    }
    let dangling = match filters.of("dangling").last().map(String::as_str) {
        None => None,
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(other) => {
            return Err(Error::bad_value(
                "--filter",
                format!("dangling={other}"),
                "true or false",
            ));
        }
    };
    let mut images = engine.images()?;
    images.retain(|image| {
        let at = made(image).unwrap_or(SystemTime::UNIX_EPOCH);
        dangling.is_none_or(|wanted| wanted == image.references().is_empty())
            && before.is_none_or(|before| at < before)
            && since.is_none_or(|since| at > since)
            && filters.all(|name, wanted| name != "label" || has_label(image, wanted))
    });
    images.sort_by_key(|image| std::cmp::Reverse(made(image)));
    Ok(images)
}

/// When an image was made, as it says itself.
pub(super) fn made(image: &Image) -> Option<SystemTime> {
    image.created().and_then(time::parse)
}

/// Whether an image has a label, `NAME` or `NAME=VALUE`.
pub(super) fn has_label(image: &Image, wanted: &str) -> bool {
    let Some(labels) = image.config().labels_of_config() else {
        return false;
    };
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether one of the patterns is that of a name, with its tag or without.
fn is_called(name: &Reference, patterns: &[String]) -> bool {
    let familiar = name.familiar();
    let (repository, _) = parts(name);
    let mut patterns = patterns.iter();
    patterns.any(|pattern| glob::fits(pattern, &familiar) || glob::fits(pattern, &repository))
}

/// A name as repository and tag.
fn parts(name: &Reference) -> (String, String) {
    let familiar = name.familiar();
    let without_digest = familiar.split('@').next().unwrap_or_default();
    let tag = name.tag().unwrap_or(NONE);
    let repository = without_digest
        .strip_suffix(tag)
        .and_then(|name| name.strip_suffix(':'))
        .unwrap_or(without_digest);
    (repository.to_owned(), tag.to_owned())
}

/// Docker's heads of columns.
fn heading(name: &str) -> String {
    match name {
        "ID" => "IMAGE ID".to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        other => other.to_uppercase(),
    }
}
