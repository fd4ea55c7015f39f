//! What is shown to whom: credentials from files and helpers, tokens, and logging in.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::fs;
use std::path::PathBuf;

use hostile::{Hostile, MANIFEST, Parts, Reply, Request};
use rocker_image::{AuthFiles, Client, ClientOptions, Credentials, Error, Pulled, Result, Store};
use support::{Files, block_on, pull, quick};

/// A registry with an image, that wants to know who asks.
struct Scene {
    server: Hostile,
    dir: tempfile::TempDir,
}

impl Scene {
    /// It asks with the challenge `ask`, where `{}` stands for its address.
    fn new(ask: &str) -> Self {
        let (server, parts) = (Hostile::start(), Parts::new());
        parts.serve(&server);
        let ask =
            Reply::new(401, "").header("WWW-Authenticate", ask.replace("{}", &server.address()));
        let right = Reply::new(200, parts.manifest.clone()).header("Content-Type", MANIFEST);
        server.on("/v2/image/manifests/latest", [ask.clone(), right]);
        server.on("/v2/", [ask, Reply::new(200, "")]);
        let dir = tempfile::tempdir().unwrap();
        Self { server, dir }
    }

    fn auth_file(&self, entries: &str) -> ClientOptions {
        fs::write(self.path(), format!("{{\"auths\":{{{entries}}}}}")).unwrap();
        quick().auth_files(AuthFiles::at([self.path()]))
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("auth.json")
    }

    fn pull(&self, options: ClientOptions) -> Result<Pulled> {
        let store = Store::open(self.dir.path().join("store")).unwrap();
        let sink = Files::new(self.dir.path().join("layers"));
        let name = format!("{}/image", self.server.address());
        pull(&Client::new(options), &store, &name, &sink, &())
    }

    fn asked(&self, path: &str) -> Vec<Request> {
        let mut requests = self.server.requests();
        requests.retain(|request| request.path.starts_with(path));
        requests
    }
}

/// "me:secret"
const BASIC: &str = "Basic bWU6c2VjcmV0";
const BEARER: &str = "Bearer realm=\"http://{}/token\",service=\"s\"";

#[test]
fn credentials_come_from_a_file_when_the_registry_asks() {
    let scene = Scene::new("Basic realm=x");
    let address = scene.server.address();
    let others = format!(r#""{address}/other":{{"auth":"eDp5"}},"x":{{"auth":"eDp5"}}"#);
    let own = format!(r#"{others},"{address}":{{"auth":"bWU6c2VjcmV0"}}"#);
    scene.pull(scene.auth_file(&own)).unwrap();
    let requests = scene.server.requests();
    assert_eq!(requests[0].headers.get("authorization"), None);
    assert!(
        requests[1..]
            .iter()
            .all(|request| request.headers["authorization"] == BASIC)
    );

    let scene = Scene::new("Basic realm=x");
    let error = scene.pull(scene.auth_file(&others)).unwrap_err();
    assert!(
        matches!(error, Error::NoSuchImage { status: 401, .. }),
        "{error}"
    );

    // What is given explicitly is used, and the file not even read.
    let scene = Scene::new("Basic realm=x");
    let options = scene
        .auth_file("")
        .credentials(scene.server.address(), Credentials::basic("me", "secret"));
    fs::write(scene.path(), "damaged").unwrap();
    scene.pull(options.clone()).unwrap();
    assert_eq!(scene.server.requests()[1].headers["authorization"], BASIC);

    // A damaged file is one only if the registry asks.
    let scene = Scene::new("Basic realm=x");
    fs::write(scene.path(), "damaged").unwrap();
    let files = quick().auth_files(AuthFiles::at([scene.path()]));
    assert!(matches!(
        scene.pull(files.clone()),
        Err(Error::InvalidDocument { .. })
    ));
    assert!(scene.pull(files).is_ok(), "it does not ask again");
}

#[test]
fn an_identity_token_is_shown_to_the_token_service_alone_in_the_body_of_a_post() {
    let scene = Scene::new(BEARER);
    scene
        .server
        .on("/token", [Reply::new(200, r#"{"access_token":"t0k3n"}"#)]);
    let options = quick().credentials(scene.server.address(), Credentials::identity_token("1d&"));
    scene.pull(options).unwrap();
    let [request] = &scene.asked("/token")[..] else {
        panic!("one request");
    };
    assert_eq!(request.method, "POST");
    assert_eq!(
        request.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        request.body,
        "service=s&scope=repository%3Aimage%3Apull&grant_type=refresh_token&client_id=rocker&refresh_token=1d%26"
    );
    assert_eq!(request.headers.get("authorization"), None);
    let requests = scene.asked("/v2/");
    assert!(
        requests[1..]
            .iter()
            .all(|request| request.headers["authorization"] == "Bearer t0k3n")
    );
}

#[test]
fn a_registry_token_needs_no_token_service_and_is_tried_once() {
    let scene = Scene::new(BEARER);
    let options = quick().credentials(scene.server.address(), Credentials::registry_token("t0k3n"));
    scene.pull(options.clone()).unwrap();
    assert_eq!(
        scene.asked("/v2/")[1].headers["authorization"],
        "Bearer t0k3n"
    );
    assert!(scene.asked("/token").is_empty());

    let scene = Scene::new(BEARER);
    let ask = Reply::new(401, "").header("WWW-Authenticate", "Bearer realm=\"https://a.example\"");
    scene.server.on("/v2/image/manifests/latest", [ask]);
    let options = quick().credentials(scene.server.address(), Credentials::registry_token("t0k3n"));
    let error = scene.pull(options).unwrap_err();
    assert!(
        matches!(error, Error::NoSuchImage { status: 401, .. }),
        "{error}"
    );
    assert_eq!(scene.server.requests().len(), 2);
}

#[test]
fn a_token_service_that_redirects_gets_no_credentials_elsewhere() {
    let scene = Scene::new(BEARER);
    let elsewhere = Hostile::start();
    let target = format!("http://{}/token", elsewhere.address());
    let path = "/token?service=s&scope=repository%3Aimage%3Apull";
    scene
        .server
        .on(path, [Reply::new(307, "").header("Location", target)]);
    let options = quick().credentials(scene.server.address(), Credentials::basic("me", "secret"));
    let error = scene.pull(options).unwrap_err();
    assert!(matches!(error, Error::Token { status: 307, .. }), "{error}");
    assert_eq!(scene.asked("/token")[0].headers["authorization"], BASIC);
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_registry_is_asked_for_itself_and_not_for_an_image_whether_it_lets_somebody_in() {
    let login = |scene: &Scene, credentials: Credentials| {
        let registry = format!("http://{}/v2/", scene.server.address());
        block_on(Client::new(quick()).login(&registry, &credentials))
    };
    let basic = Credentials::basic("me", "secret");
    let scene = Scene::new(BEARER);
    scene.server.on(
        "/token?service=s",
        [Reply::new(200, r#"{"token":"t0k3n"}"#)],
    );
    login(&scene, basic.clone()).unwrap();
    let requests = scene.server.requests();
    let paths: Vec<&str> = requests
        .iter()
        .map(|request| request.path.as_str())
        .collect();
    assert_eq!(paths, ["/v2/", "/token?service=s", "/v2/"]);
    assert_eq!(requests[1].headers["authorization"], BASIC);
    assert_eq!(requests[2].headers["authorization"], "Bearer t0k3n");

    scene.server.on("/token?service=s", [Reply::new(401, "")]);
    for ask in [BEARER, "Basic realm=x"] {
        let ask = ask.replace("{}", &scene.server.address());
        let ask = Reply::new(401, "").header("WWW-Authenticate", ask);
        scene.server.on("/v2/", [ask]);
        let error = login(&scene, basic.clone()).unwrap_err();
        assert!(
            matches!(error, Error::LoginRefused { status: 401, .. }),
            "{error}"
        );
    }
    scene.server.on("/v2/", [Reply::new(404, "")]);
    let error = login(&scene, basic.clone()).unwrap_err();
    assert!(matches!(error, Error::UnexpectedStatus { .. }), "{error}");
    let error = block_on(Client::new(quick()).login("nodot", &basic)).unwrap_err();
    assert!(matches!(error, Error::InvalidReference { .. }), "{error}");
}

#[test]
fn a_token_service_in_a_bad_moment_is_asked_again() {
    let scene = Scene::new(BEARER);
    let ask = BEARER.replace("{}", &scene.server.address());
    let ask = Reply::new(401, "").header("WWW-Authenticate", ask);
    let manifest = Reply::new(200, Parts::new().manifest).header("Content-Type", MANIFEST);
    scene.server.on(
        "/v2/image/manifests/latest",
        [ask.clone(), ask.clone(), ask, manifest],
    );
    scene.server.on(
        "/token?service=s&scope=repository%3Aimage%3Apull",
        [
            Reply::new(503, ""),
            Reply::new(429, ""),
            Reply::new(200, r#"{"token":"t0k3n"}"#),
        ],
    );
    scene.pull(quick()).unwrap();
    assert_eq!(scene.asked("/token").len(), 3);
}
