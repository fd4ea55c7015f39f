//! `rocker login`

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use rocker_image::{AuthFiles, Client, Credentials, SavedIn, blocking};
use rocker_ns::RawMode;

use super::print;
use super::tls::Tls;
use crate::{Error, Result};

/// The registry that images without one come from.
pub(super) const DEFAULT: &str = "docker.io";
/// The keys that mean something while a password is typed.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const CLEAR: u8 = 0x15;
/// What a shell says of somebody who pressed Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Log in to a registry
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker login -u me --password-stdin ghcr.io <token")]
pub(crate) struct Login {
    /// Who to log in as; asked for otherwise
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password or access token, which other users see in the list of processes
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(long, conflicts_with = "password", requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    tls: Tls,
    /// The registry
    #[arg(default_value = DEFAULT)]
    registry: String,
}

impl Login {
    pub(crate) fn run(self) -> Result<u8> {
        crate::explain::install();
        let files = AuthFiles::from_env();
        let client = Client::new(self.tls.client());
        if self.username.is_none()
            && self.password.is_none()
            && let Some(known) = files.find(&self.registry)?
        {
            say("Authenticating with existing credentials...\n");
            match blocking::login(&client, &self.registry, &known) {
                Ok(()) => {
                    print("Login Succeeded\n");
                    return Ok(0);
                }
                Err(rocker_image::Error::LoginRefused { .. }) => {
                    say("They are not accepted any more.\n");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let username = match self.username {
            Some(username) => username,
            None => ask_for_name()?,
        };
        let password = match self.password {
            Some(password) => {
                say(
                    "WARNING! Others can see a password on the command line. Use --password-stdin.\n",
                );
                password
            }
            None if self.password_stdin => read_password()?,
            None => match ask_for_password()? {
                Some(password) => password,
                None => return Ok(INTERRUPTED),
            },
        };
        let credentials = Credentials::basic(username, password);
        blocking::login(&client, &self.registry, &credentials)?;
        if let SavedIn::File(path) = files.save(&self.registry, &credentials)? {
            say(&format!(
                "WARNING! The password is kept unencrypted in {}, which only this user can read.\n",
                path.display()
            ));
        }
        print("Login Succeeded\n");
        Ok(0)
    }
}

fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn failed(source: io::Error) -> Error {
    Error::State {
        operation: "read",
        path: "/dev/stdin".into(),
        source,
    }
}

/// All of stdin but the end of its last line.
fn read_password() -> Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(failed)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn ask_for_name() -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Error::CannotAsk);
    }
    say("Username: ");
    let mut name = String::new();
    io::stdin().lock().read_line(&mut name).map_err(failed)?;
    match name.trim() {
        "" => Err(Error::bad_value("--username", "", "a name")),
        name => Ok(name.to_owned()),
    }
}

/// Asks on the terminal, without showing what is typed; `None` for Ctrl-C.
///
/// In raw mode, since a terminal that only echoes nothing would stay so for the shell after a Ctrl-C.
fn ask_for_password() -> Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return Err(Error::CannotAsk);
    }
    let raw = RawMode::enter(io::stdin())?;
    say("Password: ");
    let typed = typed(io::stdin().lock().bytes());
    drop(raw);
    say("\n");
    let Some(bytes) = typed.map_err(failed)? else {
        return Ok(None);
    };
    let invalid = |_| failed(io::ErrorKind::InvalidData.into());
    String::from_utf8(bytes).map(Some).map_err(invalid)
}

/// The line that these keys make.
fn typed(keys: impl Iterator<Item = io::Result<u8>>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    for key in keys {
        match key? {
            b'\r' | b'\n' | END => break,
            INTERRUPT => return Ok(None),
            CLEAR => line.clear(),
            // One character, which may have several bytes.
            key if BACKSPACE.contains(&key) => {
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            key => line.push(key),
        }
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_mean_something_are_no_part_of_a_password() {
        let line = |keys: &str| typed(keys.bytes().map(Ok)).unwrap();
        assert_eq!(line("abc\rd").unwrap(), b"abc");
        assert_eq!(line("ab\u{7f}c").unwrap(), b"ac");
        assert_eq!(line("aé\u{8}c\n").unwrap(), b"ac");
        assert_eq!(line("\u{7f}ab\u{15}c\u{4}").unwrap(), b"c");
        assert_eq!(line("ab\u{3}"), None);
    }
}
