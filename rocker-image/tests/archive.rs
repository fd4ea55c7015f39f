//! Images in archives: ours read by skopeo, skopeo's and Docker's read by us, and those of an enemy.
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
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use registry::Registry;
use rocker_image::oci_spec::image::ImageConfiguration;
use rocker_image::{
    ArchiveFormat, Client, Digest, Error, Image, Loaded, Platform, Reference, Result, Store,
};
use support::{Files, pull, quick};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// A store in a directory, and its layers.
struct Place {
    store: Store,
    sink: Arc<Files>,
}

impl Place {
    fn new(dir: &Path) -> Self {
        Self {
            store: Store::open(dir.join("images")).unwrap(),
            sink: Files::new(dir.join("layers")),
        }
    }

    fn load(&self, archive: impl Read) -> Result<Vec<Loaded>> {
        self.store.load(archive, &amd64(), &*self.sink)
    }

    fn save(&self, image: &Image, format: ArchiveFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        let images = [(image.clone(), image.references().to_vec())];
        self.store.save(&images, format, &mut bytes).unwrap();
        bytes
    }

    /// Checks that nothing has a name, and that a collection leaves no blob.
    #[track_caller]
    fn assert_empty(&self) {
        assert!(self.store.images().unwrap().is_empty());
        drop(self.store.remove_unreferenced().unwrap());
        let blobs = fs::read_dir(self.store.root().join("blobs/sha256")).unwrap();
        assert_eq!(blobs.count(), 0);
        let ingest = fs::read_dir(self.store.root().join("ingest")).unwrap();
        assert_eq!(ingest.count(), 0);
    }
}

/// An archive of these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

type Members<'a> = Vec<(&'a str, Vec<u8>)>;

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<_> = layers
        .iter()
        .map(|layer| format!("\"{}\"", Digest::sha256(layer)))
        .collect();
    format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
    .into_bytes()
}

#[test]
fn what_is_saved_is_read_by_skopeo_and_loads_as_the_same_image() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let name = registry.push_busybox("team/busybox:1");
        let from = Place::new(&host.dir("from"));
        let image = pull(&Client::new(quick()), &from.store, &name, &from.sink, &())
            .unwrap()
            .image;
        for (format, transport, kept) in [
            (ArchiveFormat::Docker, "docker-archive", false),
            (ArchiveFormat::Oci, "oci-archive", true),
        ] {
            let bytes = from.save(&image, format);
            assert!(
                bytes == from.save(&image, format),
                "the same bytes each time"
            );
            let path = host.dir(transport).join("a.tar");
            fs::write(&path, &bytes).unwrap();
            host.sh(&format!(
                "skopeo --insecure-policy copy -q {transport}:{0}:{name} dir:{0}.dir",
                path.display()
            ));
            let config = path
                .with_extension("tar.dir")
                .join(image.config_digest().hex());
            assert!(
                config.exists(),
                "skopeo finds the same image in {transport}"
            );

            let to = Place::new(&host.dir(&format!("to-{transport}")));
            let [loaded] = &to.load(&*bytes).unwrap()[..] else {
                panic!("one image")
            };
            assert_eq!(loaded.names, [reference(&name)]);
            assert_eq!(loaded.image.config_digest(), image.config_digest());
            assert_eq!(
                loaded.image.manifest_digest() == image.manifest_digest(),
                kept
            );
            assert_eq!(to.sink.names(), from.sink.names());
            // Where the image is already, it stays the one that it is.
            let [again] = &from.load(&*bytes).unwrap()[..] else {
                panic!("one image")
            };
            assert_eq!((&again.image, &again.displaced[..]), (&image, &[][..]));
            let gzip = host.sh(&format!("gzip -k {0}; ls {0}.gz", path.display()));
            let to = Place::new(&host.dir(&format!("gzip-{transport}")));
            to.load(fs::File::open(gzip.trim()).unwrap()).unwrap();
            assert_eq!(to.sink.names(), from.sink.names());
        }
    });
}

#[test]
fn what_skopeo_writes_is_loaded() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let name = registry.push_busybox("busybox:1");
        let dir = host.dir("archives");
        for (transport, suffix, names) in [
            (
                "docker-archive",
                ":a.example/b:c",
                vec![reference("a.example/b:c")],
            ),
            ("docker-archive", "", vec![]),
            (
                "oci-archive",
                ":a.example/b:c",
                vec![reference("a.example/b:c")],
            ),
            ("oci-archive", ":latest", vec![]),
            ("oci-archive", "", vec![]),
        ] {
            let path = dir.join("a.tar");
            host.sh(&format!(
                "rm -f {0}; skopeo --insecure-policy copy -q --src-tls-verify=false docker://{name} {transport}:{0}{suffix}",
                path.display()
            ));
            let place = Place::new(&host.dir("place"));
            let [loaded] = &place.load(fs::File::open(&path).unwrap()).unwrap()[..] else {
                panic!("one image")
            };
            assert_eq!(loaded.names, names, "{transport}{suffix}");
            assert_eq!(loaded.image.layers().len(), 2);
            let [stored] = &place.store.images().unwrap()[..] else {
                panic!("one image, with or without a name")
            };
            assert_eq!(stored, &loaded.image);
            host.sh("rm -r /run/place");
        }
    });
}

#[test]
fn an_image_of_dockers_own_media_types_goes_both_ways() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let (oci, name) = (registry.push_busybox("oci:1"), registry.name("docker:1"));
        host.sh(&format!(
            "skopeo --insecure-policy copy -q --format v2s2 --src-tls-verify=false --dest-tls-verify=false docker://{oci} docker://{name}"
        ));
        let from = Place::new(&host.dir("from"));
        let image = pull(&Client::new(quick()), &from.store, &name, &from.sink, &())
            .unwrap()
            .image;
        assert!(image.manifest_media_type().contains("docker"));
        let bytes = from.save(&image, ArchiveFormat::Oci);
        fs::write("/run/a.tar", &bytes).unwrap();
        let to = Place::new(&host.dir("to"));
        let loaded = &to.load(&*bytes).unwrap()[0].image;
        assert_eq!(loaded.config_digest(), image.config_digest());
        assert!(loaded.manifest_media_type().contains("oci"));
        // Where the image is already, it is no second one.
        assert_eq!(from.load(&*bytes).unwrap()[0].image, image);
        host.sh(&format!(
            "skopeo --insecure-policy copy -q oci-archive:/run/a.tar:{name} dir:/run/out"
        ));
        fs::write("/run/b.tar", from.save(&image, ArchiveFormat::Docker)).unwrap();
        host.sh("skopeo --insecure-policy copy -q docker-archive:/run/b.tar dir:/run/out2");
    });
}

#[test]
fn of_an_index_the_image_for_the_platform_is_loaded() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let name = registry.push_index("multi");
        let path = host.dir("archives").join("a.tar");
        host.sh(&format!(
            "skopeo --insecure-policy copy -q --all --src-tls-verify=false docker://{name} oci-archive:{}:x.example/m:1",
            path.display()
        ));
        let place = Place::new(&host.dir("place"));
        let load = |platform: &str| {
            let file = fs::File::open(&path).unwrap();
            let platform = platform.parse().unwrap();
            place.store.load(file, &platform, &*place.sink)
        };
        for platform in ["linux/amd64", "linux/arm64/v8"] {
            let loaded = load(platform).unwrap();
            assert_eq!(loaded[0].image.platform().to_string(), platform);
        }
        assert!(matches!(
            load("linux/s390x"),
            Err(Error::NoMatchingPlatform { .. })
        ));
        // The second took the name of the first.
        let again = load("linux/amd64").unwrap();
        assert_eq!(again[0].displaced[0].name, reference("x.example/m:1"));
        assert_eq!(place.store.images().unwrap().len(), 2);
    });
}

#[test]
fn dockers_old_form_with_its_directories_and_links_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let (layer, gzip) = (b"a layer".as_slice(), {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, b"another").unwrap();
        encoder.finish().unwrap()
    });
    let config = config(&[layer, layer, b"another"]);
    let name = format!("{}.json", Digest::sha256(&config).hex());
    let manifest = format!(
        r#"[{{"Config":"{name}","RepoTags":["old:1","old:2"],"Layers":["aa/layer.tar","bb/layer.tar","cc/layer.tar"]}}]"#
    );
    let mut bytes = tar(&[
        ("aa/VERSION", b"1.0"),
        ("aa/json", b"{}"),
        ("aa/layer.tar", layer),
    ]);
    bytes.truncate(bytes.len() - 1024);
    let mut link = tar::Header::new_gnu();
    link.set_path("bb/layer.tar").unwrap();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_link_name("../aa/layer.tar").unwrap();
    link.set_size(0);
    link.set_cksum();
    bytes.extend_from_slice(link.as_bytes());
    bytes.extend(tar(&[
        ("cc/layer.tar", &gzip),
        (&name[..60], b"junk"),
        (&name, &config),
        ("manifest.json", manifest.as_bytes()),
        ("repositories", b"{}"),
    ]));
    let loaded = place.load(&*bytes).unwrap();
    assert_eq!(loaded[0].names, [reference("old:1"), reference("old:2")]);
    assert_eq!(loaded[0].image.layers().len(), 3);
    assert_eq!(*loaded[0].image.config_digest(), Digest::sha256(&config));
    assert_eq!(place.sink.names().len(), 2);
}

#[test]
fn an_image_that_loses_its_name_to_an_archive_stays_without_one_and_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let import = |layer: &[u8]| {
        let config = ImageConfiguration::default();
        place
            .store
            .import(&reference("a"), config, layer, &*place.sink)
            .unwrap()
    };
    let old = import(b"old");
    let bytes = place.save(&old, ArchiveFormat::Docker);
    let new = import(b"new");
    let loaded = place.load(&*bytes).unwrap();
    let [displaced] = &loaded[0].displaced[..] else {
        panic!("{loaded:?}")
    };
    assert_eq!(
        (&displaced.name, &displaced.id),
        (&reference("a"), new.config_digest())
    );
    let nameless = place
        .store
        .by_manifest(new.manifest_digest())
        .unwrap()
        .unwrap();
    assert!(nameless.references().is_empty());
}

#[test]
fn what_is_wrong_anywhere_gives_no_image_and_leaves_nothing() {
    let layer = b"a layer".as_slice();
    let right = config(&[layer]);
    let other = config(&[b"another"]);
    let hex = Digest::sha256(&right).hex().to_owned();
    let item = |config: &str, layers: &str, tags: &str| {
        format!(r#"[{{"Config":"{config}","RepoTags":{tags},"Layers":{layers}}}]"#).into_bytes()
    };
    let manifest = item("c.json", r#"["l.tar"]"#, "[]");
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice();
    let wrong_blob = format!("blobs/sha256/{hex}");
    let index_of = |digest: &str, size: usize| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}]}}"#)
            .into_bytes()
    };
    let cases: Vec<(&str, Members<'_>)> = vec![
        ("nothing of images", vec![("x", vec![1])]),
        ("no image", vec![("manifest.json", b"[]".to_vec())]),
        ("no JSON", vec![("manifest.json", b"[".to_vec())]),
        (
            "a missing configuration",
            vec![
                ("manifest.json", manifest.clone()),
                ("l.tar", layer.to_vec()),
            ],
        ),
        (
            "a missing layer",
            vec![
                ("manifest.json", manifest.clone()),
                ("c.json", right.clone()),
            ],
        ),
        (
            "a layer that is another",
            vec![
                ("manifest.json", manifest.clone()),
                ("c.json", other.clone()),
                ("l.tar", layer.to_vec()),
            ],
        ),
        (
            "a layer too few",
            vec![
                ("manifest.json", item("c.json", "[]", "[]")),
                ("c.json", right.clone()),
            ],
        ),
        (
            "a member that is there twice",
            vec![
                ("l.tar", layer.to_vec()),
                ("l.tar", layer.to_vec()),
                ("manifest.json", manifest.clone()),
            ],
        ),
        (
            "a name that is none",
            vec![
                (
                    "manifest.json",
                    item("c.json", r#"["l.tar"]"#, r#"["\u001b]52;c;aGk=\u0007"]"#),
                ),
                ("c.json", right.clone()),
                ("l.tar", layer.to_vec()),
            ],
        ),
        (
            "a name by digest",
            vec![
                (
                    "manifest.json",
                    item("c.json", r#"["l.tar"]"#, &format!(r#"["a@sha256:{hex}"]"#)),
                ),
                ("c.json", right.clone()),
                ("l.tar", layer.to_vec()),
            ],
        ),
        (
            "a path out of the archive",
            vec![
                (
                    "manifest.json",
                    item("../../etc/passwd", r#"["l.tar"]"#, "[]"),
                ),
                ("l.tar", layer.to_vec()),
            ],
        ),
        (
            "a member out of the archive",
            vec![("../../x", layer.to_vec())],
        ),
        (
            "a blob that is another",
            vec![
                ("oci-layout", layout.to_vec()),
                (&wrong_blob, layer.to_vec()),
            ],
        ),
        (
            "a manifest that is not there",
            vec![
                ("oci-layout", layout.to_vec()),
                ("index.json", index_of(&hex, 1)),
            ],
        ),
        (
            "a manifest that is none",
            vec![
                ("oci-layout", layout.to_vec()),
                ("index.json", index_of(&hex, right.len())),
                (&wrong_blob, right.clone()),
            ],
        ),
        (
            "a list without end",
            vec![("manifest.json", vec![b' '; 5 << 20])],
        ),
    ];
    for (what, members) in cases {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let members: Vec<(&str, &[u8])> = members
            .iter()
            .map(|(name, content)| (*name, &content[..]))
            .collect();
        let result = place.load(&*tar(&members));
        assert!(result.is_err(), "{what}: {result:?}");
        let text = result.unwrap_err().to_string();
        assert!(!text.contains('\x1b'), "{text:?}");
        place.assert_empty();
    }
}

#[test]
fn an_archive_that_is_cut_off_or_changed_anywhere_gives_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(&dir.path().join("from"));
    let config = ImageConfiguration::default();
    let image = place
        .store
        .import(&reference("a"), config, &[7; 2000][..], &*place.sink)
        .unwrap();
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let bytes = place.save(&image, format);
        let to = Place::new(&dir.path().join(format!("{format:?}")));
        for end in (0..bytes.len() - 1024).step_by(211) {
            assert!(to.load(&bytes[..end]).is_err(), "{format:?} {end}");
        }
        to.assert_empty();
    }
}

#[test]
fn a_damaged_blob_is_not_saved_as_if_it_were_right() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let config = ImageConfiguration::default();
    let image = place
        .store
        .import(&reference("a"), config, &b"tar"[..], &*place.sink)
        .unwrap();
    let blob = image.layers()[0].blob.hex();
    fs::write(place.store.root().join("blobs/sha256").join(blob), "rat").unwrap();
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let images = [(image.clone(), Vec::new())];
        let result = place.store.save(&images, format, io::sink());
        assert!(
            matches!(result, Err(Error::WrongDigest { .. })),
            "{result:?}"
        );
    }
}
