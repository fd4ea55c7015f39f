//! What overlayfs needs of an upper directory's file system, asked of real ones.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs;
use std::path::Path;

use rocker_fs::{Error, Overlay};

/// An overlay with its upper and work directory in `base`, over a layer elsewhere.
fn on(base: &Path) -> Overlay {
    let (upper, work) = (base.join("upper"), base.join("work"));
    for dir in [Path::new("/run/lower"), &upper, &work] {
        fs::create_dir_all(dir).unwrap();
    }
    Overlay::new(["/run/lower"]).upper(upper, work)
}

/// What is said of an overlay with its upper directory in `base`, before it is mounted and when it is. Nothing is left of
/// what was tried.
#[track_caller]
fn refused(base: &str) -> Error {
    let overlay = on(Path::new(base));
    let probed = overlay.probe().unwrap().verdict().unwrap_err();
    let mounted = overlay.mount().unwrap_err();
    assert_eq!(probed.to_string(), mounted.to_string());
    assert!(mounted.to_string().contains(base), "{mounted}");
    let left = fs::read_dir(Path::new(base).join("work")).unwrap();
    assert_eq!(left.count(), 0);
    mounted
}

#[track_caller]
fn accepted(base: &str, kind: &str) {
    let overlay = on(Path::new(base));
    let probe = overlay.probe().unwrap();
    probe.verdict().unwrap();
    let ground = probe.upper.as_ref().unwrap();
    assert_eq!(ground.filesystem, kind);
    assert!(
        probe.to_string().contains(&format!("upper on {kind}")),
        "{probe}"
    );
    drop(overlay.mount().unwrap());
}

#[test]
fn memory_is_fit_and_an_overlay_is_not() {
    fake_host::run(|host| {
        accepted("/run", "tmpfs");
        host.sh(
            "cd /run; mkdir l u w m; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m",
        );
        let error = refused("/run/m");
        assert!(matches!(error, Error::UpperOnOverlay { .. }), "{error:?}");
        assert!(error.is_unfit());
        // As a lower layer it is as good as any, for which there may be another file system.
        let overlay = Overlay::new(["/run/m", "/run/lower"]).upper("/run/upper", "/run/work");
        let probe = overlay.probe().unwrap();
        assert_eq!(probe.lower_file_systems, 2);
        let said = probe.to_string();
        assert!(
            said.contains("2 file systems") && said.contains("device numbers"),
            "{said}"
        );
        probe.verdict().unwrap();
        drop(overlay.mount().unwrap());
    });
}

#[test]
fn a_file_system_that_lacks_something_is_refused_though_the_kernel_would_take_it() {
    fake_host::run(|host| {
        host.sh(
            "mkdir -p /run/r; mount -t ramfs ramfs /run/r; mkdir /run/r/u /run/r/w /run/l
             mount -t overlay -o lowerdir=/run/l,upperdir=/run/r/u,workdir=/run/r/w overlay /mnt
             umount /mnt",
        );
        let error = refused("/run/r");
        assert!(
            matches!(
                &error,
                Error::NoWhiteouts {
                    filesystem: "ramfs",
                    ..
                }
            ),
            "{error:?}"
        );
        let probe = on(Path::new("/run/r")).probe().unwrap();
        // Which has no attributes either. No file system here has whiteouts and no attributes: see the verdict's own tests.
        assert!(!probe.upper.as_ref().unwrap().xattrs, "{probe}");
    });
}

#[test]
fn directories_on_two_mounts_or_on_a_read_only_one_are_named() {
    fake_host::run(|host| {
        host.sh("cd /run; mkdir -p lower s/upper s/work t; mount --bind s t");
        // The same file system, and another mount of it: overlayfs cannot rename between the two.
        let apart = Overlay::new(["/run/lower"]).upper("/run/s/upper", "/run/t/work");
        let error = apart.mount().unwrap_err();
        assert!(
            matches!(&error, Error::UpperAndWorkApart { upper, work }
                if upper.ends_with("s/upper") && work.ends_with("t/work")),
            "{error:?}"
        );
        assert!(!error.is_unfit(), "another directory helps");
        drop(
            Overlay::new(["/run/lower"])
                .upper("/run/t/upper", "/run/t/work")
                .mount()
                .unwrap(),
        );
        host.sh("mount -o remount,bind,ro /run/t");
        let read_only = Overlay::new(["/run/lower"]).upper("/run/t/upper", "/run/t/work");
        let error = read_only.mount().unwrap_err();
        assert!(matches!(error, Error::UpperReadOnly { .. }), "{error:?}");
        assert!(matches!(
            Overlay::new(["/run/lower"]).upper("/run/absent", "/run/t/work").mount(),
            Err(Error::Store { path, .. }) if path.ends_with("absent")
        ));
    });
}

#[test]
fn directories_that_do_not_tell_types_are_found_by_looking() {
    fake_host::run(|host| {
        // Images are mounted by loop devices.
        let made = host.try_sh(
            "cd /run; for name in typed untyped; do truncate -s 16M $name.img; mkdir $name; done
             mkfs.ext4 -q typed.img; mkfs.ext4 -q -O ^filetype untyped.img
             mount -o loop typed.img typed; mount -o loop untyped.img untyped",
        );
        if !fake_host::require("loop", made.status.success()) {
            return;
        }
        accepted("/run/typed", "ext4");
        let error = refused("/run/untyped");
        assert!(
            matches!(
                &error,
                Error::NoEntryTypes {
                    filesystem: "ext4",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("ftype=1") && error.is_unfit());
        // Where upper and work directory are mounts themselves, there is nothing to look at, and a file is made.
        host.sh("mount --bind /run/untyped/upper /run/untyped/upper; mkdir /run/untyped/upper/u /run/untyped/upper/w");
        let beneath =
            Overlay::new(["/run/lower"]).upper("/run/untyped/upper", "/run/untyped/upper/w");
        let error = beneath.mount().unwrap_err();
        assert!(matches!(error, Error::NoEntryTypes { .. }), "{error:?}");
        assert_eq!(fs::read_dir("/run/untyped/upper/w").unwrap().count(), 0);
    });
}

#[test]
fn a_file_system_of_a_program_that_knows_no_whiteouts_is_refused() {
    fake_host::run(|host| {
        let mounted = host.try_sh(
            "cd /run; mkdir fuse l u w
             fuse-overlayfs -o lowerdir=l,upperdir=u,workdir=w fuse",
        );
        if !fake_host::require("fuse", mounted.status.success()) {
            return;
        }
        let error = refused("/run/fuse");
        // It takes no trusted attributes, and leaves no whiteout that the kernel would know.
        assert!(
            matches!(
                &error,
                Error::NoWhiteouts {
                    filesystem: "FUSE",
                    ..
                } | Error::NoXattrs {
                    filesystem: "FUSE",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.is_unfit());
        host.sh("umount /run/fuse");
    });
}
