//! An image of everything that an archive can hold is, seen through an overlay, the tree that `umoci unpack` makes of it.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

mod archives;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod listing;
mod support;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use rocker_fs::{Layers, Overlay, PackOptions, UnpackOptions, XattrNamespace, pack};
use support::Layer;
use tar::{EntryType, Header};

/// Prints all that there is to know of a tree, one line a file, with the first name that the file has. How many it has is left out,
/// since overlayfs counts those that it hides, as are holes, which umoci fills; and directories that no layer lists are as old as their unpacking.
const LIST: &str = r#"
import os, sys, stat, hashlib
root, implied, inodes, lines = sys.argv[1].encode(), sys.argv[2].split(), {}, []
for dir, dirs, files in os.walk(root):
    for path in [dir] + [os.path.join(dir, name) for name in dirs + files if os.path.islink(os.path.join(dir, name)) or name in files]:
        status = os.lstat(path)
        name = os.path.relpath(path, root)
        kind = stat.S_IFMT(status.st_mode)
        first = inodes.setdefault((status.st_dev, status.st_ino), name) if kind != stat.S_IFDIR else name
        age = 0 if name.decode('utf-8', 'replace') in implied else status.st_mtime_ns
        size = status.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else 0
        link = os.readlink(path) if kind == stat.S_IFLNK else b''
        content = hashlib.sha256(open(path, 'rb').read()).hexdigest() if kind == stat.S_IFREG else ''
        attributes = sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in os.listxattr(path, follow_symlinks=False))
        lines.append((name, oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, size, age, first, link, content, attributes))
for line in sorted(lines, key=lambda line: line[0]):
    print(*line)
"#;

fn device(kind: EntryType, mode: u32, major: u32, minor: u32) -> Header {
    let mut header = Layer::header(kind, mode, 0);
    header.set_device_major(major).unwrap();
    header.set_device_minor(minor).unwrap();
    header
}

fn owned(kind: EntryType, mode: u32, size: u64, uid: u64, gid: u64) -> Header {
    let mut header = Layer::header(kind, mode, size);
    header.set_uid(uid);
    header.set_gid(gid);
    header
}

/// All that files can be.
fn lower() -> Layer {
    let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    let piece = vec![b'x'; 4096];
    let map = archives::map("2 0 4096 8388608 4096", &[&piece[..], &piece].concat());
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    Layer::default()
        .dir("./", 0o755)
        .dir("bin/", 0o755)
        .pax(&[
            ("mtime", b"1234567890.123456789"),
            ("SCHILY.xattr.user.note", b"line\n\nline"),
        ])
        .raw(
            b"bin/su",
            owned(EntryType::Regular, 0o4755, 4, 1000, 100_000),
            b"text",
        )
        .raw(
            b"bin/wall",
            owned(EntryType::Regular, 0o2755, 1, 0, 5),
            b"x",
        )
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .file("bin/ping", "x")
        .hard_link("bin/su2", "bin/su")
        .hard_link("bin/ping2", "bin/ping")
        .symlink("bin/sh", "/no/such")
        .hard_link("bin/sh2", "bin/sh")
        .raw(
            b"bin/odd",
            owned(EntryType::Regular, 0o000, 3, 65534, 65534),
            b"odd",
        )
        .raw(b"tmp/", owned(EntryType::Directory, 0o1777, 0, 0, 0), b"")
        .pax(&[
            ("mtime", b"1111111111.000000001"),
            ("SCHILY.xattr.user.dir", b"of a directory"),
        ])
        .raw(
            b"shared/",
            owned(EntryType::Directory, 0o2770, 0, 7, 8),
            b"",
        )
        .file("shared/later", "than its directory")
        .pax(&[("uid", b"2000000"), ("gid", b"3000000"), ("mtime", b"1.5")])
        .symlink("link", "bin/../bin/su")
        .pax(&[("linkpath", "t/".repeat(120).as_bytes())])
        .symlink("long-link", "x")
        .long(
            EntryType::GNULongLink,
            &[&b"u/".repeat(110)[..], b"\0"].concat(),
        )
        .symlink("gnu-long-link", "x")
        .raw(b"fifo", owned(EntryType::Fifo, 0o622, 0, 1, 2), b"")
        .raw(b"null", device(EntryType::Char, 0o666, 1, 3), b"")
        .raw(b"tty", device(EntryType::Char, 0o620, 4, 300), b"")
        .raw(b"disk", device(EntryType::Block, 0o660, 259, 7), b"")
        .pax(&[("path", long.as_bytes())])
        .file("short", "a long name")
        .long_name(&[long.as_bytes(), b"2\0"].concat())
        .file("short", "another long name")
        .pax(&[("path", "gr\u{fc}\u{df}e \u{2603}".as_bytes())])
        .file("short", "not ASCII")
        .file("implied/by/file", "x")
        .file("/absolute/./name", "x")
        .pax(&[("mtime", b"-1.25")])
        .file("old", "from before 1970")
        .raw(
            b"older",
            archives::with_field(EntryType::Regular, archives::MTIME, &[0xff; 12]),
            b"",
        )
        .sparse("8392704", &map)
        .file("empty", "")
        .dir("gone/", 0o755)
        .file("gone/file", "x")
        .dir("opaque/", 0o755)
        .file("opaque/old", "x")
        .dir("opaque/sub/", 0o755)
        .file("opaque/sub/old", "x")
        .dir("replaced/", 0o755)
        .file("replaced/old", "x")
        .file("file", "old")
        .symlink("symlink", "bin")
        .dir("kept/", 0o700)
        .file("kept/one", "1")
        .file("kept/two", "2")
        .dir("hidden/", 0o755)
        .file("hidden/old", "x")
}

/// All that a layer can do to the one below.
fn upper() -> Layer {
    Layer::default()
        .file(".wh.gone", "")
        .dir("opaque/", 0o750)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "y")
        .file("replaced", "now a file")
        .dir("file/", 0o711)
        .file("file/inside", "now a directory")
        .file("symlink", "now a file")
        .raw(b"kept/", owned(EntryType::Directory, 0o710, 0, 3, 4), b"")
        .file("kept/.wh.one", "")
        .file("kept/three", "3")
        .file(".wh.hidden", "")
        .dir("hidden/", 0o701)
        .file("hidden/new", "y")
        .hard_link("kept/four", "kept/three")
        .dir("bin/", 0o755)
        .file("bin/.wh.su2", "")
        .file("bin/.wh.no-such", "")
        .file("bin/ping", "without its capability")
        .dir("./", 0o751)
}

#[test]
fn an_image_with_everything_is_what_umoci_makes_of_it() {
    fake_host::run(|host| {
        host.sh("umoci init --layout /run/image && umoci new --image /run/image:all");
        let layers = Layers::open(host.dir("layers")).unwrap();
        for (name, layer) in [("01", lower()), ("02", upper())] {
            let tar = layer.end();
            fs::write(format!("/run/{name}.tar"), &tar).unwrap();
            layers
                .unpack(name, tar.as_slice(), &UnpackOptions::default())
                .unwrap();
            host.sh(&format!(
                "umoci raw add-layer --image /run/image:all /run/{name}.tar"
            ));
        }
        host.sh("umoci unpack --image /run/image:all /run/theirs");
        let overlay = Overlay::new([layers.path("01"), layers.path("02")]);
        let merged = overlay.mount().unwrap().attach(host.dir("ours")).unwrap();
        fs::write("/run/list.py", LIST).unwrap();
        let long = "d".repeat(150);
        let list = |dir: &str| {
            host.sh(&format!(
                "python3 /run/list.py {dir} 'implied implied/by absolute {long}'"
            ))
        };
        let (ours, theirs) = (list("/run/ours"), list("/run/theirs/rootfs"));
        assert!(ours.lines().count() > 40, "{ours}");
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours, theirs);
        assert!(Path::new("/run/ours/opaque/new").exists());
        merged.unmount().map_err(|(_, error)| error).unwrap();
    });
}

#[test]
fn what_was_changed_and_packed_is_for_umoci_the_tree_that_it_was() {
    fake_host::run(|host| {
        host.sh("umoci init --layout /run/image && umoci new --image /run/image:all");
        let layers = Layers::open(host.dir("layers")).unwrap();
        let options = UnpackOptions::default();
        let tar = lower().end();
        fs::write("/run/01.tar", &tar).unwrap();
        layers.unpack("01", tar.as_slice(), &options).unwrap();
        let (upper, work) = (host.dir("upper"), host.dir("work"));
        let overlay = Overlay::new([layers.path("01")]).upper(&upper, &work);
        let merged = overlay.mount().unwrap().attach(host.dir("ours")).unwrap();
        let long = "d".repeat(150);
        host.sh(&format!(
            "cd /run/ours; rm -r gone opaque; mkdir -m 750 opaque; echo y >opaque/new; rm -r replaced file; echo f >replaced; mkdir -m 711 file; echo x >file/inside; \
             rm symlink; echo x >symlink; chmod 710 kept; chown 3:4 kept; rm kept/one; ln kept/two kept/four; mv hidden renamed; mkdir hidden; echo >>bin/wall; mv {long} other; \
             ln -s bin/su soft; mkfifo -m 640 pipe; mknod zero c 1 5; echo x >big; chown 3000000:3000001 big; chmod 6755 big; touch -h -d @-5.25 soft; chmod 751 ."
        ));
        fs::write("/run/list.py", LIST).unwrap();
        let list = |dir: &str| {
            host.sh(&format!(
                "python3 /run/list.py {dir} 'implied implied/by absolute {long}'"
            ))
        };
        let ours = list("/run/ours");
        merged.unmount().map_err(|(_, error)| error).unwrap();
        let mut tar = Vec::new();
        let changed = fs::File::open(&upper).unwrap();
        let as_layer = PackOptions::layer(XattrNamespace::Trusted);
        pack(changed.as_fd(), &mut tar, &as_layer).unwrap();
        fs::write("/run/02.tar", &tar).unwrap();
        for name in ["01", "02"] {
            host.sh(&format!(
                "umoci raw add-layer --image /run/image:all /run/{name}.tar"
            ));
        }
        host.sh("umoci unpack --image /run/image:all /run/theirs");
        layers.unpack("02", tar.as_slice(), &options).unwrap();
        let overlay = Overlay::new([layers.path("01"), layers.path("02")]);
        let again = overlay.mount().unwrap().attach(host.dir("again")).unwrap();
        for other in [list("/run/again"), list("/run/theirs/rootfs")] {
            for (ours, theirs) in ours.lines().zip(other.lines()) {
                assert_eq!(ours, theirs);
            }
            assert_eq!(ours, other);
        }
        assert!(ours.lines().count() > 40, "{ours}");
        again.unmount().map_err(|(_, error)| error).unwrap();
    });
}

#[test]
fn what_is_accepted_of_hostile_archives_is_what_umoci_makes_of_it() {
    // The first three it refuses. In the last, overlayfs lists a whiteout that hides nothing.
    const OTHERWISE: [&str; 4] = [
        "slashes for a name",
        "a whiteout that is linked",
        "a global header with a comment",
        "a whiteout beneath a whiteout",
    ];
    fake_host::run(|host| {
        let layers = Layers::open(host.dir("layers")).unwrap();
        let base = Layer::default()
            .dir("a", 0o755)
            .file("a/below", "x")
            .file("b", "x")
            .dir("out", 0o755)
            .file("out/below", "x")
            .dir("run/outside", 0o755)
            .file("run/outside/victim", "base")
            .end();
        let options = UnpackOptions::default();
        layers.unpack("01", base.as_slice(), &options).unwrap();
        fs::write("/run/base.tar", &base).unwrap();
        host.sh("umoci init --layout /run/base && umoci new --image /run/base:x && umoci raw add-layer --image /run/base:x /run/base.tar");
        let mut compared = 0;
        for archive in archives::all() {
            let accepted = layers
                .unpack("02", archive.tar.as_slice(), &options)
                .is_ok();
            if accepted && !OTHERWISE.contains(&archive.name) {
                fs::write("/run/a.tar", &archive.tar).unwrap();
                host.sh("rm -rf /run/image /run/theirs; cp -a /run/base /run/image; umoci raw add-layer --image /run/image:x /run/a.tar; umoci unpack --image /run/image:x /run/theirs");
                let overlay = Overlay::new([layers.path("01"), layers.path("02")]);
                let merged = overlay.mount().unwrap().attach(host.dir("ours")).unwrap();
                let theirs = listing::of_directory(Path::new("/run/theirs/rootfs"));
                assert_eq!(
                    listing::of_directory(Path::new("/run/ours")),
                    theirs,
                    "{}",
                    archive.name
                );
                merged.unmount().map_err(|(_, error)| error).unwrap();
                compared += 1;
            }
            layers.remove("02").unwrap();
        }
        assert!(compared > 15, "{compared}");
    });
}
