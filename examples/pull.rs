//! Pulls an image into a temporary store and lists its layers.
//!
//! Shows rocker-image by itself: the blocking API, and a sink that takes the layers.
//!
//! Command:   cargo run --example pull [REFERENCE]     (default: 127.0.0.1:5000/busybox)
//! Privilege: none
//! Leaves:    nothing

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Mutex;

use rocker_image::{Client, Digest, LayerSink, PullOptions, Reference, Store, blocking};

/// Counts the bytes of each layer instead of unpacking it.
#[derive(Default)]
struct Count(Mutex<Vec<(Digest, u64)>>);

impl LayerSink for Count {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.0
            .lock()
            .is_ok_and(|seen| seen.iter().any(|(seen, _)| seen == diff_id))
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        // Reading to the end is what verifies the layer. Only what comes after this line may call it complete.
        let size = io::copy(tar, &mut io::sink())?;
        let mut seen = self
            .0
            .lock()
            .map_err(|_| io::Error::other("another layer's thread panicked"))?;
        seen.push((diff_id.clone(), size));
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:5000/busybox".to_owned());
    let reference: Reference = name.parse()?;
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let sink = Count::default();

    let client = Client::default();
    let pulled = blocking::pull(
        &client,
        &store,
        &reference,
        &PullOptions::default(),
        &sink,
        &(),
    )?;

    let image = pulled.image;
    let mut out = io::stdout().lock();
    writeln!(out, "{} for {}", image.references()[0], image.platform())?;
    writeln!(out, "manifest {}", image.manifest_digest())?;
    writeln!(out, "image ID {}", image.config_digest())?;
    let sizes = sink.0.into_inner()?;
    for layer in image.layers() {
        let unpacked = sizes.iter().find(|(diff_id, _)| *diff_id == layer.diff_id);
        let unpacked = unpacked.map_or(0, |(_, size)| *size);
        writeln!(
            out,
            "layer    {} {} bytes, {unpacked} uncompressed",
            layer.diff_id, layer.size
        )?;
    }
    Ok(())
}
