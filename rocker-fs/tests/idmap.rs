//! Overlays that are seen through the ID map of a user namespace.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[expect(unsafe_code, reason = "the steps are raw system calls")]
mod executor;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;
mod users;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rocker_fs::{Error, Mount, Overlay, Rootfs};
use support::Layer;
use tar::EntryType;

type Way = fn(Overlay) -> Overlay;
const WAYS: [(&str, Way); 2] = [("fsopen", |overlay| overlay), ("mount", Overlay::by_mount)];
const MAP: &str = "0 100000 65536";

/// A new directory, on a file system that takes maps: the fake host's tmpfs does so from Linux 6.3.
fn dir(host: &fake_host::Host, name: &str) -> PathBuf {
    let Some(disk) = std::env::var_os("ROCKER_TEST_DISK") else {
        return host.dir(name);
    };
    let place = tempfile::Builder::new()
        .prefix(name)
        .tempdir_in(disk)
        .unwrap();
    place.keep()
}

fn two_layers(base: &Path) -> Vec<PathBuf> {
    let layers = vec![base.join("layers/1"), base.join("layers/2")];
    let mut setuid = Layer::header(EntryType::Regular, 0o4755, 0);
    setuid.set_uid(33);
    setuid.set_gid(44);
    let mut far = Layer::header(EntryType::Regular, 0o644, 0);
    far.set_uid(200_000);
    Layer::default()
        .raw(b"su", setuid, b"")
        .raw(b"far", far, b"")
        .file("all", "1")
        .file("gone", "")
        .file("spare", "")
        .unpack(&layers[0])
        .unwrap();
    Layer::default()
        .file("all", "2")
        .file(".wh.gone", "")
        .unpack(&layers[1])
        .unwrap();
    for dir in ["c/upper", "c/work"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    layers
}

#[test]
fn the_root_of_a_user_namespace_owns_the_files_and_on_the_disk_root_does() {
    fake_host::run(|host| {
        // As systemd has it: what is mounted in one mount namespace is mounted in all.
        host.sh("mount --make-rshared /");
        let userns = users::namespace(MAP);
        for (way, by) in WAYS {
            let base = dir(host, way);
            let layers = two_layers(&base);
            let before = host.state();
            let on_disk = || {
                host.sh(&format!(
                    "cd {} && find layers -printf '%p %U %G %m %C@\\n' | sort",
                    base.display()
                ))
            };
            let untouched = on_disk();
            let overlay = by(Overlay::new(&layers)
                .upper(base.join("c/upper"), base.join("c/work"))
                .id_map(userns.try_clone().unwrap()));
            let mount = overlay.mount().unwrap();
            assert_eq!(host.state(), before, "{way}");
            let seen = fs::metadata(format!("/proc/self/fd/{}/su", mount.as_fd().as_raw_fd()));
            let seen = seen.unwrap();
            assert_eq!(
                (seen.uid(), seen.gid(), seen.mode()),
                (100_033, 100_044, 0o104_755)
            );
            fs::create_dir_all("/run/t").unwrap();
            let rootfs = Rootfs::new(mount, "/run/t");
            let steps = rootfs.steps().unwrap();
            let report = executor::in_child_of(Some(userns.as_fd()), &steps, || {
                let owner = |path: &str| {
                    let found = fs::symlink_metadata(path).unwrap();
                    (found.uid(), found.gid())
                };
                assert_eq!(
                    (owner("/"), owner("/su"), owner("/all")),
                    ((0, 0), (33, 44), (0, 0))
                );
                assert_eq!(
                    owner("/far").0,
                    65534,
                    "an owner that is not mapped is nobody"
                );
                assert_eq!(fs::read_to_string("/all").unwrap(), "2");
                assert!(!Path::new("/gone").exists());
                fs::write("/new", "").unwrap();
                fs::write("/all", "3").unwrap();
                std::os::unix::fs::chown("/su", Some(7), Some(8)).unwrap();
                fs::set_permissions("/su", fs::Permissions::from_mode(0o4711)).unwrap();
                let far = fs::remove_file("/far").unwrap_err();
                assert_eq!(far.raw_os_error(), Some(libc::EOVERFLOW));
                fs::remove_file("/spare").unwrap();
                fs::create_dir("/dir").unwrap();
                symlink("su", "/link").unwrap();
                "done".to_owned()
            });
            assert_eq!(report, "done", "{way}");
            drop((rootfs, steps));
            assert_eq!(on_disk(), untouched, "{way}: something was done to a layer");
            let upper = |name: &str| {
                let found = fs::symlink_metadata(base.join("c/upper").join(name)).unwrap();
                (found.uid(), found.gid(), found.mode() & 0o7777)
            };
            assert_eq!(upper("new"), (0, 0, 0o666));
            assert_eq!(upper("su"), (7, 8, 0o4711));
            assert_eq!((upper("all").0, upper("dir").0, upper("link").0), (0, 0, 0));
            assert_eq!(upper("spare"), (0, 0, 0), "a whiteout");
            assert_eq!(host.state(), before, "{way}");
        }
    });
}

#[test]
fn hundreds_of_layers_in_many_places_are_seen_through_a_map() {
    fake_host::run(|host| {
        let userns = users::namespace(MAP);
        for (way, by) in WAYS {
            let base = dir(host, way);
            two_layers(&base);
            let layers: Vec<_> = (0..300)
                // In the store, each on its own, and behind a symbolic link.
                .map(|index| match index % 3 {
                    0 => base.join(format!("store/{index}")),
                    1 => base.join(format!("{index}/layer")),
                    _ => base.join(format!("link-{index}")),
                })
                .collect();
            for (index, layer) in layers.iter().enumerate() {
                let real = base.join(format!("real/{index}"));
                let dir = if index % 3 == 2 { &real } else { layer };
                fs::create_dir_all(dir).unwrap();
                fs::write(dir.join(format!("file-{index}")), "").unwrap();
                if index % 3 == 2 {
                    symlink(&real, layer).unwrap();
                }
            }
            let overlay = Overlay::new(&layers).upper(base.join("c/upper"), base.join("c/work"));
            let mount = by(overlay.id_map(userns.try_clone().unwrap()))
                .mount()
                .unwrap();
            let inside = PathBuf::from(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd()));
            let found: Vec<_> = fs::read_dir(inside).unwrap().map(Result::unwrap).collect();
            assert_eq!(found.len(), 300, "{way}");
            for file in found {
                assert_eq!(file.metadata().unwrap().uid(), 100_000, "{way}: {file:?}");
            }
        }
    });
}

#[test]
fn a_single_layer_is_seen_through_a_map_too_and_cannot_be_written() {
    fake_host::run(|host| {
        let userns = users::namespace(MAP);
        let layers = two_layers(&dir(host, "base"));
        let overlay = Overlay::new(&layers[..1]).id_map(userns);
        let mount = overlay.mount().unwrap();
        let inside = PathBuf::from(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd()));
        assert_eq!(fs::metadata(inside.join("su")).unwrap().uid(), 100_033);
        assert_eq!(
            fs::write(inside.join("all"), "")
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EROFS)
        );
    });
}

#[test]
fn what_no_map_can_be_laid_over_is_said_in_words() {
    fake_host::run(|host| {
        let userns = || users::namespace(MAP);
        let base = dir(host, "base");
        let layers = two_layers(&base);
        // overlayfs itself is the one file system here that surely takes no map.
        let merged = host.dir("merged");
        let lower = Overlay::new(&layers)
            .mount()
            .unwrap()
            .attach(&merged)
            .unwrap();
        let refused = Overlay::new([&merged])
            .id_map(userns())
            .mount()
            .unwrap_err();
        assert!(
            matches!(
                &refused,
                Error::NoIdMap {
                    filesystem: "overlay",
                    ..
                }
            ),
            "{refused:?}"
        );
        lower.unmount().map_err(|(_, error)| error).unwrap();
        for dir in ["c", "c/upper", "c/work"] {
            std::os::unix::fs::chown(base.join(dir), Some(70_000), Some(70_000)).unwrap();
        }
        let overlay = Overlay::new(&layers).upper(base.join("c/upper"), base.join("c/work"));
        let refused = overlay.id_map(userns()).mount().unwrap_err();
        assert!(
            matches!(&refused, Error::NotMapped { path, .. } if path.ends_with("c/work")),
            "{refused:?}"
        );
    });
}

#[test]
fn a_mount_through_a_map_changes_nothing_about_the_process() {
    fake_host::run(|host| {
        let base = dir(host, "base");
        let layers = two_layers(&base);
        let state = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let kept = ["Uid", "Gid", "Cap", "NoNewPrivs", "CoreDumping"];
            let lines = status
                .lines()
                .filter(|line| kept.iter().any(|key| line.starts_with(key)));
            // Files of /proc belong to root where a process is not dumpable, and so tell.
            let dumpable = nix::sys::prctl::get_dumpable().unwrap();
            let lines: Vec<_> = lines.map(str::to_owned).collect();
            (
                lines,
                dumpable,
                fs::read_link("/proc/thread-self/ns/mnt").unwrap(),
            )
        };
        let before = state();
        let overlay = Overlay::new(&layers).upper(base.join("c/upper"), base.join("c/work"));
        drop(overlay.id_map(users::namespace(MAP)).mount().unwrap());
        assert_eq!(state(), before);
    });
}

#[test]
fn a_volume_is_seen_through_a_map_with_what_is_mounted_beneath() {
    fake_host::run(|host| {
        let userns = users::namespace(MAP);
        let base = dir(host, "base");
        let layers = two_layers(&base);
        let volume = base.join("volume");
        fs::create_dir_all(volume.join("below")).unwrap();
        fs::write(volume.join("file"), "").unwrap();
        host.sh(&format!(
            "mount --bind {0} {0}/below && touch {0}/below/beneath",
            volume.display()
        ));
        fs::create_dir_all("/run/t").unwrap();
        let overlay = Overlay::new(&layers).upper(base.join("c/upper"), base.join("c/work"));
        let root = overlay.id_map(userns.try_clone().unwrap()).mount().unwrap();
        let rootfs = Rootfs::new(root, "/run/t")
            .mount(Mount::bind(&volume, "/mapped").id_map(userns.try_clone().unwrap()))
            .mount(Mount::bind(&volume, "/as-it-is"));
        let steps = rootfs.steps().unwrap();
        let report = executor::in_child_of(Some(userns.as_fd()), &steps, || {
            let owner = |path: &str| fs::metadata(path).unwrap().uid();
            assert_eq!(
                (owner("/mapped/file"), owner("/mapped/below/beneath")),
                (0, 0)
            );
            assert_eq!(owner("/as-it-is/file"), 65534);
            assert!(fs::write("/as-it-is/new", "").is_err());
            fs::write("/mapped/new", "").unwrap();
            String::new()
        });
        assert_eq!(report, "");
        assert_eq!(fs::metadata(volume.join("new")).unwrap().uid(), 0);
        host.sh(&format!(
            "umount {}/below && mount -t proc proc {0}/below",
            volume.display()
        ));
        let root = Overlay::new(&layers).mount().unwrap();
        let rootfs = Rootfs::new(root, "/run/t");
        let refused = rootfs
            .mount(Mount::bind(&volume, "/mapped").id_map(userns))
            .steps();
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, Error::NoIdMap { .. }), "{refused}");
        host.sh(&format!("umount {}/below", volume.display()));
    });
}
