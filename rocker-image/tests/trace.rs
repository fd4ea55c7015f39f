//! What a pull tells whoever listens: its requests, and what it does to the store.
#![allow(
    unreachable_pub,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[path = "support/hostile.rs"]
mod hostile;
#[path = "../../tests/registry/mod.rs"]
mod registry;
mod support;

use against_strace::Listener;
use hostile::{Hostile, MANIFEST, Parts, Reply};
use registry::Registry;
use rocker_image::{Client, Credentials, Store};
use support::{Files, pull, quick};

#[test]
fn what_a_pull_does_to_the_store_is_reported_call_by_call() {
    fake_host::run(|host| {
        // A second registry below strace would want the port of the first.
        let dir = host.dir("strace");
        let kept = dir.join("name");
        let registry = match std::fs::read_to_string(&kept) {
            Ok(_) => None,
            Err(_) => Some(Registry::start(host)),
        };
        if let Some(registry) = &registry {
            std::fs::write(&kept, registry.push_busybox("busybox:1")).unwrap();
        }
        let name = std::fs::read_to_string(&kept).unwrap();
        let calls = against_strace::hold_unordered(
            "what_a_pull_does_to_the_store_is_reported_call_by_call",
            &dir,
            in_the_store,
            || {
                let store = Store::open(host.dir("store").join("images")).unwrap();
                let sink = Files::new(host.dir("layers"));
                let client = Client::new(quick());
                pull(&client, &store, &name, &sink, &()).unwrap();
                let reference = name.parse().unwrap();
                store.untag(&reference).unwrap();
                let removed = store.remove_unreferenced().unwrap();
                assert_eq!(removed.blobs, 4);
            },
        );
        for name in [
            "mkdir(", "openat(", "flock(", "fsync(", "rename(", "unlink(", "statx(",
        ] {
            assert!(calls.iter().any(|call| call.starts_with(name)), "{name}");
        }
        let blob = |call: &&String| call.starts_with("rename(") && call.contains("/blobs/sha256/");
        // The manifest, the configuration, and two layers.
        assert_eq!(calls.iter().filter(blob).count(), 4);
    });
}

/// The calls that name a file of the store, or all of a kind that has nothing but descriptors. A descriptor's number
/// depends on what other threads have open.
fn in_the_store(call: &str) -> Option<String> {
    let (name, args) = call.split_once('(')?;
    let (args, result) = args.rsplit_once(" = ")?;
    let result = result.parse::<u32>().map_or(result, |_| "done");
    match name {
        "fsync" | "flock" => {
            let how = args.split_once(", ").map_or("", |(_, how)| how);
            Some(format!("{name}({how} = {result}"))
        }
        "openat" | "mkdir" | "rename" | "unlink" if args.contains("\"/run/store/") => {
            Some(format!("{name}({args} = {result}"))
        }
        "statx" if args.contains("\"/run/store/") => {
            let args = args.split_inclusive("STATX_ALL").next()?;
            Some(format!("statx({args}) = {result}"))
        }
        _ => None,
    }
}

#[test]
fn each_request_is_told_and_no_token_password_or_signature_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (server, service, storage) = (Hostile::start(), Hostile::start(), Hostile::start());
    let parts = Parts::new();
    parts.serve(&server);
    service.on(
        "/token?service=s&scope=repository%3Aimage%3Apull",
        [Reply::new(200, r#"{"access_token":"t0k3n"}"#)],
    );
    let ask = format!(
        "Bearer realm=\"http://{}/token\",service=\"s\"",
        service.address()
    );
    let manifest = Reply::new(200, parts.manifest.clone()).header("Content-Type", MANIFEST);
    server.on(
        "/v2/image/manifests/latest",
        [
            Reply::new(401, "").header("WWW-Authenticate", ask),
            manifest,
        ],
    );
    let elsewhere = format!("http://{}/layer?signature=s1gn", storage.address());
    storage.on(
        "/layer?signature=s1gn",
        [Reply::new(200, parts.layer.clone())],
    );
    let moved = Reply::new(307, "").header("Location", elsewhere);
    server.on_blob(&parts.layer_digest(), [moved]);

    let store = Store::open(dir.path().join("store")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let credentials = Credentials::basic("somebody", "pa55word");
    let client = Client::new(quick().credentials(server.address(), credentials));
    let name = format!("{}/image", server.address());
    let calls = Listener::during(|| {
        pull(&client, &store, &name, &sink, &()).unwrap();
    });

    let requests: Vec<&str> = calls
        .iter()
        .filter_map(|call| call.strip_prefix("GET(http://"))
        .collect();
    let (of, at) = (server.address(), storage.address());
    for expected in [
        format!("{of}/v2/image/manifests/latest) = 401"),
        format!("{}/token) = 200", service.address()),
        format!("{of}/v2/image/manifests/latest) = 200"),
        format!("{of}/v2/image/blobs/{}) = 307", parts.layer_digest()),
        format!("{at}/layer) = 200"),
    ] {
        let times = requests.iter().filter(|one| **one == expected).count();
        assert_eq!(times, 1, "{expected} in {requests:#?}");
    }
    // "somebody:pa55word" too, as it is sent.
    for secret in ["t0k3n", "pa55word", "s1gn", "c29tZWJvZHk6cGE1NXdvcmQ"] {
        assert!(calls.iter().all(|call| !call.contains(secret)), "{secret}");
    }
}
