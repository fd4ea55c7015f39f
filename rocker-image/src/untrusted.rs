//! [`Untrusted`]: text that somebody else wrote.

use std::fmt::{self, Write as _};

/// How many characters of foreign text an error message shows.
const SHOWN: usize = 256;

/// Text from a registry or an image, safe to show on a terminal.
///
/// Control characters (and with them terminal escape sequences), bidirectional overrides and other invisible format
/// characters are shown escaped as `\u{1b}`, and what is very long is cut. [`raw`](Self::raw) has the text as it came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    /// The text exactly as it came. Not for a terminal.
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Untrusted {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.0.chars().enumerate() {
            if at == SHOWN {
                return f.write_char('…');
            }
            match c {
                c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Characters that take no room of their own or change the order of those around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_shown_and_not_sent() {
        let shown = Untrusted::from("no\x1b]52;c;aGk=\x07 \u{9b}31m \u{202e}gpj").to_string();
        assert_eq!(shown, r"no\u{1b}]52;c;aGk=\u{7} \u{9b}31m \u{202e}gpj");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(
            Untrusted::from("é".repeat(10_000))
                .to_string()
                .chars()
                .count(),
            SHOWN + 1
        );
    }
}
