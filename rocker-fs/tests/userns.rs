//! Layers, overlays and root file systems for an ordinary user, who is root of a user namespace.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[expect(unsafe_code, reason = "the steps are raw system calls")]
mod executor;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;
mod users;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rocker_fs::{Layers, Overlay, UnpackOptions, XattrNamespace};
use support::Layer;
use tar::EntryType;

const CAPABILITY: &[u8] =
    b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
/// Of the root of user namespace 5, which is nobody in both maps' namespaces.
const OF_NOBODY: &[u8] =
    b"\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\x7f";

/// All that a user namespace has trouble with.
fn layer() -> Vec<u8> {
    let owned = |kind, mode, uid, gid| {
        let mut header = Layer::header(kind, mode, 0);
        header.set_uid(uid);
        header.set_gid(gid);
        header
    };
    let mut link = owned(EntryType::Symlink, 0o777, 33, 33);
    link.set_link_name_literal("other").unwrap();
    let mut null = Layer::header(EntryType::Char, 0o666, 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    let mut disk = Layer::header(EntryType::Block, 0o660, 0);
    disk.set_device_major(7).unwrap();
    Layer::default()
        .dir("./", 0o755)
        .raw(b"shared/", owned(EntryType::Directory, 0o2775, 0, 50), b"")
        .file("shared/file", "")
        .raw(b"su", owned(EntryType::Regular, 0o4755, 0, 0), b"")
        .raw(b"mail", owned(EntryType::Regular, 0o2755, 0, 8), b"")
        .raw(b"other", owned(EntryType::Regular, 0o6755, 33, 33), b"")
        .raw(b"far", owned(EntryType::Regular, 0o4755, 200_000, 0), b"")
        .raw(b"link", link, b"")
        .hard_link("second", "other")
        .raw(b"fifo", owned(EntryType::Fifo, 0o620, 0, 0), b"")
        .pax(&[("SCHILY.xattr.security.capability", CAPABILITY)])
        .file("ping", "")
        .pax(&[("SCHILY.xattr.security.capability", OF_NOBODY)])
        .file("pong", "")
        .pax(&[
            ("SCHILY.xattr.trusted.note", b"x"),
            ("SCHILY.xattr.security.selinux", b"y"),
        ])
        .file("labelled", "")
        .pax(&[("SCHILY.xattr.user.note", b"z")])
        .file("noted", "")
        .raw(b"null", null.clone(), b"")
        .raw(b"disk", disk, b"")
        .dir("hidden", 0o755)
        .raw(b"hidden", null, b"")
        .hard_link("null2", "null")
        .file(".wh.gone", "")
        .file("emptied/.wh..wh..opq", "")
        .file("emptied/new", "")
        .end()
}

#[test]
fn an_ordinary_users_layers_are_whole_but_for_what_the_kernel_denies_and_that_is_counted() {
    fake_host::run(|host| {
        users::as_ordinary(|map, dir| {
            let layers = Layers::open(dir.join("layers")).unwrap();
            let below = Layer::default()
                .file("gone", "")
                .file("null", "a file of the layer below")
                .file("emptied/old", "")
                .dir("hidden", 0o755)
                .file("hidden/old", "")
                .end();
            let options = UnpackOptions::user_namespace();
            layers.unpack("a0", below.as_slice(), &options).unwrap();
            let done = layers.unpack("b0", layer().as_slice(), &options).unwrap();
            let one = map == users::ONE;
            // shared, mail, other, far, link; with IDs up to 65535 only far.
            assert_eq!(done.unmapped, if one { 5 } else { 1 });
            assert_eq!((done.devices_left_out, done.attributes_left_out), (3, 3));
            assert_eq!(done.whiteouts, 2);
            for name in ["upper", "work"] {
                fs::create_dir(dir.join(name)).unwrap();
            }
            let before = host.sh("cat /proc/self/mounts");
            for by in [|overlay| overlay, Overlay::by_mount] {
                let overlay = Overlay::new([layers.path("a0"), layers.path("b0")])
                    .upper(dir.join("upper"), dir.join("work"))
                    .xattr_namespace(XattrNamespace::User);
                let mount = by(overlay).mount().unwrap();
                let inside = at(&mount);
                look(host, &inside, one);
                // What the container deletes and makes goes up in the same form.
                fs::write(inside.join("made"), "").unwrap();
                fs::remove_file(inside.join("noted")).unwrap();
                assert_eq!(fs::metadata(dir.join("upper/made")).unwrap().uid(), 0);
                let whiteout = fs::symlink_metadata(dir.join("upper/noted")).unwrap();
                assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
                drop(mount);
                fs::remove_file(dir.join("upper/noted")).unwrap();
            }
            assert_eq!(host.sh("cat /proc/self/mounts"), before);
            layers.remove("a0").unwrap();
            layers.remove("b0").unwrap();
            assert!(layers.names().unwrap().is_empty());
        });
    });
}

/// Where everybody finds a mount that is attached to nothing.
fn at(mount: &impl AsFd) -> PathBuf {
    let (pid, number) = (std::process::id(), mount.as_fd().as_raw_fd());
    PathBuf::from(format!("/proc/{pid}/fd/{number}"))
}

fn look(host: &fake_host::Host, inside: &Path, one: bool) {
    let of = |name: &str| {
        let found = fs::symlink_metadata(inside.join(name)).unwrap();
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let either = |full, alone| if one { alone } else { full };
    assert_eq!(of("su"), (0, 0, 0o4755));
    assert_eq!(of("mail"), either((0, 8, 0o2755), (0, 0, 0o755)));
    assert_eq!(of("other"), either((33, 33, 0o6755), (0, 0, 0o755)));
    assert_eq!(of("far"), (0, 0, 0o755));
    assert_eq!(of("shared"), either((0, 50, 0o2775), (0, 0, 0o2775)));
    assert_eq!(of("shared/file"), (0, 0, 0o644));
    assert_eq!(of("fifo"), (0, 0, 0o620));
    let file = |name: &str| fs::symlink_metadata(inside.join(name)).unwrap();
    assert!(file("fifo").file_type().is_fifo());
    assert_eq!(file("second").ino(), file("other").ino());
    assert_eq!(
        fs::read_link(inside.join("link")).unwrap(),
        Path::new("other")
    );
    for absent in ["null", "null2", "disk", "hidden", "gone", "emptied/old"] {
        assert!(
            fs::symlink_metadata(inside.join(absent)).is_err(),
            "{absent}"
        );
    }
    assert!(inside.join("emptied/new").exists());
    let attributes = |name: &str| {
        let path = inside.join(name);
        let script = "import os, sys; print({k: os.getxattr(sys.argv[1], k).hex() for k in os.listxattr(sys.argv[1])})";
        host.sh(&format!("python3 -c '{script}' {}", path.display()))
    };
    // To the namespace the capability looks as it did in the layer; on the disk it counts in there alone.
    assert_eq!(
        attributes("ping").trim(),
        "{'security.capability': '0100000200200000000000000000000000000000'}"
    );
    assert_eq!(attributes("pong").trim(), "{}");
    assert_eq!(attributes("labelled").trim(), "{}");
    assert_eq!(attributes("noted").trim(), "{'user.note': '7a'}");
}
