//! What is laid over a root where nobody sees it is not laid over anything of the host's, where systemd has all mounts shared.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rocker_fs::{
    Mount, MountAttributes, Overlay, OverlayMount, View, create_dir_beneath, detached_directory,
};

type Root = fn() -> OwnedFd;

fn inside(mount: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd()))
}

/// Which mounts there are, and of what group each is.
fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
fn mounts_that_are_laid_over_each_other_do_not_spread_to_a_host_that_shares_its_mounts() {
    fake_host::run(|host| {
        host.sh("mount --make-rshared /
            mkdir -p /run/layer/data /run/data/src /run/data/beneath /run/src /run/place /run/upper /run/work
            touch /run/src/file; mount -t tmpfs beneath /run/data/beneath; mkdir /run/data/beneath/src");
        let overlay = || Overlay::new(["/run/layer"]).upper("/run/upper", "/run/work");
        let roots: [(&str, Root); 4] = [
            ("an overlay", || {
                let overlay = Overlay::new(["/run/layer"]).upper("/run/upper", "/run/work");
                overlay.mount().unwrap().into()
            }),
            ("a layer", || {
                Overlay::new(["/run/layer"]).mount().unwrap().into()
            }),
            ("a directory", || {
                detached_directory("/run/layer", None).unwrap()
            }),
            ("a copy of an overlay", || {
                let attached = rocker_fs::AttachedOverlay::open("/run/mounted");
                let copy = attached.copy().unwrap();
                attached.detach();
                copy.into()
            }),
        ];
        fs::create_dir("/run/mounted").unwrap();
        let read_only = MountAttributes::RDONLY;
        for (what, root) in roots {
            let attached = (what == "a copy of an overlay")
                .then(|| overlay().mount().unwrap().attach("/run/mounted").unwrap());
            if let Some(attached) = attached {
                attached.detach();
            }
            let before = mounts();
            let nested = [
                Mount::bind("/run/data", "/data"),
                Mount::bind("/run/src", "/data/src"),
                Mount::bind("/run/src", "/data/beneath/src").attributes(read_only),
            ];
            let view = View::new(root(), false, "/run/place", &nested).unwrap();
            assert_eq!(mounts(), before, "{what}");
            for place in ["data/src/file", "data/beneath/src/file"] {
                assert!(inside(&view).join(place).exists(), "{what}: {place}");
                assert!(!Path::new("/run").join(place).exists(), "{what}: {place}");
            }
            let refused = fs::write(inside(&view).join("data/beneath/src/file"), "");
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EROFS));
            fs::write(inside(&view).join("data/src/file"), "").unwrap();
            drop(view);
            assert_eq!(mounts(), before, "{what}");
        }
        host.sh("umount /run/mounted");
    });
}

#[test]
fn a_directory_of_a_host_that_shares_its_mounts_can_be_had_apart() {
    fake_host::run(|host| {
        host.sh("mount --make-rshared /; mkdir -p /run/dir/sub");
        let root = host.dir("t");
        let before = mounts();
        let attached = OverlayMount::of_directory("/run/dir", None).unwrap();
        let attached = attached.attach(&root).unwrap();
        let copy = attached.copy().unwrap();
        create_dir_beneath(copy.as_fd(), "sub/deep", 0o755).unwrap();
        assert!(Path::new("/run/dir/sub/deep").is_dir());
        // What is mounted in the one is not in the other, whose parents are shared.
        host.sh("mount -t tmpfs over /run/t/sub");
        assert!(Path::new("/run/dir/sub/deep").is_dir());
        assert!(inside(&copy).join("sub/deep").is_dir());
        host.sh("umount /run/t/sub");
        attached.unmount().unwrap();
        assert_eq!(mounts(), before);
    });
}
