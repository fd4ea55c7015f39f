//! Who may write to a directory that an archive is unpacked into has nothing of anybody else's given away.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rocker_fs::UnpackOptions;
use support::Layer;
use tar::EntryType;

const TURNS: usize = 400;
/// How often all turns are taken again until the racer has come in time once: on a busy machine it may rarely get to run.
const ROUNDS: usize = 50;

/// Unpacks an entry `new` of this kind, whose owner is a user, while the user exchanges it for `victim` as soon as it is there.
/// Returns how often the exchange came in time to be noticed.
fn race(host: &fake_host::Host, kind: EntryType, make_victim: impl Fn(&Path)) -> usize {
    let dir = host.dir("into");
    let mut noticed = 0;
    for turn in 0..TURNS {
        let into = dir.join(turn.to_string());
        fs::create_dir(&into).unwrap();
        let (new, victim) = (into.join("new"), into.join("victim"));
        make_victim(&victim);
        let before = fs::symlink_metadata(&victim).unwrap();
        let over = AtomicBool::new(false);
        let unpacked = std::thread::scope(|scope| {
            let racer = scope.spawn(|| {
                let flags = RenameFlags::RENAME_EXCHANGE;
                while renameat2(AT_FDCWD, &victim, AT_FDCWD, &new, flags).is_err() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            let mut header = Layer::header(kind, 0o666, 0);
            header.set_uid(1000);
            header.set_gid(1000);
            if kind == EntryType::Symlink {
                header.set_link_name_literal("users").unwrap();
            }
            let layer = Layer::default().raw(b"new", header, b"");
            let unpacked = layer.unpack_with(&into, &UnpackOptions::default().into_tree_in_use());
            over.store(true, Ordering::Relaxed);
            racer.join().unwrap();
            unpacked
        });
        noticed += usize::from(unpacked.is_err());
        let same = fs::read_dir(&into).unwrap().find_map(|found| {
            let found = fs::symlink_metadata(found.unwrap().path()).unwrap();
            (found.ino() == before.ino()).then_some(found)
        });
        // It was there first, and only replaced by what is unpacked afterwards could it be gone.
        let after = same.unwrap();
        let rights = |found: &fs::Metadata| (found.uid(), found.gid(), found.mode(), found.mtime());
        assert_eq!(rights(&after), rights(&before), "{kind:?}, turn {turn}");
    }
    noticed
}

#[test]
fn what_is_put_in_the_place_of_an_entry_just_made_keeps_its_owner_mode_and_time() {
    fake_host::run(|host| {
        let file = |victim: &Path| fs::write(victim, "of root").unwrap();
        let link = |victim: &Path| symlink("roots", victim).unwrap();
        let mut rounds = 0..ROUNDS;
        let in_time = rounds.any(|_| {
            let mut noticed = 0;
            for kind in [EntryType::Fifo, EntryType::Symlink] {
                noticed += race(host, kind, file);
                fs::remove_dir_all("/run/into").unwrap();
            }
            noticed += race(host, EntryType::Symlink, link);
            fs::remove_dir_all("/run/into").unwrap();
            noticed > 0
        });
        race(host, EntryType::Directory, |victim| {
            fs::create_dir(victim).unwrap();
            fs::write(victim.join("file"), "of root").unwrap();
        });
        assert!(in_time, "the racer was never in time");
    });
}
