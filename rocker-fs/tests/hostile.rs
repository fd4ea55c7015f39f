//! Archives that mean harm come to nothing: a clear error or a harmless tree, nothing outside, nothing left, and no more memory
//! than the limits say.
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
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rocker_fs::{Error, Layers, UnpackOptions};
use support::Layer;
use tar::EntryType;

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// All that can be seen of a directory from outside, access times aside.
fn all_of(host: &fake_host::Host, dir: &str) -> String {
    host.sh(&format!(
        "cd {dir} && find . -printf '%p %y %m %U %G %n %T@ %C@ %l\\n' | sort; cat victim; \
         python3 -c \"import os; print([(path, os.listxattr(path)) for path in ('.', 'victim')])\""
    ))
}

#[test]
fn every_hostile_archive_is_refused_by_name_or_harmless_and_leaves_nothing() {
    fake_host::run(|host| {
        let outside = host.dir("outside");
        fs::write(outside.join("victim"), "safe").unwrap();
        let before = all_of(host, "/run/outside");
        // The first of them that does harm; what kind of harm is seen at the end.
        let changed = |path: &str| {
            fs::metadata(path)
                .map(|found| (found.ctime(), found.ctime_nsec()))
                .ok()
        };
        let times = || [changed("/run/outside"), changed(archives::VICTIM)];
        let quiet = times();
        let root = host.dir("layers");
        let layers = Layers::open(&root).unwrap();
        let mut wrong = Vec::new();
        let all = [UnpackOptions::default(), UnpackOptions::user_namespace()];
        let all = all.iter().flat_map(|options| {
            archives::all()
                .into_iter()
                .map(move |archive| (archive, options))
        });
        for (archive, options) in all {
            let unpacked = layers.unpack("00", archive.tar.as_slice(), options);
            let there: Vec<_> = fs::read_dir(&root)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            match (unpacked, archive.refused) {
                (Ok(_), None) => assert_eq!(there, ["00"], "{}", archive.name),
                (Err(error), Some(why)) if chain(&error).contains(why) => {
                    assert!(there.is_empty(), "{}: {there:?}", archive.name)
                }
                (other, _) => wrong.push(format!(
                    "{}: {}",
                    archive.name,
                    other.map_or_else(|error| chain(&error), |_| "unpacked".to_owned())
                )),
            }
            layers.remove("00").unwrap();
            assert_eq!(times(), quiet, "{}", archive.name);
        }
        assert_eq!(all_of(host, "/run/outside"), before);
        assert!(
            wrong.is_empty(),
            "not as the table says:\n{}",
            wrong.join("\n")
        );
    });
}

/// The most memory that this process has had since the last [`forget_peak`], in kibibytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The same bytes without end.
struct Endless {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.bytes.len() {
            self.at = 0;
        }
        let count = (&self.bytes[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

fn endless(bytes: Vec<u8>) -> impl Read {
    Endless { bytes, at: 0 }
}

#[test]
fn cve_2023_25153_bombs_and_floods_are_refused_at_their_limit_with_little_memory() {
    fake_host::run(|host| {
        let root = host.dir("layers");
        let layers = Layers::open(&root).unwrap();
        let defaults = UnpackOptions::default;
        let few = || defaults().max_entries(20_000);
        let file = |size: u64| {
            let header = Layer::header(EntryType::Regular, 0o644, size);
            Layer::default().raw(b"x", header, b"").0
        };
        let xattrs: Vec<(String, Vec<u8>)> = (0..200)
            .map(|number| (format!("SCHILY.xattr.user.{number}"), vec![b'x'; 5000]))
            .collect();
        let xattrs: Vec<(&str, &[u8])> = xattrs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
            .collect();
        let mut little = defaults().max_bytes(1 << 20);
        little.max_overhead = 32 << 20;
        little.max_directory_paths = 1 << 20;
        let overhead = "size of all headers";
        type Case = (&'static str, Box<dyn Read>, UnpackOptions, &'static str);
        let cases: Vec<Case> = vec![
            (
                "one file without end",
                Box::new(io::Cursor::new(file(1 << 40)).chain(io::repeat(0))),
                defaults(),
                "size of all files",
            ),
            (
                "a file that fills its limit",
                Box::new(io::Cursor::new(file(2 << 20)).chain(io::repeat(0))),
                little.clone(),
                "size of all files",
            ),
            (
                "files without end",
                Box::new(endless(Layer::default().file("x", &"x".repeat(512)).0)),
                little.clone(),
                "size of all files",
            ),
            (
                "empty files without end",
                Box::new(endless(file(0))),
                few(),
                "number of entries",
            ),
            (
                "whiteouts without end",
                Box::new(endless(Layer::default().file(".wh.x", "").0)),
                few(),
                "number of entries",
            ),
            (
                "hard links without end",
                Box::new(endless(
                    Layer::default().file("x", "").hard_link("y", "x").0,
                )),
                few(),
                "number of entries",
            ),
            (
                "global headers without end",
                Box::new(endless(
                    Layer::default()
                        .raw(
                            b"g",
                            Layer::header(EntryType::XGlobalHeader, 0, 1 << 19),
                            format!("524288 comment={}\n", "x".repeat(524_272)).as_bytes(),
                        )
                        .0,
                )),
                little.clone(),
                overhead,
            ),
            (
                "long names without end",
                Box::new(endless({
                    let mut header = tar::Header::new_gnu();
                    header.set_entry_type(EntryType::GNULongName);
                    header.set_size(1 << 19);
                    Layer::default()
                        .raw(
                            b"long",
                            header,
                            &[&b"a/".repeat(100)[..], &vec![0; (1 << 19) - 200]].concat(),
                        )
                        .file("x", "")
                        .0
                })),
                little.clone(),
                "a NUL byte in its name",
            ),
            (
                "comments without end",
                Box::new(endless(
                    Layer::default()
                        .pax(&[("comment", &vec![b'x'; 1 << 19])])
                        .file("x", "")
                        .0,
                )),
                little.clone(),
                overhead,
            ),
            (
                "a header without end",
                Box::new(
                    io::Cursor::new(
                        Layer::default()
                            .raw(b"p", Layer::header(EntryType::XHeader, 0, 8 << 30), b"")
                            .0,
                    )
                    .chain(io::repeat(b'x')),
                ),
                defaults(),
                "size of headers",
            ),
            (
                "old sparse headers without end",
                Box::new({
                    let mut header = tar::Header::new_gnu();
                    header.set_entry_type(EntryType::GNUSparse);
                    header.set_size(0);
                    header.as_gnu_mut().unwrap().isextended[0] = 1;
                    io::Cursor::new(Layer::default().raw(b"s", header, b"").0)
                        .chain(endless([vec![0; 504], vec![1], vec![0; 7]].concat()))
                }),
                defaults(),
                "size of headers",
            ),
            (
                "zeros behind the end",
                Box::new(io::repeat(0)),
                little.clone(),
                "data behind the archive",
            ),
        ];
        layers.unpack("00", io::empty(), &defaults()).unwrap();
        layers.remove("00").unwrap();
        for (what, tar, options, why) in cases {
            forget_peak();
            let before = peak();
            let refused = layers.unpack("00", tar, &options);
            let grown = peak().saturating_sub(before);
            match refused {
                Err(error) if chain(&error).contains(why) => {}
                other => panic!(
                    "{what}: {}",
                    other.map_or_else(|error| chain(&error), |_| "unpacked".to_owned())
                ),
            }
            assert!(grown < 16 << 10, "{what}: took {grown} KiB");
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{what}");
        }
        // How many a file may have is for its file system to say.
        let flood = Layer::default().pax(&xattrs).file("x", "").end();
        match layers.unpack("00", flood.as_slice(), &defaults()) {
            Ok(_) => layers.remove("00").unwrap(),
            Err(error) => assert!(chain(&error).starts_with("fsetxattr"), "{}", chain(&error)),
        }
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    });
}

#[test]
fn a_stream_that_ends_anywhere_is_an_error_or_ends_between_two_entries() {
    fake_host::run(|host| {
        let root = host.dir("layers");
        let layers = Layers::open(&root).unwrap();
        let whole = Layer::default()
            .dir("d", 0o755)
            .pax(&[("path", b"d/long"), ("SCHILY.xattr.user.a", b"b")])
            .file("short", &"content ".repeat(100))
            .symlink("s", "d")
            .end();
        for length in (0..whole.len())
            .step_by(101)
            .chain((0..whole.len()).step_by(512))
        {
            let unpacked = layers.unpack("00", &whole[..length], &UnpackOptions::default());
            if unpacked.is_ok() {
                let listed = listing::of_archive(&whole[..length]).unwrap();
                assert_eq!(
                    listing::of_directory(&layers.path("00")),
                    listed,
                    "{length}"
                );
            }
            layers.remove("00").unwrap();
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{length}");
        }
    });
}

#[test]
fn cve_2014_9356_2025_47290_and_2026_17106_a_link_of_an_earlier_layer_leads_no_later_one_anywhere()
{
    fake_host::run(|host| {
        let outside = host.dir("outside");
        fs::write(outside.join("victim"), "safe").unwrap();
        let before = all_of(host, "/run/outside");
        let layers = Layers::open(host.dir("layers")).unwrap();
        let lower = Layer::default()
            .symlink("dir", "/run/outside")
            .symlink("file", archives::VICTIM)
            .symlink("out", "../../../outside")
            .end();
        let upper = Layer::default()
            .file("dir/victim", "evil")
            .file("file", "evil")
            .file("out/.wh.victim", "")
            .file("out/.wh..wh..opq", "")
            .end();
        layers
            .unpack("01", lower.as_slice(), &UnpackOptions::default())
            .unwrap();
        layers
            .unpack("02", upper.as_slice(), &UnpackOptions::default())
            .unwrap();
        let merged = rocker_fs::Overlay::new([layers.path("01"), layers.path("02")]);
        let merged = merged.mount().unwrap().attach(host.dir("merged")).unwrap();
        let seen = Path::new("/run/merged");
        assert_eq!(fs::read_to_string(seen.join("dir/victim")).unwrap(), "evil");
        assert_eq!(fs::read_to_string(seen.join("file")).unwrap(), "evil");
        // overlayfs lists the whiteout where it hides nothing, but has no such file.
        assert!(!seen.join("out/victim").exists());
        assert!(
            ["dir", "file", "out"]
                .iter()
                .all(|name| !seen.join(name).is_symlink())
        );
        merged.unmount().map_err(|(_, error)| error).unwrap();
        assert_eq!(all_of(host, "/run/outside"), before);
    });
}

#[test]
fn cve_2021_32760_2021_38511_and_2026_33056_no_mode_owner_time_or_attribute_is_given_through_a_link()
 {
    fake_host::run(|host| {
        let outside = host.dir("outside");
        fs::write(outside.join("victim"), "safe").unwrap();
        let before = all_of(host, "/run/outside");
        for (index, target) in [archives::VICTIM, "/run/outside", "../outside"]
            .into_iter()
            .enumerate()
        {
            let link = || Layer::default().symlink("a", target).hard_link("b", "a");
            let owned = |kind, mode| {
                let mut header = Layer::header(kind, mode, 0);
                header.set_uid(1000);
                header.set_gid(1000);
                header.set_mtime(1);
                header
            };
            let pax =
                |layer: Layer| layer.pax(&[("SCHILY.xattr.trusted.a", b"b"), ("mtime", b"7.5")]);
            for name in ["a", "b"] {
                let mut again = owned(EntryType::Symlink, 0o6777);
                again.set_link_name_literal(target).unwrap();
                let kinds = [
                    owned(EntryType::Directory, 0o6777),
                    owned(EntryType::Regular, 0o6777),
                    owned(EntryType::Fifo, 0o6777),
                    owned(EntryType::Char, 0o6777),
                    again,
                ];
                for (kind, header) in kinds.into_iter().enumerate() {
                    let dir = host.dir(&format!("layer{index}{name}{kind}"));
                    pax(link())
                        .raw(name.as_bytes(), header, b"")
                        .unpack(&dir)
                        .unwrap();
                    let made = fs::symlink_metadata(dir.join(name)).unwrap();
                    assert_eq!(
                        (made.uid(), made.mtime(), made.mtime_nsec()),
                        (1000, 7, 500_000_000)
                    );
                }
            }
            // The attributes of a link go to the link; a hard link has none of its own.
            let dir = host.dir(&format!("link{index}"));
            pax(Layer::default())
                .symlink("a", target)
                .unpack(&dir)
                .unwrap();
            let mut header = owned(EntryType::Link, 0o6777);
            header.set_link_name_literal("a").unwrap();
            let dir = host.dir(&format!("hard{index}"));
            pax(Layer::default().symlink("a", target))
                .raw(b"b", header, b"")
                .unpack(&dir)
                .unwrap();
            assert_eq!(fs::symlink_metadata(dir.join("a")).unwrap().uid(), 0);
        }
        assert_eq!(all_of(host, "/run/outside"), before);
    });
}

/// What is accepted has the entries that GNU tar and Python see, one for one, so that no file is smuggled past who looks at the
/// archive with another program. RUSTSEC-2026-0112, too.
#[test]
fn cve_2025_62518_and_2026_33055_other_programs_see_the_same_entries() {
    fake_host::run(|host| {
        let layers = Layers::open(host.dir("layers")).unwrap();
        let mut compared = 0;
        for archive in archives::all() {
            fs::write("/run/a.tar", &archive.tar).unwrap();
            let Ok(unpacked) =
                layers.unpack("00", archive.tar.as_slice(), &UnpackOptions::default())
            else {
                continue;
            };
            layers.remove("00").unwrap();
            // They look for an archive behind the end of nothing, or count the headers that are for all.
            if archive.name == "nothing" || archive.name.contains("global header") {
                continue;
            }
            let seen = host.sh("tar --list --absolute-names --quoting-style=escape --file /run/a.tar | wc -l; python3 -c 'import tarfile; print(len(tarfile.open(\"/run/a.tar\").getmembers()))'");
            let expected = format!("{0}\n{0}\n", unpacked.entries);
            assert_eq!(seen, expected, "{}", archive.name);
            compared += 1;
        }
        assert!(compared > 15, "{compared}");
    });
}

#[test]
fn cve_2024_3727_what_is_no_digest_names_no_layer() {
    let outer = tempfile::tempdir().unwrap();
    let layers = Layers::open(outer.path().join("layers")).unwrap();
    let tar = Layer::default().file("x", "").end();
    for name in [
        "",
        ".",
        "..",
        "../00",
        "/00",
        "00/..",
        "sha256:..",
        "sha256:../00",
        "sha256:00/../../00",
        "sha256:0A",
        "../sha256:00",
        "sha256:00:../..",
        "00\0",
        ".tmp-00",
        &"0".repeat(129),
    ] {
        assert_eq!(
            layers.path(name).parent(),
            Some(outer.path().join("layers").as_path()),
            "{name}"
        );
        assert!(
            !layers.contains(name) && !layers.path(name).exists(),
            "{name}"
        );
        let refused = layers.unpack(name, tar.as_slice(), &UnpackOptions::default());
        assert!(
            matches!(refused, Err(Error::LayerName { .. })),
            "{name}: {refused:?}"
        );
        assert!(
            matches!(layers.remove(name), Err(Error::LayerName { .. })),
            "{name}"
        );
    }
    let entries = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(
        (entries(outer.path()), entries(&outer.path().join("layers"))),
        (1, 0)
    );
    // Both algorithms, by their digits.
    for length in [64, 128] {
        let name = format!("sha{}:{}", length * 4, "0".repeat(length));
        let options = UnpackOptions::user_namespace().ownership(rocker_fs::Ownership::Caller);
        layers.unpack(&name, tar.as_slice(), &options).unwrap();
        assert!(layers.contains(&name) && layers.path(&name).ends_with("0".repeat(length)));
    }
}
