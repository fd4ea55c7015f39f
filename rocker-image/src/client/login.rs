//! Logging in: whether a registry accepts credentials.

use super::Client;
use crate::credentials::{domain, normalized};
use crate::registry::Registry;
use crate::{Credentials, Error, Reference, Result};

impl Client {
    /// Asks `registry`, such as `docker.io` or `localhost:5000`, whether it accepts `credentials`. Nothing is saved: that
    /// is for [`AuthFiles::save`](crate::AuthFiles::save).
    ///
    /// A registry that lets everybody in accepts any.
    ///
    /// # Errors
    ///
    /// [`Error::LoginRefused`] if it does not, [`Error::Unreachable`], and what else a registry's answer can be wrong in.
    pub async fn login(&self, registry: &str, credentials: &Credentials) -> Result<()> {
        let name = normalized(registry);
        let domain = domain(&name);
        // Some repository of it: what is asked for concerns none.
        let reference: Reference = format!("{domain}/login").parse()?;
        if reference.domain() != domain {
            return Err(Error::InvalidReference {
                input: registry.into(),
                reason: "the registry is not a host name with a dot or a port",
            });
        }
        let registry =
            Registry::of_login(&self.http, &self.options, &reference, credentials).await?;
        registry.check().await.map_err(|error| match error {
            Error::NoSuchImage {
                status: status @ (401 | 403),
                message,
                ..
            }
            | Error::Token {
                status: status @ (400 | 401 | 403),
                message,
                ..
            } => Error::LoginRefused {
                registry: domain.to_owned(),
                status,
                message,
            },
            error => error,
        })
    }
}
