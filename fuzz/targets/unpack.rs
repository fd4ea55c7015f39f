//! The unpacker: whatever the archive, nothing outside of the layer changes and nothing of a refused one stays; and a benign
//! archive becomes the tree that the tar crate lists.
#![no_main]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use rocker_fs::{Layers, Ownership, UnpackOptions, XattrNamespace};

#[path = "../../rocker-fs/tests/archives/mod.rs"]
mod archives;
#[path = "../../rocker-fs/tests/listing/mod.rs"]
mod listing;
#[path = "../../rocker-fs/tests/support/mod.rs"]
mod support;

/// A directory with a store of layers, beside which stands a canary.
struct Cage {
    dir: tempfile::TempDir,
    layers: Layers,
    options: Vec<UnpackOptions>,
}

impl Cage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let canary = dir.path().join("canary");
        fs::write(&canary, "alive").expect("a file in it");
        fs::create_dir(dir.path().join("layers")).expect("a directory in it");
        let layers = Layers::open(dir.path().join("layers")).expect("a store of layers");
        let all = [UnpackOptions::default(), UnpackOptions::user_namespace()];
        let options = all.into_iter().map(|options| {
            let options = options.max_bytes(1 << 20).max_entries(1000);
            match nix::unistd::geteuid().is_root() {
                true => options,
                _ => options
                    .ownership(Ownership::Caller)
                    .xattr_namespace(XattrNamespace::User)
                    .devices(false),
            }
        });
        let options = options.collect();
        Self {
            dir,
            layers,
            options,
        }
    }

    /// What there is but for what is in the layers. A change of a file's state, whatever it is, changes its ctime.
    fn outside(&self) -> Vec<(String, u32, u64, i64, i64)> {
        let seen = |path: &Path| {
            let status = fs::symlink_metadata(path).expect("what was there is there");
            let (changed, nanoseconds) = match path.ends_with("layers") {
                true => (0, 0),
                _ => (status.ctime(), status.ctime_nsec()),
            };
            (
                path.display().to_string(),
                status.mode(),
                status.nlink() * u64::from(!status.is_dir()),
                changed,
                nanoseconds,
            )
        };
        // The second is where the links of the seeds lead, if there is such a place.
        let places = [
            self.dir.path(),
            Path::new(archives::VICTIM).parent().expect("a directory"),
        ];
        let entries = places.into_iter().flat_map(fs::read_dir).flatten();
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.push(self.dir.path().into());
        paths.sort();
        paths.iter().map(|path| seen(path)).collect()
    }
}

/// Gives each header the checksum that it should have, since no fuzzer would ever find one.
fn with_checksums(mut tar: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + 512) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = header.entry_size().unwrap_or(0).min(1 << 30) as usize;
        at += 512 + size.next_multiple_of(512);
    }
    tar
}

/// Writes the archives of the crate's tests to where the fuzzer finds them.
fn plant() {
    let Some(dir) = std::env::var_os("ROCKER_FUZZ_SEEDS") else {
        return;
    };
    for archive in archives::all()
        .iter()
        .filter(|archive| archive.tar.len() < 1 << 16)
    {
        let name = Path::new(&dir).join(archive.name.replace([' ', '/'], "-"));
        fs::write(name, &archive.tar).expect("a seed is written");
    }
}

libfuzzer_sys::fuzz_target!(init: plant(), |bytes: &[u8]| {
    static CAGE: OnceLock<Cage> = OnceLock::new();
    let cage = CAGE.get_or_init(Cage::new);
    let tar = with_checksums(bytes.to_vec());
    let before = cage.outside();
    let options = &cage.options[bytes.len() % cage.options.len()];
    let unpacked = cage.layers.unpack("00", tar.as_slice(), options);
    let names = cage.layers.names().expect("the store can be listed");
    match unpacked {
        Ok(_) => {
            assert_eq!(names, ["00"]);
            if let Some(listed) = listing::of_archive(&tar) {
                assert_eq!(listing::of_directory(&cage.layers.path("00")), listed);
            }
            cage.layers.remove("00").expect("a layer can be removed");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "an error is safe to print: {text:?}");
        }
    }
    let left = fs::read_dir(cage.dir.path().join("layers")).expect("a directory").count();
    assert_eq!(left, 0, "nothing is left");
    assert_eq!(cage.outside(), before);
});
