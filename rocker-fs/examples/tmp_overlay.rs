//! The overlay rootfs: two layers are unpacked from tar streams and shown as one tree.
//!
//!     sudo cargo run --example overlay
//!
//! Needs root (CAP_SYS_ADMIN). Works in a temporary directory, and takes everything away again.

use std::error::Error;
use std::fs;
use std::path::Path;

use rocker_fs::{Layers, Overlay, UnpackOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    let layers = Layers::open(here.join("layers"))?;

    // Layer by layer, as an image lists them. The second deletes a file of the first: `.wh.` is for whiteout.
    let base = "sha256:ba5e";
    let app = "sha256:a44";
    layers.unpack(
        base,
        layer(&[("etc/os-release", "NAME=demo\n"), ("etc/motd", "hello\n")]).as_slice(),
        &UnpackOptions::default(),
    )?;
    layers.unpack(
        app,
        layer(&[("app/run", "#!/bin/sh\n"), ("etc/.wh.motd", "")]).as_slice(),
        &UnpackOptions::default(),
    )?;

    for dir in ["upper", "work", "merged"] {
        fs::create_dir(here.join(dir))?;
    }
    let merged = Overlay::new([layers.path(base), layers.path(app)])
        .upper(here.join("upper"), here.join("work"))
        .mount()? // so far it is a file descriptor, in no mount table
        .attach(here.join("merged"))?;

    fs::write(merged.target().join("etc/hostname"), "demo\n")?;
    println!("what a container would see:");
    show(merged.target(), 1)?;
    println!("what it has changed:");
    show(&here.join("upper"), 1)?;

    merged.unmount().map_err(|(_, error)| error)?;
    for name in layers.names()? {
        layers.remove(&name)?;
    }
    println!("unmounted; nothing is left");
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
        put(100, "0000644\00000000\00000000\0");
        put(
            124,
            &format!("{:011o}\000000000000\0        0", content.len()),
        );
        put(257, "ustar\000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn show(dir: &Path, depth: usize) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        println!(
            "{}{}",
            "  ".repeat(depth),
            entry.file_name().to_string_lossy()
        );
        if entry.file_type()?.is_dir() {
            show(&entry.path(), depth + 1)?;
        }
    }
    Ok(())
}
