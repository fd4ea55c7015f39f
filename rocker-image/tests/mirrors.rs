//! Images that come from elsewhere than their names say, because the machine's owner wants it so.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::fs;

use hostile::{Hostile, Parts, Reply};
use rocker_image::{
    Client, ClientOptions, Credentials, Error, Platform, Pulled, Registries, Result, Store,
};
use support::{Files, Record, block_on, pull, quick};

/// A registry, a mirror of it, and a machine that is told of the mirror.
struct Scene {
    origin: Hostile,
    mirror: Hostile,
    parts: Parts,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (origin, mirror, parts) = (Hostile::start(), Hostile::start(), Parts::new());
        parts.serve(&origin);
        let dir = tempfile::tempdir().unwrap();
        Self {
            origin,
            mirror,
            parts,
            dir,
        }
    }

    fn name(&self) -> String {
        format!("{}/image", self.origin.address())
    }

    /// The mirror's answers are those of a registry where the image has the same name.
    fn options(&self, more: &str) -> ClientOptions {
        let path = self.dir.path().join("registries.conf");
        let (origin, mirror) = (self.origin.address(), self.mirror.address());
        let text = format!(
            "[[registry]]\nlocation = \"{origin}\"\n{more}\n[[registry.mirror]]\nlocation = \"{mirror}\"\n"
        );
        fs::write(&path, text).unwrap();
        quick().retries(0).registries(Registries::at(path))
    }

    fn pull(&self, options: ClientOptions) -> Result<Pulled> {
        let store = Store::open(self.dir.path().join("store")).unwrap();
        let sink = Files::new(self.dir.path().join("layers"));
        let client = Client::new(options);
        pull(&client, &store, &self.name(), &sink, &Record::default())
    }

    fn is_right(&self, pulled: &Pulled) {
        let names: Vec<String> = pulled
            .image
            .references()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, [format!("{}:latest", self.name())]);
        assert_eq!(
            self.dir
                .path()
                .join("store/ingest")
                .read_dir()
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn what_a_mirror_has_is_not_asked_of_the_registry_and_keeps_its_name() {
    let scene = Scene::new();
    scene.parts.serve(&scene.mirror);
    let pulled = scene.pull(scene.options("")).unwrap();
    scene.is_right(&pulled);
    assert!(scene.origin.requests().is_empty());
    let client = Client::new(scene.options(""));
    let name = scene.name().parse().unwrap();
    let platform: Platform = "linux/amd64".parse().unwrap();
    let resolved = block_on(client.resolve(&name, &platform)).unwrap();
    assert_eq!(resolved.digest, *pulled.image.manifest_digest());
    assert!(scene.origin.requests().is_empty());
}

#[test]
fn what_a_mirror_lacks_comes_from_the_registry() {
    // Nothing at all; no layer.
    for has_manifest in [false, true] {
        let scene = Scene::new();
        if has_manifest {
            scene.parts.serve(&scene.mirror);
            scene
                .mirror
                .on_blob(&scene.parts.layer_digest(), [Reply::new(404, "")]);
        }
        scene.is_right(&scene.pull(scene.options("")).unwrap());
        assert_eq!(
            scene.origin.requests().len(),
            if has_manifest { 1 } else { 3 }
        );
    }
}

#[test]
fn a_download_that_a_mirror_breaks_off_goes_on_from_the_registry() {
    let scene = Scene::new();
    scene.parts.serve(&scene.mirror);
    let half = Reply::new(200, scene.parts.layer.clone()).cut(100_000);
    scene.mirror.on_blob(&scene.parts.layer_digest(), [half]);
    scene.is_right(&scene.pull(scene.options("")).unwrap());
    let requests = scene.origin.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].headers["range"], "bytes=100000-");
}

#[test]
fn a_mirror_that_lies_does_no_harm() {
    let right = Scene::new().parts.layer;
    let mut wrong = right.clone();
    wrong[150_000] ^= 1;
    for lie in [wrong, right[1..].to_vec(), [&right[..], b"x"].concat()] {
        let scene = Scene::new();
        scene.parts.serve(&scene.mirror);
        scene
            .mirror
            .on_blob(&scene.parts.layer_digest(), [Reply::new(200, lie)]);
        scene.is_right(&scene.pull(scene.options("")).unwrap());
    }
}

#[test]
fn what_nobody_has_is_said_of_the_registry() {
    let scene = Scene::new();
    let origin = Reply::new(403, r#"{"errors":[{"code":"GO AWAY"}]}"#);
    scene.origin.on_manifest(origin);
    let error = scene.pull(scene.options("")).unwrap_err();
    assert!(error.to_string().contains("GO AWAY"), "{error}");
}

#[test]
fn a_mirror_is_not_shown_what_is_the_registrys() {
    let scene = Scene::new();
    let ask = Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x");
    scene.mirror.on_manifest(ask);
    let secret = Credentials::basic("me", "secret");
    let options = scene
        .options("")
        .credentials(scene.origin.address(), secret);
    scene.is_right(&scene.pull(options).unwrap());
    let requests = scene.mirror.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );
}

#[test]
fn a_blocked_registry_and_its_mirrors_are_not_asked() {
    let scene = Scene::new();
    scene.parts.serve(&scene.mirror);
    let error = scene.pull(scene.options("blocked = true")).unwrap_err();
    assert!(matches!(error, Error::Blocked { .. }), "{error}");
    assert!(scene.origin.requests().is_empty() && scene.mirror.requests().is_empty());
}

#[test]
fn an_insecure_registry_may_speak_plain_http() {
    let scene = Scene::new();
    scene.parts.serve(&scene.mirror);
    let options = scene.options("insecure = true");
    scene.mirror.on_manifest(Reply::new(404, ""));
    scene.is_right(&scene.pull(options).unwrap());
    assert_eq!(scene.origin.requests().len(), 3);
}
