//! `rocker events`

use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use super::engine;
use super::filter::Filters;
use super::request::value;
use crate::engine::time;
use crate::template::Template;
use crate::{Event, Result};

/// Show what happens to containers and images
///
/// First what has happened since --since, then what happens, until --until. What happened before the machine started, or very
/// long ago, is forgotten.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker events --since 1h --filter event=die --format json")]
pub(crate) struct Events {
    /// From when: a time, or 10m for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those with: container, image, event, label or type=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json for one object a line, or a template such as '{{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Events {
    pub(crate) fn run(self) -> Result<u8> {
        let filters = Filters::parse(
            &self.filter,
            &["container", "image", "event", "label", "type"],
        )?;
        let since = match &self.since {
            Some(text) => value::moment("--since", text)?,
            None => SystemTime::now(),
        };
        let until = self.until.as_ref();
        let until = until
            .map(|text| value::moment("--until", text))
            .transpose()?;
        let format = match self.format.as_deref() {
            None => None,
            Some("json") => Some(None),
            Some(text) => Some(Some(Template::parse(text)?)),
        };
        let follow = until.is_none_or(|until| until > SystemTime::now());
        let mut events = engine()?.events(follow)?;
        while let Some(event) = events.next_before(until) {
            if event.time < since || until.is_some_and(|until| event.time > until) {
                continue;
            }
            if !is_wanted(&event, &filters) {
                continue;
            }
            let line = match &format {
                None => line(&event),
                Some(None) => document(&event).to_string(),
                Some(Some(template)) => template.render(&document(&event))?,
            };
            if !super::try_print(&format!("{line}\n")) {
                break;
            }
        }
        Ok(0)
    }
}

fn is_wanted(event: &Event, filters: &Filters) -> bool {
    let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
    let short = |wanted: &str| !wanted.is_empty() && event.actor.id.starts_with(wanted);
    filters.all(|name, wanted| match name {
        "type" => event.kind == wanted,
        "event" => event.action.split(':').next() == Some(wanted) || event.action == wanted,
        "container" => {
            event.kind == "container" && (short(wanted) || attribute("name") == Some(wanted))
        }
        "image" => {
            attribute("image") == Some(wanted) || event.kind == "image" && event.actor.id == wanted
        }
        _ => match wanted.split_once('=') {
            Some((name, value)) => attribute(name) == Some(value),
            None => attribute(wanted).is_some(),
        },
    })
}

/// An event on one line, as Docker writes it.
fn line(event: &Event) -> String {
    let attributes: Vec<_> = event
        .actor
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let text = format!(
        "{} {} {} {} ({})",
        time::text(event.time),
        event.kind,
        event.action,
        event.actor.id,
        attributes.join(", ")
    );
    crate::table::printable(&text)
}

/// An event in Docker's shape.
fn document(event: &Event) -> Value {
    let since = time::since_1970(event.time);
    json!({
        "Type": event.kind,
        "Action": event.action,
        "status": event.action,
        "id": event.actor.id,
        "Actor": event.actor,
        "scope": "local",
        "time": since.as_secs(),
        "timeNano": u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
    })
}
