//! From a reference to the [`Registry`] to ask, or several.

use reqwest::Url;
use tokio::sync::{Mutex, OnceCell};

use super::http::{self, Http, Reach};
use super::{Registry, requested};
use crate::client::{ClientOptions, on_thread};
use crate::registries::Place;
use crate::{Credentials, Error, Reference, Result};

/// Docker Hub's registry does not live where its images' names say.
const DOCKER_HUB: &str = "registry-1.docker.io";

impl<'a> Registry<'a> {
    /// What has an image at `place`.
    fn new(
        http: &'a Http,
        options: &'a ClientOptions,
        reference: &'a Reference,
        place: Place,
    ) -> Result<Self> {
        let (domain, repository) = place.name.split_once('/').unwrap_or((&place.name, ""));
        let host = match domain {
            "docker.io" => DOCKER_HUB,
            domain => domain,
        };
        let parse = |scheme| {
            Url::parse(&format!("{scheme}://{host}/")).map_err(|_| Error::InvalidReference {
                input: reference.to_string().into(),
                reason: "the registry is not a host that a URL can name",
            })
        };
        let origin = match parse("http")? {
            plain
                if http::is_loopback(&plain)
                    && !place.insecure
                    && !http::has_certificates(options, &plain) =>
            {
                plain
            }
            _ => parse("https")?,
        };
        let lenient = origin.host_str().filter(|_| place.insecure);
        let reach = Reach {
            http,
            options,
            lenient: lenient.map(str::to_owned),
        };
        Ok(Self {
            reach,
            options,
            origin,
            settled: OnceCell::new(),
            reference,
            credentials: OnceCell::new(),
            // Always what we want to do, and not what the registry says that we want.
            scopes: vec![format!("repository:{repository}:pull")],
            authorization: Mutex::new(None),
            name: place.name,
        })
    }

    /// Those that may have the image, in the order in which to ask them.
    pub(crate) async fn all(
        http: &'a Http,
        options: &'a ClientOptions,
        reference: &'a Reference,
    ) -> Result<Vec<Self>> {
        let places = on_thread({
            let (options, reference) = (options.clone(), reference.clone());
            move || options.places(&reference)
        })
        .await?;
        let all = places
            .into_iter()
            .map(|place| Self::new(http, options, reference, place));
        all.collect()
    }

    /// The one that has the image, whatever mirrors there are.
    pub(crate) async fn own(
        http: &'a Http,
        options: &'a ClientOptions,
        reference: &'a Reference,
    ) -> Result<Self> {
        let place = on_thread({
            let (options, reference) = (options.clone(), reference.clone());
            move || options.own_place(&reference)
        })
        .await?;
        let own = Self::new(http, options, reference, place)?;
        own.settle().await?;
        Ok(own)
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &Url {
        self.settled.get().unwrap_or(&self.origin)
    }

    /// Of a registry that need not prove who it is, finds out whether it speaks TLS at all, when it is first asked for something.
    pub(super) async fn settle(&self) -> Result<()> {
        let settle = || async {
            let mut origin = self.origin.clone();
            if !self.reach.is_lenient(&origin) {
                return Ok(origin);
            }
            let mut url = origin.clone();
            url.set_path("v2/");
            let why = "so that it is known whether the registry, which may do without TLS, has it";
            let request = self.reach.client(&url)?.get(url.clone());
            if let Err(error) = requested(&url, why, request).await {
                tracing::debug!(%url, error = &error as &dyn std::error::Error, "no TLS; going on without");
                // Either scheme has a host.
                let _ = origin.set_scheme("http");
            }
            Ok(origin)
        };
        self.settled.get_or_try_init(settle).await.map(drop)
    }

    /// A registry as such: it is shown these credentials, and no repository is asked for.
    pub(crate) async fn of_login(
        http: &'a Http,
        options: &'a ClientOptions,
        reference: &'a Reference,
        credentials: &Credentials,
    ) -> Result<Self> {
        Ok(Self {
            credentials: OnceCell::new_with(Some(Some(credentials.clone()))),
            scopes: Vec::new(),
            ..Self::own(http, options, reference).await?
        })
    }
}
