//! The page that a story of system calls is printed on: how wide it is, and whether it takes colour.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use rocker_ns::WindowSize;

use crate::table::printable;

/// No line is longer, however wide the terminal.
const WIDEST: usize = 100;
/// A line with less room is no help to anybody.
const NARROWEST: usize = 40;
/// How far the second line of something stands from its first.
const INDENT: usize = 4;

/// A page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The columns of a terminal. Elsewhere lines are as long as they are, so that what searches them finds whole calls.
    width: Option<usize>,
    colour: bool,
}

/// What a text is shown as on a page with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Dim,
    Bold,
    Red,
    /// That of a primitive.
    Of(&'static str),
}

/// One system call on the page.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// What stands before its first line, such as a number, and before the others; both are as wide.
    pub(crate) margin: [&'a str; 2],
    pub(crate) margin_ink: Ink,
    /// The call with its arguments, and its result where it has one.
    pub(crate) call: String,
    pub(crate) call_ink: Ink,
    pub(crate) time: Option<String>,
    pub(crate) why: &'a str,
    /// The page of the manual.
    pub(crate) manual: String,
}

impl Page {
    /// The page that `stream` is: colours and wrapped lines on a terminal, unless `NO_COLOR` forbids the former.
    pub(crate) fn of(stream: &(impl AsFd + IsTerminal)) -> Self {
        if !stream.is_terminal() {
            return Self::endless();
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let columns = WindowSize::of(stream).map_or(80, |size| usize::from(size.columns));
        Self {
            // A terminal that does not know its width says 0.
            width: Some(if columns == 0 { 80 } else { columns }.clamp(NARROWEST, WIDEST)),
            colour: set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// A page without an end to its lines, and without colour.
    pub(crate) const fn endless() -> Self {
        Self {
            width: None,
            colour: false,
        }
    }

    /// Adds a line of its own, wrapped.
    pub(crate) fn line(self, text: &mut String, line: &str, ink: Ink) {
        let line = printable(line);
        let lines = match self.width {
            Some(width) => wrap(&line, width, width - INDENT),
            None => vec![line],
        };
        for (count, line) in lines.iter().enumerate() {
            let indent = if count == 0 { 0 } else { INDENT };
            text.push_str(&format!("{:indent$}", ""));
            self.paint(text, line, ink);
            text.push('\n');
        }
    }

    /// Adds a text behind a label; its further lines begin where the first one did.
    pub(crate) fn labelled(self, text: &mut String, label: &str, line: &str, ink: Ink) {
        let line = printable(line);
        let margin = label.chars().count();
        let lines = match self.width {
            Some(width) => wrap(
                &line,
                width.saturating_sub(margin),
                width.saturating_sub(margin),
            ),
            None => vec![line],
        };
        for (count, line) in lines.iter().enumerate() {
            if count == 0 {
                self.paint(text, label, ink);
            } else {
                text.push_str(&" ".repeat(margin));
            }
            text.push_str(line);
            text.push('\n');
        }
    }

    /// Adds a call, and below it what it is for.
    pub(crate) fn entry(self, text: &mut String, entry: &Entry<'_>) {
        let call = printable(&entry.call);
        let why = printable(entry.why);
        let time = entry.time.clone().unwrap_or_default();
        let [first, others] = entry.margin;
        let Some(width) = self.width else {
            let time = entry.time.as_ref().map(|time| format!("  [{time}]"));
            let time = time.unwrap_or_default();
            text.push_str(&format!("{first}{call}{time}  {}\n", entry.manual));
            text.push_str(&format!("{others}  {why}\n"));
            return;
        };
        let margin = first.chars().count();
        let aside = |note: &str| match note.chars().count() {
            0 => 0,
            columns => columns + 2,
        };
        let room = width - margin;
        let lines = wrap(&call, room - aside(&time), room - aside(&time) - INDENT);
        for (count, line) in lines.iter().enumerate() {
            let (margin, indent) = if count == 0 {
                (first, 0)
            } else {
                (others, INDENT)
            };
            self.paint(text, margin, entry.margin_ink);
            text.push_str(&format!("{:indent$}", ""));
            let (name, rest) = match (count, line.find('(')) {
                (0, Some(end)) => line.split_at(end),
                _ => ("", line.as_str()),
            };
            let rest_ink = match entry.call_ink {
                Ink::Red => Ink::Red,
                _ => Ink::Plain,
            };
            self.paint(text, name, entry.call_ink);
            self.paint(text, rest, rest_ink);
            let note = if count == 0 { time.as_str() } else { "" };
            self.aside(text, room - indent - line.chars().count(), note);
        }
        let note = entry.manual.as_str();
        let lines = wrap(&why, room - 2 - aside(note), room - 2 - aside(note));
        for (count, line) in lines.iter().enumerate() {
            self.paint(text, others, entry.margin_ink);
            text.push_str("  ");
            self.paint(text, line, Ink::Dim);
            let note = if count == 0 { note } else { "" };
            self.aside(text, room - 2 - line.chars().count(), note);
        }
    }

    /// Ends a line that has `left` columns left with a note at its right.
    fn aside(self, text: &mut String, left: usize, note: &str) {
        if !note.is_empty() {
            text.push_str(&" ".repeat(left.saturating_sub(note.chars().count())));
            self.paint(text, note, Ink::Dim);
        }
        text.push('\n');
    }

    fn paint(self, text: &mut String, piece: &str, ink: Ink) {
        let code = match ink {
            _ if !self.colour || piece.trim().is_empty() => "",
            Ink::Plain => "",
            Ink::Dim => "2",
            Ink::Bold => "1",
            Ink::Red => "1;31",
            Ink::Of("image") => "1;35",
            Ink::Of("fs") => "1;34",
            Ink::Of("cgroup") => "1;33",
            Ink::Of("ns") => "1;32",
            Ink::Of("net") => "1;36",
            Ink::Of(_) => "1",
        };
        if code.is_empty() {
            text.push_str(piece);
        } else {
            text.push_str(&format!("\x1b[{code}m{piece}\x1b[0m"));
        }
    }
}

/// Breaks a text into lines of at most `first` and then `others` columns: behind a blank or a `|`, else behind a `/` of a
/// path, else anywhere; nothing is left out but blanks.
fn wrap(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    loop {
        let room = if lines.is_empty() { first } else { others }.max(1);
        if rest.len() <= room {
            lines.push(rest.into_iter().collect());
            return lines;
        }
        // A blank at the break may stand outside of the room; it is not printed.
        // A call's result stays with its sign.
        let parts = |index: usize| index == 0 || rest[index - 1] != '=';
        let last = |breaks: fn(char) -> bool| {
            let fits = |index: &usize| {
                breaks(rest[*index]) && (*index < room || rest[room] == ' ') && parts(*index)
            };
            (room / 4..=room).rev().find(fits)
        };
        let end =
            last(|letter| matches!(letter, ' ' | '|')).or_else(|| last(|letter| letter == '/'));
        let line: String = rest.drain(..end.map_or(room, |end| end + 1)).collect();
        lines.push(line.trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_is_whole_and_no_line_is_too_long() {
        let text = "mount(\"none\", \"/a/very/long/path/without/any/blank\", NULL, MS_REC|MS_SLAVE|MS_NOSUID, NULL) = 0";
        for room in [20, 33, 60] {
            let lines = wrap(text, room, room - 4);
            assert!(lines[0].chars().count() <= room, "{lines:#?}");
            assert!(
                lines[1..]
                    .iter()
                    .all(|line| line.chars().count() <= room - 4),
                "{lines:#?}"
            );
            let bare = |text: &str| text.replace(' ', "");
            assert_eq!(bare(&lines.concat()), bare(text), "at {room}");
        }
        assert_eq!(wrap("one two", 3, 3), ["one", "two"]);
        assert_eq!(wrap("close(123) = 0", 13, 13), ["close(123)", "= 0"]);
        assert_eq!(wrap("", 3, 3), [""]);
    }

    #[test]
    fn every_line_of_a_narrow_page_fits_and_what_comes_from_an_image_cannot_steer_a_terminal() {
        let page = Page {
            width: Some(40),
            colour: false,
        };
        let mut text = String::new();
        page.entry(
            &mut text,
            &Entry {
                margin: ["│ "; 2],
                margin_ink: Ink::Dim,
                call: "chdir(\"/\x1b[2J/a/directory/of/an/image/with/a/long/name\") = 0".to_owned(),
                call_ink: Ink::Of("ns"),
                time: Some("12 µs".to_owned()),
                why: "so that the program starts in its working directory, which is the image's",
                manual: "chdir(2)".to_owned(),
            },
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        assert!(
            !text.contains('\x1b') && text.contains("12 µs\n") && text.contains("chdir(2)\n"),
            "{text}"
        );
    }
}
