//! What an image says of how it is run, as JSON: Docker's words too, which OCI's configuration does not have.

use std::time::Duration;

use oci_spec::image::Config;
use serde_json::{Map, Value, json};

use super::dockerfile;
use crate::engine::options::HealthCheck;
use crate::{Error, Result};

/// The keys that [`Config`] knows.
const KNOWN: [&str; 9] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
];

/// Changes what OCI's configuration has words for; everything else stays.
pub(crate) fn change(
    config: &mut Map<String, Value>,
    change: impl FnOnce(&mut Config) -> Result<()>,
) -> Result<()> {
    let damaged = |source| Error::Spec {
        source: oci_spec::OciSpecError::SerDe(source),
    };
    // Docker writes null where there is nothing.
    config.retain(|_, value| !value.is_null());
    let mut typed: Config =
        serde_json::from_value(Value::Object(config.clone())).map_err(damaged)?;
    change(&mut typed)?;
    let new = serde_json::to_value(&typed).map_err(damaged)?;
    for key in KNOWN {
        config.remove(key);
        if let Some(value) = new.get(key).filter(|value| !value.is_null()) {
            config.insert(key.to_owned(), value.clone());
        }
    }
    Ok(())
}

/// Does what a line of a Dockerfile says.
pub(crate) fn apply(config: &mut Map<String, Value>, line: &str) -> Result<()> {
    let wrong = |expected: &str| Error::bad_value("--change", line, expected);
    let (instruction, rest) = line
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    match instruction.to_ascii_uppercase().as_str() {
        "ONBUILD" if rest.is_empty() => Err(wrong("an instruction behind ONBUILD")),
        "ONBUILD" => {
            let triggers = config.entry("OnBuild").or_insert_with(|| json!([]));
            if !triggers.is_array() {
                *triggers = json!([]);
            }
            triggers
                .as_array_mut()
                .into_iter()
                .for_each(|all| all.push(json!(rest)));
            Ok(())
        }
        "HEALTHCHECK" => {
            let expected = "HEALTHCHECK NONE, or HEALTHCHECK [--interval=30s] [--timeout=30s] [--start-period=0s] [--start-interval=5s] [--retries=3] CMD COMMAND";
            let check = health(rest).ok_or_else(|| wrong(expected))?;
            config.insert("Healthcheck".to_owned(), check);
            Ok(())
        }
        _ => change(config, |typed| dockerfile::apply(typed, line)),
    }
}

/// Docker's words for a container's check of its health.
pub(crate) fn of_check(check: Option<&HealthCheck>) -> Value {
    let Some(check) = check else {
        return json!({"Test": ["NONE"]});
    };
    let test = match &check.command[..] {
        [shell, flag, text] if shell == "/bin/sh" && flag == "-c" => vec!["CMD-SHELL", text],
        command => std::iter::once("CMD")
            .chain(command.iter().map(String::as_str))
            .collect(),
    };
    json!({
        "Test": test,
        "Interval": nanoseconds(check.interval),
        "Timeout": nanoseconds(check.timeout),
        "StartPeriod": nanoseconds(check.start_period),
        "StartInterval": nanoseconds(check.start_interval),
        "Retries": check.retries,
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What stands behind HEALTHCHECK.
fn health(text: &str) -> Option<Value> {
    let mut check = Map::new();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, behind) = flag.split_once(char::is_whitespace)?;
        let (name, value) = flag.split_once('=')?;
        let (key, value) = match name {
            "interval" => ("Interval", time(value)?),
            "timeout" => ("Timeout", time(value)?),
            "start-period" => ("StartPeriod", time(value)?),
            "start-interval" => ("StartInterval", time(value)?),
            "retries" => ("Retries", value.parse::<u32>().ok()?.into()),
            _ => return None,
        };
        check.insert(key.to_owned(), json!(value));
        rest = behind.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let test = match word.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() && check.is_empty() => json!(["NONE"]),
        "CMD" if !command.is_empty() => match serde_json::from_str::<Vec<String>>(command) {
            Ok(list) => json!([vec!["CMD".to_owned()], list].concat()),
            Err(_) => json!(["CMD-SHELL", command]),
        },
        _ => return None,
    };
    check.insert("Test".to_owned(), test);
    Some(Value::Object(check))
}

/// A time as Go writes it, `1m30s`, in nanoseconds.
fn time(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    if text == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit: u64 = match &rest[..end] {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Value {
        let mut config = json!({"Cmd": ["old"], "Shell": ["/bin/bash"], "Env": null});
        let config = config.as_object_mut().unwrap();
        for line in lines {
            apply(config, line).unwrap();
        }
        Value::Object(config.clone())
    }

    #[test]
    fn what_oci_has_no_word_for_stays_and_can_be_changed() {
        let config = changed(&[
            "CMD [\"new\"]",
            "ONBUILD RUN x",
            "onbuild RUN y z",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f http://localhost",
        ]);
        assert_eq!(
            config,
            json!({
                "Cmd": ["new"], "Shell": ["/bin/bash"], "OnBuild": ["RUN x", "RUN y z"],
                "Healthcheck": {"Test": ["CMD-SHELL", "curl -f http://localhost"], "Interval": 90_000_000_000_u64, "Retries": 2}
            })
        );
        let config = changed(&["HEALTHCHECK NONE"]);
        assert_eq!(config["Healthcheck"], json!({"Test": ["NONE"]}));
        let config = changed(&["HEALTHCHECK CMD [\"a\", \"b\"]"]);
        assert_eq!(config["Healthcheck"], json!({"Test": ["CMD", "a", "b"]}));
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        for line in [
            "ONBUILD",
            "HEALTHCHECK",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=1 CMD x",
            "HEALTHCHECK --x=1 CMD x",
            "HEALTHCHECK NONE x",
            "HEALTHCHECK --retries=1 NONE",
            "RUN x",
        ] {
            assert!(apply(&mut Map::new(), line).is_err(), "{line}");
        }
    }
}
