//! rocker-image: how fast content comes into the store, and references are parsed.
//!
//! cargo bench --bench image

use std::hint::black_box;
use std::io::{self, Read};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use rocker_image::oci_spec::image::ImageConfiguration;
use rocker_image::{Digest, LayerSink, Reference, Store};

const BLOB: usize = 64 << 20;

fn main() {
    divan::main();
}

/// Hash, write, fsync and rename of one blob.
#[divan::bench(sample_count = 10)]
fn put_a_blob_of_64_mib(bencher: Bencher) {
    let (dir, blob) = (
        tempfile::tempdir().expect("a temporary directory"),
        vec![7; BLOB],
    );
    let store = Store::open(dir.path()).expect("a new store");
    bencher.counter(BytesCount::new(BLOB)).bench_local(|| {
        store
            .put_blob(black_box(&*blob), None)
            .expect("the blob is stored")
    });
}

/// The hash alone: the floor of the above.
#[divan::bench(sample_count = 10)]
fn hash_64_mib(bencher: Bencher) {
    let blob = vec![7; BLOB];
    bencher
        .counter(BytesCount::new(BLOB))
        .bench_local(|| Digest::sha256(black_box(&blob)));
}

/// The whole way of a layer: into the store, verified out of it, and named.
#[divan::bench(sample_count = 10)]
fn import_a_layer_of_64_mib(bencher: Bencher) {
    let (dir, tar) = (
        tempfile::tempdir().expect("a temporary directory"),
        vec![7; BLOB],
    );
    let store = Store::open(dir.path()).expect("a new store");
    let name: Reference = "bench".parse().expect("a reference");
    bencher.counter(BytesCount::new(BLOB)).bench_local(|| {
        let config = ImageConfiguration::default();
        store
            .import(&name, config, black_box(&*tar), &Discard)
            .expect("the image is imported")
    });
}

#[divan::bench(args = ["busybox", "ghcr.io/owner/image:1.2.3", "localhost:5000/a/b/c__d@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"])]
fn parse_a_reference(bencher: Bencher, text: &str) {
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| black_box(text).parse::<Reference>());
}

struct Discard;

impl LayerSink for Discard {
    fn contains(&self, _: &Digest) -> bool {
        false
    }

    fn unpack(&self, _: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        io::copy(tar, &mut io::sink()).map(drop)
    }
}
