//! Lists as several commands show them: a table, a template for each row, or JSON.

use serde_json::Value;

use crate::Result;
use crate::table::{Table, printable};
use crate::template::Template;

/// A list under Docker's names. `columns` are those of the table that is shown where nothing else is asked for, `heading` gives
/// the head of a column.
///
/// What images and containers say of themselves is shown with its control characters written out, since a terminal would obey them.
pub(super) fn listing(
    format: Option<&str>,
    columns: &[&str],
    rows: &[Value],
    heading: impl Fn(&str) -> String,
) -> Result<String> {
    match format {
        Some("json") => Ok(rows
            .iter()
            .map(|row| format!("{}\n", escaped(&row.to_string())))
            .collect()),
        Some(format) if !format.starts_with("table") => {
            let template = Template::parse(format)?;
            let shown = rows
                .iter()
                .map(|row| Ok(format!("{}\n", lines(&template.render(row)?))));
            shown.collect()
        }
        Some(format) if format.trim() != "table" => {
            let format = format.trim_start_matches("table").trim_start();
            let template = Template::parse(format)?;
            let mut table = Table::new(heads(format, heading));
            for row in rows {
                let text = template.render(row)?;
                table.row(text.split('\t').map(str::to_owned));
            }
            Ok(table.to_string())
        }
        _ => {
            let mut table = Table::new(columns.iter().map(|name| heading(name)));
            for row in rows {
                let cell = |name: &&str| row[*name].as_str().unwrap_or_default().to_owned();
                table.row(columns.iter().map(cell));
            }
            Ok(table.to_string())
        }
    }
}

/// The heads of the columns of a format, which stand between tabs.
fn heads(format: &str, heading: impl Fn(&str) -> String) -> Vec<String> {
    let columns = format.split("\\t").flat_map(|part| part.split('\t'));
    let head = |part: &str| {
        // A part of a block by itself is none that can be read, and has no head.
        let fields = Template::parse(part).map(|column| column.fields());
        let heads: Vec<_> = fields
            .unwrap_or_default()
            .iter()
            .map(|name| heading(name))
            .collect();
        heads.join(" ")
    };
    columns.map(head).collect()
}

/// A text whose lines and tabs may be the template's own.
pub(super) fn lines(text: &str) -> String {
    let part = |part: &str| {
        part.split('\t')
            .map(printable)
            .collect::<Vec<_>>()
            .join("\t")
    };
    text.split('\n').map(part).collect::<Vec<_>>().join("\n")
}

/// JSON with those control characters written out that it may have in strings: a terminal would obey them.
pub(super) fn escaped(json: &str) -> String {
    let escape = |c: char| match c {
        '\u{7f}'..='\u{9f}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_form_of_a_list_lets_a_control_character_through() {
        let rows = [json!({"A": "x\u{1b}]52;c;aGk=\u{7}\u{9b}31m", "B": "y"})];
        for format in [
            None,
            Some("json"),
            Some("{{.A}}\\t{{.B}}"),
            Some("table {{.A}}\\t{{.B}}"),
            Some("{{json .}}"),
        ] {
            let shown = listing(format, &["A", "B"], &rows, str::to_uppercase).unwrap();
            let left = shown
                .chars()
                .filter(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            assert_eq!(left.count(), 0, "{shown:?}");
            assert!(shown.contains('y'), "{shown:?}");
        }
    }
}
