//! Nothing is taken for what it is not: digests of either algorithm, sizes, media types, names that would be paths.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hostile::{Hostile, LAYER, MANIFEST, Parts, Reply};
use rocker_image::{Algorithm, Client, Digest, Error, Pulled, Result, Store};
use support::{Files, pull, quick};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn sha512(content: &[u8]) -> Digest {
    use sha2::Digest as _;
    let digits = sha2::Sha512::digest(content);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha512:{digits}").parse().unwrap()
}

/// Whether a blob of the store has the digest that it is named after.
fn is_what_it_is_called(path: &str) -> bool {
    let Some((_, name)) = path.split_once("/blobs/") else {
        return false;
    };
    let content = fs::read(path).unwrap();
    let digest = match name.starts_with("sha512/") {
        true => sha512(&content),
        false => Digest::sha256(&content),
    };
    name.ends_with(digest.hex())
}

/// A server, and a place to pull to.
struct Scene {
    server: Hostile,
    dir: tempfile::TempDir,
    store: Store,
    sink: Arc<Files>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("a/store")).unwrap();
        let sink = Files::new(dir.path().join("a/layers"));
        let server = Hostile::start();
        Self {
            server,
            dir,
            store,
            sink,
        }
    }

    fn of(parts: &Parts) -> Self {
        let scene = Self::new();
        parts.serve(&scene.server);
        scene
    }

    fn pull(&self, suffix: &str) -> Result<Pulled> {
        let name = format!("{}/image{suffix}", self.server.address());
        pull(&Client::new(quick()), &self.store, &name, &self.sink, &())
    }

    /// Every file there is, but for locks, and content that is what its name says: that is kept for the next pull.
    fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), found),
                    _ => found.push(entry.path().display().to_string()),
                }
            }
        }
        let mut found = Vec::new();
        walk(self.dir.path(), &mut found);
        found.retain(|path| !path.ends_with(".lock") && !is_what_it_is_called(path));
        found.sort();
        found
    }

    /// Pulls in vain, and checks that there is nothing new anywhere and that no path was asked for that leads elsewhere.
    #[track_caller]
    fn fails(&self, what: &str) -> Error {
        let before = self.files();
        let error = self.pull("").map(drop).expect_err(what);
        assert_eq!(self.files(), before, "{what}");
        for request in self.server.requests() {
            assert!(!request.path.contains(".."), "{what}: {}", request.path);
        }
        error
    }

    fn answer(&self, media_type: &str, text: impl Into<String>) -> &Self {
        let reply = Reply::new(200, text.into()).header("Content-Type", media_type);
        self.server.on_manifest(reply);
        self
    }
}

/// Parts whose documents name each other by SHA-512.
fn parts_by_sha512() -> (Parts, Digest) {
    let mut parts = Parts::new();
    let old = Digest::sha256(&parts.tar).to_string();
    parts.config = parts.config.replace(&old, &sha512(&parts.tar).to_string());
    let manifest = parts.manifest_of(LAYER);
    let manifest =
        [parts.config.as_bytes(), &parts.layer]
            .into_iter()
            .fold(manifest, |text, content| {
                text.replace(
                    &Digest::sha256(content).to_string(),
                    &sha512(content).to_string(),
                )
            });
    parts.manifest = manifest;
    let digest = sha512(parts.manifest.as_bytes());
    (parts, digest)
}

#[test]
fn an_image_of_sha512_digests_is_pulled_stored_found_verified_and_collected() {
    let (parts, digest) = parts_by_sha512();
    let scene = Scene::new();
    let manifest = Reply::new(200, parts.manifest.clone()).header("Content-Type", MANIFEST);
    let blob = |content: &[u8]| [Reply::new(200, content).ranges()];
    scene
        .server
        .on(format!("/v2/image/manifests/{digest}"), [manifest])
        .on_blob(
            &sha512(parts.config.as_bytes()),
            blob(parts.config.as_bytes()),
        )
        .on_blob(&sha512(&parts.layer), blob(&parts.layer));
    let name = format!("@{digest}");
    let pulled = scene.pull(&name).unwrap();
    assert!(pulled.changed);
    assert_eq!(*pulled.image.manifest_digest(), digest);
    assert_eq!(pulled.image.config_digest().algorithm(), Algorithm::Sha512);
    let blobs = scene.store.root().join("blobs");
    for content in [
        parts.manifest.as_bytes(),
        parts.config.as_bytes(),
        &parts.layer,
    ] {
        let path = blobs.join("sha512").join(sha512(content).hex());
        assert_eq!(fs::read(path).unwrap(), content);
    }
    assert_eq!(fs::read_dir(blobs.join("sha256")).unwrap().count(), 0);
    let unpacked = scene.sink.dir.join(sha512(&parts.tar).hex());
    assert_eq!(fs::read(unpacked).unwrap(), parts.tar);
    let before = scene.server.requests().len();
    assert!(!scene.pull(&name).unwrap().changed);
    assert_eq!(scene.server.requests().len(), before, "it is there already");

    let again = Store::open(scene.store.root()).unwrap();
    assert_eq!(again.images().unwrap(), std::slice::from_ref(&pulled.image));
    let reference = format!("{}/image{name}", scene.server.address())
        .parse()
        .unwrap();
    assert_eq!(again.image(&reference).unwrap(), Some(pulled.image));
    assert_eq!(again.remove_unreferenced().unwrap().blobs, 0);

    // Damage is seen, by the algorithm that the name has.
    let config = blobs
        .join("sha512")
        .join(sha512(parts.config.as_bytes()).hex());
    fs::write(config, parts.config.replace("amd64", "amd65")).unwrap();
    assert!(
        matches!(again.image(&reference), Err(Error::WrongDigest { expected, .. }) if expected.algorithm() == Algorithm::Sha512)
    );

    assert!(again.remove(&digest).unwrap());
    assert_eq!(again.remove_unreferenced().unwrap().blobs, 3);
    assert_eq!(fs::read_dir(blobs.join("sha512")).unwrap().count(), 0);
}

#[test]
fn content_that_is_wrong_by_sha512_is_refused() {
    let (parts, digest) = parts_by_sha512();
    let config = parts.config.replace("amd64", "amd65");
    let mut layer = parts.layer.clone();
    layer[150_000] ^= 1;
    for wrong in ["manifest", "configuration", "layer"] {
        let scene = Scene::new();
        let (manifest, config, layer) = match wrong {
            "manifest" => (&format!("{} ", parts.manifest), &parts.config, &parts.layer),
            "configuration" => (&parts.manifest, &config, &parts.layer),
            _ => (&parts.manifest, &parts.config, &layer),
        };
        let manifest = Reply::new(200, manifest.clone()).header("Content-Type", MANIFEST);
        scene
            .server
            .on(format!("/v2/image/manifests/{digest}"), [manifest])
            .on_blob(
                &sha512(parts.config.as_bytes()),
                [Reply::new(200, config.clone())],
            )
            .on_blob(&sha512(&parts.layer), [Reply::new(200, layer.clone())]);
        let before = scene.files();
        let error = scene.pull(&format!("@{digest}")).unwrap_err();
        assert!(
            matches!(&error, Error::WrongDigest { expected, .. } if expected.algorithm() == Algorithm::Sha512),
            "{wrong}: {error}"
        );
        assert_eq!(scene.files(), before, "{wrong}");
    }
}

/// CVE-2014-8178, CVE-2014-8179, CVE-2024-3727.
#[test]
fn cve_2024_3727_what_is_no_digest_is_refused_wherever_it_stands_and_becomes_no_path() {
    let parts = Parts::new();
    let right = Digest::sha256(b"").hex().to_owned();
    let bad = [
        "../../../../../../etc/passwd".to_owned(),
        "sha256:../../x".to_owned(),
        format!("sha256:../{}", &right[3..]),
        format!("sha256:{}/..", &right[3..]),
        format!("../sha256:{right}"),
        format!("sha256/{right}"),
        format!("sha256:{}", right.to_uppercase()),
        format!("sha256:{}\\u0000", &right[1..]),
        format!("sha256:{right}\\n"),
        format!("sha512:{right}"),
        format!("sha384:{right}{}", &right[..32]),
        String::new(),
    ];
    for bad in &bad {
        let places = [
            &parts.layer_digest(),
            &Digest::sha256(parts.config.as_bytes()),
        ];
        for digest in places {
            let scene = Scene::of(&parts);
            scene.answer(MANIFEST, parts.manifest.replace(&digest.to_string(), bad));
            let error = scene.fails(bad);
            assert!(
                matches!(error, Error::InvalidDocument { .. }),
                "{bad}: {error}"
            );
        }
        let scene = Scene::new();
        let entry = format!(
            r#"{{"mediaType":"{MANIFEST}","size":1,"digest":"{bad}","platform":{{"os":"linux","architecture":"amd64"}}}}"#
        );
        scene.answer(
            INDEX,
            format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#),
        );
        assert!(
            matches!(scene.fails(bad), Error::InvalidDocument { .. }),
            "{bad}"
        );

        let mut liar = parts.clone();
        liar.config = liar
            .config
            .replace(&Digest::sha256(&liar.tar).to_string(), bad);
        liar.manifest = liar.manifest_of(LAYER);
        let error = Scene::of(&liar).fails(bad);
        assert!(
            matches!(error, Error::InvalidDigest { .. }),
            "{bad}: {error}"
        );
    }
    // A header is only an announcement.
    let scene = Scene::of(&parts);
    let reply = Reply::new(200, parts.manifest.clone()).header("Content-Type", MANIFEST);
    scene
        .server
        .on_manifest(reply.header("Docker-Content-Digest", "sha256:../../../x"));
    let pulled = scene.pull("").unwrap();
    assert_eq!(
        *pulled.image.manifest_digest(),
        Digest::sha256(parts.manifest.as_bytes())
    );
}

#[test]
fn cve_2021_41190_a_document_is_one_thing_and_the_thing_it_was_sent_as() {
    let parts = Parts::new();
    let config = format!(
        r#"{{"mediaType":"x","size":1,"digest":"{}"}}"#,
        Digest::sha256(b"x")
    );
    let types = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST];
    for sent_as in types {
        for own in types.map(Some).into_iter().chain([None]) {
            let scene = Scene::of(&parts);
            let own_type = own.map_or(String::new(), |own| format!(r#""mediaType":"{own}","#));
            for both in [
                format!(r#"{{{own_type}"manifests":[],"config":{config},"layers":[]}}"#),
                format!(r#"{{{own_type}"manifests":[{config}],"layers":[{config}]}}"#),
                format!(r#"{{{own_type}"config":{config},"manifests":[{config}]}}"#),
            ] {
                scene.answer(sent_as, both.clone());
                let error = scene.fails(&both);
                assert!(
                    matches!(error, Error::AmbiguousDocument { .. }),
                    "{both}: {error}"
                );
            }
            if own.is_some_and(|own| own != sent_as) {
                let one = format!(r#"{{{own_type}"config":{config},"layers":[],"x":[]}}"#);
                scene.answer(sent_as, one.clone());
                assert!(
                    matches!(scene.fails(&one), Error::MediaTypeMismatch { .. }),
                    "{one}"
                );
            }
        }
    }
    // What it is sent as counts, and nothing else: not what it looks like, nor no type at all.
    let scene = Scene::of(&parts);
    let untyped = parts
        .manifest
        .replace(&format!(r#""mediaType":"{MANIFEST}","#), "");
    for (sent_as, text) in [
        (INDEX, untyped.as_str()),
        ("application/json", &untyped),
        ("text/html", &parts.manifest.replace(MANIFEST, "text/html")),
        ("", &untyped),
        ("application/vnd.oci.image.manifest.v1+json2", &untyped),
    ] {
        scene.answer(sent_as, text);
        let error = scene.fails(sent_as);
        let refused = matches!(
            error,
            Error::InvalidDocument { .. } | Error::UnsupportedMediaType { .. }
        );
        assert!(refused, "{sent_as}: {error}");
    }
    scene.answer(&format!("{MANIFEST}; charset=utf-8"), untyped);
    scene.pull("").unwrap();
}

#[test]
fn an_index_is_held_to_the_size_and_type_that_it_names_whether_the_manifest_is_here_or_not() {
    for here in [false, true] {
        let parts = Parts::new();
        let scene = Scene::of(&parts);
        if here {
            scene.pull("").unwrap();
        }
        let digest = Digest::sha256(parts.manifest.as_bytes());
        let reply = Reply::new(200, parts.manifest.clone()).header("Content-Type", MANIFEST);
        scene
            .server
            .on(format!("/v2/image/manifests/{digest}"), [reply]);
        let index = |media_type: &str, size: usize| {
            format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","size":{size},"digest":"{digest}"}}]}}"#
            )
        };
        let size = parts.manifest.len();
        for wrong in [size - 1, size + 1, 0] {
            scene.answer(INDEX, index(MANIFEST, wrong));
            let error = scene.fails("a size");
            assert!(matches!(error, Error::WrongSize { .. }), "{here}: {error}");
        }
        for wrong in [DOCKER_MANIFEST, INDEX] {
            scene.answer(INDEX, index(wrong, size));
            let error = scene.fails("a type");
            assert!(
                matches!(error, Error::MediaTypeMismatch { .. }),
                "{here}: {error}"
            );
        }
        scene.answer(INDEX, index(MANIFEST, size));
        scene.pull("").unwrap();
    }
}

/// CVE-2020-15157.
#[test]
fn cve_2020_15157_the_urls_of_a_descriptor_are_never_asked_even_where_the_registry_has_nothing() {
    let elsewhere = Hostile::start();
    let mut parts = Parts::new();
    for foreign in [
        LAYER,
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        parts.manifest = parts
            .manifest_of(foreign)
            .replace("127.0.0.1:9", &elsewhere.address());
        elsewhere.on("/foreign", [Reply::new(200, parts.layer.clone())]);
        let scene = Scene::of(&parts);
        scene
            .server
            .on_blob(&parts.layer_digest(), [Reply::new(404, "")]);
        scene.fails(foreign);
        parts.serve(&scene.server);
        scene.pull("").unwrap();
        assert_eq!(elsewhere.requests().len(), 0, "{foreign}");
    }
}

/// The most memory that this process has had, in kibibytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn documents_and_frames_that_would_take_all_memory_are_refused() {
    // A frame of zstd that wants a window of 2 GiB (RFC 8878, section 3.1.1.1.2), and says that it is 1 TiB long.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 21 << 3];
    frame.extend_from_slice(&(1_u64 << 40).to_le_bytes());
    frame.extend_from_slice(&[2, 0, 0x40, 0]);
    let mut parts = Parts::new();
    parts.layer = frame;
    parts.manifest = parts.manifest_of("application/vnd.oci.image.layer.v1.tar+zstd");
    let error = Scene::of(&parts).fails("a large window");
    assert!(matches!(error, Error::Decompress { .. }), "{error}");

    let scene = Scene::of(&Parts::new());
    for text in [
        "[".repeat(1 << 20),
        r#"{"a":"#.repeat(1 << 19),
        format!(r#"{{"config":{}"#, r#"{"x":"#.repeat(1 << 18)),
    ] {
        scene.answer(MANIFEST, text);
        assert!(matches!(
            scene.fails("nested"),
            Error::InvalidDocument { .. }
        ));
    }
    let size = 1_u64 << 62;
    let huge = Parts::new();
    let digest = Digest::sha256(huge.config.as_bytes());
    let old = format!(r#""size":{},"digest":"{digest}""#, huge.config.len());
    let manifest = huge
        .manifest
        .replace(&old, &format!(r#""size":{size},"digest":"{digest}""#));
    scene.answer(MANIFEST, manifest);
    let error = scene.fails("a configuration of 4 EiB");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(peak() < 128 << 10, "took {} KiB", peak());
}
