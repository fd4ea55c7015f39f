//! What this crate reports of itself is what strace(1) sees of it.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;
mod users;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rocker_fs::{
    Access, Device, Layers, Mount, Overlay, OverlayMount, Rootfs, UnpackOptions, XattrNamespace,
    create_dir_beneath, merge, open_beneath, read_beneath,
};
use support::Layer;
use tar::EntryType;

/// Every call that the crate makes, but for those of the stat(2) family and fchmodat(2), which the C library makes in
/// its own way.
const CALLS: [&str; 35] = [
    "fsopen",
    "fsconfig",
    "fsmount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "mount",
    "umount2",
    "unshare",
    "setns",
    "mknodat",
    "symlinkat",
    "mkdirat",
    "mkdir",
    "linkat",
    "unlinkat",
    "rmdir",
    "unlink",
    "rename",
    "renameat2",
    "openat2",
    "openat",
    "flock",
    "syncfs",
    "fsync",
    "fstatfs",
    "statx",
    "fchown",
    "fchownat",
    "fchmod",
    "utimensat",
    "fsetxattr",
    "setxattr",
    "setfsuid",
    "setfsgid",
];

fn compared(call: &str) -> Option<String> {
    let (name, _) = call.split_once('(')?;
    // How the C library changes the mode of a name that must be no symbolic link.
    let of_fchmodat = name == "openat" && call.contains(", O_RDONLY|O_NOFOLLOW|O_CLOEXEC|O_PATH)");
    // And how the standard library looks at a file.
    let of_std = name == "statx" && !call.contains("|AT_EMPTY_PATH, STATX_MNT_ID");
    if !CALLS.contains(&name) || of_fchmodat || of_std {
        return None;
    }
    // strace says in a comment what date a number is, and names the fields that are 0.
    let mut call = call.to_owned();
    while let Some((text, rest)) = call.split_once(" /* ") {
        call = format!("{text}{}", rest.split_once(" */")?.1);
    }
    for nothing in [", attr_clr=0", ", propagation=0", ", userns_fd=0"] {
        call = call.replace(nothing, "");
    }
    // The answer of this one is a structure.
    if matches!(name, "fstatfs" | "statx") {
        return call
            .split(['{', ')'])
            .next()
            .map(|text| text.trim_end_matches(", ").to_owned());
    }
    Some(call)
}

/// An entry of each kind, twice named and once replaced.
fn layer() -> Vec<u8> {
    let mut null = Layer::header(EntryType::Char, 0o666, 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    let mut disk = Layer::header(EntryType::Block, 0o660, 0);
    disk.set_device_major(7).unwrap();
    disk.set_device_minor(300).unwrap();
    let mut theirs = Layer::header(EntryType::Regular, 0o4755, 0);
    theirs.set_uid(1000);
    Layer::default()
        .dir("./", 0o755)
        .dir("closed/", 0o500)
        .file("closed/file", "content")
        .file("not/mentioned/file", "")
        .pax(&[("SCHILY.xattr.user.note", b"y")])
        .file("note", "")
        .symlink("link", "where \"it\" leads\n")
        .pax(&[("SCHILY.xattr.trusted.note", b"y")])
        .symlink("marked", "/")
        .hard_link("second", "note")
        .raw(b"null", null, b"")
        .raw(b"disk", disk, b"")
        .raw(b"fifo", Layer::header(EntryType::Fifo, 0o600, 0), b"")
        .raw(b"theirs", theirs, b"")
        .file("again", "1")
        .file("again", "2")
        .dir("full/below", 0o755)
        .file("full", "no directory any more")
        .file(".wh.deleted", "")
        .dir("deleted", 0o755)
        .file("closed/.wh..wh..opq", "")
        .end()
}

#[test]
fn unpacking_and_mounting_are_reported_call_by_call() {
    fake_host::run(|host| {
        let base = host.dir("strace");
        for dir in [
            "upper", "work", "upper2", "work2", "upper3", "work3", "merged", "root/etc", "a,b",
            "copy",
        ] {
            fs::create_dir_all(base.join(dir)).unwrap();
        }
        fs::write(base.join("root/etc/passwd"), "root").unwrap();
        let root = File::open(base.join("root")).unwrap();
        let copy = File::open(base.join("copy")).unwrap();
        let userns = users::namespace("0 100000 65536");
        let calls = against_strace::hold(
            "unpacking_and_mounting_are_reported_call_by_call",
            &base,
            compared,
            || all_of_it(&base, root, copy, userns),
        );
        for name in CALLS {
            let absent = ["setns", "rmdir", "unlink", "rename", "fsync"];
            let made = calls
                .iter()
                .any(|call| call.starts_with(&format!("{name}(")));
            assert_eq!(made, !absent.contains(&name), "{name}");
        }
    });
}

fn all_of_it(base: &Path, root: File, copy: File, userns: OwnedFd) {
    let layers = Layers::open(base.join("store/layers")).unwrap();
    let options = UnpackOptions::default();
    layers.unpack("0a", layer().as_slice(), &options).unwrap();
    layers.unpack("0a", layer().as_slice(), &options).unwrap();
    layers.unpack("0b", layer().as_slice(), &options).unwrap();
    let options_of_user = UnpackOptions::user_namespace();
    let layer_of_user = layer();
    layers
        .unpack("0d", layer_of_user.as_slice(), &options_of_user)
        .unwrap();
    assert!(layers.contains("0a") && !layers.contains("0c"));
    layers
        .unpack("0c", &b"no archive"[..], &options)
        .unwrap_err();
    layers.remove("0b").unwrap();
    layers.sweep().unwrap();

    let below = [layers.path("0a"), base.join("a,b")];
    let overlay = Overlay::new(below.clone()).upper(base.join("upper"), base.join("work"));
    overlay
        .mount()
        .unwrap()
        .attach(base.join("merged"))
        .unwrap()
        .unmount()
        .unwrap();
    drop(
        overlay
            .mount()
            .unwrap()
            .attach(base.join("merged"))
            .unwrap(),
    );
    // As kernels before 6.8 do it.
    let overlay = Overlay::new(below).upper(base.join("upper2"), base.join("work2"));
    drop(overlay.by_mount().mount().unwrap());
    drop(Overlay::new([base.join("a,b")]).mount().unwrap());
    Overlay::new([base.join("missing")]).mount().unwrap_err();
    let layers = [base.join("store/layers/0a"), base.join("a,b")];
    let mapped = Overlay::new(layers).upper(base.join("upper3"), base.join("work3"));
    let userns = Arc::new(userns);
    let mapped = mapped.id_map(Arc::clone(&userns));
    drop(mapped.mount().unwrap());
    drop(mapped.by_mount().mount().unwrap());

    let layers = [base.join("store/layers/0a"), base.join("a,b")];
    let memory = Overlay::new(&layers).upper_in_memory(Some(1 << 20));
    drop(memory.mount().unwrap());
    drop(memory.by_mount().mount().unwrap());
    merge(&layers, copy.as_fd(), XattrNamespace::Trusted).unwrap();
    let overlay = Overlay::new(&layers).upper(base.join("upper"), base.join("work"));
    overlay.probe().unwrap().verdict().unwrap();
    drop(OverlayMount::of_directory(base.join("copy"), None).unwrap());

    create_dir_beneath(root.as_fd(), "made/below", 0o755).unwrap();
    open_beneath(root.as_fd(), "made", Access::Path).unwrap();
    assert_eq!(
        read_beneath(root.as_fd(), "etc/passwd", 10)
            .unwrap()
            .unwrap(),
        b"root"
    );
    let rootfs = Rootfs::new(root, base.join("merged"))
        .mount(Mount::bind(base.join("upper"), "/upper"))
        .mount(Mount::bind(base.join("upper"), "/mapped").id_map(userns))
        .mounts(Rootfs::standard_mounts())
        .host_devices(true)
        .device(Device::of_host("/dev/null", "/dev/null").unwrap());
    rootfs.steps().unwrap();
}
