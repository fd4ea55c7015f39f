//! The overlay rootfs: layers from tar streams, shown as one tree; copied to one where no overlay can be.
//!
//!     sudo cargo run --example overlay
//!
//! Needs root (CAP_SYS_ADMIN). Takes everything away again. TMPDIR on an overlay shows the copy.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rocker_fs::{Overlay, OverlayMount, UnpackOptions, XattrNamespace, merge, unpack};

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let dir = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir(&path).map(|()| path)
    };
    // Layer by layer, as an image lists them. The second deletes a file of the first: `.wh.` is for whiteout.
    let layers = [dir("base")?, dir("app")?];
    let first = ["etc/os-release", "etc/motd"];
    let second = ["app/run", "etc/.wh.motd"];
    for (layer, files) in layers.iter().zip([first, second]) {
        let (tar, options) = (tar(&files)?, UnpackOptions::default());
        unpack(tar.as_slice(), File::open(layer)?.as_fd(), &options)?;
    }

    let upper = dir("upper")?;
    let overlay = Overlay::new(&layers).upper(&upper, dir("work")?);
    let probe = overlay.probe()?; // Nothing is mounted for that.
    println!("{probe}");
    let (mount, changed) = match probe.verdict() {
        Ok(()) => (overlay.mount()?, upper), // A file descriptor, in no mount table.
        Err(error) if error.is_unfit() => {
            println!("no overlay here: {error}");
            let copy = dir("copy")?;
            merge(&layers, File::open(&copy)?.as_fd(), XattrNamespace::Trusted)?;
            (OverlayMount::of_directory(&copy, None)?, copy)
        }
        Err(error) => return Err(error.into()),
    };
    let merged = mount.attach(dir("merged")?)?;

    fs::write(merged.target().join("etc/hostname"), "demo\n")?;
    let (seen, changed) = (merged.target().join("etc"), changed.join("etc"));
    println!("a container sees in /etc: {:?}", names(&seen)?);
    println!("what it changes is in: {:?}", names(&changed)?);

    merged.unmount().map_err(|(_, error)| error)?;
    Ok(())
}

/// A layer as registries serve it, after decompression: a tar stream.
fn tar(files: &[&str]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        tar.append_data(&mut header, name, io::empty())?;
    }
    tar.into_inner()
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    names.collect()
}
