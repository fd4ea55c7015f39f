//! [`Registries`]: which servers a machine's owner wants images to come from.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Reference, Result, file};

/// Files in the format of
/// [containers-registries.conf(5)](https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md),
/// version 2: for parts of the space of names, another location, mirrors, whether a server may do without a certificate, and
/// whether it may be asked at all.
///
/// Names without a registry mean Docker Hub, as docker has it: short-name aliases and search lists are not looked at. Nothing
/// is read before an image is asked for.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    file: Option<PathBuf>,
    dirs: Vec<PathBuf>,
}

/// A place to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The registry and the repository in it.
    pub(crate) name: String,
    /// Whether it may speak plain HTTP, or be anybody.
    pub(crate) insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    registry: Vec<Rule>,
    /// What version 1 of the format began with.
    registries: Option<toml::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

impl Registries {
    /// One file, which has to be there.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(file.into()),
            dirs: Vec::new(),
        }
    }

    /// Sets a directory with further files `*.conf`, which win over those before them. It need not be there.
    #[must_use]
    pub fn and_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dirs.push(dir.into());
        self
    }

    /// The files of this machine and of the user whom the environment is of: `$CONTAINERS_REGISTRIES_CONF`, or
    /// `~/.config/containers/registries.conf` if it is there, or `/etc/containers/registries.conf`; and what is in the
    /// directories `registries.conf.d` beside the last two.
    pub fn from_env() -> Self {
        let set = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(env::home_dir()?.join(".config")));
        let users = config.map(|config| config.join("containers"));
        let machines = Path::new("/etc/containers");
        let name = "registries.conf";
        let files = users.iter().map(PathBuf::as_path).chain([machines]);
        let there = files
            .clone()
            .map(|dir| dir.join(name))
            .find(|file| file.exists());
        let mut dirs: Vec<PathBuf> = files.map(|dir| dir.join("registries.conf.d")).collect();
        // The user's word comes last, and so it is what counts.
        dirs.reverse();
        Self {
            file: set("CONTAINERS_REGISTRIES_CONF").or(there),
            dirs,
        }
    }

    /// Where to ask for an image, in this order.
    pub(crate) fn places(&self, reference: &Reference) -> Result<Vec<Place>> {
        Rule::places(self.rules()?, reference)
    }

    fn rules(&self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        let why = "so that it is known from where the machine's owner wants images to come";
        if let Some(path) = &self.file {
            rules = parse(path, &file::read(path, why).map_err(failed("read", path))?)?;
        }
        for dir in &self.dirs {
            let mut names = match file::names(dir, why) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed("list", dir)(source)),
            };
            names.sort();
            for path in names.iter().map(|name| dir.join(name)) {
                if path
                    .extension()
                    .is_some_and(|extension| extension == "conf")
                {
                    let text = file::read(&path, why).map_err(failed("read", &path))?;
                    rules.extend(parse(&path, &text)?);
                }
            }
        }
        Ok(rules)
    }
}

impl Rule {
    /// Where to ask for an image by these rules, in this order.
    fn places(rules: Vec<Self>, reference: &Reference) -> Result<Vec<Place>> {
        let name = format!("{}/{}", reference.domain(), reference.repository());
        let mut best: Option<(Self, usize)> = None;
        for rule in rules {
            let length = matched(rule.prefix(), &name);
            // Of two that say something of the same names, the later one counts.
            if let Some(length) = length
                && best
                    .as_ref()
                    .is_none_or(|(best, _)| best.prefix().len() <= rule.prefix().len())
            {
                best = Some((rule, length));
            }
        }
        let Some((rule, length)) = best else {
            let insecure = false;
            return Ok(vec![Place { name, insecure }]);
        };
        if rule.blocked {
            return Err(Error::Blocked {
                reference: reference.to_string(),
                prefix: rule.prefix().to_owned(),
            });
        }
        let at = |location: &str| match location {
            "" => name.clone(),
            location => format!("{}{}", location.trim_end_matches('/'), &name[length..]),
        };
        let is_digest = reference.digest().is_some();
        let wanted = |mirror: &&Mirror| match mirror.pull_from_mirror {
            PullFromMirror::All => is_digest || !rule.mirror_by_digest_only,
            PullFromMirror::DigestOnly => is_digest,
            PullFromMirror::TagOnly => !is_digest,
        };
        let mirrors = rule.mirror.iter().filter(wanted).map(|mirror| Place {
            name: at(&mirror.location),
            insecure: mirror.insecure,
        });
        let own = Place {
            name: at(&rule.location),
            insecure: rule.insecure,
        };
        Ok(mirrors.chain([own]).collect())
    }

    /// What the names begin with that it is about.
    fn prefix(&self) -> &str {
        match self.prefix.as_str() {
            "" => &self.location,
            prefix => prefix,
        }
    }
}

/// How much of the name another location stands in place of, if the name begins with the prefix.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    if prefix.is_empty() {
        return None;
    }
    if let Some(suffix) = prefix.strip_prefix('*') {
        let domain = name.split('/').next().unwrap_or(name);
        return (suffix.starts_with('.') && domain.ends_with(suffix)).then_some(domain.len());
    }
    let prefix = prefix.trim_end_matches('/');
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

/// Where to ask for an image by what stands in one file, by the names of the places.
#[cfg(fuzzing)]
pub(crate) fn places_by(text: &[u8], reference: &Reference) -> Result<Vec<String>> {
    let places = Rule::places(parse(Path::new("input"), text)?, reference)?;
    Ok(places.into_iter().map(|place| place.name).collect())
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<Rule>> {
    let invalid = |source: crate::error::Source| Error::InvalidRegistries {
        path: path.to_owned(),
        source,
    };
    let document: Document = toml::from_slice(text).map_err(|error| invalid(error.into()))?;
    // What it blocks is not to be asked because nobody understood it.
    if document.registries.is_some() {
        return Err(invalid(
            "it is of version 1 of the format, which is no longer supported".into(),
        ));
    }
    for rule in &document.registry {
        if rule.prefix().is_empty() {
            return Err(invalid("a registry has neither prefix nor location".into()));
        }
        let mirrors = rule.mirror.iter().map(|mirror| mirror.location.as_str());
        let mut locations = mirrors.chain([rule.location.as_str()]);
        if locations.any(|location| location.contains("://")) {
            return Err(invalid("a location has a scheme, as in https://".into()));
        }
        if rule.mirror.iter().any(|mirror| mirror.location.is_empty()) {
            return Err(invalid("a mirror has no location".into()));
        }
    }
    Ok(document.registry)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::RegistriesFile {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CONF: &str = r#"
unqualified-search-registries = ["docker.io"]
short-name-mode = "enforcing"
[aliases]
"x" = "docker.io/y/x"

[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "10.0.0.1:5000"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
prefix = "docker.io/team"
location = "registry.example:5000/team"
insecure = true

[[registry]]
prefix = "*.bad.example"
blocked = true

[[registry]]
prefix = "*.good.example"
location = "good.example/all"

[[registry]]
prefix = "bydigest.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "mirror.example"
"#;

    fn places(registries: &Registries, name: &str) -> Result<Vec<(String, bool)>> {
        let places = registries.places(&name.parse().unwrap())?;
        Ok(places
            .into_iter()
            .map(|place| (place.name, place.insecure))
            .collect())
    }

    #[test]
    fn the_longest_prefix_says_where_an_image_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.conf");
        fs::write(&path, CONF).unwrap();
        let registries = Registries::at(path);
        let digest = crate::Digest::sha256(b"");
        for (name, expected) in [
            (
                "busybox".to_owned(),
                &[
                    ("mirror.example/hub/library/busybox", false),
                    ("docker.io/library/busybox", false),
                ][..],
            ),
            (
                format!("busybox@{digest}"),
                &[
                    ("mirror.example/hub/library/busybox", false),
                    ("10.0.0.1:5000/library/busybox", true),
                    ("docker.io/library/busybox", false),
                ],
            ),
            (
                "team/a/b:1".into(),
                &[("registry.example:5000/team/a/b", true)],
            ),
            (
                "teams/a".into(),
                &[
                    ("mirror.example/hub/teams/a", false),
                    ("docker.io/teams/a", false),
                ],
            ),
            (
                "a.b.good.example/x".into(),
                &[("good.example/all/x", false)],
            ),
            ("good.example/x".into(), &[("good.example/x", false)]),
            (
                "bydigest.example/x".into(),
                &[("bydigest.example/x", false)],
            ),
            (
                format!("bydigest.example/x@{digest}"),
                &[("mirror.example/x", false), ("bydigest.example/x", false)],
            ),
            (
                "bydigest.example:80/x".into(),
                &[("bydigest.example:80/x", false)],
            ),
            ("notbad.example/x".into(), &[("notbad.example/x", false)]),
        ] {
            let found = places(&registries, &name).unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|(name, insecure)| (name.as_str(), *insecure))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
        let error = places(&registries, "very.bad.example/x").unwrap_err();
        assert!(matches!(error, Error::Blocked { .. }), "{error}");
    }

    #[test]
    fn later_files_win_and_only_those_that_are_named_conf_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, location: &str| {
            let text = format!("[[registry]]\nprefix = \"a.example\"\nlocation = \"{location}\"\n");
            fs::write(dir.path().join(name), text).unwrap();
        };
        write("registries.conf", "one.example");
        let file = dir.path().join("registries.conf");
        let found =
            |registries: &Registries| places(registries, "a.example/x").unwrap()[0].0.clone();
        let registries = Registries::at(&file)
            .and_dir(dir.path().join("d"))
            .and_dir(dir.path().join("e"));
        assert_eq!(found(&registries), "one.example/x");
        fs::create_dir(dir.path().join("d")).unwrap();
        write("d/20.conf", "three.example");
        write("d/10.conf", "two.example");
        write("d/30.conf.bak", "four.example");
        assert_eq!(found(&registries), "three.example/x");
        assert_eq!(found(&Registries::default()), "a.example/x");
    }

    #[test]
    fn what_is_not_understood_blocks_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.conf");
        for text in [
            "[registries.block]\nregistries = ['a']",
            "[[registry]]\nblocked = true",
            "[[registry]]\nlocation = \"https://a\"",
            "[[registry]]\nlocation = 7",
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"\"",
            "nonsense",
        ] {
            fs::write(&path, text).unwrap();
            let error = places(&Registries::at(&path), "x").unwrap_err();
            assert!(
                matches!(error, Error::InvalidRegistries { .. }),
                "{text}: {error}"
            );
        }
        let error = places(&Registries::at("/nowhere"), "x").unwrap_err();
        assert!(matches!(error, Error::RegistriesFile { .. }), "{error}");
    }
}
