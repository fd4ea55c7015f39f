//! Pulls from a real registry, in a fake host.
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

use std::fs;
use std::io::Read;

use registry::Registry;
use rocker_image::{Client, Error, LayerOutcome, Platform, PullOptions, Reference, Store};
use support::{Files, Record, block_on, pull, quick};

#[test]
fn an_image_is_pulled_verified_and_then_costs_nothing() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let name = registry.push_busybox("busybox:1");
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let client = Client::new(quick());

        let record = Record::default();
        let pulled = pull(&client, &store, &name, &sink, &record).unwrap();
        assert!(pulled.changed);
        assert_eq!(record.outcomes(), [LayerOutcome::Downloaded; 2]);
        let image = pulled.image;
        assert_eq!(image.layers().len(), 2);
        assert_eq!(image.created(), Some("2024-02-03T04:05:06Z"));
        for layer in image.layers() {
            assert_eq!(record.advanced.lock().unwrap()[&layer.blob], layer.size);
            let tar = fs::read(sink.dir.join(layer.diff_id.hex())).unwrap();
            assert_eq!(rocker_image::Digest::sha256(&tar), layer.diff_id);
        }
        // Other tools agree that it is an image layout with this image in it.
        host.sh(&format!(
            "skopeo inspect oci:/run/store:{name} >/dev/null && umoci ls --layout /run/store"
        ));

        let record = Record::default();
        let again = pull(&client, &store, &name, &sink, &record).unwrap();
        assert!(!again.changed);
        assert_eq!(again.image, image);
        assert_eq!(record.outcomes(), [LayerOutcome::Skipped; 2]);

        let reference: Reference = name.parse().unwrap();
        let resolved = block_on(client.resolve(&reference, &Platform::default())).unwrap();
        assert_eq!(resolved.manifest.digest, *image.manifest_digest());

        // By its digest, and then without the registry.
        let by_digest = reference
            .with_digest(image.manifest_digest().clone())
            .to_string();
        assert!(
            pull(&client, &store, &by_digest, &sink, &())
                .unwrap()
                .changed
        );
        drop(registry);
        assert!(
            !pull(&client, &store, &by_digest, &sink, &())
                .unwrap()
                .changed
        );
        assert!(matches!(
            pull(&client, &store, &name, &sink, &()),
            Err(Error::Unreachable { .. })
        ));
        assert_eq!(fs::read_dir("/run/store/ingest").unwrap().count(), 0);
    });
}

#[test]
fn zstd_and_gzip_layers_unpack_to_the_same() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let (gzip, zstd) = (
            registry.push_busybox("b:gzip"),
            registry.push_zstd("b:zstd"),
        );
        let store = Store::open(host.dir("store")).unwrap();
        let client = Client::new(quick());
        let (one, other) = (Files::new(host.dir("one")), Files::new(host.dir("other")));
        let gzip = pull(&client, &store, &gzip, &one, &()).unwrap().image;
        let zstd = pull(&client, &store, &zstd, &other, &()).unwrap().image;
        assert!(
            gzip.layers()
                .iter()
                .all(|layer| layer.media_type.ends_with("gzip"))
        );
        assert!(
            zstd.layers()
                .iter()
                .all(|layer| layer.media_type.ends_with("zstd"))
        );
        assert!(gzip.diff_ids().eq(zstd.diff_ids()));
        assert_eq!(one.names(), other.names());
        // One image in two forms has one ID.
        assert_eq!(
            store.find(&gzip.config_digest().hex()[..12]).unwrap().len(),
            2
        );
    });
}

#[test]
fn the_image_for_the_platform_is_chosen_from_an_index() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let name: Reference = registry.push_index("multi").parse().unwrap();
        let alone: Reference = registry.push_busybox("busybox").parse().unwrap();
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let client = Client::new(quick());
        let get = |name: &Reference, platform: &str, any: bool| {
            let options = PullOptions::default()
                .platform(platform.parse().unwrap())
                .any_platform(any);
            block_on(client.pull(&store, name, &options, sink.clone(), &()))
        };
        for platform in ["linux/amd64", "linux/arm64", "linux/arm64/v8"] {
            let image = get(&name, platform, false).unwrap().image;
            assert!(platform.contains(&image.platform().architecture));
        }
        let error = get(&name, "linux/s390x", false).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("it has linux/amd64, linux/arm64/v8"),
            "{error}"
        );
        let error = get(&alone, "linux/arm64", false).unwrap_err();
        assert!(
            matches!(error, Error::ArchitectureMismatch { .. }),
            "{error}"
        );
        get(&alone, "linux/arm64", true).unwrap();
        // The amd64 image lost its name to the arm64 one.
        let mut images = store.images().unwrap();
        assert_eq!(
            images
                .iter()
                .map(|image| image.references().len())
                .collect::<Vec<_>>(),
            [1, 0, 1]
        );
        assert!(store.remove(images.remove(1).manifest_digest()).unwrap());
        let removed = store.remove_unreferenced().unwrap();
        // Manifest, configuration and the layer that says "amd64"; the layer with busybox is still in use.
        assert_eq!(
            (removed.blobs, removed.diff_ids.len(), removed.deferred),
            (3, 1, false)
        );
    });
}

#[test]
fn an_image_that_is_not_there_is_called_so() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let error = pull(
            &Client::new(quick()),
            &store,
            &registry.name("nothing"),
            &sink,
            &(),
        )
        .unwrap_err();
        assert!(
            matches!(error, Error::NoSuchImage { status: 404, .. }),
            "{error}"
        );
        assert!(store.images().unwrap().is_empty());
    });
}

#[test]
fn a_damaged_or_incomplete_store_is_mended_by_a_pull() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let name = registry.push_busybox("busybox");
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let client = Client::new(quick());
        let image = pull(&client, &store, &name, &sink, &()).unwrap().image;
        let layer = &image.layers()[1];
        let blob = store.root().join("blobs/sha256").join(layer.blob.hex());
        let unpacked = sink.dir.join(layer.diff_id.hex());
        let again = |expected| {
            let record = Record::default();
            assert!(
                pull(&client, &store, &name, &sink, &record)
                    .unwrap()
                    .changed
            );
            assert_eq!(record.outcomes.lock().unwrap()[&layer.blob], expected);
            assert!(
                rocker_image::Digest::sha256(&fs::read(&blob).unwrap()) == layer.blob
                    && unpacked.exists()
            );
        };
        fs::remove_file(&unpacked).unwrap();
        again(LayerOutcome::Unpacked);
        fs::remove_file(&blob).unwrap();
        again(LayerOutcome::Downloaded);
        fs::remove_file(&unpacked).unwrap();
        fs::write(&blob, vec![0; usize::try_from(layer.size).unwrap()]).unwrap();
        again(LayerOutcome::Downloaded);
        fs::write(
            store
                .root()
                .join("blobs/sha256")
                .join(image.config_digest().hex()),
            "{}",
        )
        .unwrap();
        assert!(pull(&client, &store, &name, &sink, &()).unwrap().changed);
        assert_eq!(store.images().unwrap(), [image]);
    });
}

#[test]
fn two_processes_and_two_threads_pull_one_image_at_once() {
    fake_host::run(|host| {
        const CHILD: &str = "ROCKER_TEST_PULL_CHILD";
        let work = |name: &str| {
            let store = Store::open("/run/store").unwrap();
            let sink = Files::new("/run/layers");
            std::thread::scope(|scope| {
                let pulls = [(); 2].map(|()| {
                    scope.spawn(|| pull(&Client::new(quick()), &store, name, &sink, &()))
                });
                pulls.map(|pull| pull.join().unwrap().unwrap().image)
            })
        };
        if let Ok(name) = std::env::var(CHILD) {
            work(&name);
            return;
        }
        let registry = Registry::start(host);
        let name = registry.push_busybox("busybox");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "two_processes_and_two_threads_pull_one_image_at_once",
                "--exact",
            ])
            .env(CHILD, &name)
            .spawn()
            .unwrap();
        let [one, other] = work(&name);
        assert!(child.wait().unwrap().success());
        assert_eq!(one, other);
        let name = one.references()[0].to_string();
        assert_eq!(Store::open("/run/store").unwrap().images().unwrap(), [one]);
        assert_eq!(Files::new("/run/layers").names().len(), 2);
        assert_eq!(fs::read_dir("/run/store/ingest").unwrap().count(), 0);
        host.sh(&format!("skopeo inspect oci:/run/store:{name} >/dev/null"));
    });
}

#[test]
fn nothing_but_tls_is_spoken_to_another_machine() {
    fake_host::run(|host| {
        host.sh("ip addr add 192.0.2.1/32 dev lo");
        let listener = std::net::TcpListener::bind("192.0.2.1:5000").unwrap();
        let server = std::thread::spawn(move || {
            let mut first = [0];
            listener.accept().unwrap().0.read_exact(&mut first).unwrap();
            first[0]
        });
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let client = Client::new(quick().retries(0));
        let error = pull(&client, &store, "192.0.2.1:5000/a", &sink, &()).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert_eq!(
            server.join().unwrap(),
            0x16,
            "the type of a TLS handshake record"
        );
        let error = pull(&client, &store, "no-such-host.invalid/a", &sink, &()).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    });
}

#[cfg(feature = "blocking")]
#[test]
fn the_blocking_functions_work_on_a_thread_of_somebodys_runtime() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let reference: Reference = registry.push_busybox("busybox").parse().unwrap();
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let client = Client::new(quick());
        let options = PullOptions::default().any_platform(true);
        for changed in [true, false] {
            let pull =
                || rocker_image::blocking::pull(&client, &store, &reference, &options, &*sink, &());
            assert_eq!(block_on(async { pull() }).unwrap().changed, changed);
        }
        let resolved =
            rocker_image::blocking::resolve(&client, &reference, &Platform::default()).unwrap();
        assert_eq!(resolved.digest, resolved.manifest.digest);
    });
}
