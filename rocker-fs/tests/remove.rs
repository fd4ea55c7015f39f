//! What a container has made can be removed, however deep it is, and what is mounted in it stays.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::error::Error as _;
use std::fs;
use std::io;

use rocker_fs::{Volumes, remove_tree};

/// Makes `$1` levels in the directory `$2`, with a file and a branch at some of them.
const DEEPEN: &str = "python3 - <<'E'
import os
os.chdir('DIR')
for level in range(LEVELS):
    if level % 20 == 0:
        open('file', 'w').close()
        os.makedirs('branch/of/it')
        os.symlink('/run/outside', 'link')
    if level % 500 == 499:
        os.mkdir('d', 0o000); os.chmod('.', 0o555)
    else:
        os.mkdir('d')
    os.chdir('d')
E";

fn deepen(host: &fake_host::Host, dir: &str, levels: u32) {
    let script = DEEPEN.replace("DIR", dir);
    host.sh(&script.replace("LEVELS", &levels.to_string()));
}

fn errno(error: &rocker_fs::Error) -> Option<i32> {
    let source = error.source()?.downcast_ref::<io::Error>()?;
    source.raw_os_error()
}

#[test]
fn a_tree_that_is_deeper_than_a_process_may_have_files_open_is_removed() {
    fake_host::run(|host| {
        host.sh("mkdir -p /run/outside/kept /run/deep/.1/x /run/deep/.3; touch /run/deep/.2");
        deepen(host, "/run/deep", 5000);
        let volumes = Volumes::open(host.dir("volumes")).unwrap();
        volumes.create("deep", b"").unwrap();
        deepen(host, "/run/volumes/deep/_data", 1500);
        host.sh(&format!("prlimit --nofile=64 --pid {}", std::process::id()));
        assert!(remove_tree("/run/deep").unwrap());
        assert!(!remove_tree("/run/deep").unwrap());
        assert!(volumes.remove("deep").unwrap());
        assert_eq!(fs::read_dir("/run/volumes").unwrap().count(), 0);
        assert!(fs::exists("/run/outside/kept").unwrap());
        assert!(!fs::exists("/run/deep").unwrap());
    });
}

#[test]
fn a_wide_tree_is_removed_too() {
    fake_host::run(|host| {
        host.sh("mkdir -p /run/wide/sub && cd /run/wide && seq 3000 | xargs mkdir && cd sub && seq 2048 | xargs touch && seq -f d%g 1024 | xargs mkdir");
        assert!(remove_tree("/run/wide").unwrap());
        assert!(!fs::exists("/run/wide").unwrap());
    });
}

#[test]
fn nothing_is_removed_across_a_mount_or_a_link() {
    fake_host::run(|host| {
        host.sh("mkdir -p /run/host/dir /run/tree/a/b /run/tree/c; touch /run/host/dir/file; ln -s /run/host /run/link");
        for mount in [
            "mount --bind /run/host /run/tree/a/b",
            "mount -t tmpfs t /run/tree/a/b; touch /run/tree/a/b/file",
        ] {
            host.sh(&format!("mkdir -p /run/tree/a/b; {mount}"));
            let busy = remove_tree("/run/tree").unwrap_err();
            assert_eq!(errno(&busy), Some(libc::EBUSY), "{mount}");
            assert!(fs::exists("/run/host/dir/file").unwrap(), "{mount}");
            assert!(fs::read_dir("/run/tree/a/b").unwrap().count() > 0);
            host.sh("umount /run/tree/a/b");
        }
        assert!(remove_tree("/run/tree").unwrap());
        assert_eq!(
            errno(&remove_tree("/run/link").unwrap_err()),
            Some(libc::ENOTDIR)
        );
        assert!(fs::exists("/run/host/dir/file").unwrap());
        assert!(!remove_tree("/run/none/of/it").unwrap());
    });
}
