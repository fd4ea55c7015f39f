//! The store by itself.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use rocker_image::oci_spec::image::ImageConfiguration;
use rocker_image::{Descriptor, Digest, Error, Part, Reference, Store};
use support::Files;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn import(store: &Store, sink: &Files, name: &str, layer: &[u8]) -> rocker_image::Image {
    store
        .import(&reference(name), ImageConfiguration::default(), layer, sink)
        .unwrap()
}

#[test]
fn a_new_store_is_private_and_an_image_layout() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("images");
    Store::open(&root).unwrap();
    assert_eq!(
        fs::metadata(&root).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(
        fs::read_to_string(root.join("oci-layout")).unwrap(),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
    assert!(Store::open(&root).unwrap().images().unwrap().is_empty());
}

#[test]
fn a_directory_of_something_else_is_not_made_a_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "").unwrap();
    assert!(matches!(
        Store::open(dir.path()),
        Err(Error::NotAnImageLayout { .. })
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::write(
        dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    assert!(matches!(
        Store::open(dir.path()),
        Err(Error::NotAnImageLayout { .. })
    ));
}

#[test]
fn an_imported_image_is_found_by_every_name_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let image = import(&store, &sink, "hello", b"tar");
    assert_eq!(sink.names(), [Digest::sha256(b"tar").hex()]);
    assert_eq!(
        store.image(&reference("hello")).unwrap().as_ref(),
        Some(&image)
    );
    store
        .tag(&reference("other:1"), image.manifest_digest())
        .unwrap();
    let hex = image.config_digest().hex();
    for name in [
        "hello",
        "docker.io/library/hello:latest",
        "other:1",
        &hex[..1],
        &hex[..12],
        hex,
        &format!("sha256:{}", &hex[..9]),
    ] {
        let found = store.find(name).unwrap();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(
            found[0].references(),
            [reference("hello"), reference("other:1")]
        );
    }
    for name in ["nothing", "", "sha256:", "/", &format!("{hex}0")] {
        assert!(store.find(name).unwrap().is_empty(), "{name}");
    }
    assert!(matches!(
        store.tag(&reference("x"), &Digest::sha256(b"")),
        Err(Error::NoSuchBlob { .. })
    ));
}

#[test]
fn a_blob_is_stored_only_if_it_is_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let expected = Descriptor::new("x", Digest::sha256(b"abc"), 3);
    assert!(matches!(
        store.put_blob(&b"abd"[..], Some(&expected)),
        Err(Error::WrongDigest { .. })
    ));
    assert!(matches!(
        store.put_blob(&b"ab"[..], Some(&expected)),
        Err(Error::WrongSize { found: 2, .. })
    ));
    assert!(matches!(
        store.put_blob(std::io::repeat(b'a'), Some(&expected)),
        Err(Error::WrongSize { .. })
    ));
    assert!(matches!(
        store.open_blob(&expected.digest),
        Err(Error::NoSuchBlob { .. })
    ));
    assert_eq!(
        store.put_blob(&b"abc"[..], Some(&expected)).unwrap(),
        (expected.digest.clone(), 3)
    );
    store.open_blob(&expected.digest).unwrap();
}

#[test]
fn a_name_that_means_another_image_by_now_is_not_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let name = reference("name");
    let seen = import(&store, &sink, "name", b"first layer");
    let now = import(&store, &sink, "name", b"second layer");
    assert!(!store.untag_from(seen.manifest_digest(), &name).unwrap());
    assert!(!store.unname_from(seen.manifest_digest(), &name).unwrap());
    let found = store.image(&name).unwrap().unwrap();
    assert_eq!(found.manifest_digest(), now.manifest_digest());
    assert!(store.unname_from(now.manifest_digest(), &name).unwrap());
    assert!(store.image(&name).unwrap().is_none());
    assert_eq!(
        store.images().unwrap().len(),
        2,
        "it has lost its name only"
    );
    store.tag(&name, now.manifest_digest()).unwrap();
    assert!(store.untag_from(now.manifest_digest(), &name).unwrap());
    assert!(!store.untag_from(now.manifest_digest(), &name).unwrap());
    assert_eq!(store.images().unwrap().len(), 1);
}

#[test]
fn a_collection_removes_what_nothing_uses_and_says_which_layers_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let one = import(&store, &sink, "one", b"first layer");
    let two = import(&store, &sink, "two", b"second layer");
    store
        .tag(&reference("three"), one.manifest_digest())
        .unwrap();
    fs::write(store.root().join("ingest/left-by-a-dead-process"), "x").unwrap();

    assert!(store.untag(&reference("one")).unwrap());
    assert!(!store.untag(&reference("one")).unwrap());
    let removed = store.remove_unreferenced().unwrap();
    assert_eq!(
        (removed.blobs, removed.diff_ids.len()),
        (0, 0),
        "\"three\" still uses it"
    );
    assert_eq!(
        fs::read_dir(store.root().join("ingest")).unwrap().count(),
        0
    );
    drop(removed);

    assert!(store.untag(&reference("three")).unwrap());
    let removed = store.remove_unreferenced().unwrap();
    assert_eq!(
        (removed.blobs, &removed.diff_ids[..]),
        (3, &[Digest::sha256(b"first layer")][..])
    );
    assert_eq!(removed.bytes, one.size());
    assert_eq!(store.images().unwrap(), [two]);
    assert_eq!(
        store.diff_ids().unwrap().into_iter().collect::<Vec<_>>(),
        [Digest::sha256(b"second layer")]
    );
}

#[test]
fn an_image_that_got_a_name_since_its_removal_was_decided_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let seen = import(&store, &sink, "one", b"layer");
    let manifest = seen.manifest_digest();
    store.tag(&reference("two"), manifest).unwrap();
    assert!(!store.remove_if(manifest, seen.references()).unwrap());
    assert!(!store.unname_if(manifest, seen.references()).unwrap());
    assert!(!store.remove_if(manifest, &[]).unwrap());
    assert_eq!(store.images().unwrap()[0].references().len(), 2);

    // The name has gone to another image meanwhile: that one keeps it.
    assert!(store.untag(&reference("two")).unwrap());
    let other = import(&store, &sink, "one", b"other layer");
    assert!(!store.remove_if(manifest, seen.references()).unwrap());
    assert!(!store.unname_if(manifest, seen.references()).unwrap());
    assert_eq!(store.image(&reference("one")).unwrap(), Some(other.clone()));

    assert!(store.remove_if(manifest, &[]).unwrap());
    assert!(!store.remove_if(manifest, &[]).unwrap(), "it is gone");
    let manifest = other.manifest_digest();
    store.tag(&reference("two"), manifest).unwrap();
    let names = [reference("two"), reference("one")];
    assert!(store.unname_if(manifest, &names).unwrap());
    let left = store.images().unwrap();
    assert_eq!((left.len(), left[0].references()), (1, &[][..]));
    assert!(store.remove_if(manifest, &[]).unwrap());
}

#[test]
fn a_damaged_image_keeps_all_that_it_might_need_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let image = import(&store, &sink, "one", b"layer");
    let blob = |digest: &Digest| store.root().join("blobs/sha256").join(digest.hex());
    let (manifest, config) = (image.manifest_digest(), image.config_digest());
    for (part, id) in [(manifest, None), (config, Some(config))] {
        let right = fs::read(blob(part)).unwrap();
        for wrong in [Some("{}"), None] {
            match wrong {
                Some(wrong) => fs::write(blob(part), wrong).unwrap(),
                None => fs::remove_file(blob(part)).unwrap(),
            }
            let other = import(&store, &sink, "two", b"other layer");
            assert!(store.untag(&reference("two")).unwrap());
            let left = fs::read(blob(other.manifest_digest())).unwrap();
            let removed = store.remove_unreferenced().unwrap();
            assert_eq!(removed.unreadable, std::slice::from_ref(part));
            assert_eq!((removed.blobs, removed.diff_ids.len()), (0, 0));
            drop(removed);
            assert_eq!(fs::read(blob(other.manifest_digest())).unwrap(), left);
            assert!(store.diff_ids().is_err());
            let unreadable = store.unreadable().unwrap();
            assert_eq!(unreadable.len(), 1);
            assert_eq!(
                (&unreadable[0].manifest, unreadable[0].id.as_ref()),
                (manifest, id)
            );
            assert_eq!(unreadable[0].references, [reference("one")]);
        }
        fs::write(blob(part), right).unwrap();
        assert!(store.unreadable().unwrap().is_empty());
    }
    assert_eq!(store.remove_unreferenced().unwrap().blobs, 3);

    fs::write(blob(manifest), "{}").unwrap();
    assert!(store.remove_if(manifest, &[reference("one")]).unwrap());
    let removed = store.remove_unreferenced().unwrap();
    assert_eq!((removed.blobs, removed.unreadable.len()), (3, 0));
}

#[test]
fn no_name_is_lost_when_many_write_the_index_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Files::new(dir.path().join("layers"));
    thread::scope(|scope| {
        for worker in 0..4 {
            let (root, sink) = (dir.path().join("images"), &sink);
            scope.spawn(move || {
                for round in 0..5 {
                    // Opened anew, as another process would.
                    import(
                        &Store::open(&root).unwrap(),
                        sink,
                        &format!("image-{worker}-{round}"),
                        format!("{round}").as_bytes(),
                    );
                }
            });
        }
    });
    let store = Store::open(dir.path().join("images")).unwrap();
    let images = store.images().unwrap();
    assert_eq!(images.len(), 5);
    assert!(images.iter().all(|image| image.references().len() == 4));
}

#[test]
fn what_has_rotted_is_found_moved_away_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let (one, two) = (
        import(&store, &sink, "one", b"one"),
        import(&store, &sink, "two", b"two"),
    );
    let all = |store: &Store| store.verify(|_, _, _| true).unwrap();
    assert!(
        all(&store)
            .iter()
            .all(|image| image.faults.is_empty() && image.blobs == 3)
    );

    let blob = |digest: &Digest| store.root().join("blobs/sha256").join(digest.hex());
    let layer = &one.layers()[0].blob;
    fs::write(blob(layer), "0ne").unwrap();
    let found = all(&store);
    let [fault] = &found[0].faults[..] else {
        panic!("{found:?}")
    };
    assert_eq!((&fault.blob, fault.part), (layer, Part::Layer));
    assert!(fault.problem.contains("wrong digest"), "{fault:?}");
    assert!(found[1].faults.is_empty());
    assert!(!blob(layer).exists());
    // It is not forgotten that it is missing, and the same content mends it.
    assert_eq!(all(&store)[0].faults.len(), 1);
    import(&store, &sink, "one", b"one");
    assert!(all(&store).iter().all(|image| image.faults.is_empty()));

    // Of an image without its manifest, the names are known still.
    fs::write(blob(two.manifest_digest()), "{}").unwrap();
    let found = all(&store);
    let damaged = found.iter().find(|image| !image.faults.is_empty()).unwrap();
    assert_eq!(damaged.references, [reference("two")]);
    assert_eq!(
        (damaged.id.as_ref(), damaged.faults[0].part),
        (None, Part::Manifest)
    );
    let of_one = store.verify(|names, _, id| {
        names.contains(&reference("one")) && id == Some(one.config_digest())
    });
    assert_eq!(of_one.unwrap().len(), 1);
    import(&store, &sink, "two", b"two");
    drop(store.remove_unreferenced().unwrap());
    assert_eq!(
        fs::read_dir(store.root().join("ingest")).unwrap().count(),
        0
    );
}
