//! The overlay rootfs: two layers are unpacked from tar streams and shown as one tree.
//!
//!     sudo cargo run --example overlay
//!
//! Needs root (CAP_SYS_ADMIN). Takes everything away again.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use rocker_fs::{Layers, Overlay, UnpackOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    let layers = Layers::open(here.join("layers"))?;

    // Layer by layer, as an image lists them. The second deletes a file of the first: `.wh.` is for whiteout.
    let (base, app) = ("sha256:ba5e", "sha256:a44");
    let options = UnpackOptions::default();
    let files = [("etc/os-release", "NAME=demo\n"), ("etc/motd", "hello\n")];
    layers.unpack(base, layer(&files).as_slice(), &options)?;
    let files = [("app/run", "#!/bin/sh\n"), ("etc/.wh.motd", "")];
    layers.unpack(app, layer(&files).as_slice(), &options)?;

    for dir in ["upper", "work", "merged"] {
        fs::create_dir(here.join(dir))?;
    }
    let merged = Overlay::new([layers.path(base), layers.path(app)])
        .upper(here.join("upper"), here.join("work"))
        .mount()? // so far it is a file descriptor, in no mount table
        .attach(here.join("merged"))?;

    fs::write(merged.target().join("etc/hostname"), "demo\n")?;
    let (seen, changed) = (merged.target().join("etc"), here.join("upper/etc"));
    println!("a container sees in /etc: {:?}", names(&seen)?);
    println!("its own changes there: {:?}", names(&changed)?);

    merged.unmount().map_err(|(_, error)| error)?;
    layers.remove(app)?;
    layers.remove(base)?;
    Ok(())
}

/// A layer as registries serve it, after decompression: a tar stream.
fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files {
        let mut header = [0; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644 0000000 0000000 ");
        put(
            124,
            &format!("{:011o} 00000000000         0", content.len()),
        );
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}
