//! [`Helper`]: a program that keeps credentials
//! ([protocol](https://github.com/docker/docker-credential-helpers#development)).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use serde::{Deserialize, Serialize};

use crate::auth::Kind;
use crate::{Credentials, Error, Result};

/// What a helper says, as text on its standard output, when it has nothing.
const NOT_FOUND: &str = "credentials not found";
/// The user that stands for an identity token.
const TOKEN_USER: &str = "<token>";
/// No honest answer is longer.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

/// A program `docker-credential-NAME`.
#[derive(Debug)]
pub(super) struct Helper<'a> {
    name: &'a str,
    dir: Option<&'a Path>,
    patience: Duration,
}

impl<'a> Helper<'a> {
    /// The helper of this name in `dir`, or in one that `PATH` names, which has to answer within `patience`.
    pub(super) fn new(name: &'a str, dir: Option<&'a Path>, patience: Duration) -> Self {
        Self {
            name,
            dir,
            patience,
        }
    }

    /// What it has for a registry.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>> {
        let Some(answer) = self.run("get", server.as_bytes())? else {
            return Ok(None);
        };
        let entry: Entry = self.decode("get", &answer)?;
        Ok(Some(match entry.username.as_str() {
            TOKEN_USER => Credentials::identity_token(entry.secret),
            _ => Credentials::basic(entry.username, entry.secret),
        }))
    }

    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<()> {
        let (username, secret) = match &credentials.kind {
            Kind::Basic { username, password } => (username.as_str(), password),
            Kind::IdentityToken(token) | Kind::RegistryToken(token) => (TOKEN_USER, token),
        };
        let entry = Entry {
            server_url: server.to_owned(),
            username: username.to_owned(),
            secret: secret.clone(),
        };
        // Three strings can always be written.
        let text = serde_json::to_vec(&entry).unwrap_or_default();
        self.run("store", &text).map(drop)
    }

    pub(super) fn erase(&self, server: &str) -> Result<()> {
        self.run("erase", server.as_bytes()).map(drop)
    }

    /// The registries that it has something for.
    pub(super) fn list(&self) -> Result<Vec<String>> {
        let answer = self.run("list", b"")?.unwrap_or_default();
        if answer.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        let servers: BTreeMap<String, String> = self.decode("list", &answer)?;
        Ok(servers.into_keys().collect())
    }

    fn decode<T: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        answer: &[u8],
    ) -> Result<T> {
        serde_json::from_slice(answer).map_err(|error| {
            // The whole error might show a part of a secret.
            let kind = io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{:?} in its answer", error.classify()),
            );
            self.failed(operation)(kind)
        })
    }

    /// Runs it, and returns what it says; `None` if it says that it has nothing.
    fn run(&self, operation: &'static str, input: &[u8]) -> Result<Option<Vec<u8>>> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !self.name.chars().all(is_name) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a helper's name");
            return Err(self.failed(operation)(source));
        }
        let program = format!("docker-credential-{}", self.name);
        let program = self
            .dir
            .map_or_else(|| program.clone().into(), |dir| dir.join(&program));
        let mut child = Command::new(program)
            .arg(operation)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(self.failed(operation))?;
        let ended = talk(&mut child, input.to_vec());
        let said = ended.and_then(|ended| match ended.recv_timeout(self.patience) {
            Ok(said) => Ok(Some(said)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::Other.into()),
        });
        if !matches!(said, Ok(Some(_))) {
            // Nobody has waited for it, so its number is its own. One that ends at this moment is no trouble.
            let _ = child.kill();
        }
        let status = child.wait().map_err(self.failed(operation))?;
        let Some(said) = said.map_err(self.failed(operation))? else {
            return Err(Error::CredentialHelperSilent {
                helper: self.name.into(),
                operation,
                seconds: self.patience.as_secs(),
            });
        };
        let answer = said.map_err(self.failed(operation))?;
        if status.success() {
            return Ok(Some(answer));
        }
        let said = String::from_utf8_lossy(&answer).trim().to_owned();
        if said.contains(NOT_FOUND) {
            return Ok(None);
        }
        Err(Error::CredentialHelperRefused {
            helper: self.name.into(),
            operation,
            message: said.into(),
        })
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        let helper = self.name.into();
        move |source| Error::CredentialHelper {
            helper,
            operation,
            source,
        }
    }
}

/// Has a thread ask a helper, hear its answer, and see it end. It is left to the caller to take note of its end, so that it can be
/// killed by its number until then.
///
/// The thread outlives a helper that is killed for as long as somebody whom that has started holds its end of the pipe.
fn talk(child: &mut Child, input: Vec<u8>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // The kernel's numbers of processes are no larger.
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, ended) = channel();
    let work = move || {
        let mut answer = Vec::new();
        // A helper that does not read what it is asked is at liberty to.
        let asked = stdin.map_or(Ok(()), |mut stdin| match stdin.write_all(&input) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        });
        let read = stdout.map_or(Ok(0), |stdout| {
            stdout.take(MAX_ANSWER).read_to_end(&mut answer)
        });
        // Whatever went wrong, it is waited for: its end of the pipes is closed, and it is the one to end.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
        // Nobody hears it who has lost patience.
        let _ = sender.send(asked.and(read).map(|_| answer));
    };
    let builder = thread::Builder::new().name("rocker-helper".to_owned());
    builder.spawn(work).map(|_| ended)
}
