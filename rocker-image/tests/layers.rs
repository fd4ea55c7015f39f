//! Images of several layers: how many are read at once, and how large they may be all together.
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
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hostile::{Hostile, LAYER, MANIFEST, Parts, Reply};
use rocker_image::{
    Client, Digest, Error, LayerSink, PullOptions, Pulled, Reference, Result, Store,
};
use support::{Files, block_on, quick};

/// A server with an image of layers of these sizes, and a place to pull it to.
struct Scene {
    server: Hostile,
    layers: Vec<Parts>,
    dir: tempfile::TempDir,
    sink: Arc<Files>,
}

impl Scene {
    fn of(sizes: &[usize]) -> Self {
        let (server, dir) = (Hostile::start(), tempfile::tempdir().unwrap());
        let layers: Vec<Parts> = sizes.iter().map(|size| Parts::of_size(*size)).collect();
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|layer| Digest::sha256(&layer.tar).to_string())
            .collect();
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":{diff_ids:?}}}}}"#
        );
        let config_digest = Digest::sha256(config.as_bytes());
        let blobs: Vec<_> = layers
            .iter()
            .map(|layer| {
                let (size, digest) = (layer.layer.len(), layer.layer_digest());
                format!(r#"{{"mediaType":"{LAYER}","size":{size},"digest":"{digest}"}}"#)
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","size":{},"digest":"{config_digest}"}},
            "layers":[{}]}}"#,
            config.len(),
            blobs.join(",")
        );
        server
            .on_manifest(Reply::new(200, manifest).header("Content-Type", MANIFEST))
            .on_blob(&config_digest, [Reply::new(200, config)]);
        for layer in &layers {
            let reply = Reply::new(200, layer.layer.clone()).ranges();
            server.on_blob(&layer.layer_digest(), [reply]);
        }
        let sink = Files::new(dir.path().join("layers"));
        Self {
            server,
            layers,
            dir,
            sink,
        }
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    fn pull(&self, store: &Store, sink: Arc<dyn LayerSink>, parallel: usize) -> Result<Pulled> {
        let name: Reference = format!("{}/image", self.server.address()).parse().unwrap();
        let options = PullOptions::default()
            .platform("linux/amd64".parse().unwrap())
            .parallel_layers(parallel);
        let client = Client::new(quick());
        block_on(client.pull(store, &name, &options, sink, &()))
    }

    fn layer_requests(&self) -> usize {
        let requests = self.server.requests();
        let of_layer = |path: &str| {
            let mut layers = self.layers.iter();
            layers.any(|layer| path.ends_with(&layer.layer_digest().to_string()))
        };
        requests
            .iter()
            .filter(|request| of_layer(&request.path))
            .count()
    }
}

fn names(dir: std::path::PathBuf) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// Takes its time for the first layer, when it has read it, until the second one begins.
struct Slow {
    begun: Mutex<Vec<Sender<()>>>,
    next: Mutex<Vec<Receiver<()>>>,
}

impl LayerSink for Slow {
    fn contains(&self, _: &Digest) -> bool {
        false
    }

    fn unpack(&self, _: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let pop =
            |of: &Mutex<Vec<Sender<()>>>| of.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let next = self.next.lock().unwrap().pop();
        if next.is_none()
            && let Some(begun) = pop(&self.begun)
        {
            begun.send(()).map_err(io::Error::other)?;
        }
        io::copy(tar, &mut io::sink())?;
        // As long as the first waits for the disk.
        match next {
            Some(next) => next
                .recv_timeout(Duration::from_secs(20))
                .map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

#[test]
fn a_layer_that_only_waits_for_the_disk_keeps_no_other_from_being_read() {
    let scene = Scene::of(&[100_000, 90_000]);
    let (begun, next) = channel();
    let sink = Arc::new(Slow {
        begun: Mutex::new(vec![begun]),
        next: Mutex::new(vec![next]),
    });
    assert!(scene.pull(&scene.store(), sink, 1).unwrap().changed);
}

#[test]
fn the_layers_of_one_image_have_a_limit_all_together() {
    let sizes = [100_000, 90_000, 80_000];
    for parallel in [1, 4] {
        let scene = Scene::of(&sizes);
        let store = scene.store().max_image_bytes(269_999);
        let error = scene.pull(&store, scene.sink.clone(), parallel);
        match error.unwrap_err() {
            Error::ImageTooLarge { image, limit } => {
                assert_eq!(limit, 269_999);
                assert!(image.ends_with("/image:latest"), "{image}");
            }
            error => panic!("{error}"),
        }
        assert!(store.images().unwrap().is_empty());
        assert_eq!(names(store.root().join("ingest")), 0, "no download is left");
        let left = scene.sink.names();
        assert!(left.iter().all(|name| name.len() == 64), "{left:?}");
        assert!(left.len() < sizes.len());
        let _removed = store.remove_unreferenced().unwrap();
        assert_eq!(names(store.root().join("blobs/sha256")), 0);
    }
}

#[test]
fn an_image_that_is_just_as_large_as_it_may_be_is_pulled_also_after_a_layer_began_anew() {
    let scene = Scene::of(&[100_000, 90_000]);
    // What an earlier download left is damaged, at its end.
    let layer = &scene.layers[0];
    let mut begun = layer.layer[..60_000].to_vec();
    begun[59_999] ^= 1;
    let name = format!("sha256-{}.partial", layer.layer_digest().hex());
    fs::write(scene.store().root().join("ingest").join(name), begun).unwrap();
    let store = scene.store().max_image_bytes(190_000);
    assert!(scene.pull(&store, scene.sink.clone(), 1).unwrap().changed);
    assert_eq!(scene.sink.names().len(), 2);
    assert_eq!(scene.layer_requests(), 3);
    // What is there is free.
    let small = scene.store().max_image_bytes(1);
    assert!(!scene.pull(&small, scene.sink.clone(), 1).unwrap().changed);
}

#[test]
fn an_image_that_says_itself_that_it_is_too_large_is_not_even_asked_for() {
    let scene = Scene::of(&[100_000, 90_000]);
    let store = scene.store().max_image_bytes(100_000);
    let error = scene.pull(&store, scene.sink.clone(), 4).unwrap_err();
    assert!(matches!(error, Error::ImageTooLarge { .. }), "{error}");
    assert_eq!(scene.layer_requests(), 0);
}

#[test]
fn what_is_imported_and_loaded_has_the_same_limit() {
    let scene = Scene::of(&[100_000, 90_000]);
    let store = scene.store();
    let pulled = scene.pull(&store, scene.sink.clone(), 1).unwrap().image;
    let mut archive = Vec::new();
    let images = [(pulled.clone(), pulled.references().to_vec())];
    store
        .save(&images, rocker_image::ArchiveFormat::Oci, &mut archive)
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let sink = Files::new(other.path().join("layers"));
    let open = |bytes| {
        let store = Store::open(other.path().join("store")).unwrap();
        store.max_image_bytes(bytes)
    };
    let platform = "linux/amd64".parse().unwrap();
    match open(90_000).load(&*archive, &platform, &*sink).unwrap_err() {
        Error::ImageTooLarge { image, .. } => assert!(image.contains("\"blobs/sha256/"), "{image}"),
        error => panic!("{error}"),
    }
    let error = open(189_999).load(&*archive, &platform, &*sink);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::ImageTooLarge { .. }), "{error}");
    assert!(open(1).images().unwrap().is_empty());
    open(190_000).load(&*archive, &platform, &*sink).unwrap();

    let name = "imported".parse().unwrap();
    let bytes = vec![0; 5000];
    let error = open(4999).import(&name, Default::default(), &*bytes, &*sink);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::ImageTooLarge { .. }), "{error}");
    assert_eq!(names(other.path().join("store/ingest")), 0);
    open(5000)
        .import(&name, Default::default(), &*bytes, &*sink)
        .unwrap();
}
