//! Overlays on the real kernel, by both ways of mounting them.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;
mod users;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rocker_fs::{
    Access, Error, Layers, Overlay, UnpackOptions, XattrNamespace, create_dir_beneath,
    open_beneath, read_beneath,
};
use support::Layer;

type Way = fn(Overlay) -> Overlay;
const WAYS: [(&str, Way); 2] = [("fsopen", |overlay| overlay), ("mount", Overlay::by_mount)];

/// What a process sees of a mount that is attached nowhere.
fn inside(mount: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd()))
}

fn userns() -> std::os::fd::OwnedFd {
    users::namespace("0 100000 65536")
}

fn three_layers(base: &Path) -> Vec<PathBuf> {
    let layers = vec![base.join("l1"), base.join("l2"), base.join("l3")];
    Layer::default()
        .file("all", "1")
        .file("deleted", "1")
        .file("dir/below", "1")
        .unpack(&layers[0])
        .unwrap();
    Layer::default()
        .file("all", "2")
        .file(".wh.deleted", "")
        .file("dir/.wh..wh..opq", "")
        .unpack(&layers[1])
        .unwrap();
    Layer::default()
        .file("all", "3")
        .unpack(&layers[2])
        .unwrap();
    layers
}

#[test]
fn layers_hide_each_other_in_the_order_of_the_image_and_nothing_is_left() {
    fake_host::run(|host| {
        for (way, by) in WAYS {
            let base = host.dir(way);
            let layers = three_layers(&base);
            for dir in ["upper", "work", "merged"] {
                fs::create_dir(base.join(dir)).unwrap();
            }
            let before = host.state();
            let overlay = by(Overlay::new(&layers).upper(base.join("upper"), base.join("work")));
            let mount = overlay.mount().unwrap();
            assert_eq!(
                host.state(),
                before,
                "{way}: a detached overlay is in a mount table"
            );
            let merged = inside(&mount);
            assert_eq!(fs::read_to_string(merged.join("all")).unwrap(), "3");
            assert!(!merged.join("deleted").exists());
            assert!(!merged.join("dir/below").exists());
            fs::write(merged.join("all"), "changed").unwrap();
            assert_eq!(
                fs::read_to_string(base.join("upper/all")).unwrap(),
                "changed"
            );
            let attached = mount.attach(base.join("merged")).unwrap();
            assert_eq!(
                fs::read_to_string(base.join("merged/all")).unwrap(),
                "changed"
            );
            let busy = fs::File::open(base.join("merged/all")).unwrap();
            let (attached, error) = attached.unmount().unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Mount {
                        operation: "umount2",
                        ..
                    }
                ),
                "{error}"
            );
            drop(busy);
            attached.unmount().map_err(|(_, error)| error).unwrap();
            drop(
                overlay
                    .mount()
                    .unwrap()
                    .attach(base.join("merged"))
                    .unwrap(),
            );
            assert_eq!(host.state(), before, "{way}");
        }
    });
}

#[test]
fn an_opaque_root_hides_all_layers_below_it() {
    fake_host::run(|host| {
        for (way, by) in WAYS {
            let base = host.dir(way);
            let layers = [base.join("l1"), base.join("l2"), base.join("l3")];
            Layer::default().file("old", "").unpack(&layers[0]).unwrap();
            let opaque = Layer::default().file(".wh..wh..opq", "").file("new", "");
            assert!(opaque.unpack(&layers[1]).unwrap().opaque_root);
            Layer::default().file("top", "").unpack(&layers[2]).unwrap();
            for (count, names) in [(2, vec!["new"]), (3, vec!["new", "top"])] {
                let mount = by(Overlay::new(&layers[..count])).mount().unwrap();
                let mut found: Vec<_> = fs::read_dir(inside(&mount))
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name())
                    .collect();
                found.sort();
                assert_eq!(found, names, "{way}");
            }
        }
    });
}

#[test]
fn marks_of_a_user_namespace_are_heeded() {
    fake_host::run(|host| {
        for (way, by) in WAYS {
            let base = host.dir(way);
            let options = UnpackOptions::default().xattr_namespace(XattrNamespace::User);
            let lower = [base.join("l1"), base.join("l2")];
            Layer::default()
                .file("dir/below", "1")
                .unpack_with(&lower[0], &options)
                .unwrap();
            Layer::default()
                .file("dir/.wh..wh..opq", "")
                .unpack_with(&lower[1], &options)
                .unwrap();
            let mount = by(Overlay::new(&lower).xattr_namespace(XattrNamespace::User))
                .mount()
                .unwrap();
            assert!(!inside(&mount).join("dir/below").exists(), "{way}");
            // The same marks mean nothing to an overlay that looks for trusted ones.
            let mount = by(Overlay::new(&lower)).mount().unwrap();
            assert!(inside(&mount).join("dir/below").exists(), "{way}");
        }
    });
}

#[test]
fn a_layer_cannot_steer_overlayfs_by_attributes() {
    fake_host::run(|host| {
        let base = host.dir("base");
        let lower = [base.join("l1"), base.join("l2")];
        Layer::default()
            .file("secret/file", "1")
            .unpack(&lower[0])
            .unwrap();
        let redirect: (&str, &[u8]) = ("SCHILY.xattr.trusted.overlay.redirect", b"/secret");
        Layer::default()
            .pax(&[redirect])
            .dir("public/", 0o755)
            .unpack(&lower[1])
            .unwrap();
        let names = host.sh(&format!(
            "python3 -c \"import os; print(os.listxattr('{}'))\"",
            lower[1].join("public").display()
        ));
        assert_eq!(names.trim(), "[]");
    });
}

#[test]
fn without_an_upper_directory_nothing_can_be_written() {
    fake_host::run(|host| {
        for (way, by) in WAYS {
            let layers = three_layers(&host.dir(way));
            for count in 1..=3 {
                let mount = by(Overlay::new(&layers[..count])).mount().unwrap();
                assert_eq!(
                    fs::read_to_string(inside(&mount).join("all")).unwrap(),
                    count.to_string()
                );
                let error = fs::write(inside(&mount).join("new"), "").unwrap_err();
                assert_eq!(
                    error.raw_os_error(),
                    Some(libc::EROFS),
                    "{way}, {count} layers"
                );
            }
        }
    });
}

#[test]
fn hundreds_of_layers_and_strange_paths_stack_both_ways() {
    fake_host::run(|host| {
        for (way, by) in WAYS {
            let base = host.dir(way).join(format!("a:b,c\\d {}", "x".repeat(240)));
            let layers: Vec<_> = (0..300)
                .map(|index| base.join(format!("layer{index}")))
                .collect();
            for (index, layer) in layers.iter().enumerate() {
                fs::create_dir_all(layer).unwrap();
                fs::write(layer.join(format!("f{index}")), "").unwrap();
            }
            fs::create_dir(base.join("upper")).unwrap();
            fs::create_dir(base.join("work")).unwrap();
            let mount = by(Overlay::new(&layers).upper(base.join("upper"), base.join("work")))
                .mount()
                .unwrap();
            assert_eq!(fs::read_dir(inside(&mount)).unwrap().count(), 300, "{way}");
            let many = vec![layers[0].clone(); 501];
            assert!(matches!(
                Overlay::new(many).mount(),
                Err(Error::TooManyLayers {
                    count: 501,
                    limit: 500
                })
            ));
        }
    });
}

#[test]
fn what_cannot_work_is_said_in_words() {
    fake_host::run(|host| {
        let base = host.dir("base");
        let layers = three_layers(&base);
        fs::create_dir(base.join("merged")).unwrap();
        fs::create_dir(base.join("upper")).unwrap();
        fs::create_dir(base.join("work")).unwrap();
        assert!(matches!(
            Overlay::new(Vec::<PathBuf>::new()).mount(),
            Err(Error::NoLayers)
        ));
        let absent = Overlay::new([base.join("absent")]).mount().unwrap_err();
        assert!(
            matches!(&absent, Error::Store { path, .. } if path.ends_with("absent")),
            "{absent}"
        );
        // Of several, by both ways: one that is missing, and one that is a file.
        fs::write(base.join("file"), "").unwrap();
        for (_, by) in WAYS {
            for name in ["absent", "file"] {
                let bad = [layers[0].clone(), base.join(name), layers[1].clone()];
                for userns in [None, Some(userns())] {
                    let mut overlay =
                        by(Overlay::new(bad.clone()).upper(base.join("upper"), base.join("work")));
                    if let Some(userns) = userns {
                        overlay = overlay.id_map(userns);
                    }
                    let error = overlay.mount().unwrap_err();
                    assert!(
                        matches!(&error, Error::Store { path, .. } if path.ends_with(name)),
                        "{error}"
                    );
                }
            }
        }
        let outer = Overlay::new(&layers)
            .upper(base.join("upper"), base.join("work"))
            .mount()
            .unwrap();
        let outer = outer.attach(base.join("merged")).unwrap();
        host.sh("mkdir /run/base/merged/u /run/base/merged/w");
        let nested = Overlay::new(&layers)
            .upper(base.join("merged/u"), base.join("merged/w"))
            .mount();
        assert!(
            matches!(nested, Err(Error::UpperOnOverlay { .. })),
            "{nested:?}"
        );
        outer.unmount().map_err(|(_, error)| error).unwrap();
        // The work directory on another file system.
        host.sh("mkdir /run/other && mount -t tmpfs tmpfs /run/other && mkdir /run/other/work");
        let split = Overlay::new(&layers)
            .upper(base.join("upper"), "/run/other/work")
            .mount()
            .unwrap_err();
        assert!(
            matches!(split, Error::UpperAndWorkApart { .. }),
            "{split:?}"
        );
    });
}

#[test]
fn a_layer_is_in_the_store_whole_or_not_at_all() {
    fake_host::run(|host| {
        let layers = Layers::open(host.dir("x").join("store")).unwrap();
        let options = UnpackOptions::default();
        let good = || Layer::default().file("a", "content").end();
        let bad = Layer::default().file("a", "content").file("../b", "").end();
        layers
            .unpack("sha256:bad0", bad.as_slice(), &options)
            .unwrap_err();
        /// A stream whose digest turns out wrong at its end.
        struct Wrong<'a>(&'a [u8]);
        impl std::io::Read for Wrong<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(std::io::Error::other("digest mismatch")),
                    count => Ok(count),
                }
            }
        }
        layers
            .unpack("sha256:bad1", Wrong(&good()), &options)
            .unwrap_err();
        assert_eq!(host.sh("ls -A /run/x/store"), "");
        layers
            .unpack("sha256:00ab", good().as_slice(), &options)
            .unwrap();
        layers
            .unpack("sha256:00ab", good().as_slice(), &options)
            .unwrap();
        assert_eq!(layers.names().unwrap(), ["00ab"]);
        assert!(
            layers.contains("sha256:00ab")
                && !layers.contains("sha256:00ac")
                && !layers.contains("../x")
        );
        assert_eq!(
            fs::read_to_string(layers.path("sha256:00ab").join("a")).unwrap(),
            "content"
        );
        // Two at once: both succeed, one layer is there.
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    layers
                        .unpack("sha256:00cd", good().as_slice(), &options)
                        .unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(done.into_inner(), 4);
        // What a dead maker left is swept; what a live one holds is not.
        fs::create_dir_all(layers.path("x").with_file_name(".tmp-dead-1-0/deep")).unwrap();
        let live = layers.path("x").with_file_name(".tmp-live-1-0");
        fs::create_dir(&live).unwrap();
        let lock = nix::fcntl::Flock::lock(
            fs::File::open(&live).unwrap(),
            nix::fcntl::FlockArg::LockExclusive,
        )
        .unwrap();
        assert_eq!(layers.sweep().unwrap(), 1);
        assert_eq!(
            host.sh("ls -A /run/x/store").lines().collect::<Vec<_>>(),
            [".tmp-live-1-0", "00ab", "00cd"]
        );
        drop(lock);
        layers.remove("sha256:00ab").unwrap();
        layers.remove("sha256:00ab").unwrap();
        assert_eq!(layers.sweep().unwrap(), 1);
        assert_eq!(host.sh("ls -A /run/x/store"), "00cd\n");
        assert_eq!(host.sh("stat -c %a /run/x/store"), "700\n");
    });
}

#[test]
fn paths_are_resolved_beneath_their_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(dir.path().join("secret"), "host").unwrap();
    fs::write(root.join("etc/passwd"), "inside").unwrap();
    let link =
        |target: &str, name: &str| std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    link("/etc/passwd", "absolute");
    link("../../../secret", "up");
    link("/proc/self/root", "magic");
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let open = fs::File::open(&root).unwrap();
    let read = |path: &str, limit| read_beneath(open.as_fd(), path, limit);
    assert_eq!(read("/absolute", 100).unwrap().unwrap(), b"inside");
    assert_eq!(read("up", 100).unwrap(), None);
    assert_eq!(read("../secret", 100).unwrap(), None);
    assert_eq!(read("etc/passwd/x", 100).unwrap(), None);
    assert_eq!(read("etc/passwd", 6).unwrap().unwrap(), b"inside");
    assert!(matches!(
        read("etc/passwd", 5),
        Err(Error::FileTooLarge { limit: 5, .. })
    ));
    for irregular in ["fifo", "etc"] {
        assert!(matches!(
            read(irregular, 100),
            Err(Error::NotRegular { .. })
        ));
    }
    assert!(
        open_beneath(open.as_fd(), "fifo", Access::Read).is_ok(),
        "a fifo without a writer does not block"
    );
    create_dir_beneath(open.as_fd(), "/a/b/c", 0o755).unwrap();
    assert!(root.join("a/b/c").is_dir());
    link("/../../out", "escape");
    assert!(create_dir_beneath(open.as_fd(), "escape/x", 0o755).is_err());
    assert!(create_dir_beneath(open.as_fd(), "a/../../x", 0o755).is_err());
    assert!(!dir.path().join("out").exists() && !dir.path().join("x").exists());
}
