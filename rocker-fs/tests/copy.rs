//! A copied tree is as the original is, whatever its files are, and whoever changes it meanwhile.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rocker_fs::{Copied, Error, Result, copy_tree};

fn copy(from: &Path, to: &Path) -> Result<Copied> {
    let (from, to) = (File::open(from).unwrap(), File::open(to).unwrap());
    copy_tree(from.as_fd(), to.as_fd())
}

/// All that can be seen of a tree, its root included; file sizes, but not those of directories, which are the file system's.
fn all_of(host: &fake_host::Host, dir: &str) -> String {
    host.sh(&format!(
        "cd {dir} && find . -printf '%p %y %m %U %G %n %T@ %l\\0' | sort -z | tr '\\0' '\\n'; find . -type f -print0 | sort -z | xargs -0 sha256sum; \
         find . \\( -type c -o -type b \\) -exec stat -c '%n %t:%T' {{}} + | sort; \
         python3 -c \"import os; print([(path, sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False))) for path in sorted([os.path.join(at, name) for at, dirs, files in os.walk('.') for name in dirs + files] + ['.'])])\""
    ))
}

#[test]
fn everything_about_every_kind_of_file_is_kept() {
    fake_host::run(|host| {
        let (from, to) = (host.dir("from"), host.dir("to"));
        host.sh("mount -t tmpfs none /run/to && cd /run/from
            mkdir -p deep/er closed; echo text >deep/file; ln deep/file deep/er/same; ln deep/file same
            ln -s /etc/passwd absolute; ln -s ../../up deep/up; ln -s nowhere dangling; ln dangling dangling2
            mkfifo -m 620 fifo; mknod -m 600 null c 1 3; mknod -m 640 disk b 259 1000
            python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"
            printf 'a\\nb' >\"$(printf 'odd \\n\\033name')\"; : >empty; echo secret >closed/none
            cp /bin/true setuid; cp /bin/true capable
            chown 1000:2000 deep/file deep setuid; chown -h 7:8 absolute fifo null
            chmod 6755 setuid; chmod 2775 deep; chmod 1777 deep/er; chmod 0 closed/none; chmod 0 closed
            python3 - <<'E'
import os, struct
os.setxattr('capable', 'security.capability', struct.pack('<5I', 0x2000001, 1 << 10, 0, 0, 0))
os.setxattr('same', 'trusted.big', b'x' * 300)
os.setxattr('deep', 'trusted.of.directory', b'\\0\\xff')
os.setxattr('absolute', 'trusted.of.link', b'link', follow_symlinks=False)
os.setxattr('.', 'trusted.of.root', b'')
E
            chown 3:4 .; chmod 3711 .
            find . -depth -exec touch -h -m -d '1999-12-31 23:59:59.987654321' {} +");
        let before = all_of(host, "/run/from");
        // In the end, since to look at them is an access, to the directories even for find.
        host.sh("find /run/from -depth -exec touch -h -a -d '2001-02-03 04:05:06.123456789' {} +");
        let copied = copy(&from, &to).unwrap();
        let accessed = host.sh("find /run/to -printf '%A@\\n' | sort -u");
        assert_eq!(accessed, "981173106.1234567890\n");
        assert_eq!(all_of(host, "/run/to"), before);
        assert_eq!(copied.entries, 19, "{copied:?}");
        assert_eq!(copied.attributes_left_out, 0);
        let ids = |path: &str| fs::symlink_metadata(to.join(path)).unwrap().ino();
        assert_eq!(ids("deep/file"), ids("deep/er/same"));
        assert_eq!(ids("dangling"), ids("dangling2"));
        assert!(
            host.sh("getcap /run/to/capable || true; /run/to/setuid && echo runs")
                .contains("runs")
        );
    });
}

#[test]
fn holes_stay_holes_and_the_data_between_them_are_the_same() {
    fake_host::run(|host| {
        let (from, to) = (host.dir("from"), host.dir("to"));
        host.sh("cd /run/from && truncate -s 5G sparse && echo middle | dd of=sparse bs=1 seek=3G conv=notrunc status=none
            truncate -s 1G hole; yes data | head -c 300000 >plain; printf end | dd of=ends bs=1 seek=1M status=none");
        let copied = copy(&from, &to).unwrap();
        for name in ["sparse", "hole", "plain", "ends"] {
            let (one, other) = (from.join(name), to.join(name));
            let (one, other) = (fs::metadata(one).unwrap(), fs::metadata(other).unwrap());
            assert_eq!(one.len(), other.len(), "{name}");
            assert!(
                other.blocks() <= one.blocks(),
                "{name}: {} blocks of {}",
                other.blocks(),
                one.blocks()
            );
        }
        host.sh(
            "cd /run && cmp from/plain to/plain && cmp from/ends to/ends && cmp from/hole to/hole",
        );
        assert_eq!(
            copied.bytes,
            (5 << 30) + (1 << 30) + 300_000 + (1 << 20) + 3
        );
    });
}

#[test]
fn what_is_there_already_is_not_overwritten_and_the_error_says_what_it_was() {
    fake_host::run(|host| {
        let (from, to) = (host.dir("from"), host.dir("to"));
        let outside = host.dir("outside");
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "new").unwrap();
        fs::create_dir_all(to.join("a/b")).unwrap();
        fs::write(to.join("a/b/file"), "old").unwrap();
        fs::write(to.join("a/other"), "stays").unwrap();
        let refused = copy(&from, &to).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "openat \"a/b/file\" of a tree that is being copied"
        );
        let Error::Copy { source, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "old");
        // Neither is a link followed that stands where a directory should be.
        fs::remove_dir_all(to.join("a")).unwrap();
        symlink(&outside, to.join("a")).unwrap();
        copy(&from, &to).unwrap_err();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // Directories are added to.
        fs::remove_file(to.join("a")).unwrap();
        fs::create_dir(to.join("a")).unwrap();
        fs::write(to.join("a/other"), "stays").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/other")).unwrap(), "stays");
        assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "new");
    });
}

#[test]
fn a_tree_that_is_too_deep_is_refused_before_descriptors_run_out() {
    fake_host::run(|host| {
        let (from, to) = (host.dir("from"), host.dir("to"));
        host.sh("cd /run/from && for i in $(seq 300); do mkdir d && cd d; done");
        let refused = copy(&from, &to).unwrap_err();
        assert!(
            matches!(refused, Error::CopyTooDeep { limit: 256, .. }),
            "{refused}"
        );
    });
}

#[test]
fn a_racing_source_has_nothing_copied_from_outside_and_opens_no_fifo() {
    fake_host::run(|host| {
        let (from, outside) = (host.dir("from"), host.dir("outside"));
        fs::write(outside.join("secret"), "secret").unwrap();
        for name in ["dir", "file"] {
            fs::create_dir_all(from.join(name)).unwrap();
        }
        fs::write(from.join("dir/secret"), "harmless").unwrap();
        fs::remove_dir(from.join("file")).unwrap();
        fs::write(from.join("file"), "harmless").unwrap();
        symlink("/run/outside", from.join("dir2")).unwrap();
        symlink("/run/outside/secret", from.join("file2")).unwrap();
        host.sh("mkfifo /run/from/file3");
        let stop = AtomicBool::new(false);
        let mut kinds = [0, 0];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let dir = File::open(&from).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for (one, other) in [("dir", "dir2"), ("file", "file2"), ("file2", "file3")] {
                        nix::fcntl::renameat2(&dir, one, &dir, other, flags).unwrap();
                    }
                }
            });
            for turn in 0..400 {
                let to = host.dir(&format!("to/{turn}"));
                let copied = copy(&from, &to);
                if let Err(error) = copied {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{error}: {:?}", std::error::Error::source(&error));
                }
                for name in ["dir", "dir2"] {
                    let Ok(found) = fs::symlink_metadata(to.join(name)) else {
                        continue;
                    };
                    kinds[usize::from(found.is_symlink())] += 1;
                    if found.is_dir() {
                        let content = fs::read_to_string(to.join(name).join("secret"));
                        if content.is_ok_and(|content| content == "secret") {
                            stop.store(true, Ordering::Relaxed);
                            panic!("{name} of the host was copied");
                        }
                    }
                }
                for name in ["file", "file2", "file3"] {
                    let path = to.join(name);
                    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                        let content = fs::read_to_string(path).unwrap();
                        if content != "harmless" {
                            stop.store(true, Ordering::Relaxed);
                            panic!("{name} has {content:?}");
                        }
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(
            kinds[0] > 0 && kinds[1] > 0,
            "nothing was exchanged: {kinds:?}"
        );
    });
}
