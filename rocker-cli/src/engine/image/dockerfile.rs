//! Lines of a Dockerfile that change what an image says of how it is run.

use std::collections::HashMap;

use oci_spec::image::Config;

use crate::{Error, Result};

/// Does to a configuration what such a line says.
///
/// # Errors
/// [`Error::BadValue`].
pub(crate) fn apply(config: &mut Config, change: &str) -> Result<()> {
    let wrong = |expected: &str| Error::bad_value("--change", change, expected);
    let (instruction, rest) = change
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((change.trim(), ""));
    let rest = rest.trim();
    let instruction = instruction.to_ascii_uppercase();
    if rest.is_empty() && !instruction.is_empty() {
        return Err(wrong("something behind the instruction"));
    }
    match instruction.as_str() {
        "CMD" => drop(config.set_cmd(Some(command(rest)))),
        "ENTRYPOINT" => drop(config.set_entrypoint(Some(command(rest)))),
        "ENV" => {
            let mut all = config.env().clone().unwrap_or_default();
            for (name, value) in pairs(rest).ok_or_else(|| wrong("ENV NAME=VALUE"))? {
                all.retain(|one| one.split('=').next() != Some(name.as_str()));
                all.push(format!("{name}={value}"));
            }
            config.set_env(Some(all));
        }
        "LABEL" => {
            let mut all: HashMap<_, _> = config.labels().clone().unwrap_or_default();
            all.extend(pairs(rest).ok_or_else(|| wrong("LABEL NAME=VALUE"))?);
            config.set_labels(Some(all));
        }
        "EXPOSE" => {
            let mut all = config.exposed_ports().clone().unwrap_or_default();
            for port in rest.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                let is_port = number.parse::<u16>().is_ok_and(|number| number > 0)
                    && ["tcp", "udp", "sctp"].contains(&protocol);
                if !is_port {
                    return Err(wrong("EXPOSE PORT[/tcp|/udp|/sctp]"));
                }
                all.push(format!("{number}/{protocol}"));
            }
            config.set_exposed_ports(Some(all));
        }
        "VOLUME" => {
            let mut all = config.volumes().clone().unwrap_or_default();
            all.extend(
                list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect()),
            );
            config.set_volumes(Some(all));
        }
        "USER" => drop(config.set_user(Some(rest.to_owned()))),
        "WORKDIR" => drop(config.set_working_dir(Some(rest.to_owned()))),
        "STOPSIGNAL" => drop(config.set_stop_signal(Some(rest.to_owned()))),
        _ => {
            let known = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR";
            return Err(wrong(known));
        }
    }
    Ok(())
}

/// A command: a list in JSON, or else what a shell is to run.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `NAME=VALUE`s, or one `NAME VALUE`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = words(text)?;
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match words.first()?.split_once('=') {
        None => {
            let (name, value) = text.split_once(char::is_whitespace)?;
            Some(vec![own(name, value.trim())])
        }
        Some(_) => words
            .iter()
            .map(|word| {
                let (name, value) = word.split_once('=')?;
                (!name.is_empty()).then(|| own(name, value))
            })
            .collect(),
    }
}

/// Words as a shell parts them, with quotes and backslashes; none where a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().push(letters.next()?),
            (letter, Some(end)) if letter == end => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changed(changes: &[&str]) -> Config {
        let mut config = Config::default();
        for change in changes {
            apply(&mut config, change).unwrap();
        }
        config
    }

    #[test]
    fn lines_are_a_dockerfiles() {
        let config = changed(&[
            r#"CMD ["a", "b c"]"#,
            "entrypoint run me",
            r#"ENV A=1 B="two words" C=three\ words"#,
            "ENV A again and again",
            "EXPOSE 80 53/udp",
            "VOLUME /a /b",
            r#"VOLUME ["/c d"]"#,
            "USER bob:adm",
            "WORKDIR /w",
            "STOPSIGNAL SIGINT",
            r#"LABEL a=b "c.d"='e f'"#,
        ]);
        assert_eq!(config.cmd().as_deref().unwrap(), ["a", "b c"]);
        assert_eq!(
            config.entrypoint().as_deref().unwrap(),
            ["/bin/sh", "-c", "run me"]
        );
        assert_eq!(
            config.env().as_deref().unwrap(),
            ["B=two words", "C=three words", "A=again and again"]
        );
        assert_eq!(
            config.exposed_ports().as_deref().unwrap(),
            ["80/tcp", "53/udp"]
        );
        assert_eq!(config.volumes().as_deref().unwrap(), ["/a", "/b", "/c d"]);
        assert_eq!(config.labels().as_ref().unwrap()["c.d"], "e f");
        assert_eq!(config.user().as_deref(), Some("bob:adm"));
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        for change in [
            "",
            "CMD",
            "RUN true",
            "ENV",
            "ENV =x",
            "ENV A=\"",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 1/x",
            "FROM a",
        ] {
            assert!(apply(&mut Config::default(), change).is_err(), "{change}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(instruction in "CMD|ENV|LABEL|EXPOSE|VOLUME|", rest in ".*") {
            let _ = apply(&mut Config::default(), &format!("{instruction} {rest}"));
        }
    }
}
