//! [`AuthFiles`]: the files and programs in which people keep what they log in to registries with.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;

use self::document::AuthFile;
use self::helper::Helper;
use crate::{Credentials, Result};

mod document;
mod helper;

/// How long a helper may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Docker Hub's credentials are kept by docker, and by its helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const DOCKER_HUB: &str = "docker.io";

/// The files in which `docker login` and `podman login` keep credentials, and the credential helpers that these name.
///
/// Both formats are one: `auths` with what each registry is to be shown, `credHelpers` and `credsStore` with the names of
/// [helpers](https://github.com/docker/docker-credential-helpers), programs `docker-credential-NAME` that are run with what
/// they are asked for on their standard input. See
/// [containers-auth.json(5)](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md).
///
/// A registry is named as in [`Reference::domain`](crate::Reference::domain). In a file it may also be a part of one,
/// `registry/namespace/repository`: the most specific entry wins, and the first file that has one.
///
/// Nothing is read before somebody asks.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles {
    files: Vec<PathBuf>,
    /// Where new credentials go if none of the files is there yet.
    fallback: Option<PathBuf>,
    /// How many of the files, from the first on, new credentials may go to.
    own: usize,
    helpers: Option<PathBuf>,
    patience: Option<Duration>,
}

/// Where credentials were saved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SavedIn {
    /// In this file, which only its owner can read.
    File(PathBuf),
    /// By the helper of this name.
    Helper(String),
}

impl AuthFiles {
    /// The files at these paths, which need not be there. New credentials go to the first.
    pub fn at(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let files: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        Self {
            fallback: files.first().cloned(),
            own: 1,
            files,
            helpers: None,
            patience: None,
        }
    }

    /// The files of the user whom the environment is of: `$REGISTRY_AUTH_FILE` alone if it is set, or else
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json` and `~/.docker/config.json` (or
    /// `$DOCKER_CONFIG/config.json`).
    ///
    /// New credentials go to the first of containers' files that is there, and else to the one in `~/.config`, which a
    /// reboot does not take away.
    pub fn from_env() -> Self {
        let set = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(file) = set("REGISTRY_AUTH_FILE") {
            return Self::at([file]);
        }
        let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let runtime = set("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let runtime = runtime.unwrap_or_else(|| {
            PathBuf::from(format!("/run/containers/{}/auth.json", Uid::effective()))
        });
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let config = config.map(|dir| dir.join("containers/auth.json"));
        let docker = set("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let docker = docker.map(|dir| dir.join("config.json"));
        let own: Vec<PathBuf> = [runtime].into_iter().chain(config.clone()).collect();
        Self {
            own: own.len(),
            files: own.into_iter().chain(docker).collect(),
            fallback: config,
            helpers: None,
            patience: None,
        }
    }

    /// Sets the directory in which helpers are, in place of those that `PATH` names.
    #[must_use]
    pub fn helpers_in(self, dir: impl Into<PathBuf>) -> Self {
        Self {
            helpers: Some(dir.into()),
            ..self
        }
    }

    /// Sets how long a helper may take. One that takes longer is killed. Default: 60 s, since it may ask a person.
    #[must_use]
    pub fn helper_patience(self, patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            ..self
        }
    }

    fn patience(&self) -> Duration {
        self.patience.unwrap_or(PATIENCE)
    }

    /// The credentials for a registry, or for a repository of one: `ghcr.io`, `docker.io/library/busybox`.
    ///
    /// Blocks for as long as a helper takes, [within bounds](Self::helper_patience).
    ///
    /// # Errors
    ///
    /// [`Error::AuthFile`](crate::Error::AuthFile) and [`Error::InvalidDocument`](crate::Error::InvalidDocument) if a file
    /// cannot be read, [`Error::CredentialHelper`](crate::Error::CredentialHelper) and
    /// [`Error::CredentialHelperRefused`](crate::Error::CredentialHelperRefused) if a helper cannot be run or fails,
    /// [`Error::CredentialHelperSilent`](crate::Error::CredentialHelperSilent) if it takes too long.
    pub fn find(&self, name: &str) -> Result<Option<Credentials>> {
        let name = normalized(name);
        for path in &self.files {
            let file = AuthFile::read(path)?;
            if let Some(helper) = file.helper_for(domain(&name)) {
                let helper = Helper::new(helper, self.helpers.as_deref(), self.patience());
                for server in servers(domain(&name)) {
                    if let Some(found) = helper.get(server)? {
                        return Ok(Some(found));
                    }
                }
            }
            if let Some(found) = prefixes(&name).find_map(|prefix| file.credentials(prefix)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Saves credentials for a registry, with the helper that a file names for it, or else in a file.
    ///
    /// The file is replaced by one of mode 0600; all else that it has is kept. What the files that are looked at before the
    /// helper have for exactly this registry is removed.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), and [`Error::NoAuthFile`](crate::Error::NoAuthFile) if there is no place for a file.
    pub fn save(&self, registry: &str, credentials: &Credentials) -> Result<SavedIn> {
        let name = normalized(registry);
        for (before, path) in self.files.iter().enumerate() {
            if let Some(name_of_helper) = AuthFile::read(path)?.helper_for(domain(&name)) {
                let helper = Helper::new(name_of_helper, self.helpers.as_deref(), self.patience());
                helper.store(servers(domain(&name))[0], credentials)?;
                // It would be found first.
                for path in &self.files[..before] {
                    if AuthFile::read(path)?.has(&name) {
                        AuthFile::change(path, |file| file.remove(&name))?;
                    }
                }
                return Ok(SavedIn::Helper(name_of_helper.to_owned()));
            }
        }
        let why = "so that it is known which of the files the user has";
        let own = self.files.iter().take(self.own);
        let there = own
            .clone()
            .find(|path| crate::file::status(path, why).is_ok());
        let path = there.or(self.fallback.as_ref());
        let path = path.ok_or(crate::Error::NoAuthFile)?;
        AuthFile::change(path, |file| file.insert(&name, credentials))?;
        Ok(SavedIn::File(path.clone()))
    }

    /// Removes what is saved for exactly this registry, from all files and helpers. Returns whether there was anything.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn remove(&self, registry: &str) -> Result<bool> {
        let name = normalized(registry);
        let mut found = false;
        for path in &self.files {
            let file = AuthFile::read(path)?;
            if let Some(helper) = file.helper_for(domain(&name)) {
                let helper = Helper::new(helper, self.helpers.as_deref(), self.patience());
                for server in servers(domain(&name)) {
                    // Some helpers take it ill to be told to remove what they do not have.
                    if helper.get(server)?.is_some() {
                        helper.erase(server)?;
                        found = true;
                    }
                }
            }
            if file.has(&name) {
                AuthFile::change(path, |file| file.remove(&name))?;
                found = true;
            }
        }
        Ok(found)
    }

    /// The registries, or parts of one, that something is saved for.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn registries(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for path in &self.files {
            let file = AuthFile::read(path)?;
            names.extend(file.names());
            for helper in file.helpers() {
                let helper = Helper::new(helper, self.helpers.as_deref(), self.patience());
                names.extend(helper.list()?.iter().map(|server| normalized(server)));
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The files, whether they are there or not, in the order in which they are looked at.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// A registry, or the key of a file, as the name that a reference has: without the scheme and the path that docker once put there.
pub(crate) fn normalized(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let name = match bare {
        // Behind a scheme, the path is one of the registry's and not one of images.
        Some(url) => domain(url),
        None => key.trim_end_matches('/'),
    };
    let name = name.trim_end_matches("/v1").trim_end_matches("/v2");
    let (registry, rest) = name.split_at(domain(name).len());
    match registry {
        "index.docker.io" | "registry-1.docker.io" => format!("{DOCKER_HUB}{rest}"),
        _ => name.to_owned(),
    }
}

/// The registry of a name.
pub(crate) fn domain(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// What helpers may know a registry by.
fn servers(domain: &str) -> Vec<&str> {
    match domain {
        DOCKER_HUB => vec![DOCKER_HUB_KEY, DOCKER_HUB],
        domain => vec![domain],
    }
}

/// A name, and each that it is a part of: the longest first.
fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.rsplit_once('/')?.0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Error;

    /// A directory with these files in it.
    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn at(dir: &tempfile::TempDir, names: &[&str]) -> AuthFiles {
        AuthFiles::at(names.iter().map(|name| dir.path().join(name))).helpers_in(dir.path())
    }

    /// Makes a program. By another process, since one that this process has open for writing while a thread starts
    /// something cannot be run.
    fn program(dir: &tempfile::TempDir, name: &str, text: &str) {
        let (from, to) = (dir.path().join("text"), dir.path().join(name));
        fs::write(&from, text).unwrap();
        let mut install = std::process::Command::new("install");
        let status = install.args(["-m", "755"]).args([&from, &to]).status();
        assert!(status.unwrap().success());
    }

    /// A helper that keeps each secret in a file, and knows nobody else.
    fn helper(dir: &tempfile::TempDir, name: &str) {
        let text = r#"#!/bin/sh
cd "$(dirname "$0")"
case $1 in
get) read -r server; file=secret-$(printf %s "$server" | tr -c a-z0-9.\\n _)
     cat "$file" 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;
store) json=$(cat); server=$(printf %s "$json" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/')
     printf %s "$json" > "secret-$(printf %s "$server" | tr -c a-z0-9.\\n _)" ;;
erase) read -r server; rm "secret-$(printf %s "$server" | tr -c a-z0-9.\\n _)" ;;
list) echo '{"ghcr.io":"me"}' ;;
esac
"#;
        program(dir, &format!("docker-credential-{name}"), text);
    }

    // "me:secret", "you:other", "me:"
    const DOCKER: &str = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},
        "ghcr.io":{"auth":"bWU6","identitytoken":"1d"},
        "registry.example:5000":{"registrytoken":"t0k3n"},
        "empty.example":{}},
        "psFormat":"x"}"#;
    const CONTAINERS: &str = r#"{"auths":{
        "quay.io":{"auth":"bWU6c2VjcmV0"},
        "quay.io/team/app":{"auth":"eW91Om90aGVy"}}}"#;

    #[test]
    fn dockers_file_is_understood() {
        let dir = dir(&[("config.json", DOCKER)]);
        let files = at(&dir, &["config.json"]);
        let basic = Credentials::basic("me", "secret");
        for name in ["docker.io", "docker.io/library/busybox", "index.docker.io"] {
            assert_eq!(files.find(name).unwrap().as_ref(), Some(&basic), "{name}");
        }
        let identity = Credentials::identity_token("1d");
        assert_eq!(files.find("ghcr.io/a/b").unwrap(), Some(identity));
        let token = Credentials::registry_token("t0k3n");
        assert_eq!(files.find("registry.example:5000/a").unwrap(), Some(token));
        for none in [
            "registry.example",
            "empty.example",
            "hcr.io",
            "docker.io.example",
        ] {
            assert_eq!(files.find(none).unwrap(), None, "{none}");
        }
    }

    #[test]
    fn the_most_specific_entry_wins_and_the_first_file() {
        let dir = dir(&[
            ("auth.json", CONTAINERS),
            (
                "config.json",
                r#"{"auths":{"quay.io/team/app/x":{"auth":"bWU6c2VjcmV0"},"b":{"auth":"eW91Om90aGVy"}}}"#,
            ),
        ]);
        let files = at(&dir, &["none.json", "auth.json", "config.json"]);
        let (me, you) = (
            Credentials::basic("me", "secret"),
            Credentials::basic("you", "other"),
        );
        for (name, expected) in [
            ("quay.io/team/app", &you),
            ("quay.io/team/app/x", &you),
            ("quay.io/team/apple", &me),
            ("quay.io", &me),
            ("b/x", &you),
        ] {
            assert_eq!(files.find(name).unwrap().as_ref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_helper_is_asked_told_and_made_to_forget() {
        let dir = dir(&[(
            "config.json",
            r#"{"credHelpers":{"ghcr.io":"one"},"credsStore":"two","auths":{"a.example":{"auth":"bWU6c2VjcmV0"}}}"#,
        )]);
        helper(&dir, "one");
        helper(&dir, "two");
        let files = at(&dir, &["config.json"]);
        assert_eq!(files.find("ghcr.io/a").unwrap(), None);
        // Where the helper knows nothing, the file may.
        assert!(files.find("a.example").unwrap().is_some());
        let basic = Credentials::basic("me", "s\"cret");
        for (registry, helper) in [("ghcr.io", "one"), ("docker.io", "two")] {
            let saved = files.save(registry, &basic).unwrap();
            assert_eq!(saved, SavedIn::Helper(helper.to_owned()));
            assert_eq!(files.find(registry).unwrap().as_ref(), Some(&basic));
            assert!(files.remove(registry).unwrap());
            assert!(!files.remove(registry).unwrap());
            assert_eq!(files.find(registry).unwrap(), None);
        }
        let identity = Credentials::identity_token("1d");
        files.save("ghcr.io", &identity).unwrap();
        assert_eq!(files.find("ghcr.io").unwrap(), Some(identity));
        assert_eq!(files.registries().unwrap(), ["a.example", "ghcr.io"]);
    }

    #[test]
    fn a_helper_that_does_not_end_is_killed_and_called_so() {
        for (name, waits) in [
            ("silent", "exec sleep 600"),
            ("deaf", "exec >&-; exec sleep 600"),
            ("parent", "echo '{}'; sleep 600 & echo $! >\"$0.pid\""),
        ] {
            let dir = dir(&[(
                "config.json",
                &format!(r#"{{"credHelpers":{{"ghcr.io":"{name}"}}}}"#),
            )]);
            let program_name = format!("docker-credential-{name}");
            let text = format!("#!/bin/sh\necho $$ >\"$0.pid\"\n{waits}\n");
            program(&dir, &program_name, &text);
            let files = at(&dir, &["config.json"]).helper_patience(Duration::from_millis(300));
            match files.find("ghcr.io").unwrap_err() {
                Error::CredentialHelperSilent { helper, .. } => {
                    assert_eq!(helper.to_string(), name);
                }
                error => panic!("{name}: {error}"),
            }
            let pid = fs::read_to_string(dir.path().join(program_name + ".pid")).unwrap();
            let process = Path::new("/proc").join(pid.trim());
            match name {
                // What it has started is somebody else's.
                "parent" => {
                    let mut kill = std::process::Command::new("kill");
                    assert!(kill.args(["-9", pid.trim()]).status().unwrap().success());
                }
                _ => assert!(!process.exists(), "{name}"),
            }
        }
    }

    #[test]
    fn what_a_helper_has_been_told_is_what_is_found() {
        let dir = dir(&[
            ("auth.json", CONTAINERS),
            ("config.json", r#"{"credsStore":"one"}"#),
        ]);
        helper(&dir, "one");
        let files = at(&dir, &["none.json", "auth.json", "config.json"]);
        let new = Credentials::basic("new", "s3cret");
        let saved = files.save("quay.io", &new).unwrap();
        assert_eq!(saved, SavedIn::Helper("one".to_owned()));
        assert_eq!(files.find("quay.io/x").unwrap(), Some(new));
        // One that is for a part of it stays, and no file is made.
        let you = Credentials::basic("you", "other");
        assert_eq!(files.find("quay.io/team/app").unwrap(), Some(you));
        assert!(!dir.path().join("none.json").exists());
    }

    #[test]
    fn a_helper_that_is_missing_fails_or_has_no_name_is_an_error() {
        let dir = dir(&[(
            "config.json",
            r#"{"credHelpers":{"a":"none","b":"fails","c":"../x"}}"#,
        )]);
        program(
            &dir,
            "docker-credential-fails",
            "#!/bin/sh\necho locked; exit 1\n",
        );
        let files = at(&dir, &["config.json"]);
        assert!(matches!(
            files.find("a"),
            Err(Error::CredentialHelper { .. })
        ));
        let error = files.find("b").unwrap_err();
        assert!(error.to_string().ends_with("locked"), "{error}");
        assert!(matches!(
            files.find("c"),
            Err(Error::CredentialHelper { .. })
        ));
    }

    #[test]
    fn what_is_saved_is_found_and_all_else_is_kept() {
        let dir = dir(&[("auth.json", DOCKER)]);
        let path = dir.path().join("auth.json");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("auth.json", dir.path().join("link")).unwrap();
        let files = at(&dir, &["link"]);
        let new = Credentials::basic("you", "p:w");
        let saved = files.save("docker.io", &new).unwrap();
        assert_eq!(saved, SavedIn::File(dir.path().join("link")));
        assert_eq!(files.find("docker.io/library/x").unwrap(), Some(new));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert!(dir.path().join("link").is_symlink());
        let mut expected: serde_json::Value = serde_json::from_str(DOCKER).unwrap();
        let auths = expected["auths"].as_object_mut().unwrap();
        auths.remove(DOCKER_HUB_KEY);
        auths.insert(
            "docker.io".into(),
            serde_json::json!({"auth":"eW91OnA6dw=="}),
        );
        let read = |path| serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap());
        assert_eq!(read(&path).unwrap(), expected);

        assert!(files.remove("docker.io").unwrap());
        assert!(!files.remove("docker.io").unwrap());
        assert_eq!(files.find("docker.io").unwrap(), None);
        assert_eq!(
            files.registries().unwrap(),
            ["ghcr.io", "registry.example:5000"]
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_is_the_owners_only_in_a_directory_of_his_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/containers/auth.json");
        let files = AuthFiles::at([&path]);
        assert!(!files.remove("a").unwrap() && !path.exists());
        files
            .save("a", &Credentials::basic("me", "secret"))
            .unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn logins_at_the_same_time_do_not_undo_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let files = at(&dir, &["auth.json"]);
        std::thread::scope(|scope| {
            for count in 0..8 {
                let files = &files;
                scope.spawn(move || {
                    files
                        .save(&format!("r{count}.example"), &Credentials::basic("me", "x"))
                        .unwrap()
                });
            }
        });
        assert_eq!(files.registries().unwrap().len(), 8);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_does_not_tell_what_is_in_it() {
        for text in [
            "{",
            r#"{"auths":"hunter2"}"#,
            r#"{"auths":{"a":{"auth":"hunter2!"}}}"#,
            "[]",
        ] {
            let dir = dir(&[("auth.json", text)]);
            let files = at(&dir, &["auth.json"]);
            match files.find("a") {
                Err(error) => assert!(!format!("{error:?}").contains("hunter2"), "{error:?}"),
                Ok(found) => assert_eq!(found, None, "{text}"),
            }
        }
        let dir = dir(&[("auth.json", "")]);
        assert_eq!(at(&dir, &["auth.json"]).find("a").unwrap(), None);
    }
}
