//! [`Http`]: the HTTP clients, whom they trust, and which addresses are near enough for a plain one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};

use super::certificates::Certificates;
use crate::client::ClientOptions;
use crate::{Error, Result};

const USER_AGENT: &str = concat!("rocker/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP clients of a [`Client`](crate::Client). Each is made when it is first needed, so that a machine without trusted
/// certificates can still use a registry of its own.
#[derive(Debug, Default)]
pub(crate) struct Http {
    clients: Mutex<HashMap<Key, reqwest::Client>>,
    /// Hosts, with their ports, and whether there are certificates for them alone.
    hosts: Mutex<HashMap<String, bool>>,
}

/// All that the making of an HTTP client depends on: two URLs of which it is the same may have the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    /// Past any proxy, since the host is this machine.
    is_near: bool,
    /// Without a limit on silence, since somebody else looks whether anything goes on.
    is_watched: bool,
}

/// What an HTTP client is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// Plain HTTP to this machine, past any proxy.
    Near,
    /// Plain HTTP to a machine of which somebody said that it is to be trusted.
    Plain,
    /// TLS, with whomever the system trusts.
    Verified,
    /// TLS with this host, which the owner of the machine has put down certificates for.
    Host(String),
    /// TLS with this host, whoever it is, which the owner of the machine may have put down a certificate to show it for.
    Unverified(String),
}

/// How the servers of one registry are reached.
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) http: &'a Http,
    pub(crate) options: &'a ClientOptions,
    /// The registry's host, if it need not prove who it is.
    pub(crate) lenient: Option<String>,
}

impl Reach<'_> {
    /// The client for `url`.
    pub(crate) fn client(&self, url: &Url) -> Result<reqwest::Client> {
        self.client_of(self.key(url), url)
    }

    /// The client for `url` of which no answer comes too late: the caller has to look whether anything goes on.
    pub(crate) fn watched_client(&self, url: &Url) -> Result<reqwest::Client> {
        let key = Key {
            is_watched: true,
            ..self.key(url)
        };
        self.client_of(key, url)
    }

    fn client_of(&self, key: Key, url: &Url) -> Result<reqwest::Client> {
        let clients = || {
            self.http
                .clients
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(client) = clients().get(&key) {
            return Ok(client.clone());
        }
        let client = build(&key, url, self.options)?;
        Ok(clients().entry(key).or_insert(client).clone())
    }

    fn key(&self, url: &Url) -> Key {
        let is_near = is_loopback(url);
        let kind = match url.scheme() {
            "http" if is_near => Kind::Near,
            "http" => Kind::Plain,
            _ if self.is_lenient(url) => Kind::Unverified(host(url)),
            _ => self.http.verified(url, self.options),
        };
        Key {
            kind,
            is_near,
            is_watched: false,
        }
    }

    /// Whether the host of `url` is the registry's, and that need not prove who it is.
    pub(crate) fn is_lenient(&self, url: &Url) -> bool {
        self.lenient.as_deref() == url.host_str() && self.lenient.is_some()
    }
}

impl Http {
    fn verified(&self, url: &Url, options: &ClientOptions) -> Kind {
        if options.certificates_dirs.is_empty() {
            return Kind::Verified;
        }
        let host = host(url);
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = *hosts
            .entry(host.clone())
            .or_insert_with(|| Certificates::are_there(&options.certificates_dirs, url));
        match is_known {
            true => Kind::Host(host),
            false => Kind::Verified,
        }
    }
}

/// The host of a URL, with its port.
fn host(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

fn build(key: &Key, url: &Url, options: &ClientOptions) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        // Redirects are followed one by one, since what may be sent changes on the way.
        .redirect(Policy::none())
        // A connection for each layer is faster than all layers in one HTTP/2 window.
        .http1_only()
        .tls_backend_preconfigured(tls(&key.kind, url, options)?);
    let builder = match key.is_watched {
        true => builder,
        false => builder.read_timeout(options.silence),
    };
    let builder = match key.is_near {
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

fn tls(kind: &Kind, url: &Url, options: &ClientOptions) -> Result<ClientConfig> {
    let failed = |source: rustls::Error| Error::HttpClient {
        source: source.into(),
    };
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let found = match kind {
        Kind::Host(_) | Kind::Unverified(_) => {
            Certificates::read(&options.certificates_dirs, url)?.unwrap_or_default()
        }
        _ => Certificates::default(),
    };
    let config = match kind {
        Kind::Near | Kind::Plain => config.with_root_certificates(RootCertStore::empty()),
        Kind::Verified => config.with_platform_verifier().map_err(failed)?,
        Kind::Host(_) => {
            let verifier = Verifier::new_with_extra_roots(found.authorities, provider);
            config
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier.map_err(failed)?))
        }
        Kind::Unverified(_) => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    };
    match found.own {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(failed),
        None => Ok(config.with_no_client_auth()),
    }
}

/// Takes everybody for whom he says that he is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a registry on this machine speaks TLS: certificates were put down for it.
pub(crate) fn has_certificates(options: &ClientOptions, url: &Url) -> bool {
    Certificates::are_there(&options.certificates_dirs, url)
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
        Some(IpAddr::V6(address)) => match within(address) {
            Some(address) => is_private_v4(address),
            None => {
                // NAT64 of a network's own (RFC 8215).
                address.segments()[..3] == [0x64, 0xff9b, 1]
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
                    || address.is_multicast()
            }
        },
        None => url
            .host_str()
            // A dot at the end says that nothing is missing behind it.
            .map(|host| host.trim_end_matches('.'))
            .is_none_or(|host| host == "localhost" || host.ends_with(".localhost")),
    }
}

/// The address of version 4 that one of version 6 leads to: written as one, behind a translator (RFC 6052), or through a tunnel
/// (RFC 3056).
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |[high, low]: [u16; 2]| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(join([high, low])),
        _ => address.to_ipv4(),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    // For measurements between networks (RFC 2544).
    let benchmarks = first == 198 && (18..20).contains(&second);
    shared
        || benchmarks
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
            "http://localhost.",
            "http://x.localhost.",
            "http://127.0.0.1.",
            "http://198.18.0.1",
            "http://198.19.255.255",
            "http://[::ffff:10.0.0.1]",
            "http://[::ffff:169.254.169.254]",
            "http://[64:ff9b::10.0.0.1]",
            "http://[64:ff9b::a9fe:a9fe]",
            "http://[64:ff9b:1::1]",
            "http://[2002:7f00:1::1]",
            "http://[2002:c0a8:0101::]",
        ] {
            assert!(is_private(&url(private)), "{private}");
        }
        for public in [
            "https://auth.docker.io",
            "https://1.1.1.1",
            "https://[2606:4700::1111]",
            "https://[::ffff:1.1.1.1]",
            "https://[64:ff9b::1.1.1.1]",
            "https://[2002:101:101::1]",
            "https://198.17.0.1",
            "https://198.20.0.1",
            "https://localhost.example",
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
    fn all_clients_can_be_made() {
        let host = || Kind::Host("a:443".into());
        for kind in [
            Kind::Near,
            Kind::Plain,
            Kind::Verified,
            host(),
            Kind::Unverified("a:443".into()),
        ] {
            for is_near in [false, true] {
                let kind = kind.clone();
                let key = Key {
                    kind,
                    is_near,
                    is_watched: false,
                };
                build(&key, &url("https://a"), &ClientOptions::default()).unwrap();
            }
        }
    }

    #[test]
    fn a_client_made_for_one_host_is_not_used_for_one_with_other_certificates_or_at_another_distance()
     {
        let http = Http::default();
        let options = ClientOptions::default();
        let reach = |lenient: Option<&str>| Reach {
            http: &http,
            options: &options,
            lenient: lenient.map(str::to_owned),
        };
        let key = |lenient: Option<&str>, at: &str| reach(lenient).key(&url(at));
        for (one, other) in [("https://a", "https://b"), ("https://a", "https://a:444")] {
            let lenient = |at: &str| key(url(at).host_str(), at);
            assert_ne!(lenient(one), lenient(other));
            assert_eq!(key(None, one), key(None, other));
        }
        let lenient = Some("a");
        assert_eq!(key(lenient, "https://a/x"), key(lenient, "https://a:443/y"));
        for scheme in ["http", "https"] {
            let at = |host| key(None, &format!("{scheme}://{host}"));
            assert_ne!(at("localhost"), at("registry.example"));
            assert_eq!(at("localhost"), at("127.0.0.1:5000"));
        }
    }
}
