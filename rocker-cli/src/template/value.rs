//! What is done with values in a format, as Go has it.

use serde_json::Value;

use super::Outcome;

/// The functions that there are.
pub(super) const FUNCTIONS: [&str; 16] = [
    "json", "join", "split", "upper", "lower", "title", "len", "index", "print", "println",
    "printf", "eq", "ne", "and", "or", "not",
];

/// What has any names.
const FREE: [&str; 7] = [
    "Labels",
    "Label",
    "Ports",
    "Networks",
    "Annotations",
    "Sysctls",
    "Tmpfs",
];

/// What is not always there.
const OPTIONAL: [&str; 2] = ["Health", "Healthcheck"];

/// A value as it is shown.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

/// Whether there is something to it.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Keys and values, in order.
pub(super) fn items(value: &Value) -> Vec<(Value, Value)> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, item)| (at.into(), item.clone()))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.as_str().into(), item.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

/// What is found along a path.
pub(super) fn walk(value: &Value, path: &[String]) -> Outcome<Value> {
    let (mut found, mut above) = (value, "");
    for name in path {
        found = match found {
            // Names that somebody else gives are there or not, and so are the parts that not every container has.
            Value::Object(map)
                if !map.contains_key(name)
                    && (FREE.contains(&above) || OPTIONAL.contains(&name.as_str())) =>
            {
                return Ok(Value::Null);
            }
            Value::Object(map) => map.get(name).ok_or_else(|| {
                let names: Vec<_> = map.keys().map(String::as_str).collect();
                format!("one of {}", names.join(", "))
            })?,
            // Nothing has no parts, and that is no mistake of the template's.
            Value::Null => return Ok(Value::Null),
            _ => return Err(format!("something that has a {name}")),
        };
        above = name;
    }
    Ok(found.clone())
}

/// A part of a value by its number or key.
pub(super) fn index(value: &Value, key: &Value) -> Outcome<Value> {
    match (value, key) {
        (Value::Object(map), Value::String(key)) => {
            Ok(map.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        (Value::Array(items), Value::Number(number)) => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| items.get(at));
            found
                .cloned()
                .ok_or_else(|| format!("a number below {}", items.len()))
        }
        (Value::Null, _) => Ok(Value::Null),
        _ => Err("a list with a number, or a map with a key".to_owned()),
    }
}

/// What a function makes of values.
pub(super) fn call(name: &str, args: &[Value]) -> Outcome<Value> {
    let texts = || args.iter().map(shown).collect::<Vec<_>>();
    match (name, args) {
        ("json", [value]) => Ok(value.to_string().into()),
        ("join", [Value::Array(items), separator]) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            Ok(items.join(&shown(separator)).into())
        }
        ("join", [Value::Null, _]) => Ok("".into()),
        ("split", [text, separator]) => {
            let (text, separator) = (shown(text), shown(separator));
            Ok(text.split(&separator).map(Value::from).collect())
        }
        ("upper", [value]) => Ok(shown(value).to_uppercase().into()),
        ("lower", [value]) => Ok(shown(value).to_lowercase().into()),
        ("title", [value]) => {
            let text = shown(value);
            let mut letters = text.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string());
            Ok((first.unwrap_or_default() + letters.as_str()).into())
        }
        ("len", [value]) => match value {
            Value::String(text) => Ok(text.len().into()),
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(map) => Ok(map.len().into()),
            Value::Null => Ok(0.into()),
            _ => Err("something that has a length".to_owned()),
        },
        ("index", [value, keys @ ..]) => keys
            .iter()
            .try_fold(value.clone(), |value, key| index(&value, key)),
        ("print", _) => Ok(texts().concat().into()),
        ("println", _) => Ok((texts().join(" ") + "\n").into()),
        ("printf", [format, values @ ..]) => Ok(printf(&shown(format), values).into()),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            Ok(others.iter().any(|other| other == first).into())
        }
        ("ne", [first, other]) => Ok((first != other).into()),
        ("and", [.., last]) => {
            let found = args.iter().find(|value| !is_true(value));
            Ok(found.unwrap_or(last).clone())
        }
        ("or", [.., last]) => {
            let found = args.iter().find(|value| is_true(value));
            Ok(found.unwrap_or(last).clone())
        }
        ("not", [value]) => Ok((!is_true(value)).into()),
        _ => Err(format!("other things for {name} than these")),
    }
}

/// Each `%s`, `%v`, `%d` and `%q` with the next value in its place.
fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('%', Some('%')) => text.push('%'),
            ('%', Some('q')) => {
                let value = values.next().map(shown).unwrap_or_default();
                text.push_str(&Value::from(value).to_string());
            }
            ('%', Some('s' | 'v' | 'd')) => text.extend(values.next().map(shown)),
            (other, _) => {
                text.push(other);
                continue;
            }
        }
        letters.next();
    }
    text
}
