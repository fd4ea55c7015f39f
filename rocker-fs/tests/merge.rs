//! The layers as one plain directory, held against what the kernel's overlay shows of them.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rocker_fs::{Copied, Error, Overlay, UnpackOptions, XattrNamespace, merge};
use support::Layer;
use tar::EntryType;

/// Prints all that can be seen of a tree, one line a name: mode, owners, size and links of files, time, target, content,
/// attributes.
const LIST: &str = r#"
import os, sys, stat
root, times = sys.argv[1] + "/.", sys.argv[2] == "times"
def line(path):
    s = os.lstat(path)
    dir = stat.S_ISDIR(s.st_mode)
    known = [oct(s.st_mode), s.st_uid, s.st_gid, "" if dir else (s.st_size, s.st_nlink)]
    known.append(s.st_mtime_ns if times or not dir else "")
    if stat.S_ISLNK(s.st_mode): known.append(os.readlink(path))
    if stat.S_ISREG(s.st_mode): known.append(open(path, "rb").read())
    names = sorted(os.listxattr(path, follow_symlinks=False))
    known.append([(n, os.getxattr(path, n, follow_symlinks=False)) for n in names if ".overlay." not in n or not times])
    print(os.path.relpath(path, root), *known)
    if dir:
        for name in sorted(os.listdir(path)): line(path + "/" + name)
line(root)
"#;

fn listing(host: &fake_host::Host, dir: &Path, times: bool) -> String {
    fs::write("/run/list.py", LIST).unwrap();
    let times = if times { "times" } else { "" };
    host.sh(&format!("python3 /run/list.py {} '{times}'", dir.display()))
}

fn merged(layers: &[PathBuf], to: &Path, xattrs: XattrNamespace) -> Copied {
    fs::create_dir_all(to).unwrap();
    merge(layers, File::open(to).unwrap().as_fd(), xattrs).unwrap()
}

fn inside(mount: &impl AsFd) -> PathBuf {
    let pid = std::process::id();
    PathBuf::from(format!("/proc/{pid}/fd/{}", mount.as_fd().as_raw_fd()))
}

/// Layers with every way of hiding something, unpacked into directories of `base`.
fn layers(base: &Path, options: &UnpackOptions) -> Vec<PathBuf> {
    let file = |layer: Layer, name: &str, uid, mode, content: &str| {
        let mut header = Layer::header(EntryType::Regular, mode, content.len() as u64);
        header.set_uid(uid);
        header.set_gid(uid + 1);
        layer.raw(name.as_bytes(), header, content.as_bytes())
    };
    let capability: (&str, &[u8]) = (
        "SCHILY.xattr.security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    let first = Layer::default()
        .dir("dir/", 0o711)
        .file("dir/one", "1")
        .file("dir/two", "1")
        .file("dir/both", "1")
        .file("opaque/below", "1")
        .file("opaque/sub/deep", "1")
        .file("replaced/below", "1")
        .file("file-then-dir", "1")
        .file("gone", "1")
        .file("gone-dir/a", "1")
        .file("gone-then-back/old", "1")
        .hard_link("linked", "dir/one")
        .symlink("symlink", "dir/one");
    let first = file(first, "su", 33, 0o4755, "setuid");
    let first = file(first.pax(&[capability]), "capable", 0, 0o755, "x");
    let second = Layer::default()
        .dir("dir/", 0o1777)
        .file("dir/both", "2")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/above", "2")
        .file("replaced", "a file now")
        .file("file-then-dir/inside", "2")
        .file(".wh.gone", "")
        .file(".wh.gone-dir", "")
        .file(".wh.gone-then-back", "")
        .link(EntryType::Fifo, "fifo", "")
        .file("empty", "");
    let third = Layer::default()
        .file("gone-then-back/new", "3")
        .file("dir/.wh.two", "")
        .file("opaque/sub/new", "3")
        .symlink("dir2", "dir");
    let all = [first, second, third];
    let named = all.into_iter().enumerate().map(|(at, layer)| {
        let dir = base.join(format!("l{at}"));
        layer.unpack_with(&dir, options).unwrap();
        dir
    });
    named.collect()
}

#[test]
fn a_merged_tree_is_what_an_overlay_shows() {
    fake_host::run(|host| {
        let user = UnpackOptions::default().xattr_namespace(XattrNamespace::User);
        for (name, options) in [("trusted", UnpackOptions::default()), ("user", user)] {
            let base = host.dir(name);
            let layers = layers(&base, &options);
            for count in 1..=3 {
                let namespace = options.xattr_namespace;
                let mount = Overlay::new(&layers[..count])
                    .xattr_namespace(namespace)
                    .mount()
                    .unwrap();
                let to = base.join(format!("merged{count}"));
                let copied = merged(&layers[..count], &to, namespace);
                let (shown, copy) = (inside(&mount), listing(host, &to, true));
                assert_eq!(copy, listing(host, &shown, true), "{name}, {count} layers");
                // No mark is copied, and nothing else is left out.
                assert!(!listing(host, &to, false).contains(".overlay."), "{copy}");
                assert_eq!(copied.attributes_left_out, 0);
                assert_eq!(copied.entries, copy.lines().count() as u64 - 1);
                assert!(
                    copied.entries >= 13 && copy.contains("security.capability"),
                    "{copy}"
                );
            }
        }
    });
}

#[test]
fn layers_that_were_unpacked_onto_an_overlay_show_and_merge_the_same() {
    fake_host::run(|host| {
        host.sh(
            "cd /run; mkdir l u w m; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m",
        );
        let options = UnpackOptions::default();
        let plain = layers(&host.dir("plain"), &options);
        let nested = layers(Path::new("/run/m"), &options);
        for count in 1..=3 {
            let expected = host.dir(&format!("expected{count}"));
            merged(&plain[..count], &expected, XattrNamespace::Trusted);
            let expected = listing(host, &expected, false);
            // Within the outer overlay, as a container's copy is, and elsewhere.
            for to in ["/run/m/to", "/run/to"] {
                let to = PathBuf::from(format!("{to}{count}"));
                merged(&nested[..count], &to, XattrNamespace::Trusted);
                assert_eq!(listing(host, &to, false), expected, "{count} layers");
            }
            // And the kernel takes the marks for what they are.
            let mount = Overlay::new(&nested[..count])
                .upper_in_memory(None)
                .mount()
                .unwrap();
            let shown = inside(&mount);
            assert_eq!(shown.join("gone").exists(), count == 1);
            assert_eq!(shown.join("opaque/below").exists(), count == 1);
            assert_eq!(shown.join("dir/two").exists(), count < 3);
            assert!(!shown.join("gone-then-back/old").exists() || count == 1);
        }
    });
}

#[test]
fn data_are_shared_where_the_file_system_can_and_holes_stay_where_it_cannot() {
    fake_host::run(|host| {
        let sparse = |dir: &Path| {
            fs::create_dir_all(dir).unwrap();
            let file = File::create(dir.join("sparse")).unwrap();
            file.set_len(64 << 20).unwrap();
            fs::write(dir.join("data"), vec![7; 3 << 20]).unwrap();
        };
        let base = host.dir("memory");
        sparse(&base.join("layer"));
        let copied = merged(
            &[base.join("layer")],
            &base.join("to"),
            XattrNamespace::Trusted,
        );
        assert_eq!((copied.entries, copied.shared), (2, 0));
        let status = fs::metadata(base.join("to/sparse")).unwrap();
        assert_eq!((status.len(), status.blocks()), (64 << 20, 0));
        let made = host.try_sh(
            "cd /run; truncate -s 200M b.img; mkfs.btrfs -q b.img; mkdir b; mount -o loop b.img b",
        );
        if !fake_host::require("btrfs", made.status.success()) {
            return;
        }
        let base = PathBuf::from("/run/b");
        sparse(&base.join("layer"));
        let copied = merged(
            &[base.join("layer")],
            &base.join("to"),
            XattrNamespace::Trusted,
        );
        assert_eq!(copied.shared, 2);
        let (one, two) = (
            fs::read(base.join("layer/data")),
            fs::read(base.join("to/data")),
        );
        assert_eq!(one.unwrap(), two.unwrap());
    });
}

#[test]
fn a_layer_that_is_missing_is_named_and_a_name_that_is_taken_too() {
    let dir = tempfile::tempdir().unwrap();
    let to: OwnedFd = File::open(dir.path()).unwrap().into();
    let none: [PathBuf; 0] = [];
    assert!(matches!(
        merge(none, to.as_fd(), XattrNamespace::User),
        Err(Error::NoLayers)
    ));
    let absent = merge(
        [dir.path().join("absent")],
        to.as_fd(),
        XattrNamespace::User,
    );
    assert!(matches!(absent, Err(Error::Store { path, .. }) if path.ends_with("absent")));
    let layer = dir.path().join("layer");
    fs::create_dir_all(layer.join("d")).unwrap();
    fs::write(layer.join("d/file"), "").unwrap();
    let to = dir.path().join("to");
    fs::create_dir_all(to.join("d")).unwrap();
    let to: OwnedFd = File::open(to).unwrap().into();
    let taken = merge([layer], to.as_fd(), XattrNamespace::User);
    assert!(
        matches!(&taken, Err(Error::Copy { path, .. }) if path == Path::new("d")),
        "{taken:?}"
    );
}
