//! How long overlays and layers take. Needs root:
//!
//!     sudo cargo bench --bench overlay

use std::fs;
use std::path::PathBuf;

use divan::Bencher;
use rocker_fs::{Layers, Overlay, UnpackOptions};
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// On a tmpfs: what is measured are system calls, and an upper directory cannot lie on overlayfs.
fn place() -> TempDir {
    TempDir::new_in("/dev/shm").expect("/dev/shm is writable")
}

fn stack(place: &TempDir, count: usize) -> Overlay {
    let dir = |name: String| -> PathBuf {
        let path = place.path().join(name);
        fs::create_dir(&path).expect("a new directory");
        path
    };
    let lower: Vec<_> = (0..count)
        .map(|index| dir(format!("layer{index}")))
        .collect();
    Overlay::new(lower).upper(dir("upper".into()), dir("work".into()))
}

#[divan::bench(args = [1, 10, 50])]
fn mount_and_drop(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    let overlay = stack(&place, layers);
    bencher.bench_local(|| overlay.mount().expect("an overlay"));
}

#[divan::bench(args = [1, 10, 50])]
fn mount_and_drop_before_linux_6_5(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    let overlay = stack(&place, layers).by_mount();
    bencher.bench_local(|| overlay.mount().expect("an overlay"));
}

/// 2,000 files of 4 KiB in 100 directories.
fn tar() -> Vec<u8> {
    let mut tar = Vec::new();
    for index in 0..2_000 {
        let mut header = [0; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, &format!("usr/share/d{}/file{index}", index / 20));
        put(100, "0000644 0000000 0000000 ");
        put(124, "00000010000 00000000000         0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.resize(tar.len() + 4096, b'x');
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn unpack_2000_files(bencher: Bencher<'_, '_>) {
    let place = place();
    let layers = Layers::open(place.path().join("layers")).expect("a store");
    let tar = tar();
    bencher
        .with_inputs(|| layers.remove("sha256:00").expect("no layer"))
        .bench_local_values(|()| {
            layers
                .unpack("sha256:00", tar.as_slice(), &UnpackOptions::default())
                .expect("a layer")
        });
}
