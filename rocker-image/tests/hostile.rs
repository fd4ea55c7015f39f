//! Pulls from a registry that lies, breaks off, and sends people elsewhere.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostile::{Hostile, LAYER, MANIFEST, Parts, Reply};
use rocker_image::{
    Client, ClientOptions, Credentials, Digest, Error, LayerSink, PullOptions, Pulled, Result,
    Store,
};
use support::{Files, Record, block_on, pull, quick};

/// A server with an image, and a place to pull it to.
struct Scene {
    server: Hostile,
    parts: Parts,
    dir: tempfile::TempDir,
    store: Store,
    sink: Arc<Files>,
}

impl Scene {
    fn new() -> Self {
        Self::of(Parts::new())
    }

    fn of(parts: Parts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let (server, sink) = (Hostile::start(), Files::new(dir.path().join("layers")));
        parts.serve(&server);
        Self {
            server,
            parts,
            dir,
            store,
            sink,
        }
    }

    fn name(&self) -> String {
        format!("{}/image", self.server.address())
    }

    fn pull(&self) -> Result<Pulled> {
        self.pull_as(quick())
    }

    fn pull_as(&self, options: ClientOptions) -> Result<Pulled> {
        pull(
            &Client::new(options),
            &self.store,
            &self.name(),
            &self.sink,
            &Record::default(),
        )
    }

    /// Pulls in vain, and checks that nothing came of it.
    #[track_caller]
    fn fails(&self) -> Error {
        let error = self.pull().unwrap_err();
        assert_eq!(self.sink.names(), [""; 0], "no layer is left");
        assert_eq!(
            fs::read_dir(self.store.root().join("ingest"))
                .unwrap()
                .count(),
            0,
            "no temporary file is left"
        );
        let mut blobs = fs::read_dir(self.store.root().join("blobs/sha256")).unwrap();
        let config = Digest::sha256(self.parts.config.as_bytes());
        assert!(
            blobs.all(|blob| blob.unwrap().file_name() == config.hex()),
            "nothing but the configuration got its name"
        );
        assert!(self.store.images().unwrap().is_empty());
        error
    }

    fn manifest(&self, text: impl Into<String>) -> &Hostile {
        self.server
            .on_manifest(Reply::new(200, text.into()).header("Content-Type", MANIFEST))
    }

    fn layer_requests(&self) -> Vec<hostile::Request> {
        let path = format!("/v2/image/blobs/{}", self.parts.layer_digest());
        self.server
            .requests()
            .into_iter()
            .filter(|request| request.path == path)
            .collect()
    }
}

#[test]
fn an_honest_image_is_pulled_and_pulled_again_with_one_request() {
    let scene = Scene::new();
    assert!(scene.pull().unwrap().changed);
    assert_eq!(
        fs::read(scene.sink.dir.join(Digest::sha256(&scene.parts.tar).hex())).unwrap(),
        scene.parts.tar
    );
    let before = scene.server.requests().len();
    assert_eq!(before, 3);
    assert!(!scene.pull().unwrap().changed);
    assert_eq!(scene.server.requests().len(), before + 1);
    assert!(scene.dir.path().exists());
}

#[test]
fn a_configuration_of_another_size_than_the_manifest_says_is_refused_though_the_store_has_it() {
    let scene = Scene::new();
    assert!(scene.pull().unwrap().changed);
    let length = scene.parts.config.len();
    let right = format!("\"size\":{length},");
    assert_eq!(scene.parts.manifest.matches(&right).count(), 1);
    for wrong in [length - 1, length + 1] {
        let text = format!("\"size\":{wrong},");
        scene.manifest(scene.parts.manifest.replace(&right, &text));
        let error = scene.pull().unwrap_err();
        assert!(
            matches!(error, Error::WrongSize { expected, .. } if expected == wrong as u64),
            "{error}"
        );
    }
    scene.manifest(scene.parts.manifest.clone());
    assert!(!scene.pull().unwrap().changed);
}

#[test]
fn localhost_is_this_machine_without_asking_a_resolver() {
    let scene = Scene::new();
    let name = scene.name().replace("127.0.0.1", "localhost");
    assert!(
        pull(&Client::new(quick()), &scene.store, &name, &scene.sink, &())
            .unwrap()
            .changed
    );
}

#[test]
fn a_layer_that_is_not_what_its_name_says_is_refused() {
    let scene = Scene::new();
    let mut wrong = scene.parts.layer.clone();
    wrong[150_000] ^= 1;
    scene
        .server
        .on_blob(&scene.parts.layer_digest(), [Reply::new(200, wrong)]);
    match scene.fails() {
        Error::WrongDigest { expected, .. } => assert_eq!(expected, scene.parts.layer_digest()),
        error => panic!("{error}"),
    }
}

#[test]
fn a_layer_that_is_longer_or_shorter_than_announced_is_refused() {
    for longer in [true, false] {
        let scene = Scene::new();
        let mut wrong = scene.parts.layer.clone();
        if longer {
            wrong.push(0);
        } else {
            wrong.pop();
        }
        scene
            .server
            .on_blob(&scene.parts.layer_digest(), [Reply::new(200, wrong)]);
        let error = scene.fails();
        assert!(matches!(error, Error::WrongSize { .. }), "{error}");
    }
}

#[test]
fn a_layer_with_another_content_than_the_configuration_says_is_refused() {
    let mut parts = Parts::new();
    parts.config = parts.config.replace(
        &Digest::sha256(&parts.tar).to_string(),
        &Digest::sha256(b"else").to_string(),
    );
    parts.manifest = parts.manifest_of(LAYER);
    let error = Scene::of(parts).fails();
    assert!(
        matches!(&error, Error::WrongDigest { expected, .. } if *expected == Digest::sha256(b"else")),
        "{error}"
    );
}

#[test]
fn an_image_cannot_take_an_unpacked_layer_by_a_blob_that_holds_another() {
    let scene = Scene::new();
    scene.pull().unwrap();
    let secret = scene.store.import(
        &"private".parse().unwrap(),
        rocker_image::oci_spec::image::ImageConfiguration::default(),
        &b"another layer"[..],
        &*scene.sink,
    );
    let secret = secret.unwrap().layers()[0].diff_id.clone();
    let mut liar = scene.parts.clone();
    let own = Digest::sha256(&liar.tar).to_string();
    liar.config = liar.config.replace(&own, &secret.to_string());
    liar.manifest = liar.manifest_of(LAYER);
    liar.serve(&scene.server);
    match scene.pull().unwrap_err() {
        Error::WrongDigest { expected, .. } => assert_eq!(expected, secret),
        error => panic!("{error}"),
    }
    scene.parts.serve(&scene.server);
    let before = scene.layer_requests().len();
    assert!(!scene.pull().unwrap().changed);
    assert_eq!(scene.layer_requests().len(), before);
}

#[test]
fn a_wrong_configuration_or_manifest_is_refused() {
    let scene = Scene::new();
    let digest = Digest::sha256(scene.parts.config.as_bytes());
    scene.server.on_blob(
        &digest,
        [Reply::new(
            200,
            scene.parts.config.replace("amd64", "amd65"),
        )],
    );
    assert!(matches!(scene.fails(), Error::WrongDigest { .. }));
    scene.server.on_blob(
        &digest,
        [Reply::new(200, format!("{} ", scene.parts.config))],
    );
    assert!(matches!(scene.fails(), Error::WrongSize { .. }));

    let scene = Scene::new();
    let reply = Reply::new(200, scene.parts.manifest.clone()).header("Content-Type", MANIFEST);
    scene
        .server
        .on_manifest(reply.header("Docker-Content-Digest", Digest::sha256(b"else").to_string()));
    assert!(matches!(scene.fails(), Error::WrongDigest { .. }));

    let digest = Digest::sha256(b"what was asked for");
    let reply = Reply::new(200, scene.parts.manifest.clone()).header("Content-Type", MANIFEST);
    scene
        .server
        .on(format!("/v2/image/manifests/{digest}"), [reply]);
    let name = format!("{}@{digest}", scene.name());
    let error = pull(&Client::new(quick()), &scene.store, &name, &scene.sink, &()).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
}

#[test]
fn documents_that_are_not_one_manifest_are_refused() {
    let scene = Scene::new();
    scene.manifest(scene.parts.manifest.replacen('{', r#"{"manifests":[],"#, 1));
    assert!(matches!(scene.fails(), Error::AmbiguousDocument { .. }));
    scene
        .server
        .on_manifest(Reply::new(200, scene.parts.manifest.clone()).header(
            "Content-Type",
            "application/vnd.docker.distribution.manifest.v2+json",
        ));
    assert!(matches!(scene.fails(), Error::MediaTypeMismatch { .. }));
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    scene
        .server
        .on_manifest(Reply::new(200, r#"{"schemaVersion":1}"#).header("Content-Type", schema1));
    assert!(matches!(scene.fails(), Error::SchemaVersion1 { .. }));
    scene.manifest(" ".repeat((4 << 20) + 1));
    assert!(matches!(scene.fails(), Error::TooLarge { .. }));
}

#[test]
fn what_cannot_be_unpacked_is_not_downloaded() {
    let scene = Scene::new();
    scene.manifest(
        scene.parts.manifest_of(
            "application/vnd.oci.image.layer.v1.tar+\x1bxz"
                .replace('\x1b', "\\u001b")
                .as_str(),
        ),
    );
    let error = scene.fails();
    assert!(matches!(error, Error::UnsupportedMediaType { .. }));
    assert!(error.to_string().contains(r"tar+\u{1b}xz"), "{error}");
    assert!(scene.layer_requests().is_empty());

    let mut parts = Parts::new();
    parts.config = parts.config.replace(
        "\"diff_ids\":[",
        &format!("\"diff_ids\":[\"{}\",", Digest::sha256(b"")),
    );
    parts.manifest = parts.manifest_of(LAYER);
    let scene = Scene::of(parts);
    assert!(matches!(
        scene.fails(),
        Error::LayerCount {
            layers: 1,
            diff_ids: 2,
            ..
        }
    ));
    assert!(scene.layer_requests().is_empty());
}

#[test]
fn foreign_layers_come_from_the_registry_and_not_from_their_urls() {
    let mut parts = Parts::new();
    parts.manifest = parts.manifest_of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let scene = Scene::of(parts);
    scene.pull().unwrap();
    assert_eq!(scene.layer_requests().len(), 1);
}

#[test]
fn a_download_that_breaks_goes_on_where_it_broke() {
    for ranges in [true, false] {
        let scene = Scene::new();
        let whole = Reply {
            ranges,
            ..Reply::new(200, scene.parts.layer.clone())
        };
        let replies = [
            whole.clone().cut(100_000),
            whole.clone().cut(120_000),
            whole,
        ];
        scene.server.on_blob(&scene.parts.layer_digest(), replies);
        scene.pull().unwrap();
        let requests = scene.layer_requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[0].headers.get("range"), None);
        assert_eq!(requests[1].headers["range"], "bytes=100000-");
    }
}

#[test]
fn a_download_that_always_breaks_is_given_up() {
    let scene = Scene::new();
    scene.server.on_blob(
        &scene.parts.layer_digest(),
        [Reply::new(200, scene.parts.layer.clone()).cut(1000)],
    );
    let error = scene.pull().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(scene.sink.names(), [""; 0], "no layer is left");
    assert_eq!(scene.layer_requests().len(), 4);
}

#[test]
fn a_server_that_recovers_is_asked_again_and_one_that_does_not_is_named() {
    let scene = Scene::new();
    let right = Reply::new(200, scene.parts.manifest.clone()).header("Content-Type", MANIFEST);
    let path = "/v2/image/manifests/latest";
    let cut = right.clone().cut(20);
    let limited = Reply::new(429, "").header("Retry-After", "0");
    scene
        .server
        .on(path, [Reply::new(500, ""), limited, cut, right]);
    scene.pull().unwrap();

    let scene = Scene::new();
    let said = r#"{"errors":[{"code":"OOPS","message":"\u001b]0;x\u0007"}]}"#;
    scene.server.on(path, [Reply::new(502, said)]);
    let error = scene.fails();
    assert!(matches!(error, Error::UnexpectedStatus { status: 502, .. }));
    assert!(
        error.to_string().ends_with(r"502: OOPS: \u{1b}]0;x\u{7}"),
        "{error}"
    );
    assert_eq!(scene.server.requests().len(), 4);
}

#[test]
fn a_pause_that_is_too_long_is_an_error_at_once() {
    let scene = Scene::new();
    scene
        .server
        .on_manifest(Reply::new(429, "").header("Retry-After", "3600"));
    let start = Instant::now();
    assert!(
        matches!(scene.fails(), Error::RateLimited { retry_after: Some(pause), .. } if pause.as_secs() == 3600)
    );
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(scene.server.requests().len(), 1);
}

fn with_credentials(scene: &Scene) -> ClientOptions {
    quick().credentials(scene.server.address(), Credentials::basic("me", "secret"))
}

const ASK_BASIC: (&str, &str) = ("WWW-Authenticate", "Basic realm=\"x\"");

#[test]
fn credentials_do_not_follow_a_redirect_to_another_origin() {
    let scene = Scene::new();
    let elsewhere = Hostile::start();
    let digest = scene.parts.layer_digest();
    elsewhere.on("/elsewhere", [Reply::new(200, scene.parts.layer.clone())]);
    let right = Reply::new(200, scene.parts.manifest.clone()).header("Content-Type", MANIFEST);
    scene.server.on(
        "/v2/image/manifests/latest",
        [Reply::new(401, "").header(ASK_BASIC.0, ASK_BASIC.1), right],
    );
    let target = format!("http://{}/elsewhere", elsewhere.address());
    scene
        .server
        .on_blob(&digest, [Reply::new(307, "").header("Location", target)]);
    scene.pull_as(with_credentials(&scene)).unwrap();
    // "me:secret"
    assert_eq!(
        scene.layer_requests()[0].headers["authorization"],
        "Basic bWU6c2VjcmV0"
    );
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].headers.get("authorization"), None);
}

#[test]
fn an_error_does_not_tell_the_signature_of_the_place_it_was_redirected_to() {
    let scene = Scene::new();
    let storage = Hostile::start();
    let target = format!("http://{}/blob?signature=hunter2", storage.address());
    storage.on("/blob?signature=hunter2", [Reply::new(403, "")]);
    scene.server.on_blob(
        &scene.parts.layer_digest(),
        [Reply::new(307, "").header("Location", target)],
    );
    let error = scene.fails();
    assert!(
        matches!(error, Error::UnexpectedStatus { status: 403, .. }),
        "{error}"
    );
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}

#[test]
fn redirects_to_unsafe_places_and_without_end_are_not_followed() {
    for target in [
        "http://198.51.100.1/x",
        "ftp://a/b",
        "http://me:pw@127.0.0.1:1/",
        "file:///etc/passwd",
        "http://",
    ] {
        let scene = Scene::new();
        scene.server.on_blob(
            &scene.parts.layer_digest(),
            [Reply::new(302, "").header("Location", target)],
        );
        let error = scene.fails();
        assert!(matches!(error, Error::Redirect { .. }), "{target}: {error}");
    }
    let scene = Scene::new();
    let path = format!("/v2/image/blobs/{}", scene.parts.layer_digest());
    scene
        .server
        .on(path.clone(), [Reply::new(302, "").header("Location", path)]);
    assert!(matches!(scene.fails(), Error::Protocol { .. }));
    assert_eq!(scene.layer_requests().len(), 6);
}

#[test]
fn credentials_are_not_sent_unasked_and_refusal_is_called_so() {
    let scene = Scene::new();
    scene.pull_as(with_credentials(&scene)).unwrap();
    assert!(
        scene
            .server
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );

    let scene = Scene::new();
    scene
        .server
        .on_manifest(Reply::new(401, "").header(ASK_BASIC.0, ASK_BASIC.1));
    assert!(matches!(
        scene.fails(),
        Error::NoSuchImage { status: 401, .. }
    ));
    assert_eq!(
        scene.server.requests().len(),
        1,
        "there are no credentials to try"
    );
    let error = scene.pull_as(with_credentials(&scene)).unwrap_err();
    assert!(matches!(error, Error::NoSuchImage { status: 401, .. }));
    assert_eq!(scene.server.requests().len(), 3, "they are tried once");
    scene
        .server
        .on_manifest(Reply::new(401, "").header("WWW-Authenticate", "Negotiate"));
    assert!(matches!(scene.fails(), Error::UnknownChallenge { .. }));
}

#[test]
fn a_token_is_fetched_where_the_registry_says_and_shown_to_the_registry_alone() {
    let scene = Scene::new();
    let service = Hostile::start();
    service.on(
        "/token?service=s+s&scope=repository%3Aimage%3Apull",
        [Reply::new(200, r#"{"access_token":"t0k3n"}"#)],
    );
    let ask = format!(
        "Bearer realm=\"http://{}/token\",service=\"s s\",scope=\"repository:other:push\"",
        service.address()
    );
    let right = Reply::new(200, scene.parts.manifest.clone()).header("Content-Type", MANIFEST);
    scene.server.on(
        "/v2/image/manifests/latest",
        [
            Reply::new(401, "").header("WWW-Authenticate", ask.clone()),
            right,
        ],
    );
    let whole = Reply::new(200, scene.parts.layer.clone());
    // The token expires in the middle.
    scene.server.on_blob(
        &scene.parts.layer_digest(),
        [Reply::new(401, "").header("WWW-Authenticate", ask), whole],
    );
    scene.pull_as(with_credentials(&scene)).unwrap();
    assert_eq!(service.requests().len(), 2);
    assert_eq!(
        service.requests()[0].headers["authorization"],
        "Basic bWU6c2VjcmV0"
    );
    assert!(
        scene.server.requests()[1..]
            .iter()
            .all(|request| request.headers["authorization"] == "Bearer t0k3n")
    );
}

#[test]
fn credentials_are_not_sent_to_a_token_service_at_an_unsafe_place() {
    for realm in [
        "http://198.51.100.1/token",
        "https://169.254.169.254/token",
        "https://localhost/token",
        "x",
    ] {
        let scene = Scene::new();
        let ask = format!("Bearer realm=\"{realm}\"");
        scene
            .server
            .on_manifest(Reply::new(401, "").header("WWW-Authenticate", ask));
        let error = scene.pull_as(with_credentials(&scene)).unwrap_err();
        assert!(matches!(error, Error::Realm { .. }), "{realm}: {error}");
    }
}

/// Does to the archive what it is made of.
struct Sink<F>(F);

impl<F: Fn(&mut dyn Read) -> io::Result<()> + Send + Sync> LayerSink for Sink<F> {
    fn contains(&self, _: &Digest) -> bool {
        false
    }

    fn unpack(&self, _: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        (self.0)(tar)
    }
}

fn pull_into(
    scene: &Scene,
    unpack: impl Fn(&mut dyn Read) -> io::Result<()> + Send + Sync + 'static,
) -> Result<Pulled> {
    let client = Client::new(quick());
    let options = PullOptions::default().any_platform(true);
    block_on(client.pull(
        &scene.store,
        &scene.name().parse().unwrap(),
        &options,
        Arc::new(Sink(unpack)),
        &(),
    ))
}

#[test]
fn a_sink_that_does_not_read_to_the_end_or_fails_or_panics_fails_the_pull() {
    let scene = Scene::new();
    let error = pull_into(&scene, |tar| tar.read_exact(&mut vec![0; 300_000])).unwrap_err();
    assert!(matches!(error, Error::SinkStoppedEarly { .. }), "{error}");
    let error = pull_into(&scene, |_| Err(io::Error::other("disk full"))).unwrap_err();
    assert!(matches!(error, Error::Unpack { .. }), "{error}");
    let error = pull_into(&scene, |_| panic!("on purpose")).unwrap_err();
    assert!(matches!(error, Error::UnpackPanicked { .. }), "{error}");
    assert!(scene.store.images().unwrap().is_empty());
    assert_eq!(
        fs::read_dir(scene.store.root().join("ingest"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn nothing_is_collected_while_an_image_is_being_put_into_the_store() {
    let scene = Scene::new();
    let store = scene.store.clone();
    let pulled = pull_into(&scene, move |tar| {
        assert!(store.remove_unreferenced().unwrap().deferred);
        io::copy(tar, &mut io::sink()).map(drop)
    });
    pulled.unwrap();
    let removed = scene.store.remove_unreferenced().unwrap();
    assert_eq!((removed.blobs, removed.deferred), (0, false));
}
