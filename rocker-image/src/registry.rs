//! [`Registry`]: one repository of a registry, over the OCI distribution protocol
//! ([specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md)).

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, LOCATION, RANGE, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

pub(crate) use self::http::{Http, Reach};
pub(crate) use self::upload::Started;
use crate::auth::{Challenge, Kind};
use crate::client::{ClientOptions, on_thread};
use crate::document::{self, MAX_SIZE};
use crate::trace::requested;
use crate::{Credentials, Descriptor, Digest, Error, Reference, Result, Untrusted};

mod certificates;
mod http;
mod open;
mod retry;
mod sending;
mod token;
mod upload;

const MAX_REDIRECTS: u32 = 5;
/// How much of an error's text is read.
const MAX_ERROR: u64 = 16 << 10;

/// A repository of a registry, with what it takes to be let in.
#[derive(Debug)]
pub(crate) struct Registry<'a> {
    reach: Reach<'a>,
    options: &'a ClientOptions,
    /// Where to try first: what it is settled on afterwards counts.
    origin: Url,
    settled: OnceCell<Url>,
    reference: &'a Reference,
    /// What has the image here: the reference's own registry and repository, or those of a mirror.
    name: String,
    /// Looked for when the registry asks.
    credentials: OnceCell<Option<Credentials>>,
    /// What a token is to be good for.
    scopes: Vec<String>,
    /// What the registry was content with last.
    authorization: Mutex<Option<Authorization>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Authorization {
    Basic { username: String, password: String },
    Bearer(String),
}

impl<'a> Registry<'a> {
    /// Asks whether we are let in
    /// ([specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support)).
    pub(crate) async fn check(&self) -> Result<()> {
        let mut url = self.origin().clone();
        url.set_path("v2/");
        self.get_url(&url, None, 0).await.map(drop)
    }

    /// Gets a manifest or index, by tag or digest. Returns it with what it was sent as.
    pub(crate) async fn manifest(
        &self,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<(Descriptor, Vec<u8>)> {
        let object = || {
            format!(
                "{}/{}, manifest {name},",
                self.reference.domain(),
                self.reference.repository()
            )
        };
        let path = format!("manifests/{name}");
        let (headers, bytes) = self
            .get_whole(&path, Some(document::ACCEPT), MAX_SIZE, object)
            .await?;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let announced: Option<Digest> =
            header("docker-content-digest").and_then(|text| text.parse().ok());
        for digest in expected.into_iter().chain(&announced) {
            document::check_digest(&object(), digest, &bytes)?;
        }
        let digest = expected
            .cloned()
            .or(announced)
            .unwrap_or_else(|| Digest::sha256(&bytes));
        Ok((
            Descriptor::new(media_type, digest, bytes.len() as u64),
            bytes,
        ))
    }

    /// Gets a small blob whole.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let object = || format!("blob {}", descriptor.digest);
        if descriptor.size > MAX_SIZE {
            return Err(Error::TooLarge {
                object: object(),
                limit: MAX_SIZE,
            });
        }
        let path = format!("blobs/{}", descriptor.digest);
        let bytes = match self.get_whole(&path, None, descriptor.size, object).await {
            Err(Error::TooLarge { object, limit }) => {
                return Err(Error::WrongSize {
                    object,
                    expected: limit,
                    found: limit.saturating_add(1),
                });
            }
            other => other?.1,
        };
        if bytes.len() as u64 != descriptor.size {
            return Err(Error::WrongSize {
                object: object(),
                expected: descriptor.size,
                found: bytes.len() as u64,
            });
        }
        document::check_digest(&object(), &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// Begins to get a blob, from the byte `from` if the registry can.
    pub(crate) async fn blob(&self, digest: &Digest, from: u64) -> Result<Response> {
        self.get(&format!("blobs/{digest}"), None, from).await
    }

    /// The URL of something in the repository.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.origin().clone();
        let repository = self.name.split_once('/').map_or("", |(_, rest)| rest);
        url.set_path(&format!("v2/{repository}/{path}"));
        url
    }

    /// How long to wait before doing again what failed with `error` for the `attempt`th time, counted from 0; `None` to
    /// give up.
    pub(crate) fn pause(&self, error: &Error, attempt: u32) -> Option<Duration> {
        retry::pause(self.options, error, attempt)
    }

    /// Gets what is small, also if the connection breaks in the middle.
    async fn get_whole(
        &self,
        path: &str,
        accept: Option<&str>,
        limit: u64,
        object: impl Fn() -> String,
    ) -> Result<(HeaderMap, Vec<u8>)> {
        let mut attempt = 0;
        loop {
            let response = self.get(path, accept, 0).await?;
            let headers = response.headers().clone();
            let error = match read_limited(response, limit, &object).await {
                Ok(bytes) => return Ok((headers, bytes)),
                Err(error) => error,
            };
            let Some(pause) = self.pause(&error, attempt) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn get(&self, path: &str, accept: Option<&str>, from: u64) -> Result<Response> {
        self.settle().await?;
        self.get_url(&self.url(path), accept, from).await
    }

    async fn get_url(&self, url: &Url, accept: Option<&str>, from: u64) -> Result<Response> {
        let mut attempt = 0;
        loop {
            let error = match self.get_once(url, accept, from).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let Some(pause) = self.pause(&error, attempt) else {
                return Err(error);
            };
            tracing::debug!(%url, ?pause, error = &error as &dyn std::error::Error, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn get_once(&self, url: &Url, accept: Option<&str>, from: u64) -> Result<Response> {
        let mut authorization = self.authorization.lock().await.clone();
        let mut target = url.clone();
        let (mut redirects, mut challenged) = (0, false);
        loop {
            let own = http::same_origin(&target, self.origin());
            let mut request = self.reach.client(&target)?.get(target.clone());
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            request = match &authorization {
                Some(Authorization::Basic { username, password }) if own => {
                    request.basic_auth(username, Some(password))
                }
                Some(Authorization::Bearer(token)) if own => request.bearer_auth(token),
                _ => request,
            };
            let why = match (target == *url, accept) {
                (false, _) => {
                    "so that the content is fetched from where the registry says that it lies"
                }
                (_, Some(_)) => {
                    "so that it is known of which configuration and layers the image is made"
                }
                (_, None) => {
                    "so that the content of this digest is here: a configuration, or a layer"
                }
            };
            let response = requested(&target, why, request)
                .await
                .map_err(|error| unreachable(&shown(&target), error))?;
            match response.status().as_u16() {
                200 | 206 => return Ok(response),
                301 | 302 | 303 | 307 | 308 if redirects < MAX_REDIRECTS => {
                    redirects += 1;
                    target = redirect(&target, response.headers(), &self.reach)?;
                }
                401 if own && !challenged => {
                    challenged = true;
                    match self.authenticate(response.headers(), authorization).await? {
                        Some(new) => authorization = Some(new),
                        None => return Err(self.refusal(&target, response).await),
                    }
                    target = url.clone();
                }
                _ => return Err(self.refusal(&target, response).await),
            }
        }
    }

    /// Does what a 401 asks for. `used` is what the request had. `None` if it asks for credentials that there are not.
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        used: Option<Authorization>,
    ) -> Result<Option<Authorization>> {
        let mut authorization = self.authorization.lock().await;
        if *authorization != used {
            // Another request was told the same and has done it.
            return Ok(authorization.clone());
        }
        let text: Vec<&str> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let challenges = Challenge::parse(&text.join(", "));
        let find = |scheme| challenges.iter().find(|challenge| challenge.is(scheme));
        // The same once more would be refused once more.
        let other = |new: &Authorization| used.as_ref() != Some(new);
        let kind = || async { Ok(self.credentials().await?.map(|found| &found.kind)) };
        *authorization = if let Some(challenge) = find("Bearer") {
            match kind().await? {
                Some(Kind::RegistryToken(token)) => {
                    Some(Authorization::Bearer(token.clone())).filter(other)
                }
                kind => {
                    let service = token::Service::of(self.origin(), challenge)?;
                    let token = service.token(&self.reach, &self.scopes, kind);
                    Some(Authorization::Bearer(token.await?))
                }
            }
        } else if find("Basic").is_some() {
            match kind().await? {
                Some(Kind::Basic { username, password }) => Some(Authorization::Basic {
                    username: username.clone(),
                    password: password.clone(),
                })
                .filter(other),
                _ => None,
            }
        } else {
            return Err(Error::UnknownChallenge {
                url: self.origin().to_string(),
                challenge: text.join(", ").into(),
            });
        };
        Ok(authorization.clone())
    }

    /// What to prove who we are with, if there is anything.
    async fn credentials(&self) -> Result<Option<&Credentials>> {
        let find = || {
            let options = self.options.clone();
            let name = self.name.clone();
            on_thread(move || options.credentials_for(&name))
        };
        Ok(self.credentials.get_or_try_init(find).await?.as_ref())
    }

    /// The error for an answer that is none.
    async fn refusal(&self, target: &Url, response: Response) -> Error {
        let status = response.status().as_u16();
        let retry_after = retry::after(response.headers());
        let url = shown(target);
        let message = said_in(response).await;
        let own = http::same_origin(target, self.origin());
        match status {
            401 | 403 if own => Error::NoSuchImage {
                reference: self.reference.to_string(),
                status,
                message,
            },
            404 if own && target.path().contains("/manifests/") => Error::NoSuchImage {
                reference: self.reference.to_string(),
                status,
                message,
            },
            429 => Error::RateLimited { url, retry_after },
            301 | 302 | 303 | 307 | 308 => Error::Protocol {
                url,
                problem: "the registry redirects without end",
            },
            _ => Error::UnexpectedStatus {
                url,
                status,
                message,
                retry_after,
            },
        }
    }
}

/// Where a redirect leads, if it is a place to go to.
fn redirect(from: &Url, headers: &HeaderMap, reach: &Reach<'_>) -> Result<Url> {
    let text = headers
        .get(LOCATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let text = text.ok_or_else(|| Error::Protocol {
        url: from.to_string(),
        problem: "a redirect says not where to",
    })?;
    let refused = |reason| Error::Redirect {
        url: from.to_string(),
        target: text.as_str().into(),
        reason,
    };
    let target = from.join(&text).map_err(|_| refused("it is not a URL"))?;
    match (from.scheme(), target.scheme()) {
        (_, "https") => {}
        ("http", "http") if http::is_loopback(&target) || reach.is_lenient(&target) => {}
        ("https", "http") => return Err(refused("it leads from https to http")),
        _ => return Err(refused("it is not https")),
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err(refused("it has credentials in it"));
    }
    Ok(target)
}

/// A URL for a message: without credentials, and without its query, in which storage services put the signature that lets anybody in.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A URL that can have no credentials has none to be taken away.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

pub(crate) fn unreachable(url: &str, error: reqwest::Error) -> Error {
    Error::Unreachable {
        url: url.to_owned(),
        source: error.without_url().into(),
    }
}

/// Reads a body that is small, if it is. `object` names it in errors.
pub(crate) async fn read_limited(
    mut response: Response,
    limit: u64,
    object: impl Fn() -> String,
) -> Result<Vec<u8>> {
    let url = shown(response.url());
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&url, error))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge {
                object: object(),
                limit,
            });
        }
    }
    Ok(bytes)
}

/// What an error's body says in words
/// ([format](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes)).
async fn said_in(mut response: Response) -> Option<Untrusted> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        code: String,
        message: Option<String>,
    }
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > MAX_ERROR {
            return None;
        }
    }
    let body: Body = serde_json::from_slice(&bytes).ok()?;
    let item = body.errors.into_iter().next()?;
    Some(
        item.message
            .map_or(item.code.clone(), |message| {
                format!("{}: {message}", item.code)
            })
            .into(),
    )
}
