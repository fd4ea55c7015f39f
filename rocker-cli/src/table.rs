//! Tables for people: columns as wide as they need to be, times and sizes as one says them.

use std::fmt;
use std::time::SystemTime;

/// Rows of cells under a header.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self {
            rows: vec![header.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row. Control characters, which a terminal would obey, are written out.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}   "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What makes a terminal show what follows in another order.
const REORDERING: [char; 9] = [
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}',
];

/// The text with its control characters written out, since a terminal would obey them.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() || REORDERING.contains(&c) {
            c.escape_default().collect()
        } else {
            vec![c]
        }
    };
    text.chars().flat_map(escape).collect()
}

/// How long ago something was, in one unit: `3 minutes`.
pub(crate) fn ago(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    let (count, unit) = match seconds {
        0 => return "Less than a second".to_owned(),
        1..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A size in powers of 1000, with three digits at most before the point: `4.27MB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1000.0
        && let Some(next) = units.next()
    {
        value /= 1000.0;
        unit = next;
    }
    match (unit, value) {
        ("B", _) => format!("{bytes}B"),
        (_, 0.0..10.0) => format!("{value:.2}{unit}"),
        (_, 0.0..100.0) => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(["123456".to_owned(), "a\x1b[2J".to_owned()]);
        assert_eq!(table.to_string(), "ID       NAME\n123456   a\\u{1b}[2J\n");
    }

    #[test]
    fn sizes_and_times_are_said_in_one_unit() {
        assert_eq!(
            [size(7), size(1_500), size(42_300_000), size(999_000_000)],
            ["7B", "1.50kB", "42.3MB", "999MB"]
        );
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let ago = |now, then| ago(at(now), at(then));
        assert_eq!(
            [ago(10, 10), ago(10, 9), ago(310, 10), ago(90_000, 0)],
            ["Less than a second", "1 second", "5 minutes", "25 hours"]
        );
        assert_eq!(ago(5, 10), "Less than a second");
    }
}
