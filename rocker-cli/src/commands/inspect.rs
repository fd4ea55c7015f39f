//! `rocker inspect`

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::{Value, json};

use super::listing::{escaped, lines};
use super::{each, engine, print};
use crate::table::Table;
use crate::template::Template;
use crate::{Engine, Error, Result};

/// Look at what containers, images and volumes are
///
/// All that is known, as JSON under Docker's names; or the part of it that a template or a JSON pointer (RFC 6901) picks.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker inspect -f '{{.State.Pid}}' web\n\
                  Example: rocker inspect --actual web    shows what was asked for beside what the kernel says")]
pub(crate) struct Inspect {
    /// What was asked for, and what the kernel says of its first process
    #[arg(long)]
    actual: bool,
    /// A template such as '{{.State.Pid}}', a pointer such as /State/Pid, or json for one object a line
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only a container, only an image, or only a volume
    #[arg(long = "type", value_name = "KIND", value_parser = ["container", "image", "volume"])]
    kind: Option<String>,
    /// Names, or beginnings of IDs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// How a document is shown.
enum Show {
    /// All of them, in one list.
    List,
    Line,
    Pointer(String),
    Template(Template),
}

impl Inspect {
    /// The same, of nothing but images.
    pub(super) fn of_images(self) -> Self {
        let kind = Some("image".to_owned());
        Self { kind, ..self }
    }

    /// Only of these volumes.
    pub(super) fn of_volumes(names: Vec<String>, format: Option<String>) -> Self {
        Self {
            actual: false,
            format,
            kind: Some("volume".to_owned()),
            names,
        }
    }

    /// 1 where the kernel says otherwise than was asked for, or there is no such thing.
    pub(crate) fn run(self) -> Result<u8> {
        let engine = engine()?;
        if self.actual {
            return self.names.iter().try_fold(0, |status, name| {
                Ok(status | actual(&engine, name, self.format.as_deref())?)
            });
        }
        let show = match self.format.as_deref() {
            None => Show::List,
            Some("json") => Show::Line,
            Some(pointer) if pointer.starts_with('/') => Show::Pointer(pointer.to_owned()),
            Some(text) => Show::Template(Template::parse(text)?),
        };
        let mut all = Vec::new();
        let status = each(&self.names, |name| {
            let found = self.find(&engine, name)?;
            match &show {
                Show::List => all.push(found),
                Show::Line => print(&escaped(&format!("{found}\n"))),
                Show::Pointer(pointer) => {
                    let part = found.pointer(pointer).ok_or_else(|| {
                        let expected = "the path of something that is there, such as /State/Pid";
                        Error::bad_value("--format", pointer, expected)
                    })?;
                    print(&match part {
                        Value::String(text) if io::stdout().is_terminal() => {
                            format!("{}\n", lines(text))
                        }
                        Value::String(text) => format!("{text}\n"),
                        other => escaped(&format!("{other}\n")),
                    });
                }
                Show::Template(template) => {
                    let text = template.render(&found)?;
                    // A program gets it as it is.
                    let text = if io::stdout().is_terminal() {
                        lines(&text)
                    } else {
                        text
                    };
                    print(&format!("{text}\n"));
                }
            }
            Ok(())
        });
        if matches!(show, Show::List) {
            print(&escaped(&format!("{:#}\n", Value::from(all))));
        }
        Ok(status)
    }

    /// The container of this name, or else the image, or else the volume.
    fn find(&self, engine: &Engine, name: &str) -> Result<Value> {
        let container = match self.kind.as_deref() {
            Some("volume") => return engine.inspect_volume(name),
            Some("image") => None,
            _ => Some(engine.inspect(name)),
        };
        match container {
            Some(Err(error @ Error::NoContainer { .. })) if self.kind.is_none() => {
                match engine.inspect_image(name) {
                    Err(Error::NoImage { .. } | Error::Image(_)) => {
                        match engine.inspect_volume(name) {
                            Err(Error::NoVolume { .. }) => Err(error),
                            found => found,
                        }
                    }
                    found => found,
                }
            }
            Some(found) => found,
            None => engine.inspect_image(name),
        }
    }
}

/// Shows what the kernel says of a container; 1 where that is otherwise than was asked for.
fn actual(engine: &Engine, name: &str, format: Option<&str>) -> Result<u8> {
    let facts = engine.actual(name)?;
    let mut table = Table::new(["", "WHAT", "ASKED", "ACTUAL"]);
    let mut lines = String::new();
    for fact in &facts {
        let mark = if fact.holds() { "" } else { "differs" };
        let line = json!({
            "what": fact.what,
            "asked": fact.asked,
            "actual": fact.actual,
            "holds": fact.holds(),
        });
        lines.push_str(&format!("{line}\n"));
        table.row([
            mark.to_owned(),
            fact.what.clone(),
            fact.asked.clone(),
            fact.actual.clone(),
        ]);
    }
    print(&match format {
        None => table.to_string(),
        Some("json") => lines,
        Some(other) => return Err(Error::bad_value("--format", other, "json with --actual")),
    });
    Ok(u8::from(facts.iter().any(|fact| !fact.holds())))
}
