//! `--filter`, which several commands share.

use std::collections::BTreeMap;

use super::request::value;
use crate::Result;

/// What is wanted: for each name one of some values.
#[derive(Debug, Default)]
pub(super) struct Filters {
    wanted: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Reads `NAME=VALUE`s, of which these names are known.
    pub(super) fn parse(texts: &[String], known: &[&str]) -> Result<Self> {
        let mut filters = Self::default();
        for text in texts {
            let found = text
                .split_once('=')
                .filter(|(name, _)| known.contains(name));
            let Some((name, wanted)) = found else {
                let names = known.join("=…, ");
                return Err(value::bad("--filter", text, format!("{names}=…")));
            };
            let all = filters.wanted.entry(name.to_owned()).or_default();
            all.push(wanted.to_owned());
        }
        Ok(filters)
    }

    /// Whether for each name one of its values fits; for labels all of them, as with Docker.
    pub(super) fn all(&self, fits: impl Fn(&str, &str) -> bool) -> bool {
        self.wanted
            .iter()
            .all(|(name, values)| match name.as_str() {
                "label" => values.iter().all(|value| fits(name, value)),
                _ => values.iter().any(|value| fits(name, value)),
            })
    }

    /// The values of one name.
    pub(super) fn of(&self, name: &str) -> &[String] {
        self.wanted.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}
