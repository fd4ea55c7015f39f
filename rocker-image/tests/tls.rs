//! Registries that speak TLS, with certificates of authorities that the system does not know.
#![allow(
    unreachable_pub,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[path = "../../tests/registry/mod.rs"]
mod registry;
mod support;

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use fake_host::Host;
use registry::Registry;
use rocker_image::{Client, ClientOptions, Error, Pulled, Result, Store};
use support::{Files, pull, quick};

/// Pulls an image into a store of its own.
fn get(host: &Host, name: &str, options: ClientOptions) -> Result<Pulled> {
    let dir = tempfile::tempdir_in(host.dir("stores")).unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    pull(&Client::new(options.retries(0)), &store, name, &sink, &())
}

/// A directory of certificates, with these files for the registry.
fn certificates(host: &Host, name: &str, files: &[(&Path, &str)]) -> PathBuf {
    let dir = host.dir("certs.d");
    let own = dir.join(name);
    fs::create_dir_all(&own).unwrap();
    for (from, to) in files {
        fs::copy(from, own.join(to)).unwrap();
    }
    dir
}

#[test]
fn a_registry_is_known_by_the_authority_that_was_put_down_for_it() {
    fake_host::run(|host| {
        let (registry, authority) = Registry::start_tls(host, Registry::FAR_ADDRESS, false);
        let name = registry.push_busybox("busybox");
        let error = get(host, &name, quick()).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        // Somebody else's authority is none for this registry.
        let other = certificates(host, "192.0.2.1:5001", &[(&authority, "ca.crt")]);
        get(host, &name, quick().certificates_dir(&other)).unwrap_err();
        let dir = certificates(host, Registry::FAR_ADDRESS, &[(&authority, "ca.crt")]);
        get(
            host,
            &name,
            quick().certificates_dir("/nowhere").certificates_dir(&dir),
        )
        .unwrap();

        fs::write(
            dir.join(Registry::FAR_ADDRESS).join("more.crt"),
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let error = get(host, &name, quick().certificates_dir(&dir)).unwrap_err();
        assert!(
            matches!(error, Error::Certificates { .. }) && error.source().is_some(),
            "{error}"
        );
    });
}

#[test]
fn a_registry_that_need_not_prove_who_it_is_is_asked_by_tls_or_else_without() {
    fake_host::run(|host| {
        let (registry, _) = Registry::start_tls(host, Registry::FAR_ADDRESS, false);
        let name = registry.push_busybox("busybox");
        get(host, &name, quick().tls_verify(false)).unwrap();
        drop(registry);

        let plain = Registry::start_far(host);
        let name = plain.push_busybox("busybox");
        get(host, &name, quick()).unwrap_err();
        get(host, &name, quick().tls_verify(false)).unwrap();
    });
}

#[test]
fn a_registry_on_this_machine_with_certificates_speaks_tls() {
    fake_host::run(|host| {
        let (registry, authority) = Registry::start_tls(host, Registry::ADDRESS, false);
        let name = registry.push_busybox("busybox");
        get(host, &name, quick()).unwrap_err();
        let dir = certificates(host, Registry::ADDRESS, &[(&authority, "ca.crt")]);
        get(host, &name, quick().certificates_dir(dir)).unwrap();
    });
}

#[test]
fn a_registry_that_wants_a_certificate_is_shown_the_one_for_it() {
    fake_host::run(|host| {
        let (registry, authority) = Registry::start_tls(host, Registry::FAR_ADDRESS, true);
        let name = registry.push_busybox("busybox");
        let dir = certificates(host, Registry::FAR_ADDRESS, &[(&authority, "ca.crt")]);
        get(host, &name, quick().certificates_dir(&dir)).unwrap_err();
        let file = |name| authority.with_file_name(name);
        certificates(
            host,
            Registry::FAR_ADDRESS,
            &[
                (&file("client.cert"), "client.cert"),
                (&file("client.key"), "client.key"),
            ],
        );
        get(host, &name, quick().certificates_dir(&dir)).unwrap();
    });
}
