//! What a push asks of a [`Registry`]
//! ([specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push)).

use std::collections::BTreeSet;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, Url};

use super::sending::Uploading;
use super::{Authorization, Registry, http, redirect, retry, said_in, shown, unreachable};
use crate::trace::requested;
use crate::{Descriptor, Digest, Error, Result, Store};

/// What came of the wish to upload a blob.
pub(crate) enum Started {
    /// It is there, out of another repository.
    Mounted,
    /// It is to be sent there.
    At(Url),
}

impl Registry<'_> {
    /// The same, with leave to push, and to take blobs over from these repositories.
    pub(crate) fn for_push<'a>(mut self, from: impl IntoIterator<Item = &'a String>) -> Self {
        // Each once.
        let from: BTreeSet<&String> = from.into_iter().collect();
        let from = from
            .into_iter()
            .map(|from| format!("repository:{from}:pull"));
        let repository = self.name.split_once('/').map_or("", |(_, rest)| rest);
        let own = format!("repository:{repository}:pull,push");
        self.scopes = std::iter::once(own).chain(from).collect();
        self
    }

    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let url = self.url(&format!("blobs/{digest}"));
        let why = "so that nothing is sent that the registry has";
        let response = self
            .again(Method::HEAD, &url, why, |request| request)
            .await?;
        match response.status().as_u16() {
            200 => Ok(true),
            // Storage that it leads to has it, too.
            301 | 302 | 303 | 307 | 308 => Ok(true),
            404 => Ok(false),
            _ => Err(self.no_push(&url, response).await),
        }
    }

    /// Begins to upload a blob, unless the registry takes it over from another repository.
    pub(crate) async fn start_upload(&self, mount: Option<(&Digest, &str)>) -> Result<Started> {
        let mut url = self.url("blobs/uploads/");
        let why = match mount {
            Some((digest, from)) => {
                url.query_pairs_mut()
                    .append_pair("mount", &digest.to_string())
                    .append_pair("from", from);
                "so that the registry takes the content over from another of its repositories"
            }
            None => "so that the registry says where the content is to be sent",
        };
        let client = self.reach.client(&url)?;
        let empty = |request: RequestBuilder| request.header(CONTENT_LENGTH, "0");
        let response = self.send(&client, Method::POST, &url, why, empty).await?;
        match response.status().as_u16() {
            201 if mount.is_some() => Ok(Started::Mounted),
            202 => Ok(Started::At(redirect(
                &url,
                response.headers(),
                &self.reach,
            )?)),
            _ => Err(self.no_push(&url, response).await),
        }
    }

    /// The upload of a blob, all of it in one request.
    pub(crate) fn upload<'a>(
        &'a self,
        store: &'a Store,
        place: &'a Url,
        blob: &'a Descriptor,
    ) -> Uploading<'a> {
        Uploading {
            registry: self,
            store,
            place,
            blob,
        }
    }

    /// Gives a manifest, whose blobs are all there, its name.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        manifest: &Descriptor,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let url = self.url(&format!("manifests/{name}"));
        let why = "so that the name means the image, now that all of it is there";
        let put = |request: RequestBuilder| {
            request
                .header(CONTENT_TYPE, &manifest.media_type)
                .body(bytes.clone())
        };
        let response = self.again(Method::PUT, &url, why, put).await?;
        if response.status().as_u16() != 201 {
            return Err(self.no_push(&url, response).await);
        }
        let announced = response.headers().get("docker-content-digest");
        let announced = announced.and_then(|text| text.to_str().ok()?.parse::<Digest>().ok());
        match announced.filter(|digest| *digest != manifest.digest) {
            Some(found) => Err(Error::WrongDigest {
                object: "the pushed manifest".to_owned(),
                expected: manifest.digest.clone(),
                found,
            }),
            None => Ok(()),
        }
    }

    /// Sends a request, also if the registry cannot answer at once.
    async fn again(
        &self,
        method: Method,
        url: &Url,
        why: &'static str,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let client = self.reach.client(url)?;
        let mut attempt = 0;
        loop {
            let sent = async {
                let method = method.clone();
                let response = self.send(&client, method, url, why, &with).await?;
                match response.status().as_u16() {
                    408 | 429 | 500 | 502 | 503 | 504 => Err(self.no_push(url, response).await),
                    _ => Ok(response),
                }
            };
            let error = match sent.await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let Some(pause) = self.pause(&error, attempt) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Sends a request and, where the registry wants to know who we are, once more. The registry alone is told that, and not
    /// whom it has sent us to.
    pub(super) async fn send(
        &self,
        client: &Client,
        method: Method,
        url: &Url,
        why: &'static str,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let own = http::same_origin(url, self.origin());
        let mut authorization = self.authorization.lock().await.clone();
        let mut challenged = false;
        loop {
            let request = client.request(method.clone(), url.clone());
            let request = with(match &authorization {
                Some(Authorization::Basic { username, password }) if own => {
                    request.basic_auth(username, Some(password))
                }
                Some(Authorization::Bearer(token)) if own => request.bearer_auth(token),
                _ => request,
            });
            let response = requested(url, why, request)
                .await
                .map_err(|error| unreachable(&shown(url), error))?;
            if response.status().as_u16() != 401 || !own || challenged {
                return Ok(response);
            }
            challenged = true;
            match self.authenticate(response.headers(), authorization).await? {
                Some(new) => authorization = Some(new),
                None => return Ok(response),
            }
        }
    }

    /// The error for an answer that is none.
    pub(super) async fn no_push(&self, url: &Url, response: Response) -> Error {
        let status = response.status().as_u16();
        let retry_after = retry::after(response.headers());
        // The client may be one that waits for ever.
        let message = tokio::time::timeout(self.options.silence, said_in(response));
        let message = message.await.ok().flatten();
        let place = shown(url);
        match status {
            401 | 403 if http::same_origin(url, self.origin()) => Error::PushDenied {
                reference: self.reference.to_string(),
                status,
                message,
            },
            429 => Error::RateLimited {
                url: place,
                retry_after,
            },
            _ => Error::PushRefused {
                url: place,
                status,
                message,
                retry_after,
            },
        }
    }
}
