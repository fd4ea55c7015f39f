//! [`Client`]: pulls images.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::registries::Place;
use crate::registry::{Http, Registry};
use crate::{
    AuthFiles, Credentials, Descriptor, Digest, Image, LayerSink, Platform, Progress, Reference,
    Registries, Result, Store,
};

mod fetch;
mod login;
mod pull;
mod push;
mod select;

pub(crate) use self::fetch::Job;
pub(crate) use self::pull::on_thread;
pub use self::push::Pushed;

/// How a [`Client`] talks to registries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How often what failed for a reason that may pass is tried again. Default: 3.
    pub retries: u32,
    /// How long to wait before the first of these; each further wait is twice as long. Default: 250 ms.
    pub backoff: Duration,
    /// After how long without a byte a connection counts as broken. Default: 30 s.
    pub silence: Duration,
    credentials: BTreeMap<String, Credentials>,
    auth_files: AuthFiles,
    registries: Registries,
    pub(crate) certificates_dirs: Vec<PathBuf>,
    tls_verify: bool,
}

impl ClientOptions {
    /// The defaults, and what the user whom the environment is of has set up for docker and podman: his
    /// [credentials](AuthFiles::from_env), his [mirrors](Registries::from_env), and the certificates in
    /// `/etc/docker/certs.d`, `/etc/containers/certs.d` and `~/.config/containers/certs.d`.
    ///
    /// The default alone reads no file but the system's list of certificate authorities.
    pub fn from_env() -> Self {
        let users = env::home_dir().filter(|home| home.is_absolute());
        let options = Self::default()
            .auth_files(AuthFiles::from_env())
            .registries(Registries::from_env())
            .certificates_dir("/etc/docker/certs.d")
            .certificates_dir("/etc/containers/certs.d");
        match users {
            Some(home) => options.certificates_dir(home.join(".config/containers/certs.d")),
            None => options,
        }
    }

    /// Sets how often a failed request is tried again.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Sets the wait before the first retry.
    #[must_use]
    pub fn backoff(self, backoff: Duration) -> Self {
        Self { backoff, ..self }
    }

    /// Sets after how long without a byte a connection counts as broken.
    #[must_use]
    pub fn silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// Sets what to prove to the registry `domain`, as in [`Reference::domain`], who we are with.
    #[must_use]
    pub fn credentials(mut self, domain: impl Into<String>, credentials: Credentials) -> Self {
        self.credentials.insert(domain.into(), credentials);
        self
    }

    /// Sets the files in which credentials are looked for when a registry asks for some and none were
    /// [given](Self::credentials) for it. Default: none.
    #[must_use]
    pub fn auth_files(self, auth_files: AuthFiles) -> Self {
        Self { auth_files, ..self }
    }

    /// Sets from where images come that other names say. Default: from where their names say.
    #[must_use]
    pub fn registries(self, registries: Registries) -> Self {
        Self { registries, ..self }
    }

    /// Adds a directory of certificates for single registries: below it, in directories `HOST:PORT` (or `HOST`, for port 443),
    /// `*.crt` are authorities that may vouch for that registry besides the system's, and `NAME.cert` and `NAME.key` are what
    /// it is shown. A registry on this machine that has a directory is spoken to by TLS. Default: none.
    #[must_use]
    pub fn certificates_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.certificates_dirs.push(dir.into());
        self
    }

    /// Sets whether a registry has to prove who it is. Without that, anybody on the way can pose as it, take the credentials
    /// that are sent to it, and decide what an image is that is named by a tag; and where it speaks no TLS, plain HTTP is
    /// spoken to it. Content is still what its digest says. Other hosts, such as those it redirects to, have to prove who they
    /// are in any case. Default: yes.
    #[must_use]
    pub fn tls_verify(self, tls_verify: bool) -> Self {
        Self { tls_verify, ..self }
    }

    /// Where to ask for an image, in this order. Blocks.
    pub(crate) fn places(&self, reference: &Reference) -> Result<Vec<Place>> {
        let mut places = self.registries.places(reference)?;
        for place in &mut places {
            place.insecure |= !self.tls_verify;
        }
        Ok(places)
    }

    /// Where the image itself is, and no mirror of it. Blocks.
    pub(crate) fn own_place(&self, reference: &Reference) -> Result<Place> {
        let name = format!("{}/{}", reference.domain(), reference.repository());
        let insecure = !self.tls_verify;
        let places = self.places(reference)?;
        Ok(places
            .into_iter()
            .next_back()
            .unwrap_or(Place { name, insecure }))
    }

    /// What to show the registry of this repository, named with its domain. Blocks.
    pub(crate) fn credentials_for(&self, name: &str) -> Result<Option<Credentials>> {
        let domain = name.split('/').next().unwrap_or(name);
        match self.credentials.get(domain) {
            Some(credentials) => Ok(Some(credentials.clone())),
            None => self.auth_files.find(name),
        }
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        let (backoff, silence) = (Duration::from_millis(250), Duration::from_secs(30));
        Self {
            retries: 3,
            backoff,
            silence,
            credentials: BTreeMap::new(),
            auth_files: AuthFiles::default(),
            registries: Registries::default(),
            certificates_dirs: Vec::new(),
            tls_verify: true,
        }
    }
}

/// How an image is pulled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullOptions {
    /// Which of an index's images is wanted. Default: that for this machine.
    pub platform: Platform,
    /// Whether to take an image that is alone under its name even if it is for another platform. Default: no.
    pub any_platform: bool,
    /// How many layers are downloaded and unpacked at once. As many again may only wait for the disk. Default: 4.
    pub parallel_layers: usize,
}

impl PullOptions {
    /// Sets which of an index's images is wanted.
    #[must_use]
    pub fn platform(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    /// Sets whether to take an image that is alone under its name even if it is for another platform.
    #[must_use]
    pub fn any_platform(self, any_platform: bool) -> Self {
        Self {
            any_platform,
            ..self
        }
    }

    /// Sets how many layers are downloaded and unpacked at once; at least 1.
    #[must_use]
    pub fn parallel_layers(self, parallel_layers: usize) -> Self {
        Self {
            parallel_layers,
            ..self
        }
    }
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: Platform::default(),
            any_platform: false,
            parallel_layers: 4,
        }
    }
}

/// What a pull brought.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pulled {
    /// The image, as it is in the store now.
    pub image: Image,
    /// Whether anything was downloaded or unpacked, or the name meant another image before.
    pub changed: bool,
}

/// What a reference means in its registry at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The manifest of the image for the wanted platform.
    pub manifest: Descriptor,
    /// The digest of what the reference itself names: the same manifest, or the index that it was chosen from.
    pub digest: Digest,
}

/// Pulls images from registries.
///
/// Needs a [tokio](https://docs.rs/tokio) runtime with time and I/O around it; with the feature `blocking`, the module
/// `blocking` does without.
#[derive(Debug, Default)]
pub struct Client {
    options: ClientOptions,
    http: Http,
}

impl Client {
    /// Makes a client. Nothing is connected yet.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            options,
            http: Http::default(),
        }
    }

    /// The options it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Asks the registry what `reference` means for `platform`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchImage`](crate::Error::NoSuchImage), [`Error::Unreachable`](crate::Error::Unreachable),
    /// [`Error::NoMatchingPlatform`](crate::Error::NoMatchingPlatform), [`Error::Blocked`](crate::Error::Blocked), and what else a registry's answer can be wrong in.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved> {
        let registries = Registry::all(&self.http, &self.options, reference).await?;
        let (selected, _) = select::select(&registries, None, reference, platform).await?;
        Ok(Resolved {
            manifest: selected.descriptor,
            digest: selected.digest,
        })
    }

    /// Pulls an image into `store` and has `sink` unpack those of its layers that it lacks.
    ///
    /// Each layer is downloaded, verified, stored, decompressed and unpacked in one pass, several at once; `sink` is
    /// called on threads for blocking work. The image gets its name last, when everything is there. An image that is
    /// there already costs one request, and one that is named by its digest costs none.
    ///
    /// Dropping the future abandons the pull. What a layer being unpacked at that moment leaves is the business of the
    /// sink, which gets an error from its reader.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve); [`Error::WrongDigest`](crate::Error::WrongDigest),
    /// [`Error::WrongSize`](crate::Error::WrongSize) and their kind if the registry sends something wrong,
    /// [`Error::Unpack`](crate::Error::Unpack) if the sink fails, and [`Error::Store`](crate::Error::Store). The name
    /// then means what it meant before.
    pub async fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        options: &PullOptions,
        sink: Arc<dyn LayerSink>,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let spawn = |job: Job| {
            let sink = Arc::clone(&sink);
            drop(tokio::task::spawn_blocking(move || job.run(&*sink)));
        };
        self.pull_with(store, reference, options, &*sink, &spawn, progress)
            .await
    }
}
