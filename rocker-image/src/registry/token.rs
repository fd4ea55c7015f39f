//! Getting a token from the service that a registry names
//! ([specification](https://distribution.github.io/distribution/spec/auth/token/)).

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::{Reach, http, read_limited, retry, said_in, shown, unreachable};
use crate::auth::{Challenge, Kind};
use crate::trace::requested;
use crate::{Error, Result};

/// No honest token is longer.
const MAX_SIZE: u64 = 1 << 20;

/// Who we are, to a token service that wants to know.
const CLIENT_ID: &str = "rocker";

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The token service of a registry.
#[derive(Debug)]
pub(crate) struct Service {
    realm: Url,
    name: Option<String>,
}

impl Service {
    /// The service that a registry names in its challenge, if it is a place that credentials may be sent to.
    pub(crate) fn of(registry: &Url, challenge: &Challenge) -> Result<Self> {
        Ok(Self {
            realm: realm(registry, challenge)?,
            name: challenge.parameter("service").map(str::to_owned),
        })
    }

    /// Asks for leave to do what `scopes` say: with an identity token as
    /// [OAuth 2.0](https://distribution.github.io/distribution/spec/auth/oauth/) does, and else with or without a password.
    pub(crate) async fn token(
        &self,
        reach: &Reach<'_>,
        scopes: &[String],
        credentials: Option<&Kind>,
    ) -> Result<String> {
        let service = self.name.iter().map(|name| ("service", name.as_str()));
        // Always what we want to do, and not what the registry says that we want.
        let scope = scopes.iter().map(|scope| ("scope", scope.as_str()));
        let mut realm = self.realm.clone();
        let client = reach.client(&realm)?;
        let request = match credentials {
            Some(Kind::IdentityToken(token)) => {
                let fixed = [
                    ("grant_type", "refresh_token"),
                    ("client_id", CLIENT_ID),
                    ("refresh_token", token),
                ];
                // In the body, where it gets into no log.
                let mut form = realm.clone();
                form.query_pairs_mut()
                    .clear()
                    .extend_pairs(service.chain(scope).chain(fixed));
                client
                    .post(realm.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            credentials => {
                realm.query_pairs_mut().extend_pairs(service.chain(scope));
                let request = client.get(realm.clone());
                match credentials {
                    Some(Kind::Basic { username, password }) => {
                        request.basic_auth(username, Some(password))
                    }
                    _ => request,
                }
            }
        };
        let why =
            "so that the registry lets us in: a token for what we want to do, and nothing else";
        let place = shown(&realm);
        let response = requested(&realm, why, request)
            .await
            .map_err(|error| unreachable(&place, error))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::Token {
                realm: place,
                status,
                retry_after: retry::after(response.headers()),
                message: said_in(response).await,
            });
        }
        let bytes = read_limited(response, MAX_SIZE, || "the token".to_owned()).await?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|source| Error::InvalidDocument {
                object: format!("the answer of {place}"),
                source,
            })?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty());
        // It becomes part of a header.
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        token.ok_or(Error::Protocol {
            url: place,
            problem: "the token service gives no token",
        })
    }
}

/// The token service's URL, if it is a place that credentials may be sent to.
fn realm(registry: &Url, challenge: &Challenge) -> Result<Url> {
    let text = challenge.parameter("realm").unwrap_or_default();
    let refused = |reason| Error::Realm {
        url: registry.to_string(),
        realm: text.into(),
        reason,
    };
    let realm = Url::parse(text).map_err(|_| refused("it is not a URL"))?;
    let same_host = realm.host_str() == registry.host_str();
    match (realm.scheme(), registry.scheme()) {
        ("https", _) => {}
        ("http", "http") if same_host && http::is_loopback(registry) => {}
        _ => return Err(refused("it is not https")),
    }
    if !same_host && http::is_private(&realm) {
        return Err(refused("it is a private address of another host"));
    }
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(refused("it has credentials of its own"));
    }
    Ok(realm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(registry: &str, at: &str) -> Result<Url> {
        let challenge = Challenge::parse(&format!("Bearer realm=\"{at}\"")).remove(0);
        realm(&Url::parse(registry).unwrap(), &challenge)
    }

    #[test]
    fn credentials_go_to_a_public_https_service_or_the_registry_itself() {
        assert!(
            check(
                "https://registry-1.docker.io",
                "https://auth.docker.io/token"
            )
            .is_ok()
        );
        assert!(check("https://10.0.0.5:5000", "https://10.0.0.5/token").is_ok());
        assert!(check("http://127.0.0.1:5000", "http://127.0.0.1:5001/token").is_ok());
    }

    #[test]
    fn credentials_go_nowhere_else() {
        for at in [
            "http://auth.docker.io/token",
            "http://registry.example/token",
            "https://169.254.169.254/token",
            "https://127.0.0.1/token",
            "https://[fe80::1]/token",
            "https://localhost/token",
            "https://10.0.0.1/token",
            "https://a:b@auth.example/token",
            "file:///etc/passwd",
            "",
        ] {
            assert!(
                matches!(
                    check("https://registry.example", at),
                    Err(Error::Realm { .. })
                ),
                "{at}"
            );
        }
        assert!(check("http://127.0.0.1:5000", "http://auth.example/token").is_err());
        assert!(check("http://registry.example", "http://registry.example/token").is_err());
    }
}
