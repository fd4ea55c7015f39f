//! Volumes are whole or not there, outlive whoever uses them, and are filled once, in the sight of others.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use rocker_fs::{Error, Volumes};

fn fill(volumes: &Volumes, name: &str, from: &Path) -> bool {
    let from = File::open(from).unwrap();
    volumes.fill(name, from.as_fd()).unwrap()
}

/// A directory as an image might have it.
fn source(host: &fake_host::Host) -> std::path::PathBuf {
    let from = host.dir("from");
    host.sh("cd /run/from && mkdir -p sub/deep && echo one >file && echo two >sub/deep/file && chown -R 33:44 . && chmod 2750 . && ln -s /etc/passwd link && touch -d 2001-01-01 .");
    from
}

fn is_filled(data: &Path) -> bool {
    let own = fs::metadata(data).unwrap();
    fs::read_to_string(data.join("sub/deep/file")).is_ok_and(|text| text == "two\n")
        && fs::read_to_string(data.join("file")).is_ok_and(|text| text == "one\n")
        && fs::read_link(data.join("link")).is_ok_and(|to| to == Path::new("/etc/passwd"))
        && (own.uid(), own.gid(), own.mode() & 0o7777) == (33, 44, 0o2750)
}

#[test]
fn a_volume_is_made_once_listed_and_removed() {
    fake_host::run(|host| {
        let volumes = Volumes::open(host.dir("store").join("volumes")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(Path::new("/run/store/volumes")), 0o700);
        assert!(volumes.create("data", b"{}").unwrap());
        assert!(!volumes.create("data", b"other").unwrap());
        assert_eq!(volumes.record("data").unwrap().unwrap(), b"{}");
        assert_eq!(volumes.record("none").unwrap(), None);
        assert_eq!(
            volumes.path("data"),
            Path::new("/run/store/volumes/data/_data")
        );
        assert_eq!(mode(&volumes.path("data")), 0o755);
        for bad in ["", "..", ".new-data", "a/b"] {
            assert!(
                matches!(volumes.create(bad, b""), Err(Error::VolumeName { .. })),
                "{bad}"
            );
            assert!(volumes.remove(bad).is_err());
            assert!(!volumes.path(bad).exists());
        }
        volumes.create("other", b"").unwrap();
        assert_eq!(volumes.names().unwrap(), ["data", "other"]);
        fs::write(volumes.path("data").join("file"), "").unwrap();
        host.sh("mkdir -p /run/store/volumes/data/_data/closed/deep && chmod 0 /run/store/volumes/data/_data/closed");
        assert!(volumes.remove("data").unwrap());
        assert!(!volumes.remove("data").unwrap());
        assert_eq!(volumes.names().unwrap(), ["other"]);
        assert_eq!(fs::read_dir("/run/store/volumes").unwrap().count(), 1);
    });
}

#[test]
fn of_many_who_make_one_volume_one_does_and_none_sees_half_of_it() {
    fake_host::run(|host| {
        let root = host.dir("volumes");
        for round in 0..50 {
            let name = format!("v{round}");
            let start = Barrier::new(4);
            let made = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            let volumes = Volumes::open(&root).unwrap();
                            start.wait();
                            let made = volumes.create(&name, b"record").unwrap();
                            assert_eq!(volumes.record(&name).unwrap().unwrap(), b"record");
                            assert!(volumes.path(&name).is_dir());
                            made
                        })
                    })
                    .collect();
                all.into_iter()
                    .filter(|_| true)
                    .map(|one| one.join().unwrap())
                    .filter(|made| *made)
                    .count()
            });
            assert_eq!(made, 1);
        }
    });
}

#[test]
fn what_a_killed_maker_or_remover_left_is_no_volume_and_is_swept() {
    fake_host::run(|host| {
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        host.sh("cd /run/volumes && mkdir -p .new-a/_data .gone-b/_data/x .new-c && echo half >.new-a/volume.json");
        assert!(volumes.names().unwrap().is_empty());
        assert!(volumes.create("a", b"whole").unwrap());
        assert_eq!(volumes.record("a").unwrap().unwrap(), b"whole");
        assert_eq!(volumes.sweep().unwrap(), 2);
        assert_eq!(volumes.sweep().unwrap(), 0);
        assert_eq!(fs::read_dir("/run/volumes").unwrap().count(), 1);
    });
}

#[test]
fn an_empty_volume_is_filled_with_owners_and_modes_and_another_is_left_alone() {
    fake_host::run(|host| {
        let from = source(host);
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        volumes.create("data", b"").unwrap();
        assert!(fill(&volumes, "data", &from));
        let data = volumes.path("data");
        assert!(is_filled(&data), "{}", host.sh("ls -laR /run/volumes"));
        assert_eq!(fs::metadata(&data).unwrap().mtime(), 978_307_200);
        assert_eq!(fs::read_dir("/run/volumes/data").unwrap().count(), 2);
        fs::write(from.join("later"), "").unwrap();
        assert!(!fill(&volumes, "data", &from));
        assert!(!data.join("later").exists());
        assert!(matches!(
            volumes.fill("none", File::open(&from).unwrap().as_fd()),
            Err(Error::Store { .. })
        ));
    });
}

#[test]
fn a_filling_that_was_killed_is_begun_anew_or_finished() {
    fake_host::run(|host| {
        let from = source(host);
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        // Killed while it copied: nothing was to be seen.
        volumes.create("copying", b"").unwrap();
        host.sh(
            "mkdir -p /run/volumes/copying/.copy/sub && echo half >/run/volumes/copying/.copy/file",
        );
        assert!(fill(&volumes, "copying", &from));
        assert!(is_filled(&volumes.path("copying")));
        // Killed while it moved, after each of the names: what there is stays, the rest comes.
        for moved in ["", "file", "file sub", "file sub link"] {
            volumes.remove("moving").unwrap();
            volumes.create("moving", b"").unwrap();
            host.sh("cp -a /run/from /run/volumes/moving/.whole");
            for name in moved.split_whitespace() {
                let to = volumes.path("moving").join(name);
                fs::rename(Path::new("/run/volumes/moving/.whole").join(name), to).unwrap();
            }
            // Also for somebody who wants it as it is.
            match moved.is_empty() {
                true => assert!(volumes.finish("moving").unwrap()),
                false => assert!(fill(&volumes, "moving", &from), "{moved}"),
            }
            assert!(!volumes.finish("moving").unwrap());
            assert!(
                is_filled(&volumes.path("moving")),
                "{moved}: {}",
                host.sh("ls -laR /run/volumes/moving")
            );
            assert_eq!(
                fs::read_dir("/run/volumes/moving").unwrap().count(),
                2,
                "{moved}"
            );
        }
    });
}

#[test]
fn what_a_user_of_the_volume_makes_while_it_is_filled_stays() {
    fake_host::run(|host| {
        let from = source(host);
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        volumes.create("data", b"").unwrap();
        // As it is between the copy and the last rename.
        host.sh("cp -a /run/from /run/volumes/data/.whole && cd /run/volumes/data/_data && echo mine >file && mkdir sub && echo mine >sub/own");
        assert!(fill(&volumes, "data", &from));
        let read = |path: &str| fs::read_to_string(volumes.path("data").join(path)).unwrap();
        assert_eq!(
            (&read("file")[..], &read("sub/own")[..]),
            ("mine\n", "mine\n")
        );
        assert!(volumes.path("data").join("link").is_symlink());
        assert_eq!(fs::read_dir("/run/volumes/data").unwrap().count(), 2);
    });
}

#[test]
fn a_filling_that_fails_leaves_the_volume_empty() {
    fake_host::run(|host| {
        let from = source(host);
        host.sh("cd /run/from && for i in $(seq 300); do mkdir z && cd z; done");
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        volumes.create("data", b"").unwrap();
        let failed = volumes.fill("data", File::open(&from).unwrap().as_fd());
        assert!(matches!(failed, Err(Error::CopyTooDeep { .. })));
        assert_eq!(fs::read_dir(volumes.path("data")).unwrap().count(), 0);
        assert_eq!(fs::read_dir("/run/volumes/data").unwrap().count(), 2);
    });
}

#[test]
fn who_has_the_volume_mounted_while_it_is_filled_redirects_nothing_and_loses_nothing() {
    fake_host::run(|host| {
        let from = source(host);
        let outside = host.dir("outside");
        fs::write(outside.join("file"), "of the host").unwrap();
        let before = host.sh("find /run/outside -printf '%p %y %m %U %T@ %C@\\n' | sort");
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        let mut won = [0, 0];
        for round in 0..150 {
            let name = format!("v{round}");
            volumes.create(&name, b"").unwrap();
            let data = volumes.path(&name);
            let stop = AtomicBool::new(false);
            let start = Barrier::new(2);
            std::thread::scope(|scope| {
                let seen = scope.spawn(|| {
                    start.wait();
                    let mut seen = Vec::new();
                    // A container with the volume: it puts links where the files are about to be.
                    while !stop.load(Ordering::Relaxed) {
                        for link in ["sub", "file"] {
                            if symlink("/run/outside", data.join(link)).is_ok() {
                                let _ = fs::remove_file(data.join(link));
                            }
                        }
                        // Whatever it sees is whole.
                        seen.extend(fs::read_to_string(data.join("sub/deep/file")));
                    }
                    seen
                });
                start.wait();
                let from = File::open(&from).unwrap();
                let filled = volumes.fill(&name, from.as_fd());
                stop.store(true, Ordering::Relaxed);
                let seen = seen.join().unwrap();
                assert!(
                    seen.iter().all(|text| text == "two\n"),
                    "half a file was seen"
                );
                won[usize::from(filled.unwrap())] += 1;
            });
        }
        assert_eq!(
            host.sh("find /run/outside -printf '%p %y %m %U %T@ %C@\\n' | sort"),
            before
        );
        assert!(won[1] > 0, "nothing was filled: {won:?}");
    });
}

#[test]
fn a_volume_that_is_being_removed_keeps_nobody_from_making_and_sweeping() {
    fake_host::run(|host| {
        let root = host.dir("volumes");
        let volumes = Volumes::open(&root).unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(&root)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        volumes.create("data", b"first").unwrap();
        let first = volumes.take_out("data").unwrap().unwrap();
        assert!(!volumes.contains("data").unwrap());
        assert!(volumes.take_out("data").unwrap().is_none());
        // Another of the same name, which goes while the first is still there.
        let others = Volumes::open(&root).unwrap();
        assert!(others.create("data", b"second").unwrap());
        let second = others.take_out("data").unwrap().unwrap();
        assert_eq!(names(), [".gone-0-data", ".gone-1-data"]);
        assert_eq!(others.sweep().unwrap(), 0, "somebody is removing them");
        assert_eq!(names().len(), 2);
        // One who died is nobody.
        drop(first);
        assert_eq!(others.sweep().unwrap(), 1);
        assert_eq!(names(), [".gone-1-data"]);
        second.remove().unwrap();
        assert!(names().is_empty());
    });
}

#[test]
fn what_cannot_be_removed_keeps_neither_the_name_nor_what_else_is_left() {
    fake_host::run(|host| {
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        for number in 0..3 {
            assert!(volumes.create("data", b"").unwrap());
            host.sh(
                "mkdir /run/volumes/data/_data/here; mount -t tmpfs t /run/volumes/data/_data/here",
            );
            assert!(volumes.remove("data").is_err(), "{number}");
        }
        host.sh("mkdir -p /run/volumes/.gone-9-other/_data /run/volumes/.new-more");
        assert!(volumes.sweep().is_err());
        let left = fs::read_dir("/run/volumes").unwrap().count();
        assert_eq!(left, 3, "those that are mounted on, and no other");
        host.sh("umount /run/volumes/.gone-*/_data/here");
        assert_eq!(volumes.sweep().unwrap(), 3);
    });
}
