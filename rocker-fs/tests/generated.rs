//! Archives without malice become exactly what another reader of tar lists, whatever their form.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

mod archives;
mod listing;
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use rocker_fs::{Layers, Ownership, UnpackOptions, XattrNamespace};
use support::Layer;
use tar::EntryType;

/// A path of few names, so that they meet often, and of odd ones.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => "[ab]",
        2 => "[a-z.]{1,8}",
        1 => "\\PC{1,20}",
        1 => "[ \n\t\\\\*?=]{1,5}",
        1 => Just("n".repeat(255)),
        1 => Just("d".repeat(120)),
    ];
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

/// One entry: its name, how that is written, its kind, content or target, mode and time.
fn entry() -> impl Strategy<Value = (String, u8, u8, String, u32, u64)> {
    (
        path(),
        0..3_u8,
        0..6_u8,
        "[^\0]{1,80}",
        0..0o10000_u32,
        0..1_u64 << 33,
    )
}

/// Adds the entry; in the short form where the name has room.
fn add(
    layer: Layer,
    (name, form, kind, text, mode, time): &(String, u8, u8, String, u32, u64),
    linked: &str,
) -> Layer {
    let (kind, content, target) = match kind {
        0 | 1 => (EntryType::Regular, text.as_bytes(), ""),
        2 => (EntryType::Directory, &b""[..], ""),
        3 => (EntryType::Symlink, &b""[..], text.as_str()),
        4 => (EntryType::Fifo, &b""[..], ""),
        _ => (EntryType::Link, &b""[..], linked),
    };
    let mut header = Layer::header(kind, *mode, content.len() as u64);
    header.set_mtime(*time);
    let mut records = Vec::new();
    let (mut layer, mut short) = (layer, name.as_bytes());
    if *form > 0 || short.len() > 100 {
        match form {
            2 => layer = layer.long_name(&[name.as_bytes(), b"\0"].concat()),
            _ => records.push(("path", name.as_bytes())),
        }
        short = b"short";
    }
    if !target.is_empty() && target.len() <= 100 {
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    } else if !target.is_empty() {
        records.push(("linkpath", target.as_bytes()));
    }
    if !records.is_empty() {
        layer = layer.pax(&records);
    }
    layer.raw(short, header, content)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_benign_archive_becomes_the_tree_that_the_tar_crate_lists(entries in prop::collection::vec(entry(), 1..14), link in any::<prop::sample::Index>()) {
        let mut layer = Layer::default();
        let mut taken: Vec<&(String, u8, u8, String, u32, u64)> = Vec::new();
        for entry in &entries {
            let linked = taken.get(link.index(taken.len().max(1))).map_or("", |taken| taken.0.as_str());
            let more = add(Layer(layer.0.clone()), entry, linked);
            // Those that would not be benign are left out.
            if listing::of_archive(&more.0).is_some() {
                layer = more;
                taken.push(entry);
            }
        }
        let tar = layer.end();
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path()).unwrap();
        let options = UnpackOptions::default().ownership(Ownership::Caller).xattr_namespace(XattrNamespace::User).devices(false);
        let unpacked = layers.unpack("00", tar.as_slice(), &options);
        prop_assert!(unpacked.is_ok(), "{unpacked:?}");
        prop_assert_eq!(unpacked.unwrap().entries, taken.len() as u64);
        prop_assert_eq!(listing::of_directory(&layers.path("00")), listing::of_archive(&tar).unwrap());
        for (name, _, kind, _, mode, time) in taken {
            let status = fs::symlink_metadata(layers.path("00").join(name)).unwrap();
            if *kind < 5 && status.nlink() == 1 {
                prop_assert_eq!(status.mtime(), *time as i64, "{}", name);
                let same = status.is_symlink() || status.mode() & 0o7777 == *mode;
                prop_assert!(same, "{}: {:o} and not {:o}", name, status.mode(), mode);
            }
        }
        layers.remove("00").unwrap();
    }
}
