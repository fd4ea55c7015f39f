//! [`Http`]: the two HTTP clients, and which addresses are near enough for the plain one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::{Error, Result};

const USER_AGENT: &str = concat!("rocker/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One client for plain HTTP to this machine, past any proxy, and one for all else. Each is made when it is first
/// needed, so that a machine without trusted certificates can still use a registry of its own.
#[derive(Debug, Default)]
pub(crate) struct Http {
    plain: OnceLock<reqwest::Client>,
    tls: OnceLock<reqwest::Client>,
}

impl Http {
    /// The client for `url`, which gives up when nothing comes for as long as `silence`.
    pub(crate) fn client(&self, url: &Url, silence: Duration) -> Result<&reqwest::Client> {
        let (cell, plain) = match url.scheme() {
            "http" => (&self.plain, true),
            _ => (&self.tls, false),
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = build(plain, silence)?;
        Ok(cell.get_or_init(|| client))
    }
}

fn build(plain: bool, silence: Duration) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(silence)
        // Redirects are followed one by one, since what may be sent changes on the way.
        .redirect(Policy::none())
        // A connection for each layer is faster than all layers in one HTTP/2 window.
        .http1_only()
        .tls_backend_preconfigured(tls(plain)?);
    let builder = match plain {
        // RFC 6761: this name is this machine, whatever a resolver says.
        true => builder.no_proxy().resolve_to_addrs(
            "localhost",
            &[
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            ],
        ),
        false => builder,
    };
    builder.build().map_err(|source| Error::HttpClient {
        source: source.into(),
    })
}

fn tls(plain: bool) -> Result<ClientConfig> {
    let failed = |source: rustls::Error| Error::HttpClient {
        source: source.into(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    Ok(match plain {
        true => config
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
        false => config
            .with_platform_verifier()
            .map_err(failed)?
            .with_no_client_auth(),
    })
}

/// Whether the host of `url` is this machine for certain.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match address(url) {
        Some(address) => address.is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

/// Whether the host of `url` is an address, or the name of one, that is no public place.
pub(crate) fn is_private(url: &Url) -> bool {
    match address(url) {
        Some(IpAddr::V4(address)) => is_private_v4(address),
        Some(IpAddr::V6(address)) => match address.to_ipv4() {
            Some(address) => is_private_v4(address),
            None => {
                address.is_unique_local()
                    || address.is_unicast_link_local()
                    || address.is_multicast()
            }
        },
        None => url
            .host_str()
            .is_none_or(|host| host == "localhost" || host.ends_with(".localhost")),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    shared
        || first == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
}

fn address(url: &Url) -> Option<IpAddr> {
    url.host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Whether two URLs have the same scheme, host and port.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn loopback_is_three_things_however_they_are_written() {
        for near in [
            "http://localhost",
            "http://LOCALHOST:5000",
            "http://127.0.0.1",
            "http://127.9.9.9:1",
            "http://[::1]:5000",
            "http://0x7f000001",
        ] {
            assert!(is_loopback(&url(near)), "{near}");
        }
        for far in [
            "http://localhost.example.com",
            "http://127.0.0.1.nip.io",
            "http://10.0.0.1",
            "http://[::2]",
            "http://0.0.0.0",
        ] {
            assert!(!is_loopback(&url(far)), "{far}");
        }
    }

    #[test]
    fn no_address_of_a_private_network_is_public_in_any_spelling() {
        for private in [
            "http://169.254.169.254",
            "http://10.1.1.1",
            "http://192.168.0.1",
            "http://172.16.0.1",
            "http://100.64.0.1",
            "http://0.0.0.0",
            "http://127.0.0.1",
            "http://2852039166",
            "http://[::1]",
            "http://[::]",
            "http://[fe80::1]",
            "http://[fd00::1]",
            "http://[::ffff:169.254.169.254]",
            "http://[::ffff:a00:1]",
            "http://localhost",
            "http://x.localhost",
        ] {
            assert!(is_private(&url(private)), "{private}");
        }
        for public in [
            "https://auth.docker.io",
            "https://1.1.1.1",
            "https://[2606:4700::1111]",
        ] {
            assert!(!is_private(&url(public)), "{public}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(same_origin(&url("https://a/x"), &url("https://a:443/y")));
        for other in ["http://a:443", "https://a:444", "https://b", "https://a.b"] {
            assert!(!same_origin(&url("https://a"), &url(other)), "{other}");
        }
    }

    #[test]
    fn both_clients_can_be_made() {
        build(true, Duration::from_secs(1)).unwrap();
        build(false, Duration::from_secs(1)).unwrap();
    }
}
