//! What a layer says survives unpacking, and nothing else does.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::sys::stat::{Mode, umask};
use rocker_fs::{Error, Ownership, UnpackOptions};
use support::Layer;
use tar::EntryType;

#[test]
fn everything_in_a_layer_survives() {
    fake_host::run(|host| {
        let dir = host.dir("layer");
        let mut setuid = Layer::header(EntryType::Regular, 0o4755, 4);
        setuid.set_uid(1000);
        setuid.set_gid(100_000);
        let mut null = Layer::header(EntryType::Char, 0o666, 0);
        null.set_device_major(1).unwrap();
        null.set_device_minor(3).unwrap();
        let mut disk = Layer::header(EntryType::Block, 0o660, 0);
        disk.set_device_major(7).unwrap();
        disk.set_device_minor(300).unwrap();
        let capability =
            b"\x01\x00\x00\x02\x0a\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
        Layer::default()
            .dir("./", 0o755)
            .dir("tmp/", 0o1777)
            .pax(&[
                ("mtime", b"1234567890.123456789"),
                ("SCHILY.xattr.user.note", b"line\n\nline"),
            ])
            .raw(b"bin/su", setuid, b"text")
            .pax(&[("SCHILY.xattr.security.capability", capability)])
            .file("bin/ping", "x")
            .hard_link("bin/su2", "bin/su")
            .symlink("bin/sh", "/no/such")
            .hard_link("bin/sh2", "bin/sh")
            .raw(b"fifo", Layer::header(EntryType::Fifo, 0o622, 0), b"")
            .raw(b"null", null, b"")
            .raw(b"disk", disk, b"")
            .pax(&[("path", long.as_bytes())])
            .file("short", "long")
            .file("/tmp/./absolute", "inside")
            .unpack(&dir)
            .unwrap();
        let of = |name: &str| fs::symlink_metadata(dir.join(name)).unwrap();
        let su = of("bin/su");
        assert_eq!(
            (su.mode(), su.uid(), su.gid(), su.nlink()),
            (0o104_755, 1000, 100_000, 2)
        );
        assert_eq!((su.mtime(), su.mtime_nsec()), (1_234_567_890, 123_456_789));
        assert_eq!(of("bin/su2").ino(), su.ino());
        assert_eq!(of("bin/sh2").ino(), of("bin/sh").ino());
        assert!(of("bin/sh2").is_symlink());
        assert_eq!(of("bin/sh").mtime(), 1_000_000_000);
        assert_eq!(
            (of("tmp").mode(), of("tmp").mtime()),
            (0o41_777, 1_000_000_000)
        );
        assert_eq!((of("bin").mode(), of("bin").uid()), (0o40_755, 0));
        assert!(of("fifo").file_type().is_fifo());
        assert_eq!(
            (of("null").mode(), of("null").rdev()),
            (0o20_666, libc::makedev(1, 3))
        );
        assert_eq!(
            (of("disk").mode(), of("disk").rdev()),
            (0o60_660, libc::makedev(7, 300))
        );
        assert_eq!(fs::read_to_string(dir.join(&long)).unwrap(), "long");
        assert_eq!(
            fs::read_to_string(dir.join("tmp/absolute")).unwrap(),
            "inside"
        );
        let value = |name: &str, key: &str| {
            host.sh(&format!(
                "python3 -c \"import os; print(os.getxattr('{}', '{key}').hex())\"",
                dir.join(name).display()
            ))
        };
        assert_eq!(value("bin/su", "user.note").trim(), "6c696e650a0a6c696e65");
        assert_eq!(
            value("bin/ping", "security.capability").trim(),
            "010000020a0a00000000000000000000000000000"
                .get(..40)
                .unwrap()
        );
    });
}

#[test]
fn owner_and_mode_are_the_layers_whatever_the_umask_and_the_directory_above() {
    fake_host::run(|host| {
        let header = |kind, mode, owner: (u64, u64)| {
            let mut header = Layer::header(kind, mode, 0);
            header.set_uid(owner.0);
            header.set_gid(owner.1);
            header
        };
        let cases = [
            ("roots", 0o644, (0, 0)),
            ("open", 0o777, (0, 0)),
            ("closed", 0o000, (0, 0)),
            ("setuid", 0o4755, (0, 0)),
            ("their-setuid", 0o6755, (1000, 50)),
            ("theirs", 0o640, (1000, 0)),
            ("their-group", 0o604, (0, 50)),
        ];
        for mask in [0o022, 0o077, 0] {
            let dir = host.dir(&format!("umask-{mask:o}"));
            let mut layer = Layer::default().raw(
                b"shared/",
                header(EntryType::Directory, 0o2775, (7, 50)),
                b"",
            );
            for (name, mode, owner) in cases {
                let file = format!("shared/{name}");
                layer = layer
                    .raw(
                        file.as_bytes(),
                        header(EntryType::Regular, mode, owner),
                        b"",
                    )
                    .raw(
                        format!("{file}.d/").as_bytes(),
                        header(EntryType::Directory, mode, owner),
                        b"",
                    );
            }
            let before = umask(Mode::from_bits_truncate(mask));
            let unpacked = layer.unpack(&dir);
            umask(before);
            unpacked.unwrap();
            let found = |name: &str| {
                let found = fs::symlink_metadata(dir.join("shared").join(name)).unwrap();
                (
                    found.mode() & 0o7777,
                    (u64::from(found.uid()), u64::from(found.gid())),
                )
            };
            assert_eq!(found(""), (0o2775, (7, 50)));
            for (name, mode, owner) in cases {
                assert_eq!(found(name), (mode, owner), "{name}, umask {mask:o}");
                let below = format!("{name}.d");
                assert_eq!(found(&below), (mode, owner), "{below}, umask {mask:o}");
            }
        }
    });
}

#[test]
fn attributes_that_no_file_system_here_knows_are_left_out_and_counted() {
    fake_host::run(|host| {
        let foreign = [("SCHILY.xattr.com.apple.provenance", &b"\x01"[..])];
        let done = Layer::default()
            .pax(&foreign)
            .dir("d", 0o755)
            .pax(&foreign)
            .symlink("d/s", "x")
            .pax(&[foreign[0], ("SCHILY.xattr.user.known", b"x")])
            .file("d/f", "")
            .unpack(&host.dir("layer"))
            .unwrap();
        assert_eq!((done.entries, done.attributes_left_out), (3, 3));
        let names = "python3 -c \"import os; print(os.listxattr('/run/layer/d/f'))\"";
        assert_eq!(host.sh(names).trim(), "['user.known']");
    });
}

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    fake_host::run(|host| {
        let dir = host.dir("layer");
        let done = Layer::default()
            .file("a/.wh.gone", "")
            .file("b/.wh..wh..opq", "")
            .file(".wh.both", "")
            .dir("both/", 0o755)
            .file(".wh.implied", "")
            .file("implied/child", "x")
            .file("kept", "x")
            .file(".wh.kept", "")
            .dir("dir/", 0o700)
            .file(".wh.dir", "")
            .file(".wh.again", "")
            .file("again", "y")
            .file(".wh..wh.plnk", "")
            .unpack(&dir)
            .unwrap();
        assert_eq!((done.whiteouts, done.opaque_root), (7, false));
        let gone = fs::symlink_metadata(dir.join("a/gone")).unwrap();
        assert!(gone.file_type().is_char_device());
        assert_eq!(gone.rdev(), 0);
        for name in ["b", "both", "implied", "dir"] {
            let path = dir.join(name);
            let opaque = format!(
                "python3 -c \"import os; print(os.getxattr('{}', 'trusted.overlay.opaque'))\"",
                path.display()
            );
            assert_eq!(host.sh(&opaque).trim(), "b'y'", "{name}");
        }
        assert_eq!(fs::read_to_string(dir.join("kept")).unwrap(), "x");
        assert_eq!(fs::read_to_string(dir.join("again")).unwrap(), "y");
        assert!(!dir.join(".wh..wh.plnk").exists());
    });
}

#[test]
fn entries_that_leave_the_layer_are_refused_and_touch_nothing() {
    fake_host::run(|host| {
        let outside = host.dir("outside");
        fs::write(outside.join("victim"), "safe").unwrap();
        let before =
            host.sh("cd /run/outside && find . -printf '%p %m %U %T@ %n\\n' | sort; cat victim");
        let up = |layer: Layer| {
            layer
                .symlink("up", "../outside")
                .symlink("abs", "/run/outside")
                .symlink("file", "/run/outside/victim")
        };
        let hostile: Vec<(&str, Layer)> = vec![
            (
                "dot dot",
                Layer::default().file("../outside/victim", "evil"),
            ),
            (
                "dot dot inside",
                Layer::default().file("a/../../outside/victim", "evil"),
            ),
            (
                "through a relative symlink",
                up(Layer::default()).file("up/victim", "evil"),
            ),
            (
                "through an absolute symlink",
                up(Layer::default()).file("abs/new", "evil"),
            ),
            (
                "directory through a symlink",
                up(Layer::default()).dir("abs/new/", 0o777),
            ),
            (
                "hard link out",
                Layer::default().hard_link("x", "../outside/victim"),
            ),
            (
                "hard link through a symlink",
                up(Layer::default()).hard_link("x", "abs/victim"),
            ),
            (
                "hard link at a symlinked place",
                up(Layer::default()).file("a", "").hard_link("abs/x", "a"),
            ),
            (
                "hard link to the root",
                Layer::default().hard_link("x", "/"),
            ),
            ("whiteout of dot dot", Layer::default().file("a/.wh...", "")),
            ("whiteout of dot", Layer::default().file("a/.wh..", "")),
            ("whiteout of nothing", Layer::default().file("a/.wh.", "")),
            (
                "whiteout through a symlink",
                up(Layer::default()).file("abs/.wh.victim", ""),
            ),
            (
                "opaque through a symlink",
                up(Layer::default()).file("abs/.wh..wh..opq", ""),
            ),
            (
                "a file as the root",
                Layer::default().file("./", "").symlink(".", "x"),
            ),
        ];
        for (index, (what, layer)) in hostile.into_iter().enumerate() {
            let refused = layer.unpack(&host.dir(&format!("layer{index}")));
            assert!(
                matches!(refused, Err(Error::Escapes { .. })),
                "{what}: {refused:?}"
            );
        }
        // What stands at the entry's own name is replaced, never followed.
        let dir = host.dir("replace");
        up(Layer::default())
            .file("file", "new")
            .dir("abs/", 0o700)
            .unpack(&dir)
            .unwrap();
        assert!(fs::symlink_metadata(dir.join("abs")).unwrap().is_dir());
        assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "new");
        let after =
            host.sh("cd /run/outside && find . -printf '%p %m %U %T@ %n\\n' | sort; cat victim");
        assert_eq!(before, after);
    });
}

#[test]
fn later_entries_replace_earlier_ones_of_other_types() {
    fake_host::run(|host| {
        let dir = host.dir("layer");
        Layer::default()
            .dir("a/", 0o755)
            .file("a/b/c/deep", "x")
            .file("a", "file now")
            .file("b", "x")
            .dir("b/", 0o711)
            .file("b/inside", "y")
            .symlink("c", "b")
            .file("c", "own")
            .unpack(&dir)
            .unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "file now");
        assert_eq!(fs::read_to_string(dir.join("b/inside")).unwrap(), "y");
        assert_eq!(
            fs::symlink_metadata(dir.join("b")).unwrap().mtime(),
            1_000_000_000
        );
        assert_eq!(fs::read_to_string(dir.join("c")).unwrap(), "own");
    });
}

#[test]
fn limits_and_contradictions_are_refused_by_name() {
    fake_host::run(|host| {
        let refuse = |name: &str, layer: Layer, options: UnpackOptions| {
            layer
                .unpack_with(&host.dir(name), &options)
                .unwrap_err()
                .to_string()
        };
        let two = Layer::default().file("a", "12345").file("b", "67890");
        assert!(
            refuse("1", two, UnpackOptions::default().max_bytes(9)).contains("size of all files")
        );
        let two = Layer::default().file("a", "").file("b", "");
        assert!(
            refuse("2", two, UnpackOptions::default().max_entries(1)).contains("number of entries")
        );
        let defaults = UnpackOptions::default;
        let deep = Layer::default()
            .pax(&[("path", "a/".repeat(300).as_bytes())])
            .file("x", "");
        assert!(refuse("3", deep, defaults()).contains("depth of a path"));
        let long = Layer::default()
            .pax(&[("path", "aaaaaaaa/".repeat(500).as_bytes())])
            .file("x", "");
        assert!(refuse("4", long, defaults()).contains("length of a path"));
        let huge = Layer::default()
            .pax(&[("comment", &vec![b'x'; 2 << 20])])
            .file("x", "");
        assert!(refuse("5", huge, defaults()).contains("size of headers"));
        let xattr = Layer::default()
            .pax(&[("SCHILY.xattr.user.x", &vec![b'x'; 70_000])])
            .file("x", "");
        assert!(refuse("6", xattr, defaults()).contains("size of an extended attribute"));
        let smuggled = Layer::default()
            .pax(&[("SCHILY.xattr.user.x", b"\n10 path=x")])
            .file("y", "");
        assert!(refuse("7", smuggled, defaults()).contains("different programs"));
        let sizes = Layer::default().pax(&[("size", b"0")]).file("x", "content");
        assert!(refuse("8", sizes, defaults()).contains("contradict"));
        let unknown =
            Layer::default().raw(b"x", Layer::header(EntryType::new(b'Z'), 0o644, 0), b"");
        assert!(refuse("9", unknown, defaults()).contains("0x5a"));
        let cut = Layer::default().raw(b"x", Layer::header(EntryType::Regular, 0o644, 5000), b"");
        assert!(refuse("10", cut, defaults()).contains("bytes early"));
        let mut options = defaults();
        options.max_overhead = 1100;
        let two = Layer::default().file("a", "").file("b", "");
        two.unpack_with(&host.dir("two"), &options).unwrap();
        let three = Layer::default().file("a", "").dir("b", 0o755).file("c", "");
        assert!(refuse("12", three, options).contains("size of all headers"));
        let mut options = defaults();
        options.max_directory_paths = 5;
        // Those that are gone, or were there before, do not count.
        let gone = Layer::default().dir("aaa", 0o755).dir("aaa", 0o700);
        let gone = gone.file("aaa", "").dir("bb/cc", 0o755);
        gone.unpack_with(&host.dir("gone"), &options).unwrap();
        let both = Layer::default().dir("aaa", 0o755).dir("bbb", 0o755);
        assert!(refuse("13", both, options).contains("length of all directories' paths"));
        let control = Layer::default().file("\u{1b}[31m/..", "");
        assert!(!refuse("11", control, defaults()).contains('\u{1b}'));
    });
}

#[test]
fn many_pax_records_take_no_more_than_time_in_proportion() {
    fake_host::run(|host| {
        let keys: Vec<String> = (0..40_000).map(|key| format!("{key:x}")).collect();
        let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &b""[..])).collect();
        let few = Layer::default().pax(&records[..4_000]).file("few", "");
        let many = Layer::default().pax(&records).file("many", "");
        let once = |layer: &Layer| {
            let layer = Layer(layer.0.clone());
            let started = std::time::Instant::now();
            layer.unpack(&host.dir("layer")).unwrap();
            started.elapsed()
        };
        // The best of several, since the machine may be busy.
        let time = |layer| (0..3).map(|_| once(layer)).min().unwrap();
        let (few, many) = (time(&few), time(&many));
        assert!(
            many < few * 40,
            "ten times as many take {many:?} and not {few:?}"
        );
    });
}

#[test]
fn directories_that_keep_their_owner_out_are_filled_and_removed_by_it() {
    fake_host::run(|host| {
        let layer = |end: &str| {
            Layer::default()
                .dir("./", 0o555)
                .dir("closed", 0o000)
                .dir("closed/inner", 0o500)
                .file("closed/inner/file", "x")
                .file(end, "")
        };
        let root = host.dir("layers");
        std::os::unix::fs::chown(&root, Some(1000), Some(1000)).unwrap();
        let options = UnpackOptions::default()
            .ownership(Ownership::Caller)
            .xattr_namespace(rocker_fs::XattrNamespace::User);
        // The capabilities that see through modes go with the user ID, of this thread alone.
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                nix::unistd::setfsgid(nix::unistd::Gid::from_raw(1000));
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(1000));
                let layers = rocker_fs::Layers::open(&root).unwrap();
                let bad = layer("..").end();
                layers.unpack("bad0", bad.as_slice(), &options).unwrap_err();
                assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
                let good = layer("last").end();
                layers.unpack("a0", good.as_slice(), &options).unwrap();
                let mode = |path: &str| {
                    let metadata = fs::symlink_metadata(layers.path("a0").join(path));
                    metadata.unwrap().mode() & 0o7777
                };
                assert_eq!((mode(""), mode("closed")), (0o555, 0o000));
                layers.remove("a0").unwrap();
                assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
                for mode in [0o000, 0o300, 0o500] {
                    let closed = Layer::default().dir("./", mode).file("file", "").end();
                    layers.unpack("c0", closed.as_slice(), &options).unwrap();
                    layers.remove("c0").unwrap();
                    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
                }
            });
            work.join().unwrap();
        });
    });
}

#[test]
fn a_directory_of_thousands_of_files_is_replaced_whole() {
    fake_host::run(|host| {
        let dir = host.dir("layer");
        let many = (0..5000).fold(Layer::default(), |layer, name| {
            layer.file(&format!("d/{name}"), "")
        });
        many.file("d", "file now").unpack(&dir).unwrap();
        assert_eq!(fs::read_to_string(dir.join("d")).unwrap(), "file now");
    });
}

#[test]
fn archives_of_gnu_tar_unpack_to_the_tree_they_were_made_of() {
    fake_host::run(|host| {
        let source = host.dir("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("sub/small"), "content").unwrap();
        fs::write(source.join("n".repeat(180)), "long name").unwrap();
        let mut sparse = fs::File::create(source.join("sparse")).unwrap();
        sparse.write_all(b"begin").unwrap();
        sparse.set_len(40 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 20 << 20).unwrap();
        host.sh("cd /run/source && ln sub/small sub/hard && ln -s \"$(printf %0150d 1)\" soft && mkfifo pipe && chown 7:8 sub/small && chmod 2755 sub");
        for format in ["gnu", "posix", "posix --sparse-version=0.1"] {
            let name = format!("out-{}", format.replace(' ', ""));
            let dir = host.dir(&name);
            host.sh(&format!(
                "tar --format={format} --sparse -C /run/source -cf /run/{name}.tar ."
            ));
            let tar = fs::File::open(format!("/run/{name}.tar")).unwrap();
            let into = fs::File::open(&dir).unwrap();
            rocker_fs::unpack(
                tar,
                std::os::fd::AsFd::as_fd(&into),
                &UnpackOptions::default(),
            )
            .unwrap();
            let fraction = if format == "gnu" {
                "%TY%Tm%Td%TH%TM"
            } else {
                "%T@"
            };
            let list = |dir: &str| {
                host.sh(&format!("cd {dir} && find . -printf '%p %y %m %U %G %n %l {fraction} ' \\( -type d -printf '\\n' -o -printf '%s\\n' \\) | sort; sha256sum sparse sub/small"))
            };
            assert_eq!(list("/run/source"), list(dir.to_str().unwrap()), "{format}");
            let blocks = fs::metadata(dir.join("sparse")).unwrap().blocks();
            assert!(
                blocks < 64,
                "{format}: the holes were filled: {blocks} blocks"
            );
        }
    });
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// No input writes outside, and none panics.
    #[test]
    fn no_names_lead_out(names in proptest::collection::vec("(/|\\.\\./|\\./|a|b|\\.wh\\.|l/){1,6}", 1..8), kinds in proptest::collection::vec(0..4u8, 8)) {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("layer");
        let mut layer = Layer::default();
        for (name, kind) in names.iter().zip(kinds) {
            layer = match kind {
                0 => layer.file(name, "x"),
                1 => layer.dir(name, 0o755),
                2 => layer.symlink(name, "../"),
                _ => layer.hard_link(name, "l/a"),
            };
        }
        let _ = layer.unpack_with(&dir, &UnpackOptions::default().ownership(Ownership::Caller));
        let outside: Vec<_> = fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        proptest::prop_assert_eq!(outside, ["layer"]);
    }
}

#[test]
fn a_copy_that_is_its_makers_gives_nobody_the_rights_of_others() {
    fake_host::run(|host| {
        // CAP_NET_RAW, permitted.
        let capability: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let programs = [
            ("of-root", 0, 0),
            ("of-a-user", 1000, 0),
            ("of-a-group", 0, 1000),
            ("of-both", 1000, 1000),
        ];
        let layer = programs
            .into_iter()
            .fold(Layer::default(), |layer, (name, uid, gid)| {
                let mut header = Layer::header(EntryType::Regular, 0o6755, 0);
                header.set_uid(uid);
                header.set_gid(gid);
                layer
                    .pax(&[("SCHILY.xattr.security.capability", capability)])
                    .raw(name.as_bytes(), header, b"")
            });
        let options = UnpackOptions::default().ownership(Ownership::Caller);
        let dir = host.dir("into");
        let unpacked = layer.unpack_with(&dir, &options);
        assert_eq!(unpacked.unwrap().attributes_left_out, 2);
        let seen =
            host.sh("cd /run/into && stat -c '%n %u:%g %a' *; /usr/sbin/getcap * | cut -d' ' -f1");
        assert_eq!(
            seen,
            "of-a-group 0:0 4755\nof-a-user 0:0 2755\nof-both 0:0 755\nof-root 0:0 6755\nof-a-group\nof-root\n"
        );
        // A directory runs as nobody.
        let mut shared = Layer::header(EntryType::Directory, 0o2775, 0);
        shared.set_gid(1000);
        let layer = Layer::default().raw(b"shared", shared, b"");
        layer.unpack_with(&dir, &options).unwrap();
        let mode = fs::metadata(dir.join("shared")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o2775);
    });
}
