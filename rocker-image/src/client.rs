//! [`Client`]: pulls images.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Credentials;
use crate::registry::{Http, Registry};
use crate::{Descriptor, Digest, Image, LayerSink, Platform, Progress, Reference, Result, Store};

mod fetch;
mod pull;
mod push;
mod select;

pub(crate) use self::fetch::Job;
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
}

impl ClientOptions {
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

    pub(crate) fn credentials_for(&self, domain: &str) -> Option<&Credentials> {
        self.credentials.get(domain)
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
    /// How many layers are downloaded and unpacked at once. Default: 4.
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
    /// [`Error::NoMatchingPlatform`](crate::Error::NoMatchingPlatform) and what else a registry's answer can be wrong in.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved> {
        let registry = Registry::new(&self.http, &self.options, reference)?;
        let selected = select::select(&registry, None, reference, platform).await?;
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
