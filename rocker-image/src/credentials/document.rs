//! [`AuthFile`]: what one file says.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::normalized;
use crate::auth::Kind;
use crate::file;
use crate::store::Lock;
use crate::{Credentials, Error, Result};

/// A file's document. Kept as it is, since what other programs write into it must stay.
#[derive(Debug, Default)]
pub(super) struct AuthFile(Map<String, Value>);

impl AuthFile {
    /// Reads a file. One that is not there, or that belongs to somebody else, says nothing.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match Self::read_own(path) {
            Err(Error::AuthFile { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                tracing::warn!(path = %path.display(), error = %source, "leaving out a file with credentials");
                Ok(Self::default())
            }
            read => read,
        }
    }

    /// Reads a file. One that is not there says nothing.
    fn read_own(path: &Path) -> Result<Self> {
        let why = "so that the registry is shown what the user has logged in with";
        let bytes = match file::read(path, why) {
            Ok(bytes) => bytes,
            Err(error) if is_absent(&error) => return Ok(Self::default()),
            Err(source) => return Err(failed("read", path)(source)),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        // Not into a type: where a string is of another one, the error would show it.
        let document = serde_json::from_slice(&bytes);
        match document.map_err(|source| Error::InvalidDocument {
            object: path.display().to_string(),
            source,
        })? {
            Value::Object(document) => Ok(Self(document)),
            _ => Err(failed("understand", path)(
                io::ErrorKind::InvalidData.into(),
            )),
        }
    }

    /// Changes a file: under a lock of its directory, by one that takes its place.
    pub(super) fn change(path: &Path, change: impl FnOnce(&mut Self)) -> Result<()> {
        // What a symbolic link leads to is to change, and not the link.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let dir = directory(&real);
        let why = "so that there is a directory for the file, which its owner only can look into";
        file::make_directory(dir, why).map_err(failed("make the directory of", path))?;
        let why = "so that there is something to lock that stays when the file is replaced";
        let opened = file::open(dir, why).map_err(failed("open the directory of", path))?;
        let why = "so that two who log in at once do not undo each other's change";
        let _lock = Lock::on(opened, dir, why)?;
        // What cannot be read or understood is not to be replaced by what has nothing of it.
        let mut document = Self::read_own(&real)?;
        if !matches!(
            document.0.get("auths"),
            None | Some(Value::Null | Value::Object(_))
        ) {
            return Err(failed("understand", path)(
                io::ErrorKind::InvalidData.into(),
            ));
        }
        change(&mut document);
        let mut text = serde_json::to_vec_pretty(&document.0).unwrap_or_default();
        text.push(b'\n');
        write(&real, dir, &text)
    }

    /// The name of the helper that keeps the credentials of this registry.
    pub(super) fn helper_for(&self, domain: &str) -> Option<&str> {
        let own = self.object("credHelpers").into_iter().flatten();
        let own = own
            .filter(|(key, _)| normalized(key) == domain)
            .find_map(|(_, name)| name.as_str());
        own.or_else(|| self.0.get("credsStore")?.as_str())
            .filter(|name| !name.is_empty())
    }

    /// All helpers that it names, each once.
    pub(super) fn helpers(&self) -> Vec<&str> {
        let own = self.object("credHelpers").into_iter().flatten();
        let all = own.map(|(_, name)| name).chain(self.0.get("credsStore"));
        let mut all: Vec<&str> = all
            .filter_map(Value::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What it has for exactly this name.
    pub(super) fn credentials(&self, name: &str) -> Option<Credentials> {
        let mut auths = self.object("auths")?.iter();
        auths.find_map(|(key, entry)| credentials(entry).filter(|_| normalized(key) == name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.object("auths")
            .is_some_and(|auths| auths.keys().any(|key| normalized(key) == name))
    }

    /// What it has credentials for.
    pub(super) fn names(&self) -> Vec<String> {
        let auths = self.object("auths").into_iter().flatten();
        auths
            .filter(|(_, entry)| credentials(entry).is_some())
            .map(|(key, _)| normalized(key))
            .collect()
    }

    pub(super) fn insert(&mut self, name: &str, credentials: &Credentials) {
        self.remove(name);
        let entry = match &credentials.kind {
            Kind::Basic { username, password } => {
                json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
            }
            Kind::IdentityToken(token) => json!({ "identitytoken": token }),
            Kind::RegistryToken(token) => json!({ "registrytoken": token }),
        };
        let auths = self.0.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(name.to_owned(), entry);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(Value::Object(auths)) = self.0.get_mut("auths") {
            auths.retain(|key, _| normalized(key) != name);
        }
    }

    fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.0.get(key)?.as_object()
    }
}

/// What an entry of `auths` has, if it has anything.
fn credentials(entry: &Value) -> Option<Credentials> {
    let text = |key| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if let Some(token) = text("identitytoken") {
        return Some(Credentials::identity_token(token));
    }
    if let Some(token) = text("registrytoken") {
        return Some(Credentials::registry_token(token));
    }
    if let Some(auth) = text("auth") {
        let decoded = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        // Old versions of docker padded it.
        return Some(Credentials::basic(
            username,
            password.trim_end_matches('\0'),
        ));
    }
    Some(Credentials::basic(text("username")?, text("password")?))
}

fn write(path: &Path, dir: &Path, text: &[u8]) -> Result<()> {
    let why = "so that whoever reads the file finds all of it, and only its owner can read it";
    let made = tempfile::Builder::new()
        .prefix(".auth-")
        .make_in(dir, |path| file::create_new(path, why));
    let mut temporary = made.map_err(failed("make a file beside", path))?;
    let file: &mut File = temporary.as_file_mut();
    file.write_all(text).map_err(failed("write", path))?;
    let why = "so that the content is on the disk before it has the name of whole content";
    file::sync(file, path, why).map_err(failed("fsync", path))?;
    let why = "so that the new content takes the place of the old at once";
    file::rename(temporary.path(), path, why).map_err(failed("replace", path))?;
    // It is not there any more, so nothing is left to remove.
    let _ = temporary.into_temp_path().keep();
    Ok(())
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::AuthFile {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use nix::unistd::{Uid, setfsuid};

    use super::*;

    fn insert(path: &Path) -> Result<()> {
        AuthFile::change(path, |file| {
            file.insert("a", &Credentials::basic("me", "x"))
        })
    }

    #[test]
    fn a_bare_name_is_one_in_the_working_directory() {
        for (path, dir) in [("auth.json", "."), ("a/auth.json", "a"), ("/a", "/")] {
            assert_eq!(directory(Path::new(path)), Path::new(dir), "{path}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_out_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let text = r#"{"auths":{"b":{"auth":"bWU6c2VjcmV0"}}}"#;
        fs::write(&path, text).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(dir.path(), 0o777);
        mode(&path, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Of this thread alone: root could read it.
                setfsuid(Uid::from_raw(65534));
                assert!(AuthFile::read(&path).unwrap().names().is_empty());
                let error = insert(&path).unwrap_err();
                assert!(matches!(error, Error::AuthFile { .. }), "{error}");
            });
        });
        mode(&path, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn what_is_not_understood_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        for text in [r#"{"auths":"x"}"#, r#"{"auths":[]}"#, "[]", "{"] {
            fs::write(&path, text).unwrap();
            insert(&path).unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, r#"{"auths":null}"#).unwrap();
        insert(&path).unwrap();
        assert_eq!(AuthFile::read(&path).unwrap().names(), ["a"]);
    }
}
