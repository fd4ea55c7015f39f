//! What is written for a person, and asked of one.

use std::io::{self, Write};

/// Writes to standard output; a reader that has gone is no error.
pub(super) fn print(text: &str) {
    try_print(text);
}

/// The same; false when the reader has gone.
pub(super) fn try_print(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).is_ok()
}

/// Asks the person in front of the terminal; nobody there is a no.
pub(super) fn ask(question: &str) -> bool {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question}\nAre you sure? [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}
