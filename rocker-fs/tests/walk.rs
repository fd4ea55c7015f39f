//! Where openat2(2) is missing, paths inside of somebody else's tree lead where they do with it, and nowhere else.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[expect(unsafe_code, reason = "a filter of system calls is set by raw ones")]
mod executor;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rocker_fs::{Access, create_dir_beneath, open_beneath, read_beneath, resolve_beneath};

/// What there is at `path`, by each way to open it.
fn found(root: &Path, path: &str) -> Vec<String> {
    let root = File::open(root).unwrap();
    let ways = [
        Access::Read,
        Access::ReadWrite,
        Access::Path,
        Access::Directory,
    ];
    let mut all: Vec<_> = ways
        .into_iter()
        .map(|way| match open_beneath(root.as_fd(), path, way) {
            Ok(file) => File::from(file).metadata().unwrap().ino().to_string(),
            Err(error) => {
                let source = std::error::Error::source(&error).unwrap().to_string();
                // Of a link that leads to nowhere through something, the one says what the other does not.
                source.replace(
                    "Not a directory (os error 20)",
                    "No such file or directory (os error 2)",
                )
            }
        })
        .collect();
    let read = read_beneath(root.as_fd(), path, 100).map_err(|error| error.to_string());
    all.push(format!("{read:?}"));
    all
}

fn tree(host: &fake_host::Host) -> std::path::PathBuf {
    let root = host.dir("root");
    fs::write(host.dir("outside").join("secret"), "of the host").unwrap();
    host.sh("cd /run/root && mkdir -p a/b/c run/outside && echo inside >a/b/file && echo harmless >run/outside/secret && mkfifo fifo");
    for (target, name) in [
        ("/run/outside/secret", "absolute"),
        ("../../../../run/outside/secret", "up"),
        ("/a", "to-a"),
        ("b/../b/./file", "a/odd"),
        ("../to-a/b", "a/around"),
        ("loop2", "loop"),
        ("loop", "loop2"),
        ("nowhere/at/all", "dangling"),
        ("/proc/self/root/run/outside/secret", "magic"),
        ("/..", "above"),
        ("file", "a/b/same"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    root
}

#[test]
fn with_openat2_and_without_it_every_path_leads_to_the_same() {
    fake_host::run(|host| {
        let root = tree(host);
        for path in [
            "",
            "/",
            ".",
            "..",
            "/../..",
            "a",
            "a/",
            "a/b/file",
            "/a/b/../b/file",
            "absolute",
            "up",
            "to-a",
            "to-a/b/file",
            "a/odd",
            "a/around",
            "a/around/same",
            "loop",
            "loop/x",
            "dangling",
            "dangling/x",
            "magic",
            "above",
            "above/a/b/file",
            "a/b/file/x",
            "a/none",
            "none/none",
            "fifo",
            "a/b/same",
            "run/outside/secret",
            "a/b/c/../../../absolute",
        ] {
            let expected = found(&root, path);
            for errno in [libc::ENOSYS, libc::EPERM] {
                let walked = executor::without_openat2(errno, || found(&root, path));
                assert_eq!(walked, expected, "{path:?}");
            }
            assert!(!expected.concat().contains("of the host"), "{path}");
        }
        // Directories are made inside too.
        let open = File::open(&root).unwrap();
        executor::without_openat2(libc::ENOSYS, || {
            create_dir_beneath(open.as_fd(), "above/run/new/deep", 0o755).unwrap();
        });
        assert!(root.join("run/new/deep").is_dir());
        assert!(!Path::new("/run/new").exists());
    });
}

#[test]
fn a_path_is_resolved_by_its_links_words_be_there_something_or_not() {
    fake_host::run(|host| {
        let root = tree(host);
        let open = File::open(&root).unwrap();
        for (path, expected) in [
            ("a/b", "/a/b"),
            ("/to-a/b/../c", "/a/c"),
            ("above/x", "/x"),
            ("magic", "/proc/self/root/run/outside/secret"),
            ("dangling/x", "/nowhere/at/all/x"),
            ("a/around/same", "/a/b/file"),
            ("up", "/run/outside/secret"),
            ("../../etc", "/etc"),
        ] {
            let real = resolve_beneath(open.as_fd(), path).unwrap();
            assert_eq!(real, Path::new(expected), "{path}");
        }
        resolve_beneath(open.as_fd(), "loop").unwrap_err();
    });
}

#[test]
fn a_racer_leads_a_walk_nowhere_outside() {
    fake_host::run(|host| {
        let root = tree(host);
        fs::create_dir_all(host.dir("outside").join("deep/deeper")).unwrap();
        fs::write("/run/outside/deep/deeper/file", "of the host").unwrap();
        host.sh("cd /run/root && mkdir -p dir/deep/deeper && echo inside >dir/deep/deeper/file && ln -s /run/outside link && mkdir elsewhere");
        let stop = AtomicBool::new(false);
        let (mut inside, mut tries) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let dir = File::open(&root).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    nix::fcntl::renameat2(&dir, "dir", &dir, "link", flags).unwrap();
                    // Out of the tree and back, so that `..` would be another directory.
                    let _ = fs::rename(root.join("dir/deep"), "/run/outside/moved");
                    let _ = fs::rename("/run/outside/moved", root.join("dir/deep"));
                }
            });
            let seen = executor::without_openat2(libc::ENOSYS, || {
                let open = File::open(&root).unwrap();
                let mut seen = Vec::new();
                for _ in 0..4000 {
                    for path in [
                        "dir/deep/deeper/file",
                        "dir/deep/../deep/deeper/file",
                        "link/deep/deeper/file",
                    ] {
                        seen.push(read_beneath(open.as_fd(), path, 100));
                    }
                }
                seen
            });
            stop.store(true, Ordering::Relaxed);
            for read in seen.into_iter().flatten().flatten() {
                tries += 1;
                inside += usize::from(read == b"inside\n");
            }
        });
        assert!(inside > 0, "the racer always won");
        assert_eq!(inside, tries, "something else was read");
    });
}
